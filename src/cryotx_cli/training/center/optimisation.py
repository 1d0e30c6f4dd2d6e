"""How the default model and its film finder take a step: rates, forward, and down the gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cryotx_cli.detector.center.network import CenterDETR, CenterOutput
from cryotx_cli.detector.device import supports_bfloat16
from cryotx_cli.training.center.data import Crop

_WARM_UP = 200
_BETAS = (0.9, 0.98)


def optimizer_of(model: nn.Module) -> torch.optim.AdamW:
    """Return an optimiser of all weights, whose rate `descend` sets; matrices and kernels decay, others do not."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 1e-4}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=_BETAS)


def learning_rate(peak: float, step: int, steps: int) -> float:
    """Warm-up over 200 steps, flat to the middle of the run, then a cosine down to 1 %."""
    warm = min(1.0, (step + 1) / _WARM_UP)
    late = max(0.0, step / steps - 0.5) * 2
    return peak * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, late))))


def forward(model: CenterDETR, batch: list[Crop], device: torch.device) -> CenterOutput:
    """Run the network on a batch, with as many queries as crops of this size may need."""
    images = torch.stack([crop.image for crop in batch])
    if device.type == "cuda":  # from pinned memory the copy does not wait for the device
        images = images.pin_memory()
    images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
    queries = round(150 * images.shape[-1] * images.shape[-2] / 256**2) + 30
    with torch.autocast(device.type, torch.bfloat16, enabled=supports_bfloat16(device)):
        output: CenterOutput = model(images, max_queries=queries)
    return output


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, learning_rate: float) -> None:
    """Take one step down the gradient of a loss, whose norm is cut at 1."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
