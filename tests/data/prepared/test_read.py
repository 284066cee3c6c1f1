"""What is stored: in TFDS layout for anyone to read, in the original order, never used when damaged."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jax_resnet import data
from jax_resnet.data import registry
from jax_resnet.data.prepared import read as store
from tests.helpers import datasets as helpers


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Registers a tiny data set and writes its files; returns its splits and the folder of files."""

    def register(name, **changes):
        spec = helpers.tiny_spec(name, **changes)
        monkeypatch.setitem(registry.DATASETS, name, spec)
        splits = helpers.tiny_splits(spec)
        files = helpers.mnist_files(splits) if name == "mnist" else helpers.binary_files(name, splits)
        return splits, helpers.write_folder(tmp_path / f"{name}-files", files)

    return register


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_order_survives_tfds(tiny, tmp_path, name):
    splits, files = tiny(name)
    data.load(name, data_dir=tmp_path / "tfds", archive=files)
    (cache,) = (tmp_path / "tfds" / name).glob("*.npz")
    cache.unlink()
    dataset = data.load(name, data_dir=tmp_path / "tfds", download=False)
    helpers.assert_same(dataset, splits)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_plain_tfds_opens_what_we_prepared(tiny, tmp_path, name):
    import tensorflow_datasets as tfds

    splits, files = tiny(name)
    data.load(name, data_dir=tmp_path / "tfds", archive=files)
    spec = registry.DATASETS[name]
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "tfds" / name / spec.version, elsewhere)
    builder = tfds.builder_from_directory(elsewhere)
    assert builder.info.full_name == f"{name}/{spec.version}"
    assert builder.info.supervised_keys == ("image", "label")
    label = builder.info.features["label"]
    assert tuple(label.names) == spec.class_names
    wanted = {"image", "label"} | ({"id"} if "cifar" in name else set())
    assert set(builder.info.features) == wanted | ({"coarse_label"} if name == "cifar100" else set())
    source = builder.as_data_source("test")
    assert len(source) == helpers.TEST
    if "id" in wanted:
        for example in source:
            index = int(example["id"].decode().removeprefix("test_"))
            np.testing.assert_array_equal(example["image"], splits[1].images[index])
            assert example["label"] == splits[1].labels[index]


def write_foreign(folder, name, splits, *, version, config="", shuffle=True, ids=True, shards=3):
    """A data set in TFDS layout written otherwise than by us: sharded, perhaps with a config."""
    import io

    import tensorflow_datasets as tfds
    from PIL import Image

    spec = registry.DATASETS[name]
    features = {
        "image": tfds.features.Image(shape=spec.image_shape),
        "label": tfds.features.ClassLabel(num_classes=len(spec.class_names)),
    }
    if ids:
        features["id"] = tfds.features.Text()
    folder = Path(folder, name, config, version)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    infos = []
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, filetype_suffix="array_record"
    )
    serializer = tfds.features.FeaturesDict(features)
    for part, split in zip(("train", "test"), splits, strict=True):
        order = rng.permutation(len(split)) if shuffle else np.arange(len(split))
        lengths = []
        for shard, indices in enumerate(np.array_split(order, shards)):
            from array_record.python import array_record_module

            path = folder / f"{name}-{part}.array_record-{shard:05d}-of-{shards:05d}"
            writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
            for index in indices:
                file = io.BytesIO()
                Image.fromarray(split.images[index]).save(file, "png")
                file.seek(0)
                example = {"image": file, "label": int(split.labels[index])}
                if ids:
                    example["id"] = f"{part}_{index:05d}"
                writer.write(serializer.serialize_example(serializer.encode_example(example)))
            writer.close()
            lengths.append(len(indices))
        infos.append(
            tfds.core.SplitInfo(name=part, shard_lengths=lengths, num_bytes=0, filename_template=template)
        )
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder), features=serializer, split_infos=infos, check_data=False
    )
    return folder


