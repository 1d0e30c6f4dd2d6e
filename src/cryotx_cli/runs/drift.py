"""Drift: picks per micrograph or their scores leave the level that they had before."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median

from cryotx_cli.coordinates.particles import Particles

RECENT = 11
"""Micrographs whose median is compared with that of all before them, since the last drift."""

_BEFORE = 30  # fewer say too little of the level and of its scatter
_CLEAR = 4.0  # standard errors of the difference
_FIFTH = 0.2  # of the level: smaller changes are clear in long runs, but nobody's concern
_SCORE_STEP = 0.05


class Drift:
    """Follows the number of picks and their mean score from micrograph to micrograph."""

    def __init__(self) -> None:
        self._counts = _Level(step=lambda level: _FIFTH * level, chance=math.sqrt)
        self._scores = _Level(step=lambda level: _SCORE_STEP, chance=lambda level: 0.0)

    def add(self, picks: Particles) -> list[str]:
        """Take the picks of one more micrograph; say what has changed, each change once."""
        lines = []
        moved = self._counts.add(float(len(picks)))
        if moved is not None:
            lines.append(_line("Picks per micrograph", *moved, ".0f"))
        if len(picks):
            moved = self._scores.add(float(picks.scores.mean()))
            if moved is not None:
                lines.append(_line("Mean score of the picks", *moved, ".2f"))
        return lines


class _Level:
    """One number a micrograph: the medians of the latest ones and of all before.

    Parameters
    ----------
    step
        Smallest change that matters, for a given level.
    chance
        Standard deviation that the level has at least.
    """

    def __init__(self, step: Callable[[float], float], chance: Callable[[float], float]) -> None:
        self._step, self._chance = step, chance
        self._values: list[float] = []

    def add(self, value: float) -> tuple[float, float] | None:
        """Return the level before and now if they differ clearly; the level before is forgotten then."""
        self._values.append(value)
        earlier, recent = self._values[:-RECENT], self._values[-RECENT:]
        if len(earlier) < _BEFORE:
            return None
        level, now = median(earlier), median(recent)
        # Of normal values: 1.4826 MAD is the standard deviation, and a median scatters by 1.2533 s / sqrt(n).
        deviation = max(1.4826 * median(abs(one - level) for one in earlier), self._chance(level))
        error = 1.2533 * deviation * math.sqrt(1 / len(earlier) + 1 / RECENT)
        if abs(now - level) <= max(_CLEAR * error, self._step(level)):
            return None
        self._values = recent
        return level, now


def _line(what: str, before: float, now: float, form: str) -> str:
    way = "fell" if now < before else "rose"
    return f"{what} {way} from {before:{form}} to {now:{form}} (medians of all before and of the last {RECENT})."
