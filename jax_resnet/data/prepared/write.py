"""Writes a data set as TFDS would, in ArrayRecord form, without TensorFlow."""

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet._files import why_not_written
from jax_resnet.data.dataset import ArraySplit, Splits
from jax_resnet.data.locks import UNFINISHED
from jax_resnet.data.registry import DatasetSpec
from jax_resnet.data.reporter import Reporter
from jax_resnet.errors import DataError

__all__ = ["write_prepared"]


def write_prepared(data_dir: Path, spec: DatasetSpec, splits: Splits, reporter: Reporter) -> None:
    """Prepares ``<data_dir>/<name>/<version>``, with the features and ids of TFDS's own builder.

    It is written beside its place and moved there when complete. If another process was faster, that
    process's work stays. Where the same version is there in TFRecord form, for TensorFlow, that is left
    alone and ours goes to ``<data_dir>/<name>/array_record/<version>``.

    Args:
        data_dir: TFDS's data folder.
        spec: The data set; the caller holds the lock of its folder.
        splits: The training and the test split, already verified.
        reporter: Receives progress.

    Raises:
        DataError: The folder cannot be written.
    """
    folder = data_dir / spec.name
    target = folder / spec.version
    if target.exists():
        target = folder / "array_record" / spec.version
    try:
        with tempfile.TemporaryDirectory(prefix=f"{UNFINISHED}prepare-", dir=folder) as temporary:
            with reporter.progress(f"preparing {spec.name} (images)", sum(map(len, splits))) as advance:
                written = _build(temporary, spec, splits, advance)
            try:
                target.parent.mkdir(exist_ok=True)
                os.rename(written, target)
            except OSError:
                if not target.is_dir():
                    raise
    except (OSError, RuntimeError) as error:  # array_record raises RuntimeError
        reason = why_not_written(error)
        raise DataError(f"{spec.name} cannot be written to {folder}: {reason}") from error


def _build(data_dir: str, spec: DatasetSpec, splits: Splits, advance: Callable[[int], None]) -> Path:
    import tensorflow_datasets as tfds

    class Info(tfds.core.DatasetInfo):
        # TFDS would look for a description online, and leave an empty folder behind.
        def initialize_from_bucket(self) -> None:
            pass

    # Unregistered, because TFDS has a builder of its own of that name.
    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        name = spec.name
        VERSION = tfds.core.Version(spec.version)

        def _info(self) -> Any:
            return Info(
                builder=self,
                description=f"{spec.title}: {spec.train_size} training and {spec.test_size} test images.",
                features=tfds.features.FeaturesDict(_features(tfds, spec)),
                supervised_keys=("image", "label"),
                homepage=spec.homepage,
                citation=spec.citation,
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {
                name: self._generate_examples(name, split)
                for name, split in zip(("train", "test"), splits, strict=True)
            }

        def _generate_examples(self, name: str, split: ArraySplit) -> Iterator[tuple[int, dict[str, Any]]]:
            for index in range(len(split)):
                yield index, _example(name, split, index, spec)
                advance(1)

        # TFDS prints both to standard output whatever the settings.
        def _log_download_bytes(self) -> None:
            pass

        def _log_download_done(self) -> None:
            pass

    tfds.disable_progress_bar()
    try:
        builder = Builder(data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare()
    finally:
        tfds.enable_progress_bar()
    return Path(builder.data_dir)


def _features(tfds: Any, spec: DatasetSpec) -> dict[str, Any]:
    features = {
        "image": tfds.features.Image(shape=spec.image_shape),
        "label": tfds.features.ClassLabel(names=spec.class_names),
    }
    if spec.family == "cifar":
        features["id"] = tfds.features.Text()
    if spec.coarse_names:
        features["coarse_label"] = tfds.features.ClassLabel(names=spec.coarse_names)
    return features


def _example(name: str, split: ArraySplit, index: int, spec: DatasetSpec) -> dict[str, Any]:
    example: dict[str, Any] = {"image": _png(split.images[index]), "label": int(split.labels[index])}
    if spec.family == "cifar":
        example["id"] = f"{name}_{index:05d}"
    if split.coarse_labels is not None:
        example["coarse_label"] = int(split.coarse_labels[index])
    return example


def _png(image: np.ndarray) -> io.BytesIO:
    """A PNG as a file object: TFDS stores its bytes as they are, and needs TensorFlow to encode an array."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, "png", compress_level=1)
    file.seek(0)
    return file
