"""STAR files as tables, whatever they hold: the grammar that RELION and crYOLO share.

A ``data_`` line begins a block; in it stand single values, ``_name value``, and tables: ``loop_``, the names of the
columns, one row a line. Values are parted by blanks; one that holds blanks stands in single or double quotes, which
begin and end a value and have no meaning inside of one. ``#`` at the beginning of a value starts a comment (Hall,
J. Chem. Inf. Comput. Sci. 31:326, 1991).

The rows of a table are taken apart when a column is asked for: millions of rows need no memory beyond the file's own.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import ParticleFileError
from cryotx_cli.files.text_file import is_number, refuse_utf16, require_file

_UNKNOWN, _BYTE_ORDER_MARK = b"<NA>", b"\xef\xbb\xbf"

_Row = tuple[int, list[bytes]]


@dataclass(frozen=True, eq=False)
class Table:
    """One table of a STAR file; the single values of a block are a table of one row.

    Parameters
    ----------
    path
        The file.
    block
        Name of its block, without ``data_``.
    columns
        Names of the columns, without the leading underscore.
    rows
        Gives the number of the line and the values of each row.
    length
        How many rows there are.
    """

    path: Path
    block: str
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[_Row]]
    length: int

    def __len__(self) -> int:
        return self.length

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def texts(self, column: str) -> list[str]:
        """Return a column as it is written, without quotes.

        Raises
        ------
        ParticleFileError
            If a row has another number of values than there are columns.
        """
        index, texts, once = self.columns.index(column), list[str](), dict[bytes, str]()
        for _, row in self._whole_rows():
            # Equal texts are kept once: a million particles lie on a thousand micrographs.
            text = once.get(row[index])
            if text is None:
                text = once[row[index]] = _decoded(row[index])
            texts.append(text)
        return texts

    def numbers(self, *columns: str) -> NDArray[np.float64]:
        """Return columns of finite numbers, (n, number of columns).

        Raises
        ------
        ParticleFileError
            If a value is not a finite number, or a row has another number of values than there are columns.
        """
        values = self.numbers_or_nan(*columns)
        bad = ~np.isfinite(values)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ParticleFileError(f"{self.path}: _{columns[column]} is not a finite number in row {row + 1}")
        return values

    def numbers_or_nan(self, *columns: str) -> NDArray[np.float64]:
        """Return columns of numbers, (n, number of columns), NaN where a value is missing (``<NA>``).

        Raises
        ------
        ParticleFileError
            If a value is not a number, or a row has another number of values than there are columns.
        """
        indices, values = [self.columns.index(column) for column in columns], array("d")
        for line, row in self._whole_rows():
            try:
                values.extend([float(row[i]) if row[i] != _UNKNOWN else np.nan for i in indices])
            except ValueError:
                wrong = (row[i] != _UNKNOWN and not is_number(row[i]) for i in indices)
                column, text = next((c, row[i]) for c, i, bad in zip(columns, indices, wrong, strict=True) if bad)
                raise ParticleFileError(
                    f"{self.path}: _{column} holds something that is not a number: {_decoded(text)[:60]!r} in "
                    f"line {line}"
                ) from None
        return np.array(values).reshape(-1, len(columns))

    def optional_numbers(self, *columns: str) -> NDArray[np.float64]:
        """Return columns that are good to have, (n, number of columns), NaN where the value is no finite number.

        Raises
        ------
        ParticleFileError
            If a row has another number of values than there are columns.
        """
        indices = [self.columns.index(column) for column in columns]
        values = array("d", (_finite_or_nan(row[i]) for _, row in self._whole_rows() for i in indices))
        return np.array(values).reshape(-1, len(columns))

    def _whole_rows(self) -> Iterator[_Row]:
        for line, row in self.rows():
            if len(row) != len(self.columns):
                raise ParticleFileError(
                    f"{self.path}: cannot be read as STAR: line {line} has {len(row)} values for the "
                    f"{len(self.columns)} columns of its table",
                    "Names that hold blanks stand in quotes.",
                )
            yield line, row


def read_tables(path: Path) -> list[Table]:
    """Return the tables of a STAR file in the order of the file.

    Raises
    ------
    ParticleFileError
        If it cannot be read as STAR.
    """
    require_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ParticleFileError(f"{path}: cannot be read: {error.strerror or error}", "Check the path.") from error
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return _Scan(path, content).tables


def tables_with(tables: Sequence[Table], *columns: str) -> list[Table]:
    """Return the tables that have all these columns: those with rows, or else the first one."""
    fitting = [table for table in tables if all(column in table for column in columns)]
    return [table for table in fitting if len(table)] or fitting[:1]


def table_with(tables: Sequence[Table], *columns: str) -> Table | None:
    """Return the first of the `tables_with` these columns."""
    return next(iter(tables_with(tables, *columns)), None)


def table_for(tables: Sequence[Table], table: Table, *columns: str) -> Table | None:
    """Return the table with these columns that belongs to another one: the nearest before it, or else the first.

    STAR files that were joined have their tables of optics groups each before the table that refers to it.
    """
    before = tables_with(tables[: tables.index(table)], *columns)
    return before[-1] if before else table_with(tables, *columns)


def named(tables: Sequence[Table]) -> str:
    """Name the blocks of tables for a message."""
    return ", ".join(f"data_{table.block} with {table.length} rows" for table in tables)


def contents(tables: Sequence[Table]) -> str:
    """Tell which tables and columns there are, for a message."""
    shown = (f"data_{table.block} with {', '.join(table.columns[:50])}" for table in islice(tables, 50))
    told = "; ".join(shown)
    return (told[:500] + " ..." if len(told) > 500 else told) or "no tables"


class _Scan:
    """Where the tables of a STAR file begin and end."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content = path, content
        self.tables: list[Table] = []
        self._block: str | None = None
        self._single: dict[str, bytes] = {}
        self._columns: list[str] | None = None  # of the loop that is open
        self._first, self._length = 0, 0
        refuse_utf16(path, content[:2])
        for number, line in enumerate(BytesIO(content), 1):  # no copy of the content
            text = line.removeprefix(_BYTE_ORDER_MARK).strip() if number == 1 else line.strip()
            if text and text[:1] != b"#":
                self._take(number, text)
        self._end_block()

    def _take(self, number: int, text: bytes) -> None:
        if text.startswith(b"data_"):
            self._end_block()
            self._block = _decoded(text.split(None, 1)[0][5:])
        elif self._block is None:
            return
        elif text.startswith(b"loop_") and text.split(None, 1)[0] == b"loop_":
            self._end_loop()
            self._columns, self._first, self._length = [], number, 0
        elif text.startswith(b"_"):
            self._take_name(number, text)
        elif self._columns is not None:
            if not self._length:
                self._first = number
            self._length += 1

    def _take_name(self, number: int, text: bytes) -> None:
        if self._columns is not None and not self._length:
            self._columns.append(_decoded(text.split(None, 1)[0][1:]))
            return
        self._end_loop()  # a value in a table that begins with an underscore stands in quotes
        name, *values = _values(text, self.path, number)
        if len(values) != 1:
            raise ParticleFileError(
                f"{self.path}: cannot be read as STAR: line {number} is {_decoded(text)[:60]!r}, not a name and "
                "one value"
            )
        self._single[_decoded(name[1:])] = values[0]

    def _end_loop(self) -> None:
        if self._columns:
            first, length = self._first, self._length
            self._add(self._columns, lambda: self._rows(first, length), length)
        self._columns = None

    def _end_block(self) -> None:
        self._end_loop()
        if self._single:
            row = list(self._single.values())
            self._add(list(self._single), lambda: iter([(1, row)]), 1)
        self._single = {}

    def _add(self, columns: list[str], rows: Callable[[], Iterator[_Row]], length: int) -> None:
        self.tables.append(Table(self.path, self._block or "", tuple(columns), rows, length))

    def _rows(self, first: int, length: int) -> Iterator[_Row]:
        numbered = enumerate(islice(BytesIO(self.content), first - 1, None), first)
        filled = ((number, line) for number, line in numbered if line.strip() and line.lstrip()[:1] != b"#")
        for number, line in islice(filled, length):
            yield number, _values(line, self.path, number)


def _values(line: bytes, path: Path, number: int) -> list[bytes]:
    """Part a line into its values."""
    if b'"' not in line and b"'" not in line and b"#" not in line:
        return line.split()
    values, quoted_from = [], -1
    for match in re.finditer(rb"\S+", line):
        word, begins = match[0], quoted_from < 0
        if begins and word[:1] == b"#":
            break
        if begins and word[:1] not in (b"'", b'"'):
            values.append(word)
            continue
        quoted_from = match.start() if begins else quoted_from
        if word[-1] == line[quoted_from] and (len(word) > 1 or not begins):
            values.append(line[quoted_from + 1 : match.end() - 1])
            quoted_from = -1
    if quoted_from >= 0:
        raise ParticleFileError(
            f"{path}: cannot be read as STAR: a quotation mark in line {number} is not closed",
            "Quotation marks stand before and after a value; rename what holds one.",
        )
    return values


def _finite_or_nan(value: bytes) -> float:
    number = float(value) if is_number(value) else np.nan
    return number if np.isfinite(number) else np.nan


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")  # as Python reads the names of files
