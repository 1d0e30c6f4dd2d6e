"""What the true coordinates add to a report: which picks are hits at every threshold, and where picks are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.agreement import near_pairs, one_to_one
from cryotx_cli.coordinates.particles import Particles

MOST_CROPS = 120
"""Most crops of misses, and of false picks."""


@dataclass(frozen=True, eq=False)
class Truth:
    """True particles of one micrograph and how picks are judged by them.

    Parameters
    ----------
    particles
        In the pixels of the picks.
    diameter_px
        Particle diameter, pixels.
    radius_px
        Largest distance of a pair, pixels.
    hits
        Pairs among the picks as they are written.
    """

    particles: Particles
    diameter_px: float
    radius_px: float
    hits: int

    def pairs(self, candidates: Particles) -> NDArray[np.intp]:
        """Return (k, 2) indices of candidates and true particles that may be a pair, in the order of matching."""
        return near_pairs(candidates.centres, self.particles.centres, self.radius_px)


@dataclass(frozen=True)
class Disagreement:
    """Where picks and truth disagree.

    Parameters
    ----------
    kind
        A true particle without a pick, or a pick without a true particle.
    position
        Of the micrograph in the input.
    index
        Of the particle among the true ones, or of the pick among the candidates, best first.
    x, y, diameter_px
        Pixels of the micrograph.
    score
        Of the pick; of the candidate that would be a hit there if it were picked; None where there is none.
    """

    kind: Literal["miss", "false"]
    position: int
    index: int
    x: float
    y: float
    diameter_px: float
    score: float | None


def hits_at_cuts(cuts: NDArray[np.intp], pairs: NDArray[np.intp], count: int) -> NDArray[np.uint16]:
    """Count the pairs at every cut: entry k for the candidates whose entry in `cuts` is at least k.

    Parameters
    ----------
    cuts
        (n,) of each candidate, the highest first: the highest cut at which it stays.
    pairs
        (k, 2) by `Truth.pairs`.
    count
        How many cuts there are.
    """
    # Most candidates and true particles have each other alone: those are pairs whatever becomes of the others.
    alone = (np.bincount(pairs[:, 0])[pairs[:, 0]] == 1) & (np.bincount(pairs[:, 1])[pairs[:, 1]] == 1)
    certain = np.bincount(cuts[pairs[alone, 0]], minlength=count)[::-1].cumsum()[::-1]
    others = pairs[~alone]
    changes = set(cuts[others[:, 0]].tolist())
    contested, here = np.zeros(count, np.int64), 0
    for cut in range(count - 1, -1, -1):
        if cut in changes:
            here = len(one_to_one(others, int(np.count_nonzero(cuts >= cut))))
        contested[cut] = here
    return (certain + contested).clip(max=0xFFFF).astype(np.uint16)


def misses_and_false_picks(position: int, candidates: Particles, picks: int, truth: Truth) -> Iterator[Disagreement]:
    """Yield the true particles without a pick and the picks without a true particle of one micrograph.

    Parameters
    ----------
    position
        Of the micrograph in the input.
    candidates
        Best first.
    picks
        How many of them are picks.
    truth
        What there was to find.
    """
    pairs = truth.pairs(candidates)
    made = one_to_one(pairs, picks)
    hit, found = {i for i, _ in made}, {j for _, j in made}
    rejected = {j: i for i, j in reversed(pairs.tolist()) if i >= picks}  # the nearest stays
    for j in set(range(len(truth.particles))) - found:
        x, y = truth.particles.centres[j].tolist()
        score = float(candidates.scores[rejected[j]]) if j in rejected else None
        yield Disagreement("miss", position, j, x, y, truth.diameter_px, score)
    for i in set(range(picks)) - hit:
        x, y = candidates.centres[i].tolist()
        yield Disagreement("false", position, i, x, y, truth.diameter_px, float(candidates.scores[i]))


def disagreements_to_show(places: Sequence[Disagreement]) -> list[Disagreement]:
    """Choose and order what the galleries show.

    Returns
    -------
    list of Disagreement
        The false picks with the best scores, best first; misses with a rejected candidate, best first, then those
        without one: where they are too many, spread evenly over that order.
    """
    false = sorted((one for one in places if one.kind == "false"), key=_by_score)
    misses = sorted((one for one in places if one.kind == "miss"), key=_by_score)
    spread = np.unique(np.linspace(0, len(misses) - 1, min(len(misses), MOST_CROPS)).round().astype(int))
    return [misses[i] for i in spread] + false[:MOST_CROPS]


def _by_score(place: Disagreement) -> tuple[float, int, int]:
    return (np.inf if place.score is None else -place.score, place.position, place.index)
