"""What the true coordinates add to a report: which picks are hits at every threshold, and crops of what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.agreement import near_pairs, one_to_one
from cryotx_cli.coordinates.particles import Particles

CROP_DIAMETERS = 2.6
"""Side of a crop in particle diameters: the particle and what surrounds it."""

MOST_CROPS = 120
"""Most crops of misses, and of false picks."""

_CROP_PX = 120
_SMOOTHING_PX = 1.6
_QUALITY = 60


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
class Place:
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


def misses_and_false_picks(position: int, candidates: Particles, picks: int, truth: Truth) -> Iterator[Place]:
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
        yield Place("miss", position, j, x, y, truth.diameter_px, score)
    for i in set(range(picks)) - hit:
        x, y = candidates.centres[i].tolist()
        yield Place("false", position, i, x, y, truth.diameter_px, float(candidates.scores[i]))


def places_to_show(places: Sequence[Place]) -> list[Place]:
    """Choose and order what the galleries show.

    Returns
    -------
    list of Place
        The false picks with the best scores, best first; misses with a rejected candidate, best first, then those
        without one: where they are too many, spread evenly over that order.
    """
    false = sorted((one for one in places if one.kind == "false"), key=_by_score)
    misses = sorted((one for one in places if one.kind == "miss"), key=_by_score)
    spread = np.unique(np.linspace(0, len(misses) - 1, min(len(misses), MOST_CROPS)).round().astype(int))
    return [misses[i] for i in spread] + false[:MOST_CROPS]


def _by_score(place: Place) -> tuple[float, int, int]:
    return (np.inf if place.score is None else -place.score, place.position, place.index)


def crop_jpeg(image: NDArray[np.generic], x: float, y: float, diameter_px: float) -> bytes:
    """Return a small grey JPEG of a particle in the middle of `CROP_DIAMETERS` diameters, rows as stored.

    Parameters
    ----------
    image
        (height, width); what lies outside is shown in a flat grey.
    x, y, diameter_px
        Centre and diameter in pixels of `image`.
    """
    scale = _CROP_PX / (CROP_DIAMETERS * diameter_px)
    margin = int(np.ceil(CROP_DIAMETERS * diameter_px / 2)) + 2
    left, top = round(x) - margin, round(y) - margin
    part = _padded(image, top, left, 2 * margin + 1)
    # Outliers before averaging: one hot pixel would outshine its whole neighbourhood.
    middle, spread = float(np.median(part)), 1.4826 * float(np.median(np.abs(part - np.median(part))))
    limit = 6 * spread if spread > 0 else np.inf
    calm = np.clip(part - middle, -limit, limit)
    source = cv2.GaussianBlur(calm, (0, 0), 0.5 / scale) if scale < 1 else calm
    # Warping keeps the particle in the middle to a fraction of a pixel: the centre of the crop is (119 / 2, 119 / 2).
    move = np.array([[scale, 0, 0], [0, scale, 0]])
    move[:, 2] = (_CROP_PX - 1) / 2 - scale * np.array([x - left, y - top])
    flags = cv2.INTER_LINEAR if scale < 1 else cv2.INTER_CUBIC
    crop = cv2.warpAffine(source, move, (_CROP_PX, _CROP_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    smooth = cv2.GaussianBlur(crop, (0, 0), _SMOOTHING_PX)
    low, high = (float(level) for level in np.percentile(smooth, (0.5, 99.5)))
    grey = np.clip((smooth - low) * (255 / max(high - low, 1e-12)), 0, 255)
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return bytes(cv2.imencode(".jpg", grey.astype(np.uint8), options)[1].tobytes())


def _padded(image: NDArray[np.generic], top: int, left: int, side: int) -> NDArray[np.float32]:
    """Return the square at (top, left); what lies outside the image has the median of what lies inside."""
    rows, columns = slice(max(top, 0), max(top + side, 0)), slice(max(left, 0), max(left + side, 0))
    inside = image[rows, columns].astype(np.float32)
    part = np.full((side, side), np.median(inside) if inside.size else 0.0, np.float32)
    first_row, first_column = rows.start - top, columns.start - left
    part[first_row : first_row + inside.shape[0], first_column : first_column + inside.shape[1]] = inside
    return part
