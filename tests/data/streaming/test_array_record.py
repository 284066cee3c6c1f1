import dataclasses
import io
import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jax_resnet.data import DataError
from jax_resnet.data.splits import hold_out
from jax_resnet.data.streaming.array_record import forms
from jax_resnet.data.streaming.dataset import find_prepared, open_streamed
from jax_resnet.data.streaming.folder import read_folder
from jax_resnet.data.streaming.scan import find_unreadable
from jax_resnet.data.streaming.transforms import center_crop

pytest.importorskip("grain", reason="streaming needs grain")


@pytest.fixture(scope="module")
def prepared(image_folder, tmp_path_factory):
    """The folder of images as tensorflow-datasets would keep ImageNet: its test split has no labels."""
    import tensorflow_datasets as tfds

    folders, classes = read_folder(image_folder)

    class Info(tfds.core.DatasetInfo):
        def initialize_from_bucket(self):  # there is no network here
            pass

    class Photographs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("5.1.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=classes),
                "file_name": tfds.features.Text(),
            }
            return Info(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(folders["train"], labeled=True),
                "validation": self._generate_examples(folders["val"], labeled=True),
                "test": self._generate_examples(folders["val"], labeled=False),
            }

        def _generate_examples(self, images, labeled):
            for i in range(len(images)):
                encoded, label = images.read(i)
                label = label if labeled else -1
                yield (
                    i,
                    {"image": io.BytesIO(encoded), "label": label, "file_name": Path(images.name(i)).name},
                )

    tfds.disable_progress_bar()
    builder = Photographs(data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)


def test_what_tfds_prepared_is_streamed(prepared):
    dataset = open_streamed("imagenet2012", prepared, image_size=24, workers=0)
    assert dataset.class_names == ("china", "flower")
    assert dataset.val is None
    assert (len(dataset.train), len(dataset.test)) == (60, 18)
    assert dataset.train.labels is None
    with closing(dataset.test.eval_batches(18)) as batches:
        (batch,) = batches
    record = dataset.test.source.source[7]
    with Image.open(io.BytesIO(record["image"])) as image:
        np.testing.assert_array_equal(batch["image"][7], center_crop(image.convert("RGB"), 24))
    np.testing.assert_array_equal(np.bincount(batch["label"]), [9, 9])
    assert batch["label"][7] == record["label"]


def test_workers_read_the_same_records(prepared):
    found = []
    for workers in (0, 1):
        dataset = open_streamed("imagenet2012", prepared, image_size=24, workers=workers)
        with closing(dataset.train.train_batches(30, seed=0)) as batches:
            found.append([next(batches) for _ in range(3)])
    for one, other in zip(*found, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    np.testing.assert_array_equal(np.bincount(np.concatenate([b["label"] for b in found[0][:2]])), [30, 30])


def test_without_labels_any_examples_are_held_out(prepared):
    train = open_streamed("imagenet2012", prepared, image_size=24, workers=0).train
    rest, val = hold_out(train, 13, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([rest.index, val.index])), np.arange(60))
    assert len(val) == 13


def test_a_folder_that_is_not_such_a_data_set_is_named(prepared, tmp_path):
    other = tmp_path / "5.1.0"
    shutil.copytree(prepared, other)
    for shard in other.glob("*-train.array_record*"):
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(DataError, match=r"5\.1\.0"):
        next(open_streamed("x", other, image_size=24, workers=0).train.train_batches(60, seed=0))
    info = json.loads((other / "dataset_info.json").read_text())
    (other / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    with pytest.raises(DataError, match=r"5\.1\.0 is in tfrecord form.*prepare it with file_format"):
        open_streamed("x", other, image_size=24, workers=0)
    (other / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match=r"5\.1\.0"):
        open_streamed("x", other, image_size=24, workers=0)
    (other / "dataset_info.json").write_text("not json")
    with pytest.raises(DataError, match=r"dataset_info\.json is not a data set's description"):
        open_streamed("x", other, image_size=24, workers=0)


def test_records_beside_another_form_are_read_and_versions_with_records_come_first(prepared, tmp_path):
    info = json.loads((prepared / "dataset_info.json").read_text())
    newer = tmp_path / "photographs" / "6.0.0"
    newer.mkdir(parents=True)
    (newer / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    assert find_prepared(tmp_path, "photographs") == newer
    both = tmp_path / "photographs" / "5.1.0"
    shutil.copytree(prepared, both)
    about = {**info, "fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"]}
    (both / "dataset_info.json").write_text(json.dumps(about))
    assert forms(both) == ["tfrecord", "array_record"]
    assert find_prepared(tmp_path, "photographs") == both
    dataset = open_streamed("photographs", both, image_size=24, workers=0)
    with closing(dataset.train.train_batches(4, seed=0)) as batches:
        assert next(batches)["image"].shape == (4, 24, 24, 3)


def test_damaged_records_are_found_by_a_scan(prepared):
    dataset = open_streamed("imagenet2012", prepared, image_size=24, workers=0)
    images = dataset.test.source

    class Damaged:
        def __getitem__(self, index):
            record = images.source[index]
            return {**record, "image": record["image"][:100]} if index == 4 else record

        def __len__(self):
            return len(images)

    errors = find_unreadable(dataclasses.replace(images, source=Damaged()), threads=2)
    assert list(errors) == [4]
    assert errors[4].name.endswith("validation, record 4")
