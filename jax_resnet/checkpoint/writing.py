"""How a save ends: with its manifest and its name, or with one clear error."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from jax_resnet._text import first_line
from jax_resnet.checkpoint import manifest
from jax_resnet.checkpoint.steps import remove_leftovers
from jax_resnet.errors import CheckpointError

__all__ = ["VerifiedPath", "clean_up", "json_text"]


class VerifiedPath(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """A checkpoint's temporary folder, which gets its manifest before it gets its name.

    A folder with a checkpoint's name is therefore whole and has its checksums, whenever the process is
    killed. orbax writes its last file right before it renames the folder and has no hook between the two. It
    is given another temporary name to rename the folder to, and the second rename is ours.
    """

    @classmethod
    def from_final(cls, final_path: Any, *, checkpoint_metadata_store: Any = None, **options: Any) -> Any:
        """The temporary folder of a checkpoint, or of one of its items."""
        if checkpoint_metadata_store is None:  # an item: the checkpoint's manifest covers it
            return ocp.path.atomicity.AtomicRenameTemporaryPath.from_final(final_path, **options)
        whole = final_path.parent / f"{final_path.name}{ocp.path.atomicity_types.TMP_DIR_SUFFIX}-whole"
        path = super().from_final(whole, checkpoint_metadata_store=checkpoint_metadata_store, **options)
        path.named = final_path
        return path

    def get_final(self) -> Any:
        """Where the checkpoint is at the end."""
        return self.named

    async def finalize(self) -> None:
        """Writes the manifest and gives the folder its name."""
        await super().finalize()
        whole = Path(super().get_final())
        await asyncio.to_thread(manifest.write, whole)
        await asyncio.to_thread(whole.rename, Path(self.named))


def json_text(name: str, content: Any) -> str:
    """``content`` as JSON.

    Raises:
        CheckpointError: JSON cannot hold it, or it holds NaN or infinity; the message begins with ``name``.
    """
    try:
        return json.dumps(content, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} cannot be saved as JSON: {first_line(error)}") from None


def clean_up(folder: Path, name: str = "", quiet: float = 0.3, patience: float = 10.0) -> None:
    """Removes what a failed save left in ``folder``, also what its last writes are still creating.

    Args:
        folder: The folder of the checkpoints.
        name: The checkpoint that failed; all if empty.
        quiet: Seconds without anything new after which the writes are over.
        patience: Seconds after which to give up.
    """
    now = time.monotonic()
    end, settled = now + patience, now + quiet
    while now < min(end, settled):
        if remove_leftovers(folder, name):
            settled = now + quiet
        time.sleep(quiet / 10)
        now = time.monotonic()
