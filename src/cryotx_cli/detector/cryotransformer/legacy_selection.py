"""The selection of the original program, defects included: its published weights were judged with it.

The original ranks all class probabilities of all queries together, keeps a fixed share of the ranks, and then takes
that many queries from the front of the list: the box of query k gets the k-th highest score, whoever's score that is.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryotx_cli.detector.cryotransformer.network import box_corners


class LegacyPicks(NamedTuple):
    """What the original would keep, in its order of output.

    Attributes
    ----------
    queries
        (n,) int64, which query a box belongs to.
    boxes
        (n, 4) float32, corners x0, y0, x1, y1 in pixels of the image given to the original (rows reversed for MRC).
    scores
        (n,) float32, the score the original writes beside the box.
    """

    queries: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]


def legacy_selection(
    logits: Tensor, boxes: Tensor, height: int, width: int, *, quantile: float = 0.25, overlap: float = 0.7
) -> LegacyPicks:
    """Select boxes as the original program does.

    Unlike the original, a single remaining pick is returned and does not raise.

    Parameters
    ----------
    logits
        (Q, classes + 1), of the last decoder layer.
    boxes
        (Q, 4): centre x, centre y, width, height as fractions of the image.
    height, width
        Of the image in which the picks are wanted, pixels.
    quantile
        Share of the ranked scores that is dropped (``quartile_threshold`` of the original).
    overlap
        Intersection over union from which the box of the lower score is dropped (``nms_threshold``).

    Returns
    -------
    LegacyPicks
        The kept boxes, best score first.
    """
    ranked = logits.detach().float().cpu().sigmoid().flatten().topk(len(logits)).values
    scores = ranked[ranked > torch.quantile(ranked, quantile)].numpy()
    # The defect: ranks are used as query indices, so these are always the first queries.
    queries = np.arange(len(scores))
    fractions = box_corners(boxes.detach().float().cpu()[: len(scores)])
    corners = (fractions * torch.tensor([width, height, width, height], dtype=torch.float32)).numpy()
    kept = _suppress_overlaps(corners, scores, overlap)
    return LegacyPicks(queries[kept], corners[kept], scores[kept])


def legacy_centres(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the centres (n, 2) x, y that the original writes for corner boxes (n, 4).

    It truncates the corners to integers first, which moves a centre by up to one pixel towards zero, and then writes
    ``height - y`` in its files.
    """
    whole = np.trunc(boxes.astype(np.float64))
    return 0.5 * (whole[:, :2] + whole[:, 2:])


def _suppress_overlaps(corners: NDArray[np.float32], scores: NDArray[np.float32], overlap: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression that counts pixels inclusively: a box from 2 to 5 is four pixels wide."""
    low, high = corners[:, :2], corners[:, 2:]
    area = np.prod(high - low + 1, axis=1)
    waiting = _introsort_order(scores)[::-1]
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        sides = np.minimum(high[best], high[waiting]) - np.maximum(low[best], low[waiting]) + 1
        shared = np.prod(np.clip(sides, 0, None), axis=1)
        waiting = waiting[shared / (area[best] + area[waiting] - shared) < overlap]
    return np.array(kept, dtype=np.int64)


def _introsort_order(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the ascending order in which NumPy 1.21 sorts `values`, the one the original was recorded with.

    It differs from a stable order only among equal values, and there it decides which box is written first. Quicksort
    with the median of three as pivot; ranges of at most 17 go to insertion sort, which is stable, as `sorted` is.
    """
    order = list(range(len(values)))
    ranges = [(0, len(order) - 1)]
    while ranges:
        low, high = ranges.pop()
        if high - low <= 16:
            order[low : high + 1] = sorted(order[low : high + 1], key=values.__getitem__)
            continue
        middle = (low + high) // 2
        three = sorted((order[low], order[middle], order[high]), key=values.__getitem__)
        order[low], order[middle], order[high] = three
        pivot = values[order[middle]]
        order[middle], order[high - 1] = order[high - 1], order[middle]
        left, right = low, high - 1
        while True:
            left = next(i for i in range(left + 1, high + 1) if values[order[i]] >= pivot)
            right = next(i for i in range(right - 1, low - 1, -1) if values[order[i]] <= pivot)
            if left >= right:
                break
            order[left], order[right] = order[right], order[left]
        order[left], order[high - 1] = order[high - 1], order[left]
        ranges += [(low, left - 1), (left + 1, high)]
    return np.array(order, dtype=np.int64)
