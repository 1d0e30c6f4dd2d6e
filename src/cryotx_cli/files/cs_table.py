"""CryoSPARC's tables: .cs files, ``numpy.save`` of a structured array, and the .csg files that name several of them.

A job writes what it has found itself, and what it has passed through, into two files with the same rows in another
order: a row is known by its ``uid``. Strings are stored at a fixed length; older versions stored Python objects, which
are never loaded, because loading them runs code that the file brings along.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.events import Event, Tell
from cryotx_cli.files.text_file import open_text, require_file

_MAX_HEADER_BYTES = 100_000  # exposures carry a few hundred fields; NumPy's own limit suffices for about 200
_MAX_GROUP_CHARACTERS = 1_000_000
_EXPORT = "In CryoSPARC, export the output of the job, or save it with cryosparc-tools in its default format."
_PASSTHROUGH = (
    "CryoSPARC keeps them in the ..._passthrough_....cs file of the same job: give that one, or put it beside this one."
)
_EXPOSURE_FIELDS = ("micrograph_blob", "movie_blob", "mscope_params")
_UNREADABLE = (ValueError, TypeError, ArithmeticError, EOFError, MemoryError, RecursionError, SyntaxError, TokenError)


@dataclass(frozen=True, eq=False)
class CsTable:
    """Rows of a .cs file, with the fields that another file has of the same rows.

    Parameters
    ----------
    path
        The file, for messages.
    rows
        Its own.
    others
        Rows of another file in the order of these; None where there is no other.
    """

    path: Path
    rows: NDArray[Any]
    others: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, field: str) -> bool:
        return field in self.fields

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of all fields."""
        others = _names_of(self.others) if self.others is not None else ()
        return tuple(dict.fromkeys((*_names_of(self.rows), *others)))

    def __getitem__(self, field: str) -> NDArray[Any]:
        rows = self.others if self.others is not None and field not in _names_of(self.rows) else self.rows
        return np.asarray(rows[field])

    def select(self, mask: NDArray[np.bool_]) -> CsTable:
        """Return the rows that a mask keeps."""
        return CsTable(self.path, self.rows[mask], self.others[mask] if self.others is not None else None)

    def texts(self, field: str) -> list[str]:
        """Return a field of names, without the mark of paths that begin in the folder of the file.

        Raises
        ------
        ParticleFileError
            If it is no text.
        """
        column = self[field]
        if column.dtype.kind not in "SU" or column.ndim != 1:
            raise ParticleFileError(f"{self.path}: {field} is of type {column.dtype}, not text")
        names, once = [], dict[Any, str]()
        try:
            for value in column:
                # Equal names are kept once: a million particles lie on a thousand micrographs.
                if value not in once:
                    once[value] = (value.decode() if isinstance(value, bytes) else str(value)).removeprefix(">")
                names.append(once[value])
        except (ValueError, OverflowError) as error:
            raise ParticleFileError(f"{self.path}: {field} holds a name that is not UTF-8: {error}") from error
        return names

    def numbers(self, field: str) -> NDArray[np.float64]:
        """Return a field of finite numbers (n,).

        Raises
        ------
        ParticleFileError
            If it is none.
        """
        numbers = self.optional_numbers(field)
        if not np.isfinite(numbers).all():
            row = np.flatnonzero(~np.isfinite(numbers))[0] + 1
            raise ParticleFileError(f"{self.path}: {field} is not a finite number in row {row}")
        return numbers

    def optional_numbers(self, field: str) -> NDArray[np.float64]:
        """Return a field of numbers (n,), finite or not; all NaN where there is no such field.

        Raises
        ------
        ParticleFileError
            If it is of another type.
        """
        if field not in self:
            return np.full(len(self), np.nan)
        column = self[field]
        if column.dtype.kind not in "iuf" or column.ndim != 1:
            raise ParticleFileError(f"{self.path}: {field} is of type {column.dtype}, not numbers")
        with np.errstate(invalid="ignore"):  # of the two kinds of NaN one is announced
            return column.astype(np.float64)

    def counts(self, field: str) -> NDArray[Any]:
        """Return a field of numbers that count (n,).

        Raises
        ------
        ParticleFileError
            If it is none.
        """
        column = self[field]
        if column.dtype.kind not in "iu" or column.ndim != 1 or (column < 0).any():
            raise ParticleFileError(f"{self.path}: {field} is of type {column.dtype} or negative, not one that counts")
        return column

    def shapes(self, field: str) -> NDArray[np.int64]:
        """Return height and width of each row's micrograph, (n, 2).

        Raises
        ------
        ParticleFileError
            If they are no positive numbers.
        """
        column = self[field]
        if column.dtype.kind not in "iu" or column.shape[1:] != (2,):
            found = f"{column.dtype} {column.shape[1:]}"
            raise ParticleFileError(f"{self.path}: {field} is of type {found}, not height and width")
        shapes = column.astype(np.int64)
        if (shapes <= 0).any():
            row = np.flatnonzero((shapes <= 0).any(1))[0] + 1
            raise ParticleFileError(f"{self.path}: {field} is not positive in row {row}")
        return shapes


def is_cs(beginning: bytes) -> bool:
    """Tell whether a file that begins so is one of CryoSPARC's tables, or names some."""
    return beginning.startswith((b"\x93NUMPY", b"\x95CSDAT")) or _is_group(beginning)


