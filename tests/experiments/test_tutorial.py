"""The tutorial as it is kept, and executed anew."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import experiments

NOTEBOOK = Path(experiments.__file__).with_name("tutorial.ipynb")
PICTURES = 9
MACHINE = re.compile(r"/(home|root|Users|tmp|var|usr|opt|work|mnt)/|site-packages|[A-Z]:\\")


def executed(path):
    """The outputs of a notebook whose cells were all executed, in order and without an error.

    A notebook is JSON: nbformat is not needed to read it.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"], "a warning in the tutorial"
    return outputs


def pictures(outputs):
    return [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]


def printed(outputs):
    return "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")


def test_the_kept_outputs_are_a_whole_run_with_its_pictures():
    assert len(pictures(executed(NOTEBOOK))) == PICTURES


def test_the_kept_outputs_are_of_the_weights_that_the_package_ships():
    """Fails when the weights change: jupyter execute --inplace experiments/tutorial.ipynb."""
    from jax_resnet.pretrained import read_card

    card = read_card("resnet20.cifar10")
    said = printed(executed(NOTEBOOK))
    assert f"on all 10,000, says the card, {card['test_accuracy']:.2%}" in said
    for name in ("test_accuracy", "epochs", "seed", "protocol", "command"):
        assert f"{name:14} {card[name]}\n" in said


def test_it_is_small_and_names_no_machine():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text.encode()) < 600 * 1024
    words = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not MACHINE.search(words), MACHINE.search(words)


def test_links_lead_to_files():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("https://")]
    assert links
    assert not [link for link in links if not (NOTEBOOK.parent / link).exists()]


@pytest.mark.slow
@pytest.mark.cifar10
def test_it_runs(cifar10, tmp_path, capsys):
    pytest.importorskip("nbclient", reason="executing notebooks needs the extra [tutorial]")
    copy = tmp_path / "tutorial.ipynb"
    copy.write_bytes(NOTEBOOK.read_bytes())
    # As a user has it: without the quick compilation of the tests, whose programs run slowly.
    ours = ("XLA_FLAGS", "MPLBACKEND")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    execute = "from nbclient.cli import main; main()"  # what the command `jupyter execute` runs
    start = time.perf_counter()
    found = subprocess.run(
        [sys.executable, "-c", execute, "--inplace", str(copy)],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(NOTEBOOK.parents[1])},
        timeout=1800,
        check=False,
    )
    seconds = time.perf_counter() - start
    assert found.returncode == 0, found.stderr[-3000:]
    assert len(pictures(executed(copy))) == PICTURES
    with capsys.disabled():  # about two minutes on two free cores; how many are free here is not known
        print(f"the tutorial took {seconds:.0f} s")
