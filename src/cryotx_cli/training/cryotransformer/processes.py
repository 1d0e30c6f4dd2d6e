"""Several processes that train one network, each on a GPU of its own: who is who, and what they agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch

from cryotx_cli.detector.device import resolve_device

_PATIENCE = timedelta(hours=6)  # the others wait while the first process validates


@dataclass(frozen=True)
class Place:
    """Which process of how many this is, and where it computes."""

    rank: int
    processes: int
    device: torch.device


@contextmanager
def joined_processes(device: str) -> Iterator[Place]:
    """Join the processes that ``torchrun`` started, each on a GPU of its own; alone without it."""
    processes, local = int(os.environ.get("WORLD_SIZE", 1)), os.environ.get("LOCAL_RANK", "0")
    if processes == 1:
        yield Place(0, 1, resolve_device(device))
        return
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{local}"
    place = Place(int(os.environ["RANK"]), processes, resolve_device(device))
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)
    torch.distributed.init_process_group("nccl" if place.device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield place
    finally:
        torch.distributed.destroy_process_group()


def agreed(wish: bool, place: Place) -> bool:
    """Whether the first process wishes it: a step that some do not take would make the others wait for ever."""
    if place.processes == 1:
        return wish
    decision = torch.tensor([float(wish)], device=place.device)
    torch.distributed.broadcast(decision, src=0)
    return bool(decision.item())
