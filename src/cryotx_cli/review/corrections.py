"""What changes add up to on one micrograph, and the picks that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.review.journal import Entry

Place = tuple[float, float]
Erased = dict[str, Any]
"""A box or a stroke, as its change has it."""

_SURE = 1.0  # the score of what a person says is a particle


@dataclass(eq=False)
class Corrections:
    """The corrections of one micrograph so far.

    Attributes
    ----------
    added : dict of Place
        Where people say that there is a particle, in the order in which they said so.
    removed : set of Place
        Centres of picks that are none.
    erased : list of dict
        Regions in which there are none but those that were added after.
    mark : str or None
        ``done``, ``bad`` or neither.
    labels : list or None
        x, y, score and diameter in px of all picks at the moment at which the micrograph was marked as done: what
        happens to threshold and run later does not change them.
    """

    added: dict[Place, None] = field(default_factory=dict)
    removed: set[Place] = field(default_factory=set)
    erased: list[Erased] = field(default_factory=list)
    mark: str | None = None
    labels: list[list[float]] | None = None

    def apply(self, entry: Entry) -> None:
        """Take a change of the journal into account."""
        match entry["kind"]:
            case "add":
                for x, y in entry["points"]:
                    self.removed.discard((x, y))
                    self.added[(x, y)] = None
            case "remove":
                for x, y in entry["points"]:
                    self.added.pop((x, y), None)
                    self.removed.add((x, y))
            case "box" | "stroke":
                self.erased.append({key: entry[key] for key in ("kind", "box", "points", "radius") if key in entry})
                places = list(self.added)
                gone = inside(self.erased[-1], np.array(places, float).reshape(-1, 2))
                self.added = {place: None for place, is_gone in zip(places, gone, strict=True) if not is_gone}
            case "mark":
                self.mark, self.labels = entry["mark"], entry.get("labels")

    def picks(self, chosen: Particles, candidates: Particles, diameter_px: float) -> Particles:
        """Return the picks of the micrograph after these corrections.

        Parameters
        ----------
        chosen
            Its picks before them, which count no longer once it is marked as done.
        candidates
            All candidates: one that was added keeps its diameter.
        diameter_px
            That of all others that were added.
        """
        base = chosen if self.labels is None else _of_labels(self.labels, chosen)
        keep = np.array([(x, y) not in self.removed for x, y in base.centres.tolist()], bool)
        for region in self.erased:
            keep &= ~inside(region, base.centres)
        keep &= np.array([(x, y) not in self.added for x, y in base.centres.tolist()], bool)
        kept = base.select(keep)
        if not self.added:
            return kept
        known = dict(zip(map(tuple, candidates.centres.tolist()), candidates.diameters.tolist(), strict=True))
        centres = np.array(list(self.added), float)
        diameters = np.array([known.get(place, diameter_px) for place in self.added])
        return replace(
            kept,
            centres=np.concatenate([centres, kept.centres]),
            scores=np.concatenate([np.full(len(centres), _SURE), kept.scores]),
            diameters=np.concatenate([diameters, kept.diameters]),
        )

    @property
    def is_corrected(self) -> bool:
        """Whether there is anything beside a mark."""
        return bool(self.added or self.removed or self.erased)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as pages need it."""
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "erased": self.erased,
            "mark": self.mark,
            "labels": self.labels,
        }


def inside(region: Erased, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which points, (n, 2), lie in a region that was erased."""
    if region["kind"] == "box":
        first, second = np.array(region["box"], float).reshape(2, 2)
        low, high = np.minimum(first, second), np.maximum(first, second)
        return np.asarray(((points >= low) & (points <= high)).all(axis=1))
    line = np.array(region["points"], float)
    starts, steps = (line[:-1], np.diff(line, axis=0)) if len(line) > 1 else (line, np.zeros((1, 2)))
    found = np.zeros(len(points), bool)
    for start, step in zip(starts, steps, strict=True):
        length = float(step @ step)
        along = np.clip((points - start) @ step / length, 0, 1) if length > 0 else np.zeros(len(points))
        found |= ((points - start - along[:, None] * step) ** 2).sum(axis=1) <= region["radius"] ** 2
    return found


def rows_of(particles: Particles) -> list[list[float]]:
    """Return x, y, score and diameter in px of each particle."""
    table = np.column_stack([particles.centres, particles.scores, particles.diameters])
    return [[float(value) for value in row] for row in table]


def _of_labels(labels: Sequence[Sequence[float]], like: Particles) -> Particles:
    table = np.array(labels, float).reshape(-1, 4)
    return replace(like, centres=table[:, :2], scores=table[:, 2], diameters=table[:, 3])


class History:
    """The changes of one micrograph that count, and those that were undone and may return.

    Attributes
    ----------
    corrections : Corrections
        What they add up to.
    last : int
        Number of the last of them.
    """

    def __init__(self) -> None:
        self.corrections = Corrections()
        self.last = 0
        self._live: list[Entry] = []
        self._undone: list[Entry] = []

    @property
    def undo(self) -> int:
        """How many changes can be undone."""
        return len(self._live)

    @property
    def redo(self) -> int:
        """How many changes can be done again."""
        return len(self._undone)

    def apply(self, entry: Entry) -> None:
        """Take a change of the journal into account, undoing and doing again included."""
        self.last = entry["seq"]
        match entry["kind"]:
            case "undo":
                if self._live:
                    self._undone.append(self._live.pop())
                    self.corrections = Corrections()
                    for one in self._live:
                        self.corrections.apply(one)
            case "redo":
                if self._undone:
                    self._live.append(self._undone.pop())
                    self.corrections.apply(self._live[-1])
            case _:
                self._live.append(entry)
                self._undone.clear()
                self.corrections.apply(entry)
