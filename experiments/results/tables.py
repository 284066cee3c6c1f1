"""The tables of the README and of the results page, by the names that their markers have."""

import os
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.report.settings import MISSING
from experiments.report.table import format_percent, summarize_values
from experiments.results.kept import Entry, Kept, alike, multiply_adds
from experiments.results.published import read_published
from experiments.results.search import Trial
from experiments.runs.markdown import code, link, markdown_table

__all__ = ["TABLES", "Column"]

RECIPES = ("quick", "fast", "speedrun")
# Settings that turn augmentation on and off; the recipes that do are different ones.
AUGMENTATION = ("recipe", "crop_padding", "flip", "padding")
# Among them the ResNeXts with one group, which Xie et al. 2017, section 5.3, compare the others with.
RESNET = re.compile(r"(preact_)?resnet\d+|resnext29_1x\d+d")
NOTHING = "No such runs are kept.\n"
OVER_SEEDS = (
    "n is the number of seeds, ± the sample standard deviation over them. Test accuracy is that of the "
    "checkpoint with the highest validation accuracy; of the last one where all images are trained on."
)
MINUTES = (
    "Minutes are of one run, validation included: the mean on each machine, in the order of the column "
    "machine."
)


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: The heading, with the unit.
        cell: Makes the text for an entry, on a page in a folder.
        numeric: Whether it is aligned right.
    """

    title: str
    cell: Callable[[Entry, Path], str]
    numeric: bool = True


def _network(entry: Entry, folder: Path) -> str:
    address = Path(os.path.relpath(entry.runs[0].folder, folder)).as_posix()
    return link(entry.arch, address)


def _training(entry: Entry, folder: Path) -> str:
    images = "" if entry.train_size is None else f" of {entry.train_size:,} images"
    return f"{entry.epochs:.3g} epochs{images}, {entry.steps:,} steps"


def _devices(entry: Entry, folder: Path) -> str:
    return "; ".join(entry.per_device("seconds")) or MISSING


def _minutes(entry: Entry, folder: Path) -> str:
    return "; ".join(f"{seconds / 60:.1f}" for seconds in entry.per_device("seconds").values()) or MISSING


def _speed(entry: Entry, folder: Path) -> str:
    return "; ".join(f"{rate:,.0f}" for rate in entry.per_device("images_per_second").values()) or MISSING


def _milliseconds(entry: Entry, folder: Path) -> str:
    size = entry.runs[0].settings["batch_size"]
    rates = entry.per_device("images_per_second").values()
    return "; ".join(f"{1000 * size / rate:.1f}" for rate in rates if rate) or MISSING


def _multiply_adds(entry: Entry, folder: Path) -> str:
    settings = entry.runs[0].settings
    return _millions(multiply_adds(entry.arch, entry.dataset, settings["shortcut"], settings["stem"]))


def _millions(count: int | None) -> str:
    return MISSING if count is None else f"{count / 1e6:,.1f} M"


def _count(count: int | None) -> str:
    return MISSING if count is None else f"{count:,}"


def _with_tta(entry: Entry, folder: Path) -> str:
    if entry.test_with_tta is None:
        return MISSING
    spread, name = entry.test_with_tta
    return f"{format_percent(spread)}, {name}"


NETWORK = Column("network", _network, numeric=False)
DATA = Column("data", lambda entry, _: entry.group.dataset, numeric=False)
RECIPE = Column("recipe", lambda entry, _: entry.recipe, numeric=False)
TEST = Column("test accuracy (%)", lambda entry, _: format_percent(entry.test))
TEST_WITH_TTA = Column("with test-time augmentation (%)", _with_tta)
VALIDATION = Column("validation accuracy (%)", lambda entry, _: format_percent(entry.row.val_accuracy))
SEEDS = Column("n", lambda entry, _: str(len(entry.runs)))
TRAINING = Column("training", _training, numeric=False)
EPOCHS = Column("epochs", lambda entry, _: f"{entry.epochs:.3g}")
STEPS = Column("steps", lambda entry, _: f"{entry.steps:,}")
MINUTES_COLUMN = Column("minutes", _minutes)
MACHINE = Column("machine", _devices, numeric=False)
COMMAND = Column("command", lambda entry, _: code(entry.command), numeric=False)
PARAMETERS = Column("parameters", lambda entry, _: _count(entry.row.parameters))
MULTIPLY_ADDS = Column("multiply-adds", _multiply_adds)
SPEED = Column("images/s", _speed)
STEP_TIME = Column("ms per step", _milliseconds)
AUGMENTED = Column("augmentation", lambda entry, _: "yes" if entry.augmented else "no", numeric=False)
FINAL = (
    Column("training accuracy (%)", lambda entry, _: format_percent(entry.final_train)),
    Column("validation accuracy (%)", lambda entry, _: format_percent(entry.final_val)),
    Column("test accuracy (%)", lambda entry, _: format_percent(entry.final_test)),
)
FINAL_NOTE = (
    "Accuracies at the end of the training: on the training images during the last epoch, as augmented, and "
    "of the last checkpoint on held-out and test images. "
)


def main_table(kept: Kept, folder: Path) -> str:
    """Every group of runs."""
    columns = (NETWORK, DATA, RECIPE, TEST, SEEDS, TRAINING, MINUTES_COLUMN, MACHINE, COMMAND)
    return _table(kept.entries, columns, folder, f"{OVER_SEEDS} {MINUTES}")


def recipes_table(kept: Kept, folder: Path) -> str:
    """The recipes that race the clock."""
    entries = [entry for entry in kept.entries if entry.recipe in RECIPES]
    entries.sort(key=lambda entry: RECIPES.index(entry.recipe))
    accuracies = [TEST, *([TEST_WITH_TTA] if any(e.test_with_tta for e in entries) else []), VALIDATION]
    columns = (RECIPE, NETWORK, *accuracies, SEEDS, TRAINING, MINUTES_COLUMN, SPEED, MACHINE, COMMAND)
    return _table(entries, columns, folder, f"{OVER_SEEDS} {MINUTES}")


def degradation_table(kept: Kept, folder: Path) -> str:
    """Plain and residual networks trained alike."""
    entries = alike(
        kept.entries,
        ("arch",),
        lambda entry: re.fullmatch(r"plain\d+", entry.arch) is not None,
        lambda entry: re.fullmatch(r"resnet\d+", entry.arch) is not None,
    )
    columns = (NETWORK, *FINAL, SEEDS, EPOCHS, STEPS, MINUTES_COLUMN, MACHINE, COMMAND)
    return _table(entries, columns, folder, FINAL_NOTE + MINUTES)


def overfitting_table(kept: Kept, folder: Path) -> str:
    """The same training with augmentation and without."""
    entries = alike(kept.entries, AUGMENTATION, lambda entry: entry.augmented, lambda e: not e.augmented)
    columns = (NETWORK, DATA, AUGMENTED, *FINAL, SEEDS, EPOCHS, MINUTES_COLUMN, MACHINE, COMMAND)
    return _table(entries, columns, folder, FINAL_NOTE + MINUTES)


def resnext_table(kept: Kept, folder: Path) -> str:
    """ResNeXts and ResNets trained alike, and what they cost."""
    entries = alike(
        kept.entries,
        ("arch",),
        lambda entry: entry.arch.startswith("resnext") and not RESNET.fullmatch(entry.arch),
        lambda entry: RESNET.fullmatch(entry.arch) is not None,
    )
    columns = (NETWORK, DATA, VALIDATION, TEST, SEEDS, PARAMETERS, MULTIPLY_ADDS, STEP_TIME, EPOCHS)
    return _table(entries, (*columns, MINUTES_COLUMN, MACHINE, COMMAND), folder, f"{OVER_SEEDS} {MINUTES}")


def seeds_table(kept: Kept, folder: Path) -> str:
    """What the predictions of several seeds say."""
    columns = (
        NETWORK,
        DATA,
        RECIPE,
        SEEDS,
        TEST,
        Column("ensemble (%)", lambda entry, _: format_percent(entry.row.ensemble_accuracy)),
        Column("seeds disagree (%)", lambda entry, _: format_percent(entry.row.disagreement)),
        Column("calibration error (%)", lambda entry, _: format_percent(entry.row.calibration_error)),
        Column("top-5 (%)", lambda entry, _: format_percent(entry.row.top5_accuracy)),
    )
    entries = [entry for entry in kept.entries if entry.row.ensemble_accuracy is not None]
    note = (
        "Ensemble: accuracy of the mean of the seeds' probabilities. Seeds disagree: test images that not "
        "all seeds predict alike. Calibration error: the expected difference of accuracy and confidence, "
        "over 15 bins. Top-5 where there are 100 classes or more."
    )
    return _table(entries, columns, folder, note)


def deeper_table(kept: Kept, folder: Path) -> str:
    """Networks on CIFAR-10 beside what others have published; of each the longest training."""
    trained: dict[str, Entry] = {}
    for entry in kept.entries:
        if entry.dataset == "cifar10" and not entry.arch.startswith("plain"):
            longest = trained.get(entry.arch)
            if longest is None or (entry.epochs, len(entry.runs)) > (longest.epochs, len(longest.runs)):
                trained[entry.arch] = entry
    published = {network.arch: network for network in read_published()}
    columns = (
        NETWORK,
        PARAMETERS,
        MULTIPLY_ADDS,
        EPOCHS,
        TEST,
        SEEDS,
        VALIDATION,
        MINUTES_COLUMN,
        MACHINE,
    )
    rows = []
    for arch in dict.fromkeys([*published, *trained]):
        ours, others = trained.get(arch), published.get(arch)
        cells = [c.cell(ours, folder) for c in columns] if ours else _not_trained(arch, len(columns))
        numbers = (others.paper, others.pytorch) if others else (None, None)
        command = ours.command if ours else published[arch].command
        rows.append([*cells, *(number.cell if number else MISSING for number in numbers), code(command)])
    titles = [*(column.title for column in columns), "paper (%)", "public PyTorch (%)", "command"]
    numeric = [*(column.numeric for column in columns), True, True, False]
    note = (
        f"Each row is the longest kept training of its network. {OVER_SEEDS} {MINUTES} Multiply-adds are per "
        "image. Published accuracies are as their authors report them, under their own protocols."
    )
    return f"{markdown_table(titles, rows, numeric)}\n{_paragraph(note)}"


def search_table(kept: Kept, folder: Path) -> str:
    """The log of tried settings, the best first."""
    groups: dict[tuple[object, ...], list[Trial]] = {}
    for trial in kept.trials:
        key = (trial.recipe, trial.arch, trial.flags, trial.steps, trial.device)
        groups.setdefault(key, []).append(trial)
    if not groups:
        return "No tried settings are logged.\n"
    rows = []
    for trials in groups.values():
        accuracy = summarize_values([trial.val_accuracy for trial in trials])
        minutes = summarize_values([trial.minutes for trial in trials])
        first = trials[0]
        cells = [
            first.recipe,
            first.arch or MISSING,
            code(first.flags) if first.flags else "none",
            format_percent(accuracy),
            str(len(trials)),
            _count(first.steps),
            MISSING if minutes is None else f"{minutes.mean:.1f}",
            first.device or MISSING,
        ]
        rows.append((first.recipe, -(accuracy.mean if accuracy else 0), cells))
    rows.sort(key=lambda row: row[:2])
    titles = ["recipe", "network", "flags", "validation accuracy (%)", "n", "steps", "minutes", "machine"]
    numeric = [False, False, False, True, True, True, True, False]
    return markdown_table(titles, [cells for _, _, cells in rows], numeric)


TABLES: dict[str, Callable[[Kept, Path], str]] = {
    "main": main_table,
    "recipes": recipes_table,
    "deeper": deeper_table,
    "degradation": degradation_table,
    "resnext": resnext_table,
    "overfitting": overfitting_table,
    "seeds": seeds_table,
    "search": search_table,
}


def _table(entries: Sequence[Entry], columns: Sequence[Column], folder: Path, note: str) -> str:
    if not entries:
        return NOTHING
    rows = [[column.cell(entry, folder) for column in columns] for entry in entries]
    table = markdown_table([c.title for c in columns], rows, [c.numeric for c in columns])
    return f"{table}\n{_paragraph(note)}"


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 116, break_on_hyphens=False) + "\n"


def _not_trained(arch: str, cells: int) -> list[str]:
    from jax_resnet.models import create_model, summary

    found = summary(create_model(arch, num_classes=10))
    counts = [f"{found.parameters:,}", _millions(found.multiply_adds)]
    return [arch, *counts, MISSING, "not trained by us", *[MISSING] * (cells - 5)]
