"""How much better one set of picks agrees with the truth than another, and how much of that few micrographs tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from cryotx_cli.coordinates.agreement import Counts

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Gain:
    """A difference of F1, and half the width of its 95 % confidence interval; infinite where nothing can be told."""

    difference: float
    spread: float

    @property
    def is_shown(self) -> bool:
        """Whether the difference is larger than what chance makes of so few micrographs."""
        return self.difference > self.spread


UNKNOWN_GAIN = Gain(0.0, math.inf)


def paired_gain(before: Sequence[Counts], after: Sequence[Counts]) -> Gain:
    r"""Compare two sets of picks on the same parts of the same micrographs.

    Parameters
    ----------
    before, after
        Counts of each part: micrographs, or pieces of them, which are taken for independent of each other.

    Returns
    -------
    Gain
        F1 of all parts together, after minus before. Its spread is the delete-one jackknife's (Efron and Tibshirani
        1993, chapter 11): with :math:`D_i` the difference without part i,
        :math:`t_{n-1} \sqrt{(n - 1)/n \sum_i (D_i - \bar D)^2}`. Parts are left out of both sides at once: how hard
        they are does not count, only how differently the two fare on them.

    Raises
    ------
    ValueError
        If the two have not as many parts.
    """
    pairs = list(zip(before, after, strict=True))
    whole = [sum(side, Counts()) for side in (before, after)]
    difference = whole[1].f1 - whole[0].f1
    if len(pairs) < 2:
        return Gain(difference, math.inf)
    without = np.array([_without(whole[1], b) - _without(whole[0], a) for a, b in pairs])
    error = math.sqrt((len(pairs) - 1) / len(pairs) * float(((without - without.mean()) ** 2).sum()))
    return Gain(difference, float(stdtrit(len(pairs) - 1, (1 + _CONFIDENCE) / 2)) * error)


def _without(whole: Counts, part: Counts) -> float:
    return Counts(whole.picks - part.picks, whole.truth - part.truth, whole.matched - part.matched).f1
