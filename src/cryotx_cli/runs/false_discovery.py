"""What decoys say of a run: how many of its candidates noise explains, how many picks are false, where to cut.

The calibrated score of a candidate is the probability that it is a particle on an average over micrographs of all
kinds. Decoys (`cryotx_cli.micrographs.decoy`) say what noise with the spectrum of these micrographs gives. The score
knows of dirt and broken particles, of which noise knows nothing; decoys know how loud the noise of this run is. So what
is told and what is cut rests on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cryotx_cli.runs.candidates import Candidates
from cryotx_cli.runs.selection import Selection, expected_f1_cut

Scores = NDArray[np.float64]

NOISE_RATE = 0.05
"""Where no cut brings the share of picks that noise explains down to this, there is nothing but noise."""
_MOST_NOISE = 0.2  # largest share of picks above a score that noise may explain
_FELLOWS, _ODDS, _SURE = 10, 10.0, 0.995  # see `_like_its_fellows`

_STEP = 0.1
_EDGES = np.arange(-7.0, 9.3 + _STEP / 2, _STEP)  # logits; scores of 0.001 to 0.9999
_GRID = (_EDGES[:-1] + _EDGES[1:]) / 2
_SMOOTHING = 3.0  # steps: some hundred candidates leave densities no finer
_HALF_A_DECOY = 0.3  # found in the decoys beyond what was: not seen is not the same as impossible
_NOISE_ONLY = (0.02, 0.1)  # scores at which next to all candidates are false

# Share of the false candidates of a score that are noise, and not dirt or broken particles: what decoys found of what
# was false on 48 simulated micrographs (benchmarks/decoys.py). At most 0.6 is believed.
_NOISE_AMONG_FALSE = ((0.35, 0.45, 0.55, 0.65, 0.75), (0.6, 0.49, 0.16, 0.05, 0.0))


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
        but noise, near 0 where all is particles.
    noise
        For each logit of the grid, the share of the candidates that noise explains.
    tail
        For each logit of the grid, the same for all candidates from there on, on the safe side.
    """

    candidates: Scores
    micrographs: int
    loudness: float
    noise: Scores
    tail: Scores

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
        """Whether there are no more candidates than in noise."""
        return bool(np.count_nonzero(self._at(self.tail, self.candidates) <= NOISE_RATE) < self.micrographs)

    def automatic_cut(self) -> float:
        """Return the lowest score to keep: that of the highest expected F1 of the run, with two exceptions.

        Particles are as likely as their score times the share that noise does not explain. Nothing is kept where there
        are no more candidates than in noise, and nothing from which on noise explains a fifth. And where most picks
        are sure, those that are far less sure than their fellows go: see `_like_its_fellows`.
        """
        if self.is_noise:
            return float("inf")
        likely = (1 - self.noise_of(self.candidates)) * self.candidates
        kept = self.candidates[
            (likely >= expected_f1_cut(likely, 0.0)) & (self._at(self.tail, self.candidates) <= _MOST_NOISE)
        ]
        if not len(kept):
            return float("inf")
        return max(float(kept[0]), _like_its_fellows(kept) if len(kept) >= _FELLOWS else 0.0)

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

    def _at(self, values: Scores, scores: Scores) -> Scores:
        return np.asarray(np.interp(_logits(scores), _GRID, values))


def false_discovery(real: Sequence[Scores], decoys: Sequence[Scores], area_ratio: float) -> FalseDiscovery:
    """Compare the candidates of micrographs with those of their decoys.

    Parameters
    ----------
    real
        Scores of the candidates of each micrograph, at most one a particle.
    decoys
        The same of each decoy.
    area_ratio
        Area of the micrographs over that of the decoys.
    """
    candidates, found = np.sort(np.concatenate(real)), np.concatenate(decoys)
    low, high = _NOISE_ONLY
    faint = candidates[(candidates >= low) & (candidates < high)]
    faint_decoys = area_ratio * np.count_nonzero((found >= low) & (found < high))
    loudness = ((1 - faint).sum() + 1) / (faint_decoys + 1)
    density, of_decoys = _density(candidates), area_ratio * _density(found)
    return FalseDiscovery(
        candidates=candidates,
        micrographs=len(real),
        loudness=float(loudness),
        noise=_share(min(1.0, loudness) * of_decoys, density),
        tail=np.minimum(
            1, (_from_above(of_decoys) + _HALF_A_DECOY * area_ratio) / np.maximum(_from_above(density), 1e-9)
        ),
    )


def compared(pairs: Sequence[tuple[Candidates, Candidates]], selection: Selection) -> FalseDiscovery:
    """Compare the candidates of micrographs with those of their decoys, chosen alike.

    Parameters
    ----------
    pairs
        Of each micrograph, its candidates and those of its decoy.
    selection
        Says how far apart they have to be, and how far from the border.
    """
    everything = replace(selection, max_picks=None)
    real, decoys = zip(*pairs, strict=True)
    real_area, decoy_area = (sum(one.height * one.width for one in ones) for ones in (real, decoys))
    return false_discovery(
        [everything.available(one).scores for one in real],
        [everything.available(one).scores for one in decoys],
        real_area / decoy_area,
    )


def _like_its_fellows(kept: Scores) -> float:
    """Return the least score that a particle has among these picks of a run.

    All picks of a run show copies of one particle. Where most of them are sure, one whose odds are a tenth of the
    median's is seldom another good copy: more often it is broken, buried under others or contamination, and people
    leave it out. Scores, which are averages over micrographs of all kinds, do not know that. The odds of a median above
    0.995 count as those of 0.995, for beyond they say little.
    """
    median = min(float(np.median(kept)), _SURE)
    odds = median / (1 - median) / _ODDS
    return odds / (1 + odds)


def _share(noise: Scores, everything: Scores) -> Scores:
    """Share of the density that is noise, never rising with the score."""
    share = np.clip(noise / np.maximum(everything, 1e-9), 0, 1)
    # Where there is next to nothing, low scores count as noise and high ones do not.
    share = np.where(everything > 0.02, share, np.where(_GRID < 0, 1.0, 0.0))
    return np.maximum.accumulate(share[::-1])[::-1]


def _density(scores: Scores) -> Scores:
    counts = np.histogram(_logits(scores), _EDGES)[0].astype(float)
    return np.asarray(gaussian_filter1d(counts, _SMOOTHING, mode="constant"))


def _from_above(density: Scores) -> Scores:
    return np.cumsum(density[::-1])[::-1]


def _logits(scores: Scores) -> Scores:
    bounded = np.clip(scores, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(bounded / (1 - bounded)))
