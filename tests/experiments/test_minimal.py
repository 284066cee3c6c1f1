"""The page a teacher shows: short, with the public API alone, and it learns."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import minimal


def test_it_learns_digits(tmp_path, capsys):
    pytest.importorskip("sklearn", reason="the digits data set is scikit-learn's")
    flags = ["--dataset", "digits", "--arch", "resnet8", "--epochs", "2", "--batch-size", "32"]
    accuracy = minimal.main([*flags, "--learning-rate", "0.1", "--data-dir", str(tmp_path)])
    assert accuracy > 0.6
    assert f"test accuracy {accuracy:.2%}" in capsys.readouterr().out


def test_it_is_one_page_with_the_public_api_alone():
    source = Path(minimal.__file__).read_text()
    assert source.count("\n") <= 120
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    assert {node.module for node in imported} == {"jax_resnet", "jax_resnet.data.augment", "jax_resnet.train"}
    assert not any(name.name.startswith("_") for node in imported for name in node.names)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--arch", "resnet21"], "did you mean resnet20 or resnet26?"),
        (["--batch-size", "60000"], "--batch-size is 1 to 1442, --epochs at least 1"),
        (["--batch-size", "0"], "--batch-size is 1 to 1442, --epochs at least 1"),
        (["--epochs", "0"], "--batch-size is 1 to 1442, --epochs at least 1"),
    ],
)
def test_an_error_is_one_line(flags, message):
    pytest.importorskip("sklearn", reason="the digits data set is scikit-learn's")
    command = [sys.executable, "-m", "experiments.minimal", "--dataset", "digits", *flags]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
