"""What a terminal of any width shows, and what a file gets."""

import contextlib
import io
import os

import pytest
from rich.console import Console as RichConsole

from experiments.program.console import Console, format_duration

STATUS = "epoch 12.34  loss 0.123  accuracy 98.7%  12345 images/s"


def on_terminal(width):
    console = Console()
    console._rich = RichConsole(file=io.StringIO(), force_terminal=True, width=width, highlight=False)
    return console, console._rich.file


@pytest.mark.parametrize("width", [60, 80, 120])
def test_steps_and_remaining_time_are_whole_at_any_width(width):
    console, file = on_terminal(width)
    with console.training(0, 64_000) as update:
        update(32_100, STATUS)
    said = file.getvalue()
    assert "32100/64000" in said
    assert ":--" in said or "0:" in said
    if width >= 120:
        assert STATUS in said


def test_lines_wrap_at_words_on_a_terminal_and_not_in_a_file():
    console, file = on_terminal(40)
    text = "the quick brown fox jumps over the lazy dog and goes on to [the] next one"
    console.line(text)
    lines = file.getvalue().splitlines()
    assert len(lines) > 1
    assert " ".join(line.strip() for line in lines) == text
    plain = Console()
    plain._rich = RichConsole(file=io.StringIO(), width=40, highlight=False)
    plain.line(text)
    assert plain._rich.file.getvalue() == text + "\n"


def test_a_file_gets_no_bars(capsys):
    console = Console()
    with console.progress("test (images)", 100) as advance:
        advance(50)
    with console.training(0, 10) as update:
        update(1, "status")
    assert capsys.readouterr().out == ""


def test_durations_read_as_people_write_them():
    cases = {0.4: "0 s", 42: "42 s", 60: "1 min", 320: "5 min 20 s", 11_400: "3 h 10 min", 187_200: "2 d 4 h"}
    for seconds, text in cases.items():
        assert format_duration(seconds) == text


@contextlib.contextmanager
def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    console = Console()
    console._rich.file = os.fdopen(writer, "w")
    try:
        yield console
    finally:
        with contextlib.suppress(BrokenPipeError):  # what is left in its buffer finds the pipe broken too
            console._rich.file.close()


def test_a_closed_pipe_ends_the_program_unless_there_is_something_to_save(monkeypatch):
    monkeypatch.setattr(os, "dup2", lambda *descriptors: None)  # standard output is pytest's
    with closed_pipe() as console, console.outliving_its_reader():
        console.line("nobody reads this")
        assert console.closed
        console.line("nor this")
    with pytest.raises(SystemExit) as stop, closed_pipe() as console:
        console.line("nobody reads this")
    assert stop.value.code == 141
