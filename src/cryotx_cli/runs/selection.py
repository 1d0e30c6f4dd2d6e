"""Which of a micrograph's candidates become picks: minimum distance, border and the threshold rules.

The picker hands over every candidate with a calibrated probability. The rules here only look at those probabilities,
one micrograph at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.runs.candidates import Candidates
from cryotx_cli.runs.expected_f1 import DEFAULT_FLOOR, automatic_cut
from cryotx_cli.runs.false_discovery import FalseDiscovery, OwnCuts, false_discovery


@dataclass(frozen=True)
class ExpectedF1:
    """Cut where the expected F1 of the micrograph is highest, see `cryotx_cli.runs.expected_f1.automatic_cut`."""

    floor: float = DEFAULT_FLOOR


@dataclass(frozen=True)
class ExpectedF1OfAll(ExpectedF1):
    """The same, but those that are far less sure than their fellows stay."""


@dataclass(frozen=True)
class Threshold:
    """Keep every candidate whose probability is at least `probability`."""

    probability: float


@dataclass(frozen=True)
class RunCut(Threshold):
    """The threshold that gives a share of false picks, see `cryotx_cli.runs.false_discovery`.

    Parameters
    ----------
    rate
        The share that was asked for.
    """

    rate: float


@dataclass(frozen=True)
class Percentile:
    """Drop the lowest `percent` percent of the candidates whose probability is at least `floor`."""

    percent: float
    floor: float = DEFAULT_FLOOR


@dataclass(frozen=True)
class ExpectedCount:
    """Keep the `count` best candidates, or all of them where there are fewer."""

    count: int


SelectionRule = ExpectedF1 | OwnCuts | Threshold | Percentile | ExpectedCount


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
        apart = self._apart(candidates)
        inside = self._inside(candidates, apart)
        # A score to reach follows from all that there is to find, the border takes away from that: whoever widens it
        # loses no other pick. So many picks are so many that are left.
        among = inside if isinstance(self.rule, Percentile | ExpectedCount) else self.weighed(candidates)
        chosen = among.select(choose(among, self.rule))
        picks = self._best(self._inside(candidates, chosen))
        lowest = float((picks if len(picks) == self.max_picks else chosen).scores.min(initial=np.inf))
        wanted, wanted_apart = len(candidates.particles.above(lowest)), len(apart.above(lowest))
        return Picks(picks, wanted_apart - len(inside.above(lowest)), wanted - wanted_apart)

    def weighed(self, candidates: Candidates) -> Particles:
        """Return the candidates that cuts follow from: at most one a particle, those at the border among them."""
        # Two candidates on one particle are one particle, and none lies outside of the image.
        return self._apart(candidates).inside(candidates.height, candidates.width)

    def available(self, candidates: Candidates) -> Particles:
        """Return the candidates that may be picks, best first: picks are as many from the top."""
        return self._best(self._inside(candidates, self._apart(candidates)))

    def expected_false(self, candidates: Candidates, picks: Particles, run: FalseDiscovery | None) -> float | None:
        """Return how many of the picks of a micrograph are expected to be false; None where that is not known.

        A micrograph that has a cut of its own is judged by what that rests on: as much noise as it shows itself.

        Parameters
        ----------
        candidates, picks
            All that was proposed, and what was chosen.
        run
            What decoys say of the whole run, where they say anything.
        """
        if isinstance(self.rule, OwnCuts):
            run = self.rule.found_in_noise.beside([self.weighed(candidates).scores], candidates.particles.area)
        return None if run is None else run.expected_false(picks.scores)

    def compared(self, pairs: Sequence[tuple[Candidates, Candidates]]) -> FalseDiscovery:
        """Compare the candidates of micrographs with those of their decoys, chosen alike.

        Parameters
        ----------
        pairs
            Of each micrograph, its candidates and those of its decoys; some may have none, of no height.
        """
        real, decoys = zip(*pairs, strict=True)
        decoy_area = sum(one.particles.area for one in decoys)
        return false_discovery(
            [self.weighed(one).scores for one in real],
            [self.weighed(one).scores for one in decoys],
            sum(one.particles.area for one in real) / decoy_area,
            decoy_area,
        )

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
    if config.threshold != "auto":
        return Threshold(config.threshold)
    return ExpectedF1OfAll() if config.unsure == "keep" else ExpectedF1()


def choose(particles: Particles, rule: SelectionRule) -> NDArray[np.bool_]:
    """Choose picks among the candidates of one micrograph.

    Parameters
    ----------
    particles
        Every candidate, at most one a particle: duplicates removed beforehand (they would count twice).
        Scores are calibrated probabilities.
    rule
        How to choose; `OwnCuts` needs to know the shape of the micrograph.

    Returns
    -------
    ndarray of bool, shape (n,)
        True for the candidates to keep, in the order of `particles`.
    """
    probabilities = particles.scores
    match rule:
        case ExpectedF1OfAll(floor):
            return probabilities >= automatic_cut(probabilities, floor, unsure=True)
        case ExpectedF1(floor):
            return probabilities >= automatic_cut(probabilities, floor)
        case OwnCuts():
            return probabilities >= rule.cut(probabilities, particles.area)
        case Threshold(probability):
            return probabilities >= probability
        case Percentile(percent, floor):
            eligible = int(np.count_nonzero(probabilities >= floor))
            return _best(probabilities, eligible - int(eligible * percent / 100))
        case ExpectedCount(count):
            return _best(probabilities, count)


def _best(probabilities: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    mask = np.zeros(len(probabilities), dtype=bool)
    mask[np.argsort(-probabilities, kind="stable")[:count]] = True
    return mask
