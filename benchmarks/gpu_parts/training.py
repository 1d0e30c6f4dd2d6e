"""How many crops a second are simulated, learned from, and both, and where the time of a step goes."""

from __future__ import annotations

import argparse
import copy
import time
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader

import training as steps
from cryotx_cli.simulator.structures import procedural_structure
from cryotx_cli.training.center.data import Crop, SimulatedCrops, unpacked
from gpu_parts.timing import attempt, say, seconds_of


def run(arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(1)
    structures = [procedural_structure(rng) for _ in range(20)]
    size, workers = arguments.batch_size, arguments.workers
    trainer = steps.Trainer(torch.device(arguments.device))
    # Small batches, which workers deliver evenly.
    small = SimulatedCrops(structures, batch_size=4, steps=steps.RUN_STEPS, seed=1, first=steps.RUN_STEPS // 2)
    late = replace_first(small, steps.RUN_STEPS * 9 // 10)
    started = time.perf_counter()
    loader = iter(DataLoader(small, batch_size=None, num_workers=workers, prefetch_factor=2))
    crops = unpacked(next(loader))
    for _ in range(workers):
        crops += unpacked(next(loader))
    warm, before = time.perf_counter(), len(crops)
    while len(crops) < before + max(size, 64 * workers):
        crops += unpacked(next(loader))
    rate = (len(crops) - before) / (time.perf_counter() - warm)
    say(f"simulation, {workers} workers: {rate:.1f} crops/s; the first after {warm - started:.1f} s")
    del loader
    for batch in (size // 2, size, 2 * size):
        attempt(f"batches of {batch}", partial(learning, trainer, (crops * (batch // len(crops) + 1))[:batch]))
    attempt("late", lambda: learning(trainer, [late.batch(late.first)[0]] * max(1, round(size * (256 / 384) ** 2))))
    if trainer.device.type == "cuda":
        attempt("waits", lambda: steps.host_waits(trainer, crops[:size]))
        say(f"peak memory of the device: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
    whole = SimulatedCrops(structures, batch_size=size, steps=steps.RUN_STEPS, seed=2, first=steps.RUN_STEPS // 2)
    attempt("whole steps", lambda: steps.whole_steps(trainer, whole, 2 * workers, workers))


def replace_first(crops: SimulatedCrops, first: int) -> SimulatedCrops:
    other = copy.copy(crops)
    other.first = first
    return other


def learning(trainer: steps.Trainer, batch: list[Crop]) -> None:
    """Print crops a second of steps on one batch over and over, and the share of each part."""
    device = trainer.device.type
    trainer.apart = True
    trainer.step(batch)
    trainer.seconds = dict.fromkeys(trainer.seconds, 0.0)
    for _ in range(3):
        trainer.step(batch)
    total = sum(trainer.seconds.values())
    parts = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in trainer.seconds.items() if seconds)
    trainer.apart = False
    each = seconds_of(lambda: trainer.step(batch), device, 1.0, 1)
    side = batch[0].image.shape[-1]
    say(
        f"learning, {len(batch)} crops of {side} px: {len(batch) / each:.1f} crops/s, step {1e3 * each:.0f} ms: {parts}"
    )
