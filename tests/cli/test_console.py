"""What commands print the same way."""

import io
import re
import time

import pytest
from rich.console import Console

from cryotx_cli.cli import console
from cryotx_cli.cli.console import duration, facts, progress, said_if_slow, table


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_log_file_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, *[float(second) for second in range(1, 100)]])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))

    with progress(3, "micrographs") as bar:
        bar.advance()
        bar.note("Skipped b.mrc: [all] zeros")
        bar.advance(2, "loss [0.5]")

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\x1b" not in captured.err
    lines = captured.err.splitlines()
    assert lines[0] == "Skipped b.mrc: [all] zeros"
    assert lines[1].startswith("3/3 micrographs, ")
    assert ", done in " in lines[1]
    assert lines[1].endswith(" s, loss [0.5]")


def test_a_line_comes_now_and_then_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)

    with progress(10, "micrographs") as bar:
        for _ in range(10):
            now += 4.0
            bar.advance()

    assert capsys.readouterr().err.splitlines() == [
        "3/10 micrographs, 4.0 s each, 28 s left",
        "6/10 micrographs, 4.0 s each, 16 s left",
        "9/10 micrographs, 4.0 s each, 4 s left",
        "10/10 micrographs, 4.0 s each, done in 40 s",
    ]


def test_fast_work_is_counted_by_the_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)

    with progress(4, "micrographs") as bar:
        for _ in range(4):
            now += 0.5
            bar.advance()

    assert capsys.readouterr().err == "4/4 micrographs, 2.0 micrographs/s, done in 2 s\n"


def test_what_an_earlier_start_has_done_is_in_no_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)

    with progress(1000, "steps", earlier=990) as bar:
        bar.advance(5, earlier=True)
        now += 12.0
        bar.advance(3)
        now += 8.0
        bar.advance(2)

    assert capsys.readouterr().err.splitlines() == [
        "998/1000 steps, 4.0 s each, 8 s left",
        "1000/1000 steps, 4.0 s each, done in 20 s",
    ]


def test_no_rate_is_told_of_what_took_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(3, "pictures") as bar:
        bar.advance(3)

    assert capsys.readouterr().err == "3/3 pictures\n"


def test_a_terminal_has_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    now, screen = 0.0, io.StringIO()
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    terminal = Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setattr(console, "_stderr", lambda: terminal)

    with progress(1000, "steps", earlier=990) as bar:
        now += 12.0
        bar.advance(3)

    assert "993/1000 4.0 s each, 28 s left" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())


def test_slow_work_is_announced_and_quick_work_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_SLOW", 0.05)
    with said_if_slow("Quick"):
        pass
    with said_if_slow("Slow"):
        time.sleep(0.5)

    assert capsys.readouterr().err == "Slow\n"


def test_tables_in_a_file_are_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a/rather/long/path/of/a/micrograph/" * 5 + "m.mrc"

    table("Agreement [all]", ["Micrograph", "F1"], [(name, "0.912")], ("all", "0.912"))
    facts("Skipped", [(name, "the file ends [early], " * 6)])

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Agreement [all]"
    assert next(line.split() for line in lines if name in line) == [name, "0.912"]
    assert lines[-1].rstrip() == f"{name}  {'the file ends [early], ' * 6}".rstrip()
    assert ["all", "0.912"] in [line.split() for line in lines]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "shown"), [("30", "a/long/path/m1.mrc"), ("22", "m1.mrc"), ("20", "m1.mrc")])
def test_tables_on_a_terminal_shorten_names_and_stay_within_it(
    monkeypatch: pytest.MonkeyPatch, columns: str, shown: str
) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", columns)
    rows = [("a/long/path/m1.mrc", "0.9", "0.125"), ("a/long/path/m2.mrc", "0.8", "0.5")]

    table("Agreement", ("File", "F1", "Dice"), [rows[0], (), rows[1]], ("Mean", "0.8\n0.7", "0.3"))

    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).rstrip() for line in screen.getvalue().splitlines()]
    assert max(map(len, lines)) <= int(columns)
    assert [line.split() for line in lines if set(line) != {"─"}] == [
        ["Agreement"],
        ["File", "F1", "Dice"],
        [shown, "0.9", "0.125"],
        [],
        [shown.replace("m1", "m2"), "0.8", "0.5"],
        ["Mean", "0.8", "0.3"],
        ["0.7"],
    ]


def test_long_values_are_parted_between_words_and_paths_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, path = Screen(), "/data/" + "a_long_folder/" * 6 + "report.html"
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")

    facts(
        "Wrote it",
        [("Report", path), ("Picks", "7"), ("Skipped", "1"), ("", "word " * 20 + "end"), ("", f"{path}: cut off")],
    )

    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).rstrip() for line in screen.getvalue().splitlines()]
    room = 80 - len("Skipped  ")
    words, rest = " ".join(["word"] * (room // 5)), " ".join(["word"] * (20 - room // 5) + ["end"])
    assert lines == [
        "Wrote it",
        "Report",
        f"  {path}",  # the terminal breaks it, and it is copied in one piece
        "Picks    7",
        "Skipped  1",
        f"         {words}",
        f"         {rest}",
        f"  {path}: cut off",
    ]
