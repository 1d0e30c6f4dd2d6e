"""What decoys say of a run: how many of its candidates noise explains, how many picks are false, where to cut.

The calibrated score of a candidate is the probability that it is a particle on an average over micrographs of all
kinds. Decoys (`cryotx_cli.micrographs.decoy`) say what noise with the spectrum of these micrographs gives. The score
knows of dirt and broken particles, of which noise knows nothing; decoys know how loud the noise of this run is. So what
is told and what is cut rests on both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.runs.expected_f1 import expected_f1_cut

Scores = NDArray[np.float64]

NOISE_RATE = 0.05
"""Where no cut brings the share of picks that noise explains down to this, there is nothing but noise."""
_MOST_NOISE = 0.2  # largest share of picks above a score that noise may explain
_CLEARLY_LESS = 4.0  # times: by so much do few decoys err
_GUESSES = 0.5  # mean probability: candidates below are wrong more often than right
_DOUBLED = 2 * NOISE_RATE  # for a micrograph of a run that other sizes say is more than noise
_FELLOWS, _ODDS, _SURE = 10, 10.0, 0.995  # see `OwnCuts`

# Particles for each that candidates add up to: some have no candidate at all, and what noise explains is taken away on
# the safe side. The least of what simulated micrographs say: 1.10 with particles and noise alone, 1.25 with dirt, 1.16
# those of the second simulator (benchmarks/decoys.py).
_PARTICLES = 1.1

_STEP = 0.1
_EDGES = np.arange(-7.0, 9.3 + _STEP / 2, _STEP)  # logits; scores of 0.001 to 0.9999
_GRID = (_EDGES[:-1] + _EDGES[1:]) / 2
_SMOOTHING = 3.0  # steps: some hundred candidates leave densities no finer
_BELL = np.exp(-0.5 * (np.arange(-4 * _SMOOTHING, 4 * _SMOOTHING + 1) / _SMOOTHING) ** 2)
_BELL /= _BELL.sum()
_HALF_A_DECOY = 0.3  # found in the decoys beyond what was: not seen is not the same as impossible
_NOISE_ONLY = (0.02, 0.1)  # scores at which next to all candidates are false

# Share of the false candidates of a score that are noise, and not dirt or broken particles: what decoys found of what
# was false on 48 simulated micrographs (benchmarks/decoys.py). At most 0.6 is believed.
_NOISE_AMONG_FALSE = ((0.35, 0.45, 0.55, 0.65, 0.75), (0.6, 0.49, 0.16, 0.05, 0.0))


@dataclass(frozen=True)
class FoundInNoise:
    """What the network has found in all decoys of a run.

    Parameters
    ----------
    density
        Candidates by their logit, for each of the grid.
    faint
        How many of them have a low score.
    area
        Of all decoys together, in Å².
    """

    density: tuple[float, ...]
    faint: int
    area: float

    def beside(self, real: Sequence[Scores], area: float) -> FalseDiscovery:
        """Compare it with the candidates of micrographs, which have so many Å² together."""
        candidates = np.sort(np.concatenate(real))
        share = area / self.area
        loudness = ((1 - candidates[_is_faint(candidates)]).sum() + 1) / (share * self.faint + 1)
        density, of_decoys = _density(candidates), share * np.array(self.density)
        tail = (_from_above(of_decoys) + _HALF_A_DECOY * share) / np.maximum(_from_above(density), 1e-9)
        return FalseDiscovery(
            candidates=candidates,
            micrographs=len(real),
            loudness=float(loudness),
            noise=_share(loudness * of_decoys, density),
            tail=np.minimum(1, max(1.0, loudness) * tail),
            found_in_noise=self,
        )


@dataclass(frozen=True, eq=False)
class FalseDiscovery:
    """False discovery rates of a run, by score.

    Parameters
    ----------
    candidates
        Scores of the candidates of the micrographs that have decoys, at most one a particle, in rising order.
    micrographs
        How many micrographs these are.
    loudness
        Candidates of low score in these micrographs, as a share of those in their decoys: near 1 where there is nothing
        but noise, near 0 where all is particles, above 1 where there is more that is no particle than decoys have.
    noise
        For each logit of the grid, the share of the candidates that noise explains.
    tail
        For each logit of the grid, the same for all candidates from there on, on the safe side.
    found_in_noise
        What the decoys have shown.
    elsewhere
        What `noise_of_best` is for the same micrographs where the network is told a diameter that is a little smaller
        or larger; empty where that was not looked at. It counts where the run `is_unclear`.
    """

    candidates: Scores
    micrographs: int
    loudness: float
    noise: Scores
    tail: Scores
    found_in_noise: FoundInNoise
    elsewhere: tuple[float, ...] = ()

    def of(self, scores: Scores) -> Scores:
        """Probability of each score that its candidate is false: noise, or something else that is no particle."""
        return self._at(self._false, scores)

    def noise_of(self, scores: Scores) -> Scores:
        """Probability of each score that noise explains its candidate."""
        return self._at(self.noise, scores)

    @cached_property
    def _false(self) -> Scores:
        """Probability of each logit of the grid to be false, never rising with it."""
        scores = 1 / (1 + np.exp(-_GRID))
        dirt = (1 - scores) * (1 - np.interp(scores, *_NOISE_AMONG_FALSE))
        false = 1 - (1 - self.noise) * scores / (scores + dirt)
        return np.asarray(np.maximum.accumulate(false[::-1])[::-1])

    def rate(self, scores: Scores) -> float:
        """Return the expected share of false ones among picks with these scores; 0 where there are none."""
        return float(self.of(scores).mean()) if len(scores) else 0.0

    def expected_false(self, scores: Scores) -> float:
        """Return how many picks with these scores are expected to be false, to a hundredth."""
        return round(float(self.of(scores).sum()), 2)

    @property
    def is_noise(self) -> bool:
        """Whether there are no more candidates than in noise: at this size, or at most of those that were looked at.

        What the network thinks of faint particles changes with the pixels that it sees them in; that of ice even more.
        """
        shares = (self.noise_of_best, *self.elsewhere) if self.was_seen_elsewhere else (self.noise_of_best,)
        return float(np.median(shares)) > NOISE_RATE

    @cached_property
    def is_unclear(self) -> bool:
        """Whether candidates stand out from noise, or nearly do, but would be wrong more often than right."""
        likely = self._likely(self._best_of_all(_MOST_NOISE))
        return len(likely) > 0 and float(likely.mean()) < _GUESSES and self.noise_of_best < _MOST_NOISE

    @property
    def was_seen_elsewhere(self) -> bool:
        """Whether other sizes have a say in what these candidates are."""
        return bool(self.elsewhere) and self.is_unclear

    @property
    def distinctness(self) -> float:
        """How clearly there are more candidates than in noise: 0 where `is_noise` denies it, 1 where any decoys say it.

        Unlike a yes or no it differs little where decoys do.
        """
        return float(np.clip(-math.log(self._beside_limit) / math.log(_CLEARLY_LESS), 0, 1))

    @property
    def is_doubtful(self) -> bool:
        """Whether more decoys might say of it that it is noise, or that it is not."""
        return 1 / _CLEARLY_LESS < self._beside_limit < _CLEARLY_LESS

    @cached_property
    def noise_of_best(self) -> float:
        """Share that noise explains of the best candidates, one a micrograph; infinite where there are not so many."""
        tails = np.sort(self._at(self.tail, self.candidates))[: self.micrographs]
        return float(tails[-1]) if len(tails) == self.micrographs else math.inf

    @property
    def _beside_limit(self) -> float:
        """The same as a multiple of what is noise alone."""
        return max(self.noise_of_best, 1e-9) / NOISE_RATE

    @cached_property
    def own_cuts(self) -> OwnCuts:
        """What the micrographs of this run share, from which each gets the cut that serves it best."""
        kept = self.best(_MOST_NOISE)
        return OwnCuts(
            self.found_in_noise,
            usual=_middle(kept),
            more_than_noise=bool(len(kept)),
            convincing=bool(len(kept)) and not self.is_guesswork(kept),
            seen_elsewhere=self.was_seen_elsewhere,
        )

    def automatic_cut(self) -> float:
        """Return the lowest score that is kept where the run is cut as if it were one micrograph."""
        return self.own_cuts.cut_of(self)

    def best(self, most_noise: float) -> Scores:
        """Return the candidates of the highest expected F1, in rising order.

        Particles are as likely as their score times the share that noise does not explain, and there are a few more of
        them than that adds up to. There are none where there are no more candidates than in noise.

        Parameters
        ----------
        most_noise
            None is kept from which on noise explains a larger share.
        """
        return self.candidates[:0] if self.is_noise else self._best_of_all(most_noise)

    def _best_of_all(self, most_noise: float) -> Scores:
        """Return them where there may be nothing but noise."""
        likely = self._likely(self.candidates)
        enough = self._at(self.tail, self.candidates) <= most_noise
        cut = expected_f1_cut(likely, 0.0, particles=_PARTICLES * float(likely.sum()))
        return self.candidates[(likely >= cut) & enough]

    def is_guesswork(self, kept: Scores) -> bool:
        """Whether these candidates are wrong more often than right."""
        return bool(self._likely(kept).mean() < _GUESSES)

    def cut_at(self, rate: float) -> float:
        """Return the lowest score to keep for an expected share of false picks of at most `rate`; inf if there is none.

        Parameters
        ----------
        rate
            From 0 to 1.
        """
        descending = self.candidates[::-1]
        rates = np.cumsum(self.of(descending)) / np.arange(1, len(descending) + 1)
        low = np.flatnonzero(rates <= rate)
        return float(descending[low[-1]]) if len(low) else float("inf")

    def _likely(self, scores: Scores) -> Scores:
        return (1 - self.noise_of(scores)) * scores

    def _at(self, values: Scores, scores: Scores) -> Scores:
        return np.asarray(np.interp(_logits(scores), _GRID, values))


@dataclass(frozen=True)
class OwnCuts:
    """The automatic rule: what micrographs of one run share, and the cut of each that follows from it.

    The decoys of the run say what noise gives; how much of it there is in a micrograph, and how sure its particles are,
    it says itself. It keeps its best candidates, see `FalseDiscovery.best`, with two exceptions.

    All picks of a run show copies of one particle. Where most of them are sure, one whose odds are a tenth of the
    median's is seldom another good copy: more often it is broken, buried under others or contamination, and people
    leave it out. Scores, which are averages over micrographs of all kinds, do not know that. The odds of a median above
    0.995 count as those of 0.995, for beyond they say little. Where particles are fainter than in the rest of the run,
    the median lies half-way between the two.

    And guesses are looked at more closely: where most picks of a run would be wrong, it counts whether other sizes show
    more than noise, too. If they do, noise may explain twice as much of the best candidate of a micrograph; where they
    were not looked at, those go from which on noise explains a twentieth. In a run of noise a micrograph has to
    convince alone.

    Parameters
    ----------
    found_in_noise
        What the decoys of the run have shown.
    usual
        Logit of the median of the run's best candidates; None where these are too few. With minus infinity none is
        less sure than its fellows.
    more_than_noise
        Whether the run has candidates that noise does not explain.
    convincing
        Whether more of them are right than wrong.
    seen_elsewhere
        Whether other sizes have a say in that.
    """

    found_in_noise: FoundInNoise
    usual: float | None
    more_than_noise: bool
    convincing: bool
    seen_elsewhere: bool = False

    @property
    def with_unsure(self) -> OwnCuts:
        """The same rule, but those that are far less sure than their fellows stay."""
        return replace(self, usual=-math.inf)

    def cut(self, scores: Scores, area: float) -> float:
        """Return the lowest score to keep in a micrograph of so many Å² with these candidates; inf to keep none."""
        return self.cut_of(self.found_in_noise.beside([scores], area))

    def cut_of(self, micrograph: FalseDiscovery) -> float:
        """Return the lowest score to keep in a micrograph that is compared with the decoys already."""
        kept = self._best_of(micrograph)
        if not len(kept) or (not self.more_than_noise and micrograph.is_guesswork(kept)):
            return float("inf")
        own, usual = _middle(kept), self.usual
        if own is None:
            own = usual
        elif usual is not None:
            own = usual if own > usual else (own + usual) / 2
        return float(kept[0]) if own is None else max(float(kept[0]), _score(own - np.log(_ODDS)))

    def _best_of(self, micrograph: FalseDiscovery) -> Scores:
        """Return the best candidates of a micrograph: few where they are guesses that no other size supports."""
        if not self.more_than_noise or self.convincing:
            return micrograph.best(_MOST_NOISE)
        if not self.seen_elsewhere:
            return micrograph.best(NOISE_RATE)
        is_near = micrograph.noise_of_best <= _DOUBLED
        return micrograph._best_of_all(_MOST_NOISE) if is_near else micrograph.best(_MOST_NOISE)


def false_discovery(
    real: Sequence[Scores], decoys: Sequence[Scores], area_ratio: float, decoy_area: float | None = None
) -> FalseDiscovery:
    """Compare the candidates of micrographs with those of their decoys.

    Parameters
    ----------
    real
        Scores of the candidates of each micrograph, at most one a particle.
    decoys
        The same of each decoy.
    area_ratio
        Area of the micrographs over that of the decoys.
    decoy_area
        That of the decoys, in Å²; where it is not given, a micrograph has an area of 1.
    """
    if decoy_area is None:
        decoy_area = len(real) / area_ratio
    found = np.concatenate(decoys)
    in_noise = FoundInNoise(tuple(_density(found).tolist()), int(np.count_nonzero(_is_faint(found))), decoy_area)
    return in_noise.beside(real, area_ratio * decoy_area)


def _is_faint(scores: Scores) -> NDArray[np.bool_]:
    low, high = _NOISE_ONLY
    return (scores >= low) & (scores < high)


def _middle(kept: Scores) -> float | None:
    """Logit of the median of enough picks, as far as it says anything."""
    return float(_logits(np.minimum(np.median(kept), _SURE))) if len(kept) >= _FELLOWS else None


def _share(noise: Scores, everything: Scores) -> Scores:
    """Share of the density that is noise, never rising with the score."""
    share = np.minimum(noise / np.maximum(everything, 1e-9), 1)
    # Where there is next to nothing, low scores count as noise and high ones do not.
    share = np.where(everything > 0.02, share, np.where(_GRID < 0, 1.0, 0.0))
    return np.maximum.accumulate(share[::-1])[::-1]


def _density(scores: Scores) -> Scores:
    counts = np.histogram(_logits(scores), _EDGES)[0].astype(float)
    return np.convolve(counts, _BELL, mode="same")


def _from_above(density: Scores) -> Scores:
    return np.cumsum(density[::-1])[::-1]


def _score(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def _logits(scores: Scores) -> Scores:
    bounded = np.clip(scores, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(bounded / (1 - bounded)))
