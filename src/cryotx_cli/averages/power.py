"""Whether a class that does not pass has picks enough to tell: what is not seen may be faint, or noise.

A class of many picks whose halves agree no further than those of noise is noise. One of few may be as good as the best
of the run: its halves would not agree, either. So what halves of that size would share is reckoned from the classes of
the run that do pass: the signal of a pick, ring by ring, beyond what noise shares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.averages.classes import Classes
from cryotx_cli.averages.halves import strength
from cryotx_cli.averages.output import AGREES, FEW, LEFTOVER, MOST_ARE_PARTICLES, NOISE, TOO_FEW, UNCLEAR

Curves = NDArray[np.float64]

ENOUGH = 200
"""Picks of a class from which on halves part particles from noise where hardly a class tells how faint these are."""
_CERTAIN = 0.99
_KNOWN = 3  # classes that pass: one or two may have been lucky
_MARGIN = 0.5  # of what parts the bound from noise: one that just passes was lucky, and its like need not be
_FAINT = 0.25  # quantile of the classes that pass: one that is fainter than most must not pass for noise


def verdict(found: Classes, number: int, mean_score: float) -> str:
    """Return what a class is: one of the verdicts of `cryotx_cli.averages.output`.

    Parameters
    ----------
    found
        All classes.
    number
        Which of them, from 0.
    mean_score
        Of its picks, as the detector gave them.
    """
    one = found.classes[number]
    if number == found.leftover:
        return LEFTOVER
    if one.ring is not None:
        return AGREES
    counts = np.bincount(found.numbers, minlength=len(found.classes)).tolist()
    passing = [(other.curve, count) for other, count in zip(found.classes, counts, strict=True) if other.ring]
    # One whose halves agree on what lies beside its picks has enough of them.
    told = one.strength > found.chance or could_tell(counts[number], passing, found.noise, found.chance, found.rings)
    if not told:
        return TOO_FEW
    return NOISE if mean_score < MOST_ARE_PARTICLES else UNCLEAR


def expected_strength(curve: Curves, picks: int, noise: Curves, size: int, rings: int) -> float:
    """Return how far the halves of a class would agree that has another size and the same signal.

    Parameters
    ----------
    curve
        (side / 2,) what the halves of the class share, from ring 1 on.
    picks
        How many it has.
    noise
        (side / 2,) what those of noise share.
    size
        How many picks the other class has.
    rings
        How many of the rings hold something.
    """
    shared = np.clip((curve - noise) / np.maximum(1 - noise, 0.01), 0, _CERTAIN)
    signal = shared / (1 - shared) * (size / max(1, picks))
    there = signal / (1 + signal)
    return float(strength((noise + (1 - noise) * there)[None], rings)[0])


def could_tell(size: int, passing: Sequence[tuple[Curves, int]], noise: Curves, chance: float, rings: int) -> bool:
    """Return whether a class of this size would pass if it were no fainter than most that do.

    Parameters
    ----------
    size
        Its picks.
    passing
        What the halves of those that pass share (side / 2,), and how many picks these have.
    noise
        (side / 2,) what halves of noise share.
    chance
        The strength above which a class passes.
    rings
        How many of the rings hold something.
    """
    known = [(curve, picks) for curve, picks in passing if picks >= FEW]
    if len(known) < _KNOWN:
        return size >= ENOUGH
    expected = [expected_strength(curve, picks, noise, size, rings) for curve, picks in known]
    margin = _MARGIN * (chance - float(strength(noise[None], rings)[0]))
    return bool(np.quantile(expected, _FAINT) > chance + margin)
