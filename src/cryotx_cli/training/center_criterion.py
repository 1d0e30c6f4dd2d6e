"""Losses of the default model: dense map, and one-to-one set loss of the decoder's residuals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cryotx_cli.detector.center_detr import STRIDE, CenterOutput, DenseMap, Queries
from cryotx_cli.training.training_data import Crop

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
    count = max(sum(int((~crop.ignored).sum()) for crop in crops), 1)
    terms = _dense_losses(output.dense, crops, radius)
    if output.layers:
        pairs = [_match(output.final, b, crop) for b, crop in enumerate(crops)]
        for layer in output.layers:
            for name, value in _set_losses(layer, crops, pairs).items():
                terms[name] = terms.get(name, value.new_zeros(())) + value
    return {name: value / count if name != "junk" else value for name, value in terms.items()}


def _dense_losses(dense: DenseMap, crops: list[Crop], radius: float) -> dict[str, Tensor]:
    height, width = dense.heat.shape[-2:]
    device = dense.heat.device
    target = torch.zeros_like(dense.heat)
    centre_cell = torch.zeros_like(dense.heat, dtype=torch.bool)
    trusted = torch.ones_like(dense.heat)
    y = torch.arange(height, device=device)[:, None] + 0.5
    x = torch.arange(width, device=device)[None] + 0.5
    offset_loss, radius_loss = dense.heat.new_zeros(()), dense.heat.new_zeros(())
    for b, crop in enumerate(crops):
        at = (crop.centres.to(device) + 0.5) / STRIDE
        r = crop.radii.to(device) / STRIDE
        ignored = crop.ignored.to(device)
        if not len(at):
            continue
        squared = (x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2
        bumps = torch.exp(-squared / (2 * (r[:, None, None] / 3) ** 2))
        trusted[b] = (~(squared[ignored] < (0.8 * r[ignored, None, None]) ** 2).any(0)).float()
        kept = ~ignored
        if not kept.any():
            continue
        target[b] = bumps[kept].amax(0)
        cell = at[kept].long()
        cell[:, 0].clamp_(0, width - 1)
        cell[:, 1].clamp_(0, height - 1)
        centre_cell[b, cell[:, 1], cell[:, 0]] = True
        said = dense.offset[b, :, cell[:, 1], cell[:, 0]].T
        offset_loss = offset_loss + (said - (at[kept] - (cell + 0.5))).abs().sum()
        log_radius = (crop.radii.to(device)[kept] / radius).log()
        radius_loss = radius_loss + (dense.log_radius[b, cell[:, 1], cell[:, 0]] - log_radius).abs().sum()
    p = dense.heat.sigmoid().clamp(1e-4, 1 - 1e-4)
    attract = (centre_cell * (1 - p) ** 2 * p.log()).sum()
    repel = (~centre_cell * trusted * (1 - target) ** 4 * p**2 * (1 - p).log()).sum()
    junk = torch.stack([crop.junk for crop in crops]).to(device)
    junk = F.avg_pool2d(junk[:, None], STRIDE)[:, 0]
    return {
        "heat": -(attract + repel),
        "offset": 0.5 * offset_loss,
        "radius": 0.5 * radius_loss,
        "junk": 0.2 * F.binary_cross_entropy_with_logits(dense.junk, junk),
    }


def _match(queries: Queries, b: int, crop: Crop) -> tuple[Tensor, Tensor, Tensor]:
    """Pair queries of image `b` with its particles; (query indices, particle indices, ignored queries as (n,) bool)."""
    device = queries.logits.device
    centres = crop.centres.to(device) + 0.5
    radii = crop.radii.to(device)
    nothing = torch.zeros(0, dtype=torch.long, device=device)
    off = torch.zeros(queries.logits.shape[1], dtype=torch.bool, device=device)
    if not len(centres):
        return nothing, nothing, off
    with torch.no_grad():
        distance = (queries.centres[b, :, None] - centres[None]).norm(dim=-1) / radii[None]
        cost = 2 * distance - 2 * queries.logits[b].sigmoid()[:, None]
        cost = cost + 100.0 * ~queries.valid[b][:, None]
        # Limited before the assignment, or far queries of missed particles would push near ones out of their pairs.
        cost = cost.nan_to_num(nan=_MATCH_LIMIT).clamp_max(_MATCH_LIMIT)
        rows, columns = linear_sum_assignment(cost.cpu().numpy())
        q, t = torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)
        near = cost[q, t] < _MATCH_LIMIT
        q, t = q[near], t[near]
        ignored = crop.ignored.to(device)
        off = (distance[:, ignored] < 0.8).any(1)
        wanted = ~ignored[t]
        off[q[~wanted]] = True
        q, t = q[wanted], t[wanted]
        off[q] = False
    return q, t, off


def _set_losses(queries: Queries, crops: list[Crop], pairs: list[tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
    zero = queries.logits.new_zeros(())
    score, centre, radius = zero, zero, zero
    for b, (crop, (q, t, off)) in enumerate(zip(crops, pairs, strict=True)):
        logits = queries.logits[b]
        target = torch.zeros_like(logits)
        weight = logits.detach().sigmoid() ** 1.5 * (queries.valid[b] & ~off)
        if len(q):
            truth, r = crop.centres.to(logits.device)[t] + 0.5, crop.radii.to(logits.device)[t]
            miss = (queries.centres[b, q] - truth) / r[:, None]
            quality = torch.exp(-((miss.detach().norm(dim=1) / 0.6) ** 2))
            target = target.index_put((q,), quality**1.5)
            weight = weight.index_put((q,), torch.ones_like(quality))
            centre = centre + miss.abs().sum()
            radius = radius + 0.5 * (queries.radii[b, q] / r).log().abs().sum()
        score = score + (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum()
    return {"score": score, "centre": centre, "size": radius}
