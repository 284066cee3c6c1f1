"""Tables in Markdown."""

import doctest

import pytest

from experiments.runs import markdown
from experiments.runs.markdown import escape, markdown_table


def test_the_examples_are_right():
    assert doctest.testmod(markdown).failed == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("C:\\new|", r"C:\\new\|"),
        ("`x` ~y~ $z$", r"\`x\` \~y\~ \$z\$"),
        ("<script>", r"\<script>"),
        ("[a](b)", r"\[a](b)"),
        ("R&D &amp; &#39;", r"R&D \&amp; \&#39;"),
        ("__init__ resnet_20 _x", r"\_\_init\_\_ resnet_20 \_x"),
        ("two\nlines\r\n", "two lines"),
        ("", ""),
        ("wäsche 椅子 30 %", "wäsche 椅子 30 %"),
    ],
)
def test_markup_is_escaped(text, expected):
    assert escape(text) == expected


def test_a_row_keeps_its_cells_whatever_they_hold():
    cells = ["a|b", "`c|d`", "\\|", "e\nf"]
    line = markdown_table(["1", "2", "3", "4"], [cells], [False] * 4).splitlines()[2]
    unescaped = line.replace("\\\\", "").replace("\\|", "")
    assert unescaped.count("|") == len(cells) + 1


def test_columns_are_aligned_by_the_width_of_their_characters():
    lines = markdown_table(["class", "n"], [["椅子", "1"], ["cat", "12,000"]], [False, True]).splitlines()
    assert lines == [
        "| class |      n |",
        "|-------|-------:|",
        "| 椅子  |      1 |",
        "| cat   | 12,000 |",
    ]


def test_a_table_without_rows_is_its_header():
    assert markdown_table(["a", "b"], [], [False, True]) == "| a  |  b |\n|----|---:|\n"


def test_rows_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        markdown_table(["a", "b"], [["1"]], [False, False])