@pytest.mark.parametrize("config", ["", "plain"])
def test_a_foreign_data_set_is_read_as_it_is(tiny, tmp_path, config):
    splits, _ = tiny("cifar10")
    folder = write_foreign(tmp_path / "tfds", "cifar10", splits, version="3.1.7", config=config)
    before = sorted(folder.iterdir())
    dataset = data.load("cifar10", data_dir=tmp_path / "tfds", download=False)
    helpers.assert_same(dataset, splits)
    assert sorted(folder.iterdir()) == before
    helpers.assert_same(data.load("cifar10", data_dir=tmp_path / "tfds", download=False), splits)


def test_a_foreign_data_set_with_other_contents_is_refused_by_name(tiny, tmp_path):
    splits, _ = tiny("cifar10")
    splits[1].images[3, 0, 0, 0] ^= 1
    folder = write_foreign(tmp_path / "tfds", "cifar10", splits, version="3.0.2")
    with pytest.raises(data.DataError, match="test images are not those of CIFAR-10") as error:
        data.load("cifar10", data_dir=tmp_path / "tfds", download=False)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["no description", "no features", "no shard", "empty shard", "half shard"])
def test_a_half_written_data_set_is_never_used(tiny, tmp_path, damage):
    splits, files = tiny("cifar10")
    folder = write_foreign(tmp_path / "tfds", "cifar10", splits, version="3.0.2")
    shard = folder / "cifar10-train.array_record-00001-of-00003"
    if damage == "no description":
        (folder / "dataset_info.json").unlink()
    elif damage == "no features":
        (folder / "features.json").unlink()
    elif damage == "no shard":
        shard.unlink()
    elif damage == "empty shard":
        shard.write_bytes(b"")
    else:
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    for archive in (None, files):
        with pytest.raises(data.DataError, match=r"(incomplete|cannot be read).*delete that folder") as error:
            data.load("cifar10", data_dir=tmp_path / "tfds", archive=archive, download=False)
        assert str(folder) in str(error.value)
        assert "\n" not in str(error.value)


def test_an_incomplete_other_version_is_passed_over(tiny, tmp_path):
    splits, files = tiny("cifar10")
    (tmp_path / "tfds" / "cifar10" / "3.9.9").mkdir(parents=True)
    recorder = helpers.Recorder()
    dataset = data.load("cifar10", data_dir=tmp_path / "tfds", archive=files, reporter=recorder)
    helpers.assert_same(dataset, splits)
    assert any("3.9.9 is incomplete" in line and "passed over" in line for line in recorder.lines)


@pytest.mark.parametrize("form", [{"fileFormat": "tfrecord"}, {}])  # TFDS's default is not always written
def test_tfrecord_form_is_passed_over_and_left_alone(tiny, tmp_path, form):
    import tensorflow_datasets as tfds

    splits, files = tiny("cifar10")
    folder = tmp_path / "tfds" / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    parts = [{"name": name, "shardLengths": ["5"]} for name in ("train", "test")]
    info = {"name": "cifar10", **form, "splits": parts}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    recorder = helpers.Recorder()
    dataset = data.load("cifar10", data_dir=tmp_path / "tfds", archive=files, reporter=recorder)
    helpers.assert_same(dataset, splits)
    assert "3.0.2 is in tfrecord form" in recorder.lines[0]
    assert [file.name for file in folder.iterdir()] == ["dataset_info.json"]
    (tmp_path / "tfds" / "cifar10" / "jax_resnet_decoded.npz").unlink()
    recorder = helpers.Recorder()
    helpers.assert_same(data.load("cifar10", data_dir=tmp_path / "tfds", reporter=recorder), splits)
    assert recorder.lines == []
    beside = tmp_path / "tfds" / "cifar10" / "array_record" / "3.0.2"
    assert len(tfds.builder_from_directory(beside).as_data_source("train")) == helpers.TRAIN
    next(beside.glob("*-train.array_record-*")).unlink()  # found before anything is fetched again
    with pytest.raises(data.DataError, match=r"array_record/3\.0\.2.*delete that folder"):
        data.load("cifar10", data_dir=tmp_path / "tfds", archive=files)


