"""Which of a micrograph's candidates become picks: minimum distance, border and the threshold rules.

The picker hands over every candidate with a calibrated probability. The rules here only look at those probabilities,
one micrograph at a time, so that no micrograph can change the picks of another.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.runs.candidates import Candidates

DEFAULT_FLOOR = 0.25
"""Probability below which the automatic rules never keep a candidate."""
_CONVINCING, _MOSTLY_WRONG = 0.65, 0.5
_FELLOWS, _ODDS, _SURE = 10, 12.0, 0.996  # see `_like_its_fellows`


@dataclass(frozen=True)
class ExpectedF1:
    """Cut where the expected F1 of the micrograph is highest, see `automatic_cut`."""

    floor: float = DEFAULT_FLOOR


@dataclass(frozen=True)
class Threshold:
    """Keep every candidate whose probability is at least `probability`."""

    probability: float


@dataclass(frozen=True)
class RunCut(Threshold):
    """A threshold that the run has decided by itself, see `cryotx_cli.runs.false_discovery`.

    Parameters
    ----------
    rate
        The share of false picks that was asked for; None: what serves the run best.
    """

    rate: float | None = None


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


@dataclass(frozen=True, eq=False)
class Picks:
    """What became of the candidates of one micrograph.

    Parameters
    ----------
    particles
        The picks, best first.
    dropped_at_border, dropped_beside_better
        How many more there would be but for the border, and but for the minimum distance.
    """

    particles: Particles
    dropped_at_border: int
    dropped_beside_better: int


@dataclass(frozen=True)
class Selection:
    """Everything that decides which candidates become picks; its ``repr`` differs where the picks may.

    Parameters
    ----------
    rule
        The threshold rule.
    min_distance, edge
        Smallest distance between picks, and of a pick from the border of the image, in Å.
    max_picks
        Keep at most this many of a micrograph; None for all.
    box
        Side in pixels of the boxes that picks must have room for; None for picks that need none.
    """

    rule: SelectionRule
    min_distance: float
    edge: float
    max_picks: int | None
    box: int | None = None

    @classmethod
    def of(cls, config: PickConfig, diameter: float) -> "Selection":
        """Return what the settings of ``cryotx pick`` say, for particles of `diameter` Å."""
        # The original's own choice has been thinned by overlap already.
        usual = 0.0 if config.selection == "legacy" else diameter / 2
        min_distance = usual if config.min_distance is None else config.min_distance
        return cls(_rule(config), min_distance, config.edge, config.max_per_micrograph, config.box)

    def choose(self, candidates: Candidates) -> Picks:
        """Choose the picks of one micrograph."""
        # Before the rule: it weighs what there is to find, and two candidates on one particle are one particle.
        apart = self._apart(candidates)
        inside = self._inside(candidates, apart)
        picks = self._best(inside.select(choose(inside, self.rule)))
        lowest = float(picks.scores.min(initial=np.inf))
        wanted, wanted_apart = len(candidates.particles.above(lowest)), len(apart.above(lowest))
        return Picks(picks, wanted_apart - len(inside.above(lowest)), wanted - wanted_apart)

    def available(self, candidates: Candidates) -> Particles:
        """Return the candidates among which the rule chooses, best first: picks are as many from the top."""
        return self._best(self._inside(candidates, self._apart(candidates)))

    def _apart(self, candidates: Candidates) -> Particles:
        found = candidates.particles
        return found.with_minimum_distance(self.min_distance / found.pixel_size)

    def _inside(self, candidates: Candidates, particles: Particles) -> Particles:
        margin = max(self.edge / particles.pixel_size, (self.box or 0) / 2)
        return particles.inside(candidates.height, candidates.width, margin)

    def _best(self, particles: Particles) -> Particles:
        return particles.select(np.argsort(-particles.scores, kind="stable")[: self.max_picks])


def _rule(config: PickConfig) -> SelectionRule:
    if config.selection == "legacy":
        return Threshold(0.0)  # the picker has chosen
    if config.expected_count is not None:
        return ExpectedCount(config.expected_count)
    if config.percentile is not None:
        return Percentile(config.percentile)
    return ExpectedF1() if config.threshold == "auto" else Threshold(config.threshold)


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
            return probabilities >= automatic_cut(probabilities, floor)
        case Threshold(probability):
            return probabilities >= probability
        case Percentile(percent, floor):
            eligible = int(np.count_nonzero(probabilities >= floor))
            return _best(probabilities, eligible - int(eligible * percent / 100))
        case ExpectedCount(count):
            return _best(probabilities, count)


def automatic_cut(probabilities: NDArray[np.float64], floor: float = DEFAULT_FLOOR) -> float:
    """Probability cut of ``--threshold auto``: that of the highest expected F1, with two exceptions.

    On a micrograph without particles the best cut is that of the best guesses, of which a large one has hundreds. So
    where the picks would be wrong more often than right, only those stay that are convincing alone. And where
    most picks are sure, those that are far less sure than their fellows go: see `_like_its_fellows`.

    Parameters
    ----------
    probabilities, floor
        As for `expected_f1_cut`.
    """
    cut = expected_f1_cut(probabilities, floor)
    kept = probabilities[probabilities >= cut]
    if len(kept) and kept.mean() < _MOSTLY_WRONG:
        return max(cut, _CONVINCING)
    return max(cut, _like_its_fellows(kept)) if len(kept) >= _FELLOWS else cut


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


def highest_expected_f1(probabilities: NDArray[np.float64]) -> float:
    """Return the expected F1 at the cut of `expected_f1_cut` without a floor; 0 where there are no candidates."""
    descending = np.sort(probabilities)[::-1]
    if not len(descending):
        return 0.0
    true_positives = np.cumsum(descending)
    return float((2 * true_positives / (np.arange(1, len(descending) + 1) + true_positives[-1])).max())


def _best(probabilities: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    mask = np.zeros(len(probabilities), dtype=bool)
    mask[np.argsort(-probabilities, kind="stable")[:count]] = True
    return mask
