import io
import tarfile

import pytest

from experiments.cifar10 import main
from tests.helpers.programs import outcome


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--arch", "resnet19x"], "no network is called 'resnet19x'; did you mean resnet18"),
        (["--arch", "resnet21"], "a CIFAR ResNet has 6n+2 layers; did you mean resnet20 or resnet26?"),
        (["--recipe", "qick"], "--recipe qick is none of the recipes; did you mean quick?"),
        (["--batch-size", "0"], "--batch-size must be more than 0, not 0"),
        (["--batch-size", "1.5"], "--batch-size"),
        (["--learning-rate", "fast"], "--learning-rate"),
        (["--learning-rate", "-1"], "--learning-rate must be more than 0, not -1"),
        (["--learning-rate", "nan"], "--learning-rate must be more than 0, not nan"),
        (["--learnin-rate", "0.1"], "did you mean --learning-rate?"),
        (["--schedule", "exponential"], "--schedule is one of constant, step, linear, cosine, one-cycle"),
        (["--momentum", "1"], "--momentum must be at least 0 and below 1"),
        (["--milestones", "0.5", "100"], "--milestones must be more than 0 and below 1, not 100"),
        (["--resume", "--overwrite"], "choose one"),
        (["--shortcut", "E"], "--shortcut"),
        (["--mean", "0.5"], "--mean and --std go together"),
        (["--recipe", "quick", "--no-flip"], "add --no-alternate-flips, or --flip"),
        (["--recipe", "fast", "--optimizer", "adam"], "add --no-nesterov, or have both"),
        (["--recipe", "fast", "--momentum", "0"], "add --no-nesterov, or have both"),
        (["--recipe", "speedrun", "--optimizer", "adamw", "--no-nesterov"], "add --decays none"),
        (["--rates", "head=2", "head=3"], "--rates names head twice: give it once"),
        (["--mixup", "1e-300"], "--mixup is 0, which turns it off, or at least 0.001, not 1e-300"),
        (["--cutmix", "1", "--batch-size", "1"], "mix the images of a batch: --batch-size at least 2"),
        (["--whiten", "--init-from", "resnet20.cifar10"], "choose one"),
        (["--arch", "vgg16", "--stem", "imagenet"], "vgg16 has one stem"),
        (["--arch", "vgg16", "--remat"], "--remat: vgg16 has no stages"),
        (["--milestones", "0.5"], "--milestones has no effect without --schedule step: leave it out"),
        (["--epochs", "3", "--steps", "9"], "--epochs has no effect beside --steps: leave it out"),
        (["--warmup", "0.1", "--warmup-epochs", "1"], "--warmup has no effect beside --warmup-epochs"),
        (["--weight-decay", "0", "--no-decay-all"], "--no-decay-all has no effect with --weight-decay 0"),
        (["--factor=0.5"], "--factor has no effect without --schedule step"),
        (["--peak-at", "0.5"], "--peak-at has no effect without --schedule one-cycle"),
        (["--beta2", "0.9"], "--beta2 has no effect without --optimizer adam or adamw"),
        (["--small-part", "0.3"], "--small-part has no effect without --small-size"),
        (["--randaugment-magnitude", "5"], "--randaugment-magnitude has no effect without --randaugment"),
        (["--image-size", "224"], "--image-size has no effect without images that are streamed"),
        (["--no-skip-unreadable"], "--no-skip-unreadable has no effect without images that are streamed"),
        (
            ["--dataset", "folder", "--data-dir", ".", "--crop-padding", "2"],
            "--crop-padding has no effect on streamed",
        ),
        (
            ["--workdir=~nobody-of-this-name/x"],
            "names a home folder that is not known: ~nobody-of-this-name/x",
        ),
        (["--cutout", "3000000000"], "--cutout must be at least 0 and at most 32768"),
        (["--crop-padding", "3000000000"], "--crop-padding must be at least 0 and at most 32768"),
        (["--seed", "4294967295", "--seeds", "2"], "seeds are at most 4,294,967,295, not 4,294,967,296"),
        (["--accumulate", "0"], "--accumulate must be more than 0"),
        (["--parallel", "jit", "--bn", "per-device"], "--bn per-device needs shard_map or pmap"),
        (["--shard-params", "--parallel", "pmap"], "--shard-params goes with --parallel jit"),
        (["--coordinator", "localhost"], "--coordinator is HOST:PORT or auto, not localhost"),
        (["--coordinator", "localhost:1"], "needs --num-processes and --process-id"),
        (["--process-id", "1"], "--num-processes and --process-id need --coordinator HOST:PORT"),
        (
            ["--coordinator", "localhost:1", "--num-processes", "2", "--process-id", "2"],
            "--process-id is 0 to 1, of --num-processes 2, not 2",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_one_line_with_a_way_out(capfd, tmp_path, flags, message):
    code, error = outcome(capfd, main, *flags, "--workdir", tmp_path / "run")
    assert code == 2
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_settings_that_do_not_go_with_the_data(capfd, small, tmp_path):
    for flags, message in [
        (["--batch-size", "1343"], "1 to 1342, the number of training images, not 1343"),
        (["--batch-size", "30", "--accumulate", "4"], "30 cannot be shared equally by 1 devices in 4 parts"),
        (["--val-size", "1442"], "hold out at most"),
        (["--mean", "0.5", "--std", "0.5"], "need 3 numbers"),
        (["--epochs", "1000000000"], "--epochs: a training has at most 2,147,483,647 steps"),
        (
            ["--epochs", "2", "--warmup-epochs", "3"],
            "--warmup-epochs 3 is longer than the training, 2 epochs",
        ),
        (["--warmup-epochs", "1e308"], "is longer than the training"),
    ]:
        code, error = outcome(capfd, main, *small, *flags, "--workdir", tmp_path / "run")
        assert code == 2
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_a_training_has_a_number_of_steps_that_can_be(capfd, small_by_steps, tmp_path):
    flags = [*small_by_steps, "--steps", "3000000000", "--workdir", tmp_path / "run"]
    code, error = outcome(capfd, main, *flags)
    assert code == 2
    assert "--steps: a training has at most 2,147,483,647 steps" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def corrupt(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.size = 1000
        tar.addfile(member, io.BytesIO(bytes(1000)))
    return path


def test_an_archive_that_is_missing_or_corrupt_is_named(capfd, tmp_path):
    (tmp_path / "not.tar.gz").write_bytes(b"nothing of the kind")
    for archive in (tmp_path / "nowhere.tar.gz", corrupt(tmp_path), tmp_path / "not.tar.gz"):
        code, error = outcome(
            capfd, main, "--archive", archive, "--data-dir", tmp_path / "data", "--workdir", tmp_path / "run"
        )
        assert code == 1
        assert archive.name in error
        assert error.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_a_workdir_that_cannot_be_written_is_named(capfd, small, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, error = outcome(capfd, main, *small, "--workdir", tmp_path / "file" / "run")
    assert code == 1
    assert "cannot write to --workdir" in error
    assert error.count("\n") == 1


def test_help_is_readable(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for word in (
        "--arch",
        "quick  ",
        "paper  ",
        "standard  ",
        "64,000 steps",
        "--val-size",
    ):
        assert word in said