def test_drafts_of_killed_processes_are_removed(tiny, tmp_path):
    _, files = tiny("cifar10")
    folder = tmp_path / "tfds" / "cifar10"
    data.load("cifar10", data_dir=folder.parent, archive=files)
    (folder / "jax_resnet_decoded.npz").unlink()
    old, young = (folder / f".jax_resnet_decoded.npz.{number}.tmp" for number in (1, 2))
    for draft in (old, young):
        draft.write_bytes(b"half")
    os.utime(old, (0, 0))
    data.load("cifar10", data_dir=folder.parent, download=False)
    assert (folder / "jax_resnet_decoded.npz").exists()
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "replaced"])
def test_a_damaged_cache_is_made_anew(tiny, tmp_path, damage):
    splits, files = tiny("cifar10")
    root = tmp_path / "tfds"
    data.load("cifar10", data_dir=root, archive=files)
    (cache,) = (root / "cifar10").glob("*.npz")
    content = cache.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    cache.write_bytes(
        {"truncated": content[:middle], "flipped": flipped, "emptied": b"", "replaced": b"x" * 99}[damage]
    )
    recorder = helpers.Recorder()
    helpers.assert_same(data.load("cifar10", data_dir=root, reporter=recorder), splits)
    assert any(f"{cache} is damaged" in line for line in recorder.lines)
    assert cache.read_bytes() != b"x" * 99
    recorder = helpers.Recorder()
    helpers.assert_same(data.load("cifar10", data_dir=root, reporter=recorder), splits)
    assert recorder.lines == []


def test_a_cache_of_replaced_files_is_not_used(tiny, tmp_path, monkeypatch):
    _, files = tiny("cifar10")
    root = tmp_path / "tfds"
    data.load("cifar10", data_dir=root, archive=files)
    shutil.rmtree(root / "cifar10" / "3.0.2")
    monkeypatch.setitem(registry.DATASETS, "cifar10", helpers.tiny_spec("cifar10", seed=5))
    others = helpers.tiny_splits(registry.DATASETS["cifar10"], seed=5)
    write_foreign(root, "cifar10", others, version="3.0.2")
    helpers.assert_same(data.load("cifar10", data_dir=root, download=False), others)


def test_nothing_is_left_behind_or_printed(tiny, tmp_path, capfd, monkeypatch):
    import tempfile

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    splits, files = tiny("cifar10")
    root = tmp_path / "tfds"
    (root / "cifar10" / ".unfinished-of-the-dead").mkdir(parents=True)
    recorder = helpers.Recorder()
    data.load("cifar10", data_dir=root, archive=files, reporter=recorder)
    (root / "cifar10" / "jax_resnet_decoded.npz").unlink()
    data.load("cifar10", data_dir=root, reporter=recorder)
    there = {path.name for path in (root / "cifar10").iterdir()}
    assert there == {"3.0.2", "jax_resnet_decoded.npz", ".preparing.lock"}
    assert list(scratch.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert recorder.progressed == {
        "preparing cifar10 (images)": len(splits[0]) + len(splits[1]),
        "reading cifar10 (images)": len(splits[0]) + len(splits[1]),
    }


def test_unwritable_data_dir(tiny, tmp_path):
    _, files = tiny("cifar10")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(data.DataError, match=r"cifar10 cannot be prepared in .*file.*--data-dir") as error:
        data.load("cifar10", data_dir=tmp_path / "file", archive=files)
    assert "\n" not in str(error.value)


def test_a_prepared_set_is_usable_where_no_cache_can_be_written(tiny, tmp_path, monkeypatch):
    splits, files = tiny("cifar10")
    data.load("cifar10", data_dir=tmp_path / "tfds", archive=files)
    (tmp_path / "tfds" / "cifar10" / "jax_resnet_decoded.npz").unlink()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    recorder = helpers.Recorder()
    helpers.assert_same(data.load("cifar10", data_dir=tmp_path / "tfds", reporter=recorder), splits)
    assert any("No space left on device" in line for line in recorder.lines)
    assert not list((tmp_path / "tfds" / "cifar10").glob("*.npz"))


def test_the_default_data_dir_is_that_of_tfds(tiny, tmp_path, monkeypatch):
    splits, files = tiny("cifar10")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "set"))
    helpers.assert_same(data.load("cifar10", archive=files), splits)
    assert (tmp_path / "set" / "cifar10" / "3.0.2").is_dir()
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.default_data_dir() == tmp_path / "tensorflow_datasets"


