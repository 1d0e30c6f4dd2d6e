"""Which picks of a run to drop with the classes that they are in."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryotx_cli.averages.output import FOLDER, LEFTOVER, NOISE, VERDICTS, ClassRow
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ConfigError, CryotxError, ParticleFileError
from cryotx_cli.files.star_blocks import read_tables, table_with
from cryotx_cli.runs.commands import word_of

_SAME = 2e-3  # px: coordinates in STAR files have three decimals
_LOST = 0.015  # of the particles that the scores promise: no more may go with the classes that auto drops


@dataclass(frozen=True)
class Coverage:
    """The orientations that picks show, as far as classes tell them.

    Parameters
    ----------
    views
        Classes that are more than noise; several may show the same.
    picks
        In these.
    even
        How many views of equal size would be spread as evenly: the exponential of the entropy of their shares.
    """

    views: int
    picks: int
    even: float


@dataclass(frozen=True, eq=False)
class StoredClasses:
    """The classes of a run, as they lie in its folder.

    Parameters
    ----------
    rows
        What is known of each.
    places, numbers
        By micrograph, centres (n, 2) of the picks in its pixels, and (n,) the class of each.
    """

    rows: tuple[ClassRow, ...]
    places: dict[str, NDArray[np.float64]]
    numbers: dict[str, NDArray[np.int64]]

    def to_drop(self, drop: str | None, keep: str | None) -> frozenset[int]:
        """Return the numbers of the classes to drop.

        Parameters
        ----------
        drop
            Numbers with commas, ``auto`` or ``none``; None: all but those to keep.
        keep
            Numbers with commas.

        Raises
        ------
        ConfigError
            These are no numbers of classes.
        """
        everything = frozenset(row.number for row in self.rows)
        if drop is None:
            return everything - self._numbers(keep or "", "--keep-classes")
        if drop == "auto":
            return self._least_likely()
        return frozenset() if drop == "none" else self._numbers(drop, "--drop-classes")

    def _numbers(self, text: str, flag: str) -> frozenset[int]:
        known = {str(row.number): row.number for row in self.rows}
        parts = [part.strip() for part in text.split(",")]
        wrong = [part for part in parts if part not in known]
        if wrong:
            raise ConfigError(
                f"{flag} {text}: {wrong[0]!r} is no class of this run, which has 1 to {len(self.rows)}",
                f"Give numbers from 1 to {len(self.rows)} with commas; cryotx classes shows them.",
            )
        return frozenset(known[part] for part in parts)

    def _least_likely(self) -> frozenset[int]:
        """Return the class of picks that fit no average, and those that are noise by averages and by scores, too.

        These are classes most of whose picks are no particles by their scores, the lowest first.

        The scores are probabilities: their sum is how many particles a class holds. No more are dropped than cost one
        or two particles of a hundred; and where all classes are noise, that says nothing of any of them.
        """
        left = [row for row in self.rows if row.told == LEFTOVER]
        noise = [row for row in self.rows if row.told == NOISE]
        if all(row.resolution is None for row in self.rows):
            return frozenset()
        most = _LOST * sum(row.mean_score * row.picks for row in self.rows)
        dropped, lost = [row.number for row in left], sum(row.mean_score * row.picks for row in left)
        for row in sorted(noise, key=lambda row: row.mean_score):
            lost += row.mean_score * row.picks
            if lost <= most:
                dropped.append(row.number)
        return frozenset(dropped)

    def coverage(self, dropped: frozenset[int] = frozenset()) -> Coverage:
        """Return the views that are left without the classes of these numbers."""
        picks = np.array([row.picks for row in self.rows if row.resolution is not None and row.number not in dropped])
        shares = picks[picks > 0] / max(1, picks.sum())
        return Coverage(
            len(picks), int(picks.sum()), float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0
        )

    def numbers_of(self, micrograph: str, candidates: Particles) -> NDArray[np.int64]:
        """Return the class of each candidate of a micrograph (n,), 0 where it has none."""
        classes = np.zeros(len(candidates), np.int64)
        if micrograph in self.places and len(candidates):
            distance, nearest = cKDTree(candidates.centres).query(self.places[micrograph])
            same = distance < _SAME
            classes[nearest[same]] = self.numbers[micrograph][same]
        return classes


def read_classes(run: Path) -> StoredClasses:
    """Return the classes in the folder of a run.

    Raises
    ------
    CryotxError
        There are none, or they cannot be read.
    """
    try:
        rows = _rows(run / FOLDER / "classes.json")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{run / FOLDER}: there are no classes of this run", f"Make them: cryotx classes {word_of(run)}"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(run, "classes.json") from error
    columns = ("rlnCoordinateX", "rlnCoordinateY", "rlnClassNumber")
    try:
        table = table_with(read_tables(run / FOLDER / "particles.star"), "rlnMicrographName", *columns)
        if table is None:
            raise _damaged(run, "particles.star")
        values, names = table.numbers(*columns), np.array(table.texts("rlnMicrographName"), object)
    except ParticleFileError as error:
        raise _damaged(run, "particles.star") from error
    places, numbers = {}, {}
    for name, some in _rows_by_name(names.tolist()).items():
        places[name], numbers[name] = values[some, :2], values[some, 2].astype(np.int64)
    return StoredClasses(rows, places, numbers)


def _damaged(run: Path, name: str) -> CryotxError:
    return CryotxError(f"{run / FOLDER / name}: damaged", f"Make the classes again: cryotx classes {word_of(run)}")


def _rows(path: Path) -> tuple[ClassRow, ...]:
    """Return what is known of each class; anything that is not as `write_classes` writes it raises a ValueError."""
    rows = tuple(ClassRow(**row) for row in json.loads(path.read_text(encoding="utf-8"))["classes"])
    for number, row in enumerate(rows, 1):
        sound = all(_is_of_type(getattr(row, field.name), str(field.type)) for field in fields(row))
        if not sound or row.number != number or row.picks < 0 or row.told not in VERDICTS:
            raise ValueError(f"class {number}")
    return rows


def _is_of_type(value: object, kind: str) -> bool:
    if value is None:
        return kind == "float | None"
    if kind == "str":
        return isinstance(value, str) and value.isprintable()
    of_kind = isinstance(value, int if kind == "int" else (int, float)) and not isinstance(value, bool)
    return of_kind and math.isfinite(cast(float, value))


def _rows_by_name(names: Sequence[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    return rows