def read_cs_table(path: Path, fields: Sequence[str], kind: str, tell: Tell) -> CsTable:
    """Read a table that has certain fields.

    Parameters
    ----------
    path
        A .cs file, or a .csg file, which names .cs files beside it.
    fields
        What it has to have. Those that it lacks are looked for in the passthrough files beside it.
    kind
        What the rows are, for messages.
    tell
        Hears where they are from.

    Raises
    ------
    NoCoordinatesError
        If it has other fields, and nothing beside it has these.
    ParticleFileError
        If it cannot be read.
    """
    require_file(path)
    group = _group(path)
    files = group or [path]
    tables = [_read_rows(file) for file in files]
    place = next((i for i, rows in enumerate(tables) if not _missing(rows, fields)), 0)
    rows = tables[place]
    if not (missing := _missing(rows, fields)):
        return CsTable(files[place], rows)
    others = zip(files, tables, strict=True) if group else _passthrough_files(path)
    if _of_exposures(files[place], rows) and not any(field.startswith(_EXPOSURE_FIELDS) for field in fields):
        others = iter(())  # a number of an exposure is none of a particle
    for file, other in others:
        if _missing(other, ("uid", *missing)) or "uid" not in _names_of(rows):
            continue
        order = _order(rows["uid"], other["uid"])
        if order is not None:
            tell(Event(f"{missing[0].partition('/')[0]} fields of its {kind} are those in {file.name}"))
            return CsTable(files[place], rows, other[order])
    groups = ", ".join(sorted({field.partition("/")[0] for field in _names_of(rows)}))
    raise NoCoordinatesError(
        f"{path}: not a .cs file of {kind}: no {', '.join(missing)}; it holds {groups[:300]}", _PASSTHROUGH
    )


def _of_exposures(path: Path, rows: NDArray[Any]) -> bool:
    named = re.search("micrograph|exposure|movie", path.name) is not None
    return named or any(field.startswith(_EXPOSURE_FIELDS) for field in _names_of(rows))


def _names_of(rows: NDArray[Any]) -> tuple[str, ...]:
    return rows.dtype.names or ()


def _missing(rows: NDArray[Any], fields: Iterable[str]) -> list[str]:
    return [field for field in fields if field not in _names_of(rows)]


def _order(uids: NDArray[Any], others: NDArray[Any]) -> NDArray[np.intp] | None:
    """Return where the rows with these numbers are among others; None where one is missing."""
    order = np.argsort(others, kind="stable")
    places = np.searchsorted(others, uids, sorter=order)
    if len(uids) and (not len(others) or places.max() >= len(others)):
        return None
    found: NDArray[np.intp] = order[places]
    return found if (others[found] == uids).all() else None


# --- files -----------------------------------------------------------------------------------------------------------


def _passthrough_files(path: Path) -> Iterator[tuple[Path, NDArray[Any]]]:
    """Yield the passthrough files beside one, those with the most similar name first; unreadable ones are left out."""
    try:
        names = [file for file in sorted(path.parent.iterdir()) if "passthrough" in file.name and file.suffix == ".cs"]
    except OSError:
        return
    for file in names:
        if file != path:
            try:
                yield file, _read_rows(file)
            except ParticleFileError:
                continue


def _is_group(beginning: bytes) -> bool:
    return re.search(rb"^\s*metafile:", beginning, re.MULTILINE) is not None


def _group(path: Path) -> list[Path]:
    """Return the .cs files that a .csg file names; none where it is a .cs file itself."""
    try:
        with path.open("rb") as file:
            if not _is_group(file.read(4096)):
                return []
    except OSError as error:
        raise ParticleFileError(f"{path}: cannot be read: {error.strerror or error}", "Check the path.") from error
    with open_text(path) as text:
        named = re.findall(r"^\s*metafile:\s*['\"]?>?([^'\"\n]+)", text.read(_MAX_GROUP_CHARACTERS), re.MULTILINE)
    files = [path.parent / name.strip() for name in dict.fromkeys(named)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ParticleFileError(
            f"{path}: names {', '.join(missing)}, which is not beside it", "Copy the .cs files of the group there, too."
        )
    return files


def _read_rows(path: Path) -> NDArray[Any]:
    require_file(path)
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic == b"\x95CSDAT":
            raise ParticleFileError(f"{path}: a compressed CryoSPARC stream, not a NumPy table", _EXPORT)
        if magic != b"\x93NUMPY":
            raise ParticleFileError(f"{path}: not a .cs file: it does not begin as a NumPy table", _EXPORT)
        # Mapped, not read: a header that promises more than the file holds costs no memory.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers as Python 2 wrote them are announced
            rows = np.load(path, mmap_mode="r", allow_pickle=False, max_header_size=_MAX_HEADER_BYTES)
    except OSError as error:
        raise ParticleFileError(f"{path}: cannot be read: {error.strerror or error}", "Check the path.") from error
    except _UNREADABLE as error:
        objects = "Python objects" in str(error)
        reason = "it holds Python objects, which may run code when loaded" if objects else f"{error}"
        raise ParticleFileError(f"{path}: cannot be read as .cs: {reason[:300]}", _EXPORT) from error
    if rows.dtype.names is None or rows.ndim != 1:
        raise ParticleFileError(f"{path}: a NumPy array of shape {rows.shape}, not a table with named fields", _EXPORT)
    return np.asarray(rows)