CHILD = """
import sys
from tests.helpers import datasets as helpers
from jax_resnet import data
from jax_resnet.data import registry
spec = registry.DATASETS["cifar10"] = helpers.tiny_spec("cifar10")
dataset = data.load("cifar10", data_dir=sys.argv[1], archive=sys.argv[2] if len(sys.argv) > 2 else None)
helpers.assert_same(dataset, helpers.tiny_splits(spec))
print(*sorted({"tensorflow_datasets", "tensorflow", "jax", "pooch", "PIL", "sklearn"} & set(sys.modules)))
"""


def start_child(*args):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CHILD, *map(str, args)],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(child):
    output, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    assert errors == ""
    return output.split()


def test_processes_preparing_at_once_do_not_disturb_each_other(tiny, tmp_path):
    splits, files = tiny("cifar10")
    children = [start_child(tmp_path / "tfds", files) for _ in range(3)]
    try:
        for child in children:
            finish(child)
    finally:
        for child in children:
            child.kill()
            child.communicate()
    helpers.assert_same(data.load("cifar10", data_dir=tmp_path / "tfds", download=False), splits)
    there = {path.name for path in (tmp_path / "tfds" / "cifar10").iterdir()}
    assert there == {"3.0.2", "jax_resnet_decoded.npz", ".preparing.lock"}


def test_a_warm_start_is_light(tiny, tmp_path):
    _, files = tiny("cifar10")
    data.load("cifar10", data_dir=tmp_path / "tfds", archive=files)
    assert finish(start_child(tmp_path / "tfds")) == []


def test_a_cold_start_needs_no_tensorflow(tiny, tmp_path):
    _, files = tiny("cifar10")
    assert finish(start_child(tmp_path / "tfds", files)) == ["PIL", "tensorflow_datasets"]


@pytest.mark.cifar10
def test_the_real_cifar10():
    spec = registry.get_spec("cifar10")
    if store.find_complete(data.default_data_dir(), spec, data.SILENT) is None:
        pytest.skip(f"CIFAR-10 is not prepared in {data.default_data_dir()}")
    dataset = data.load("cifar10", download=False)
    from jax_resnet.data.checksums import verify

    verify((dataset.train, dataset.test), spec, "the default data dir")
    np.testing.assert_allclose(dataset.mean, (0.4914, 0.4822, 0.4465), atol=5e-5)
    np.testing.assert_allclose(dataset.std, (0.2470, 0.2435, 0.2616), atol=5e-5)
    assert (np.bincount(dataset.train.labels) == 5000).all()
    assert (np.bincount(dataset.test.labels) == 1000).all()


def test_what_is_not_installed_is_named_before_anything_is_fetched(tiny, tmp_path, monkeypatch):
    _, files = tiny("cifar10")
    root = tmp_path / "tfds"
    data.load("cifar10", data_dir=root, archive=files)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    data.load("cifar10", data_dir=root)  # the cache needs NumPy alone
    (root / "cifar10" / "jax_resnet_decoded.npz").unlink()
    for folder, archive in ((root, None), (root, files), (tmp_path / "empty", None)):
        with pytest.raises(data.DataError, match=r"tensorflow_datasets, .*: pip install -e '\.\[data\]'"):
            data.load("cifar10", data_dir=folder, archive=archive)


PORTABLE = """
import builtins, os, signal, sys
from pathlib import Path

for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "fork", "mkfifo", "getuid", "geteuid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("pthread_sigmask", "SIGKILL", "SIGHUP"):
    if hasattr(signal, name):
        delattr(signal, name)
sys.path.insert(0, ".")
from jax_resnet import data
from tests.helpers import datasets as helpers

spec = helpers.tiny_spec("cifar10")
for _ in range(2):
    dataset = data.load(spec, data_dir=sys.argv[1], archive=sys.argv[2])
    helpers.assert_same(dataset, helpers.tiny_splits(spec))
helpers.assert_same(data.load(spec, data_dir=sys.argv[1], download=False), helpers.tiny_splits(spec))
"""


def test_loading_needs_nothing_that_only_posix_has(tiny, tmp_path):
    _, files = tiny("cifar10")
    done = subprocess.run(
        [sys.executable, "-c", PORTABLE, tmp_path / "tfds", files],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
