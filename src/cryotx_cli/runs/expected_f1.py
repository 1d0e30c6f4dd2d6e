"""Cuts of the highest expected F1, from calibrated probabilities alone and without a label."""

import numpy as np
from numpy.typing import NDArray

DEFAULT_FLOOR = 0.25
"""Probability below which the automatic rules never keep a candidate."""
_CONVINCING, _MOSTLY_WRONG = 0.65, 0.5
_FELLOWS, _ODDS, _SURE = 10, 12.0, 0.996  # see `_like_its_fellows`


def automatic_cut(probabilities: NDArray[np.float64], floor: float = DEFAULT_FLOOR, *, unsure: bool = False) -> float:
    """Probability cut of ``--threshold auto``: that of the highest expected F1, with two exceptions.

    On a micrograph without particles the best cut is that of the best guesses, of which a large one has hundreds. So
    where the picks would be wrong more often than right, only those stay that are convincing alone. And where
    most picks are sure, those that are far less sure than their fellows go: see `_like_its_fellows`.

    Parameters
    ----------
    probabilities, floor
        As for `expected_f1_cut`.
    unsure
        Keep also those that are far less sure than their fellows.
    """
    cut = expected_f1_cut(probabilities, floor)
    kept = probabilities[probabilities >= cut]
    if len(kept) and kept.mean() < _MOSTLY_WRONG:
        return max(cut, _CONVINCING)
    return max(cut, _like_its_fellows(kept)) if len(kept) >= _FELLOWS and not unsure else cut


def _like_its_fellows(kept: NDArray[np.float64]) -> float:
    """Return the least probability that a particle has among these picks of one micrograph.

    All picks of a micrograph show copies of one particle in one layer of ice. Where most of them are sure, one whose
    odds are a twelfth of the median's is seldom another good copy: more often it is broken, buried under others or
    contamination, and people leave it out. Probabilities, which are averages over micrographs of all kinds, do not know
    that. The odds of a median above 0.996 count as those of 0.996, for beyond they say little.
    """
    median = min(float(np.median(kept)), _SURE)
    odds = median / (1 - median) / _ODDS
    return odds / (1 + odds)


def expected_f1_cut(
    probabilities: NDArray[np.float64], floor: float = DEFAULT_FLOOR, particles: float | None = None
) -> float:
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
    particles
        How many there are to find; None for the sum of the probabilities, as above.

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
    wanted = true_positives[-1] if particles is None else particles
    expected_f1 = 2 * true_positives / (np.arange(1, len(descending) + 1) + wanted)
    return float(descending[int(np.argmax(expected_f1[:eligible]))])


def highest_expected_f1(probabilities: NDArray[np.float64]) -> float:
    """Return the expected F1 at the cut of `expected_f1_cut` without a floor; 0 where there are no candidates."""
    descending = np.sort(probabilities)[::-1]
    if not len(descending):
        return 0.0
    true_positives = np.cumsum(descending)
    return float((2 * true_positives / (np.arange(1, len(descending) + 1) + true_positives[-1])).max())
