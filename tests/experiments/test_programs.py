"""The list of programs, and how fast a wrong flag is answered."""

import importlib.util
import subprocess
import sys

import pytest

from experiments.__main__ import PROGRAMS, main

TRAINING = ("cifar10", "cifar100", "mnist", "imagenet")


def test_the_list_names_every_program_once(capsys):
    main()
    said = capsys.readouterr().out
    for programs in PROGRAMS.values():
        for name in programs:
            assert importlib.util.find_spec(f"experiments.{name}"), name
            assert said.count(f"python -m experiments.{name} ") == 1


OTHERS = ("compare", "degradation", "resnext", "evaluate", "predict", "publish")


@pytest.mark.parametrize("name", [*TRAINING, *OTHERS])
def test_help_and_wrong_flags_need_no_jax(name):
    code = (
        "import sys, importlib\n"
        f"main = importlib.import_module('experiments.{name}').main\n"
        "from experiments.program.errors import ConfigError\n"
        "try: main(['--no-such-flag', '1'])\n"
        "except ConfigError as error: print(error)\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'jax', 'flax', 'orbax', 'matplotlib'} & set(sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("unknown flag --no-such-flag")
    assert "usage: " in found.stdout


def test_recipe_list_describes_every_recipe():
    found = subprocess.run(
        [sys.executable, "-m", "experiments.cifar10", "--recipe", "list"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in ("standard", "paper", "quick", "tutorial-000", "tutorial-004"):
        assert f"\n{name}\n" in f"\n{found.stdout}"
    assert "64,000 steps" in found.stdout


def test_a_closed_pipe_ends_a_list_quietly():
    command = [sys.executable, "-m", "experiments.cifar10", "--recipe", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listing:
        listing.stdout.close()
        assert listing.stderr.read() == ""
