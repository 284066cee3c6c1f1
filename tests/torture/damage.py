"""Every file of the best checkpoint of a real run, damaged in every way: the other one is restored."""

import shutil
import warnings

from jax_resnet import checkpoint
from jax_resnet.checkpoint import manifest
from tests.checkpoint.common import KINDS, damage, files, same
from tests.torture.common import FLAGS, LostError, Programs, Row, count, expect, records, steps


def damages(programs: Programs, every: int) -> list[Row]:
    """A try per file and kind, of which every ``every``-th is taken."""
    run = programs.folder / "to-damage"
    programs.train(run, *FLAGS, "--epochs", "2")
    kept = steps(run)
    accuracies = {record["step"]: record["accuracy"] for record in records(run, "val")}
    best = max(kept, key=lambda step: (accuracies[step], -step))
    other = max(step for step in kept if step != best)
    good = {step: checkpoint.restore(run, step).variables for step in (other, best)}
    names = files(run / "checkpoints" / str(best))
    pairs = [(name, kind) for name in names for kind in KINDS][::every]

    def case(name, kind):
        copy = programs.folder / "damaged"
        shutil.copytree(run, copy)
        try:
            damage(copy / "checkpoints" / str(best) / name, kind)
            harmless = str(name) == manifest.NAME and kind == "missing"  # it is read whole instead
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", checkpoint.CheckpointWarning)
                restored = checkpoint.restore(copy).variables
            expect(same(restored, good[best if harmless else other]), f"{name}, {kind}: other weights")
        except checkpoint.CheckpointError as error:
            raise LostError(f"{name}, {kind}: {error}") from None
        finally:
            shutil.rmtree(copy)

    cases = [lambda name=name, kind=kind: case(name, kind) for name, kind in pairs]
    note = f"{len(names)} files, {len(KINDS)} kinds of damage" + (f", every {every}th" if every > 1 else "")
    return [count("damaged file of a checkpoint", cases, note)]
