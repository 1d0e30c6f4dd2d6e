"""COCO's average precision of picks, by pycocotools: the figure of papers on detectors, for boxes around particles."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

_NEAR = 0.5
"""Of the true side: boxes further apart overlap by a third at most, and no threshold of COCO takes them for a pair."""
_PARTS_TOGETHER = 4
"""COCOeval tries every pick with every particle of an image, and takes its time for every image, too."""


@dataclass(frozen=True)
class CocoPrecision:
    """COCO's two figures: areas under precision over recall, interpolated at 101 recalls.

    Parameters
    ----------
    average
        AP@[.50:.95]: the mean over ten smallest overlaps (intersection over union) of a pair, .50 to .95.
    at_half
        AP50: that of overlaps of at least one half.
    """

    average: float
    at_half: float


@dataclass(frozen=True, eq=False)
class PicksAndTruth:
    """Picks and true centres of one micrograph.

    Parameters
    ----------
    picks, truth
        (n, 2) and (m, 2) centres in pixels.
    scores
        (n,) of the picks; equal scores rank in the order of the picks.
    diameter_px
        Side of the boxes around both.
    pick_sides
        (n,) sides of the boxes around picks where they have sizes of their own.
    """

    picks: NDArray[np.float64]
    truth: NDArray[np.float64]
    scores: NDArray[np.float64]
    diameter_px: float
    pick_sides: NDArray[np.float64] | None = None


def coco_average_precision(micrographs: Sequence[PicksAndTruth]) -> CocoPrecision | None:
    """Evaluate the picks of several micrographs together as COCO evaluates boxes of one class.

    Boxes are squares with the particle diameter as side, where picks have no sizes of their own, and are not cut off at
    the border of the image. However many picks a micrograph has, all of them count.

    Returns
    -------
    CocoPrecision or None
        None where there is no particle to find: COCO has no figure for that.
    """
    if not sum(len(one.truth) for one in micrographs):
        return None
    images, annotations, detections = _as_coco(micrographs)
    if not detections:
        return CocoPrecision(0.0, 0.0)
    precision = _evaluated(images, annotations, detections)  # (thresholds, recalls)
    return CocoPrecision(float(precision.mean()), float(precision[0].mean()))


def _as_coco(micrographs: Sequence[PicksAndTruth]) -> tuple[list[Any], list[Any], list[Any]]:
    """Return images, annotations and detections in the form of COCO's files.

    Parts of micrographs that are too far apart for a pair between them are images of their own, a few at a time: the
    pairs are the same, and COCOeval does not try millions that cannot be. A rank takes the place of each score, so
    that the order of equal scores does not depend on the parts.
    """
    images, annotations, detections = 0, list[Any](), list[Any]()
    scores = np.concatenate([one.scores for one in micrographs])
    rank = np.empty(len(scores))
    rank[np.argsort(-scores, kind="stable")] = -np.arange(len(scores))
    taken = 0
    for one in micrographs:
        parts = images + _parts(one)
        sides = np.full(len(parts), one.diameter_px)
        if one.pick_sides is not None:
            sides[: len(one.picks)] = one.pick_sides
        boxes = np.vstack([one.picks, one.truth]).reshape(-1, 2) - sides[:, None] / 2
        ranks = rank[taken : taken + len(one.picks)].tolist()
        for number, (part, corner, side) in enumerate(zip(parts.tolist(), boxes.tolist(), sides.tolist(), strict=True)):
            entry = {"image_id": part, "category_id": 1, "bbox": [*corner, side, side]}
            if number < len(ranks):
                detections.append({**entry, "score": ranks[number]})
            else:
                more = {"id": len(annotations) + 1, "area": one.diameter_px**2, "iscrowd": 0}
                annotations.append({**entry, **more})
        images, taken = max(images, parts.max(initial=images - 1) + 1), taken + len(ranks)
    return [{"id": number} for number in range(images)], annotations, detections


def _parts(one: PicksAndTruth) -> NDArray[np.intp]:
    """Return for each pick, then for each true centre, the number of the part that it is in, from 0."""
    picks, truth, count = one.picks.reshape(-1, 2), one.truth.reshape(-1, 2), len(one.picks) + len(one.truth)
    if not len(picks) or not len(truth):
        return np.zeros(count, np.intp)
    near = cKDTree(picks).query_ball_tree(cKDTree(truth), _NEAR * one.diameter_px, p=np.inf)
    rows = np.repeat(np.arange(len(picks)), [len(partners) for partners in near])
    columns = np.array([j for partners in near for j in partners], np.intp) + len(picks)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    labels: NDArray[np.intp] = connected_components(graph, directed=False)[1]
    return labels // _PARTS_TOGETHER


def _evaluated(images: list[Any], annotations: list[Any], detections: list[Any]) -> NDArray[np.float64]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "particle"}]}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, np.inf]], ["all"]
        evaluation.params.maxDets = [len(detections)]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][:, :, 0, 0, 0], np.float64)
