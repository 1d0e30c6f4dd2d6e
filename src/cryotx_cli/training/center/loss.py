"""Losses of the default model: dense map, and one-to-one set loss of the decoder's residuals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cryotx_cli.detector.center.network import STRIDE, CenterOutput, DenseMap, Queries
from cryotx_cli.training.center.data import Crop

_MATCH_LIMIT = 3.0  # a pair of higher cost is no pair: the dense map alone learns from that particle


def center_losses(output: CenterOutput, crops: list[Crop], radius: float) -> dict[str, Tensor]:
    """Loss terms of a batch, already weighted; their sum is the loss.

    Dense: penalty-reduced focal loss on Gaussians of sigma D/6 (CenterNet, alpha 2, beta 4), L1 of offset and log
    radius at centres (0.5 each), junk mask (0.2). Decoder, each layer: matching on the last layer's distance in radii
    (2) and probability (2); matchability-aware classification (DEIM: targets q^1.5, q = exp(-(d / 0.3 D)^2), negatives
    weighted p^1.5); L1 of centre over radius (1) and of log radius (0.5). All are divided by the number of particles.
    Ignored particles pull nothing either way: cells and queries inside them carry no weight as negatives.

    Parameters
    ----------
    radius
        Nominal particle radius in pixels (`CenterConfig.radius`).
    """
    labels = _labels(crops, output.dense.heat.device)
    count = max(int((~labels.ignored_here).sum()), 1)
    terms = _dense_losses(output.dense, labels, radius)
    if output.layers:
        pairs = _match(output.final, labels)
        for layer in output.layers:
            for name, value in _set_losses(layer, labels, pairs).items():
                terms[name] = terms.get(name, value.new_zeros(())) + value
    return {name: value / count if name != "junk" else value for name, value in terms.items()}


@dataclass(frozen=True, eq=False)
class _Labels:
    """The particles of a whole batch, image by image: `counts` of each, n in all.

    `points` (n, 2) from the corner of the image, `radii` (n,), `ignored` (n,) and `image` (n,) are on the network's
    device, `ignored_here` is on the CPU. `junk` is (batch, height, width).
    """

    counts: list[int]
    points: Tensor
    radii: Tensor
    ignored: Tensor
    image: Tensor
    ignored_here: NDArray[np.bool_]
    junk: Tensor


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Matched queries and particles, (k,) indices each; `off` (batch, queries) bool: queries to leave alone."""

    image: Tensor
    query: Tensor
    particle: Tensor
    off: Tensor


def _labels(crops: list[Crop], device: torch.device) -> _Labels:
    counts = [len(crop.centres) for crop in crops]
    image = torch.arange(len(crops)).repeat_interleave(torch.tensor(counts))
    points, radii = torch.cat([crop.centres for crop in crops]) + 0.5, torch.cat([crop.radii for crop in crops])
    ignored = torch.cat([crop.ignored for crop in crops])
    table = _sent(torch.column_stack([points, radii, ignored, image]), device)
    junk = _sent(torch.stack([crop.junk for crop in crops]), device)
    return _Labels(counts, table[:, :2], table[:, 2], table[:, 3].bool(), table[:, 4].long(), ignored.numpy(), junk)


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; from pinned memory neither side waits for the other."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def _by_image(values: Tensor, labels: _Labels) -> list[Tensor]:
    """Split (n, ...) into the parts of each image, without asking the device how many there are."""
    return [values[end - count : end] for count, end in zip(labels.counts, accumulate(labels.counts), strict=True)]


