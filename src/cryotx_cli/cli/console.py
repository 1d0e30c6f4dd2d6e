"""What every command prints the same way: status lines and progress on stderr, tables on stdout.

A status line needs no rich, which is loaded for what is drawn.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap
from threading import Timer
from typing import TYPE_CHECKING, Literal

import typer

from cryotx_cli.wording import shortened

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TextColumn
    from rich.table import Table

SECONDS_BETWEEN_LINES = 10.0
_SLOW = 1.0
_INSTANT = 0.5  # seconds in which no rate is measured
_CONTROL = dict.fromkeys(map(ord, "\a\b\v\f\r"))  # a name may hold them, and rich, too, takes them out


def typed() -> str:
    """Return the command that runs, as it was typed; words are quoted where a shell asks for it."""
    return shlex.join(["cryotx", *sys.argv[1:]])


def status(line: str) -> None:
    """Print one line about the run on stderr."""
    typer.echo(line.translate(_CONTROL), err=True)


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
    say
        Prints a plain line.
    """

    def __init__(
        self, total: int, unit: str, bar: Progress | None, earlier: int = 0, say: Callable[[str], None] = status
    ) -> None:
        self._total, self._unit, self._bar, self._say = total, unit, bar, say
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
            self._say(", ".join(part for part in parts if part))

    def note(self, line: str) -> None:
        """Print a line that stays, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self._say(line)

    def _pace(self, now: float) -> str:
        """Return the rate and the time left, or at the end how long it took; nothing where there was no time."""
        seconds, here = now - self._start, self._done - self._earlier
        if seconds < _INSTANT or not here:
            return ""
        left = self._total - self._done
        time_left = f"{duration(left * seconds / here)} left" if left else f"done in {duration(seconds)}"
        return f"{_rate(here / seconds, self._unit)}, {time_left}"


@contextmanager
def progress(
    total: int, unit: str, earlier: int = 0, say: Callable[[str], None] | None = None
) -> Iterator[ProgressReport]:
    """Show the progress of the loop in this context: count, rate and time left, on stderr.

    Parameters
    ----------
    total, unit, earlier
        As `ProgressReport` takes them.
    say
        Prints plain lines now and then, whatever there is for a terminal.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress

    console = _stderr()
    if say is not None or not console.is_terminal:
        yield ProgressReport(total, unit, None, earlier, say or status)
        return
    count, pace, detail = MofNCompleteColumn(), _text_of("pace"), _text_of("detail")
    with Progress(BarColumn(), count, pace, detail, console=console, transient=True) as bar:
        yield ProgressReport(total, unit, bar, earlier)


def _text_of(field: str) -> TextColumn:
    from rich.progress import TextColumn

    return TextColumn(f"{{task.fields[{field}]}}", markup=False)


def facts(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns on stdout.

    On a terminal a value that is too long is parted between words, below its beginning. One with too long a word,
    such as a path, comes below its name and is left to the terminal, from where it is copied in one piece.
    """
    from rich.console import Console
    from rich.text import Text

    rows = list(rows)
    indent = max((len(name) for name, _ in rows), default=0) + 2
    console, room = Console(), Console().width - indent if sys.stdout.isatty() else None
    console.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    for name, value in rows:
        console.print(Text(_beside(name.ljust(indent), value, room)), soft_wrap=True)


def _beside(name: str, value: str, room: int | None) -> str:
    """Put a value beside its name, in lines of at most so many characters; None: however long it is."""
    if room is None or len(value) <= room:
        return name + value
    lines = wrap(value, max(room, 1), break_long_words=False, break_on_hyphens=False)
    if max(map(len, lines)) > room:
        return "\n".join([*([name.rstrip()] if name.strip() else []), f"  {value}"])
    return name + f"\n{' ' * len(name)}".join(lines)


def expected_false(count: float | None, picks: int) -> list[tuple[str, str]]:
    """Return the row of `facts` that says how many picks are expected to be false; none where that is not known."""
    if count is None:
        return []
    return [("Expected false picks", f"{count:.0f} ({count / picks:.1%})" if picks else "-")]


def film_left_out(count: int | None, micrographs: int) -> list[tuple[str, str]]:
    """Return the row of `facts` on film and ice that were left out; none where there was none."""
    return [("Film or ice left out", f"in {count} of {micrographs}")] if count else []


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str], texts: int = 1
) -> None:
    """Print a table on stdout, as wide as the terminal at most.

    Parameters
    ----------
    columns
        Names; the first `texts` columns are text, the others numbers.
    rows
        Cells. An empty row parts those above it from those below. Where the terminal is too narrow names in the first
        column are shortened.
    total
        Cells below a line; each may have several lines. None at all: neither line nor cells.
    """
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    wide, gap = _width(), 2
    shown, total = bool(total), total or [""] * len(columns)
    widest = [
        max(len(line) for cell in column for line in cell.splitlines() or [""])
        for column in zip(columns, total, *filter(None, rows), strict=True)
    ]
    if sum(widest) + gap * (len(widest) - 1) > wide:
        gap = 1
    left = max(wide - sum(widest[1:]) - gap * (len(widest) - 1), len(columns[0]), *map(len, total[0].splitlines()))
    names = iter(shortened([row[0] for row in rows if row], left))
    rows = [(next(names), *row[1:]) if row else row for row in rows]
    drawn = Table(box=SIMPLE, show_footer=shown, pad_edge=False, show_edge=False, padding=(0, gap - 1, 0, 0))
    for name, last in zip(columns, total, strict=True):
        justify: Literal["left", "right"] = "left" if len(drawn.columns) < texts else "right"
        drawn.add_column(name, justify=justify, footer=Text(last), overflow="fold")
    _print_table(title, drawn, rows)


def below(line: str) -> None:
    """Print a line below a table, on a terminal parted between words where it is too long."""
    _stdout().print(line, markup=False, highlight=False)


def _print_table(title: str, drawn: Table, rows: Iterable[Sequence[str]]) -> None:
    from rich.text import Text

    for row in rows:
        drawn.add_row(*map(Text, row))
    console = _stdout()
    console.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print(drawn)


def _width() -> int:
    """Return how wide a table may be: in a file or a pipe it must not be folded to an imagined terminal."""
    from rich.console import Console

    return Console().width if sys.stdout.isatty() else 500


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
    from rich.console import Console

    return Console(stderr=True)


def _stdout() -> Console:
    from rich.console import Console

    return Console(width=_width())
