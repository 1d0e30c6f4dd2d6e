"""What every command prints the same way: status lines and progress on stderr, tables on stdout."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0
_SLOW = 1.0
_INSTANT = 0.5  # seconds in which no rate is measured


def status(line: str) -> None:
    """Print one line about the run on stderr."""
    _stderr().print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def said_if_slow(line: str) -> Iterator[None]:
    """Print a line about the run if what is done in this context takes longer than a second."""
    timer = Timer(_SLOW, status, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class ProgressReport:
    """How far a loop has come: a bar on a terminal, now and then a plain line in a log file.

    Parameters
    ----------
    total
        Number of things to do.
    unit
        Plural noun of them: ``micrographs``.
    bar
        Where to draw it; None for plain lines.
    earlier
        How many of them an earlier start has done: rate and time left follow from what is done in this one.
    """

    def __init__(self, total: int, unit: str, bar: Progress | None, earlier: int = 0) -> None:
        self._total, self._unit, self._bar = total, unit, bar
        self._done = self._earlier = earlier
        self._task = bar.add_task(unit, total=total, completed=earlier, pace="", detail="") if bar else None
        self._start = time.monotonic()
        self._next_line = self._start + SECONDS_BETWEEN_LINES

    def advance(self, count: int = 1, detail: str = "", *, earlier: bool = False) -> None:
        """Count more as done, or as done earlier; ``detail`` says how it stands and replaces the one before."""
        self._done += count
        self._earlier += count if earlier else 0
        now = time.monotonic()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count, detail=detail, pace=self._pace(now))
        elif now >= self._next_line or self._done == self._total:
            self._next_line = now + SECONDS_BETWEEN_LINES
            parts = (f"{self._done}/{self._total} {self._unit}", self._pace(now), detail)
            status(", ".join(part for part in parts if part))

    def note(self, line: str) -> None:
        """Print a line that stays, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            status(line)

    def _pace(self, now: float) -> str:
        """Return the rate and the time left, or at the end how long it took; nothing where there was no time."""
        seconds, here = now - self._start, self._done - self._earlier
        if seconds < _INSTANT or not here:
            return ""
        left = self._total - self._done
        time_left = f"{duration(left * seconds / here)} left" if left else f"{duration(seconds)} in all"
        return f"{_rate(here / seconds, self._unit)}, {time_left}"


@contextmanager
def progress(total: int, unit: str, earlier: int = 0) -> Iterator[ProgressReport]:
    """Show the progress of the loop in this context: count, rate and time left, on stderr.

    Parameters
    ----------
    total, unit, earlier
        As `ProgressReport` takes them.
    """
    console = _stderr()
    if not console.is_terminal:
        yield ProgressReport(total, unit, None, earlier)
        return
    count, pace, detail = MofNCompleteColumn(), _text_of("pace"), _text_of("detail")
    with Progress(BarColumn(), count, pace, detail, console=console, transient=True) as bar:
        yield ProgressReport(total, unit, bar, earlier)


def _text_of(field: str) -> TextColumn:
    return TextColumn(f"{{task.fields[{field}]}}", markup=False)


def facts(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns on stdout."""
    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(overflow="fold")
    drawn.add_column(overflow="fold")
    _print_table(title, drawn, rows)


def expected_false(count: float | None, picks: int) -> list[tuple[str, str]]:
    """Return the row of `facts` that says how many picks are expected to be false; none where that is not known."""
    if count is None:
        return []
    return [("Expected false picks", f"{count:.0f} ({count / picks:.1%})" if picks else "-")]


def film_left_out(count: int | None, micrographs: int) -> list[tuple[str, str]]:
    """Return the row of `facts` on film and ice that were left out; none where there was none."""
    return [("Film or ice left out", f"in {count} of {micrographs}")] if count else []


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str]) -> None:
    """Print a table on stdout: the first column is text, the others are numbers; ``total`` comes below a line."""
    drawn = Table(box=SIMPLE, show_footer=True, pad_edge=False)
    for name, below in zip(columns, total, strict=True):
        justify: Literal["left", "right"] = "right" if drawn.columns else "left"
        drawn.add_column(name, justify=justify, footer=Text(below), overflow="fold")
    _print_table(title, drawn, rows)


def _print_table(title: str, drawn: Table, rows: Iterable[Sequence[str]]) -> None:
    for row in rows:
        drawn.add_row(*map(Text, row))
    # In a file or a pipe a table must not be folded to an imagined terminal of 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 500)
    console.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print(drawn)


def duration(seconds: float) -> str:
    """Return a time as people say it: ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _rate(per_second: float, unit: str) -> str:
    """Rates below one a second read better the other way round."""
    if per_second < 1:
        return f"{1 / max(per_second, 1e-9):.1f} s each"
    return f"{per_second:.{1 if per_second < 10 else 0}f} {unit}/s"


def _stderr() -> Console:
    return Console(stderr=True)