def _dense_losses(dense: DenseMap, labels: _Labels, radius: float) -> dict[str, Tensor]:
    batch, height, width = dense.heat.shape
    device = dense.heat.device
    y = torch.arange(height, device=device)[:, None] + 0.5
    x = torch.arange(width, device=device)[None] + 0.5
    at, r = labels.points / STRIDE, labels.radii / STRIDE
    kept = ~labels.ignored
    squared = (x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2
    bumps = torch.exp(-squared / (2 * (r[:, None, None] / 3) ** 2)) * kept[:, None, None]
    inside_ignored = (squared < (0.8 * r[:, None, None]) ** 2) & labels.ignored[:, None, None]
    target = torch.stack([part.amax(0) if len(part) else part.sum(0) for part in _by_image(bumps, labels)])
    trusted = torch.stack([~part.any(0) for part in _by_image(inside_ignored, labels)]).float()
    column, row = at[:, 0].long().clamp(0, width - 1), at[:, 1].long().clamp(0, height - 1)
    cell = (labels.image * height + row) * width + column
    nowhere = batch * height * width  # where the cells of ignored particles go
    centre_cell = torch.zeros(nowhere + 1, dtype=torch.bool, device=device)
    centre_cell[torch.where(kept, cell, nowhere)] = True
    centre_cell = centre_cell[:-1].view(batch, height, width)
    offset = at - torch.stack([column + 0.5, row + 0.5], 1)
    offset_error = (dense.offset[labels.image, :, row, column] - offset).abs().sum(1)
    radius_error = (dense.log_radius[labels.image, row, column] - (labels.radii / radius).log()).abs()
    p = dense.heat.sigmoid().clamp(1e-4, 1 - 1e-4)
    attract = (centre_cell * (1 - p) ** 2 * p.log()).sum()
    repel = (~centre_cell * trusted * (1 - target) ** 4 * p**2 * (1 - p).log()).sum()
    junk = F.avg_pool2d(labels.junk[:, None], STRIDE)[:, 0]
    return {
        "heat": -(attract + repel),
        "offset": 0.5 * (offset_error * kept).sum(),
        "radius": 0.5 * (radius_error * kept).sum(),
        "junk": 0.2 * F.binary_cross_entropy_with_logits(dense.junk, junk),
    }


@torch.no_grad()
def _match(queries: Queries, labels: _Labels) -> _Pairs:
    """Pair the queries of each image with its particles; the only place that waits for the device."""
    distance = (queries.centres[labels.image] - labels.points[:, None]).norm(dim=-1) / labels.radii[:, None]
    cost = 2 * distance - 2 * queries.logits[labels.image].sigmoid()
    cost = cost + 100.0 * ~queries.valid[labels.image]
    # Limited before the assignment, or far queries of missed particles would push near ones out of their pairs.
    cost = cost.nan_to_num(nan=_MATCH_LIMIT).clamp_max(_MATCH_LIMIT)
    found = [np.zeros((3, 0), np.int64)]
    first = 0
    for image, part in enumerate(_by_image(cost.cpu(), labels)):
        query, particle = linear_sum_assignment(part.T.numpy())
        near = part.numpy()[particle, query] < _MATCH_LIMIT
        query, particle = query[near], particle[near] + first
        found.append(np.stack([np.full_like(query, image), query, particle]))
        first += len(part)
    pairs = np.concatenate(found, 1)
    unwanted = labels.ignored_here[pairs[2]]
    pairs, wanted = np.concatenate([pairs[:, ~unwanted], pairs[:, unwanted]], 1), int((~unwanted).sum())
    there = _sent(torch.from_numpy(pairs), cost.device)
    near_ignored = (distance < 0.8) & labels.ignored[:, None]
    off = torch.zeros_like(queries.logits).index_add_(0, labels.image, near_ignored.to(queries.logits)) > 0
    off[there[0, wanted:], there[1, wanted:]] = True
    image, query, particle = there[:, :wanted]
    off[image, query] = False
    return _Pairs(image, query, particle, off)


def _set_losses(queries: Queries, labels: _Labels, pairs: _Pairs) -> dict[str, Tensor]:
    logits, at = queries.logits, (pairs.image, pairs.query)
    truth, r = labels.points[pairs.particle], labels.radii[pairs.particle]
    miss = (queries.centres[at] - truth) / r[:, None]
    quality = torch.exp(-((miss.detach().norm(dim=1) / 0.6) ** 2))
    target = torch.zeros_like(logits).index_put(at, quality**1.5)
    weight = logits.detach().sigmoid() ** 1.5 * (queries.valid & ~pairs.off)
    weight = weight.index_put(at, torch.ones_like(quality))
    return {
        "score": (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum(),
        "centre": miss.abs().sum(),
        "size": 0.5 * (queries.radii[at] / r).log().abs().sum(),
    }
