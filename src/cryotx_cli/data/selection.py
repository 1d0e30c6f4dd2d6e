"""Which of a micrograph's candidates become picks: the threshold rules.

The picker hands over every candidate with a calibrated probability. The rules here only look at those probabilities,
one micrograph at a time, so that no micrograph can change the picks of another.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.data.particles import Particles

DEFAULT_FLOOR = 0.25
"""Probability below which the automatic rules never keep a candidate: an empty micrograph gets no picks."""


@dataclass(frozen=True)
class ExpectedF1:
    """Cut where the expected F1 of the micrograph is highest; nothing below the probability `floor`."""

    floor: float = DEFAULT_FLOOR


@dataclass(frozen=True)
class Threshold:
    """Keep every candidate whose probability is at least `probability`."""

    probability: float


@dataclass(frozen=True)
class Percentile:
    """Drop the lowest `percent` percent of the candidates whose probability is at least `floor`."""

    percent: float
    floor: float = DEFAULT_FLOOR


@dataclass(frozen=True)
class ExpectedCount:
    """Keep the `count` best candidates, or all of them where there are fewer."""

    count: int


SelectionRule = ExpectedF1 | Threshold | Percentile | ExpectedCount


def choose(particles: Particles, rule: SelectionRule) -> NDArray[np.bool_]:
    """Choose picks among the candidates of one micrograph.

    Parameters
    ----------
    particles
        Every candidate, at most one a particle: duplicates removed beforehand (they would count twice).
        Scores are calibrated probabilities.
    rule
        How to choose.

    Returns
    -------
    ndarray of bool, shape (n,)
        True for the candidates to keep, in the order of `particles`.
    """
    probabilities = particles.scores
    match rule:
        case ExpectedF1(floor):
            return probabilities >= expected_f1_cut(probabilities, floor)
        case Threshold(probability):
            return probabilities >= probability
        case Percentile(percent, floor):
            eligible = int(np.count_nonzero(probabilities >= floor))
            return _best(probabilities, eligible - int(eligible * percent / 100))
        case ExpectedCount(count):
            return _best(probabilities, count)


def expected_f1_cut(probabilities: NDArray[np.float64], floor: float = DEFAULT_FLOOR) -> float:
    r"""Probability cut with the highest expected F1, without a single label.

    Keeping the :math:`k` best of calibrated probabilities :math:`p_1 \ge p_2 \ge \dots` gives
    :math:`\sum_{i \le k} p_i` true positives, :math:`k` picks and :math:`\sum_i p_i` particles in expectation, so that

    .. math:: F_1(k) \approx \frac{2 \sum_{i \le k} p_i}{k + \sum_i p_i}

    (the ratio of expectations for the expectation of the ratio: they agree for the tens to hundreds of candidates of
    a micrograph). Equal probabilities are never parted: where adding one helps, adding its equals helps too.

    Parameters
    ----------
    probabilities
        Calibrated probabilities of all candidates, shape (n,), in any order.
    floor
        Candidates below it are never kept, though they still count as particles that may be missed.

    Returns
    -------
    float
        The lowest probability to keep; ``inf`` where nothing reaches the floor.
    """
    descending = np.sort(probabilities)[::-1]
    eligible = int(np.count_nonzero(descending >= floor))
    if eligible == 0:
        return float("inf")
    true_positives = np.cumsum(descending)
    expected_f1 = 2 * true_positives / (np.arange(1, len(descending) + 1) + true_positives[-1])
    return float(descending[int(np.argmax(expected_f1[:eligible]))])


def _best(probabilities: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    mask = np.zeros(len(probabilities), dtype=bool)
    mask[np.argsort(-probabilities, kind="stable")[:count]] = True
    return mask
