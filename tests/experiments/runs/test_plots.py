import numpy as np
import pytest
from matplotlib.font_manager import findfont, get_font
from PIL import Image

from experiments.runs.figure_style import drawable_labels, drawable_title, installed_fonts
from experiments.runs.plots import plot_confusion, plot_curves
from experiments.runs.series import held_out_series
from experiments.runs.text import printable
from tests.helpers.run_folders import record

BASE = get_font(findfont("DejaVu Sans"))
NAMES = [
    "$x_$",
    "US$5_US$10",
    r"$\frac{1}{0}$",
    "_underscore",
    "<b>&amp;",
    "{[()]}'\"`",
    "two\nlines\ttab\x00\x1b[31m",
    "\udcff\ud800",
    "x" * 10_000,
    "שלום",
    "\u202eevil",
    "中文名",
    "🙂👩\u200d🔬\ufe0f",
    "e\u0301" * 50,
    "",
    " ",
]


def test_class_names_of_any_script_are_drawn_literally(tmp_path):
    notes = plot_confusion(np.eye(len(NAMES), dtype=int), NAMES, "\n".join(NAMES), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as image:
        assert image.format == "PNG"
    assert len(notes) <= 1  # said once, if no installed font has all the characters
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


def test_networks_of_any_name_have_curves(tmp_path):
    records = [record("train", 5), record("train", 10), record("val", 10)]
    for place, name in enumerate(NAMES):
        plot_curves(records, name, tmp_path / f"{place}.png")


def test_names_are_drawn_by_number_where_no_font_has_their_characters():
    labels = drawable_labels(["cat", "中文", "dog"], fonts=[])
    assert labels.texts == ["cat", "1", "dog"]
    [note] = labels.notes
    assert "no installed font has the characters 中文" in note


def test_an_installed_font_with_the_characters_is_found():
    for family, path in installed_fonts():
        letters = set(map(chr, get_font(path).get_charmap())) - set(map(chr, BASE.get_charmap()))
        for letter in sorted(filter(str.isalpha, letters))[:1]:
            labels = drawable_labels([letter], fonts=[(family, path)])
            assert labels == ([letter], ["DejaVu Sans", family], [])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202egnp", "\\u202egnp"),
        ("\udcff", "\\udcff"),
        ("क\u200dष", "क\u200dष"),
        ("שלום 中文 🙂", "שלום 中文 🙂"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_invisible_characters_are_shown_by_their_escapes(text, shown):
    assert printable(text) == shown
    shown.encode("utf-8")


def test_the_test_set_watched_beside_validation_is_drawn(tmp_path):
    records = [record("val", step) for step in (10, 20, 30)]
    watched = [record("test", step, which="watched", accuracy=0.1) for step in (10, 20, 30)]
    plot_curves(records, "resnet20", tmp_path / "without.svg")
    plot_curves([*records, *watched], "resnet20", tmp_path / "with.svg")
    assert "test while training" not in (tmp_path / "without.svg").read_text()
    assert "test while training" in (tmp_path / "with.svg").read_text()


@pytest.mark.parametrize("loss", [0.0, 1e-300, 1e-12, 1.0, 1e30, -1.0, -1e30])
def test_losses_of_any_size_are_drawn(tmp_path, loss):
    records = [record("train", step, loss=loss, epoch=step / 10) for step in (5, 10)]
    records += [record("val", 10), record("val", 20, loss=loss), record("test", 20, which="last", loss=loss)]
    plot_curves(records, "resnet20", tmp_path / "curves.png")


@pytest.mark.parametrize("epoch", [0, 1e-300, 1e30])
def test_epochs_of_any_size_are_drawn(tmp_path, epoch):
    records = [record("train", 5, epoch=epoch), record("val", 10, epoch=epoch)]
    plot_curves(records, "resnet20", tmp_path / "curves.png")


def test_a_title_has_question_marks_for_characters_that_no_font_has():
    title, fonts = drawable_title("a \U0010fff0 b\nc")
    assert title == "a ? b\\nc"
    assert fonts[0] == "DejaVu Sans"


def test_a_curve_of_many_evaluations_keeps_the_first_and_the_last():
    records = [record("val", step) for step in range(5000)]
    series = held_out_series([records], "error")
    assert len(series.epochs) == 1000
    assert (series.epochs[0], series.epochs[-1]) == (0, 499.9)
