"""Fit the map from logits to probabilities on held-out detections; the picker applies it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from cryotx_cli.detector.calibration import Calibration

_KNOTS = 20


def fit_calibration(logits: ArrayLike, hits: ArrayLike) -> Calibration:
    """Isotonic regression of hits on logits, summarised by up to 20 knots of equal counts.

    Parameters
    ----------
    logits, hits
        (n,) logit of each detection, and whether it was right.

    Raises
    ------
    ValueError
        If there are fewer than 100 detections.
    """
    logits, hits = np.asarray(logits, float), np.asarray(hits, float)
    if len(logits) < 100:
        raise ValueError(f"{len(logits)} detections are too few to calibrate on")
    order = np.argsort(logits, kind="stable")
    rising = isotonic_regression(hits[order]).x
    parts = np.array_split(np.arange(len(order)), _KNOTS)
    knots = np.array([logits[order][part].mean() for part in parts])
    values = np.clip([rising[part].mean() for part in parts], 1e-4, 1 - 1e-4)
    # Beyond the outermost knots the curve runs on into the far tails, so that ranks never tie there.
    knots = np.concatenate([[knots[0] - 4], knots, [knots[-1] + 4]])
    values = np.concatenate([[values[0] / 10], values, [1 - (1 - values[-1]) / 10]])
    values = np.maximum.accumulate(values) + np.arange(len(values)) * 1e-7
    return Calibration(tuple(knots.tolist()), tuple(np.minimum(values, 1).tolist()))


def expected_calibration_error(probabilities: ArrayLike, hits: ArrayLike, bins: int = 15) -> float:
    """Mean over bins of |mean probability - share of hits|, weighted by their counts (Naeini et al. 2015)."""
    p, hit = np.asarray(probabilities, float), np.asarray(hits, float)
    which = np.clip((p * bins).astype(int), 0, bins - 1)
    gaps = [
        abs(p[which == b].mean() - hit[which == b].mean()) * (which == b).mean()
        for b in range(bins)
        if (which == b).any()
    ]
    return float(sum(gaps))
