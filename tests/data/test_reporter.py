"""What loading says: nothing by default, plain lines when asked."""

import io

from jax_resnet import data
from jax_resnet.data.reporter import PlainReporter
from tests.helpers import datasets as helpers


def archive(tmp_path):
    spec = helpers.tiny_spec("cifar10")
    files = helpers.binary_files("cifar10", helpers.tiny_splits(spec))
    return spec, helpers.write_folder(tmp_path / "files", files)


def test_loading_is_quiet_unless_progress_is_asked_for(tmp_path, capfd):
    spec, files = archive(tmp_path)
    data.load(spec, data_dir=tmp_path / "quiet", archive=files)
    assert capfd.readouterr() == ("", "")
    data.load(spec, data_dir=tmp_path / "loud", archive=files, progress=True)
    output, lines = capfd.readouterr()
    assert output == ""
    assert lines.splitlines() == [
        "preparing cifar10 (images) ...",
        "preparing cifar10 (images): done, 70",
    ]


def test_a_reporter_takes_the_place_of_progress(tmp_path, capfd):
    spec, files = archive(tmp_path)
    recorder = helpers.Recorder()
    data.load(spec, data_dir=tmp_path / "tfds", archive=files, progress=True, reporter=recorder)
    assert recorder.progressed == {"preparing cifar10 (images)": 70}
    assert capfd.readouterr() == ("", "")


def test_progress_is_written_in_lines_without_control_characters():
    file = io.StringIO()
    reporter = PlainReporter(file, every_seconds=0)
    with reporter.progress("a.tar.gz (bytes)", 2000) as advance:
        advance(500)
        advance(1500)
    with reporter.progress("b (bytes)", None) as advance:
        advance(1234)
    reporter.line("news")
    assert file.getvalue().splitlines() == [
        "a.tar.gz (bytes) ...",
        "a.tar.gz (bytes): 25% of 2,000",
        "a.tar.gz (bytes): 100% of 2,000",
        "a.tar.gz (bytes): done, 2,000",
        "b (bytes) ...",
        "b (bytes): 1,234",
        "b (bytes): done, 1,234",
        "news",
    ]
    assert file.getvalue().isprintable() or set(file.getvalue()) - {"\n"} <= set(map(chr, range(32, 127)))
