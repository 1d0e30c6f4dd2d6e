"""How fast the default model learns, and where the time goes: images a second and the share of each part of a step.

    python benchmarks/training.py [--steps 20] [--batch-size 8] [--late] [--workers 1] [--device auto]

First each part by itself, one after the other, the device waited for at every boundary; simulation runs in this
process, so its line says how many processes beside the training would keep it fed. Then whole steps, with as many
workers as given, as ``cryotx train --simulate`` runs them: `waiting` is the share in which there was nothing to learn
from. On a GPU the host's waits for it in one step are counted, too. A training run validates every 500 steps on 48
crops.
"""

from __future__ import annotations

import argparse
import contextlib
import time
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from cryotx_cli.config import CenterConfig
from cryotx_cli.detector.center.checkpoint import Checkpoint
from cryotx_cli.detector.center.network import CenterDETR
from cryotx_cli.detector.device import resolve_device, supports_bfloat16
from cryotx_cli.simulator.structures import procedural_structure
from cryotx_cli.training.center.data import Crop, SimulatedCrops, unpacked
from cryotx_cli.training.center.loss import center_losses
from cryotx_cli.training.center.optimisation import optimizer_of
from cryotx_cli.training.center.validation import score
from cryotx_cli.training.run import WeightAverage
from machine import describe_machine

PARTS = ("simulation", "transfer", "forward", "loss and assignment", "backward", "optimiser", "average")
VALIDATE_EVERY, VALIDATION_CROPS, WARM_UP = 500, 48, 3
RUN_STEPS = 6000  # the schedule of sizes begins anew with every run


class Trainer:
    """A model on its way, with a clock for each part of a step."""

    def __init__(self, device: torch.device) -> None:
        torch.manual_seed(1)
        self.device, self.low_precision = device, supports_bfloat16(device)
        self.model = CenterDETR(CenterConfig()).to(device).to(memory_format=torch.channels_last)
        self.optimizer = optimizer_of(self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-4
        self.average = WeightAverage(self.model)
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.apart = True

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is inside; wait for the device before and after where the parts are timed apart."""
        self.wait()
        start = time.perf_counter()
        yield
        self.wait()
        self.seconds[name] += time.perf_counter() - start

    def wait(self) -> None:
        if self.apart and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def step(self, batch: list[Crop]) -> None:
        self.model.train()
        with self.part("transfer"):
            images = torch.stack([crop.image for crop in batch])
            images = images.to(self.device, memory_format=torch.channels_last)
        queries = round(150 * images.shape[-1] * images.shape[-2] / 256**2) + 30
        with self.part("forward"), torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision):
            output = self.model(images, max_queries=queries)
        with self.part("loss and assignment"):
            loss = torch.stack(list(center_losses(output, batch, self.model.config.radius).values())).sum()
        with self.part("backward"):
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        with self.part("optimiser"):
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
        with self.part("average"):
            self.average.update(self.model)


def parts(trainer: Trainer, crops: SimulatedCrops, steps: int) -> None:
    """Print the milliseconds and the share of each part, validation included."""
    for number in range(WARM_UP):
        trainer.step(crops.batch(crops.first + number))
    trainer.seconds = dict.fromkeys(PARTS, 0.0)
    images = 0
    for number in range(WARM_UP, WARM_UP + steps):
        with trainer.part("simulation"):
            batch = crops.batch(crops.first + number)
        trainer.step(batch)
        images += len(batch)
    held_out = [crops.batch(crops.first + number)[0] for number in range(8)]
    start = time.perf_counter()
    checkpoint = Checkpoint(weights={k: v.cpu() for k, v in trainer.average.state.items()}, name="benchmark")
    score(checkpoint, held_out, trainer.device)
    validation = (time.perf_counter() - start) / len(held_out) * VALIDATION_CROPS / VALIDATE_EVERY
    learning = sum(trainer.seconds.values()) - trainer.seconds["simulation"]
    print(f"\n{'part':22}{'ms a step':>12}{'ms an image':>13}{'share of learning':>20}")
    for name, seconds in trainer.seconds.items():
        share = "" if name == "simulation" else f"{seconds / learning:20.1%}"
        print(f"{name:22}{1e3 * seconds / steps:12.1f}{1e3 * seconds / images:13.2f}{share:>20}")
    print(
        f"{'validation':22}{1e3 * validation:12.1f}{1e3 * validation * steps / images:13.2f}  spread over its 500 steps"
    )
    print(f"{'learning, images/s':22}{images / learning:12.1f}")
    needed = trainer.seconds["simulation"] / learning
    print(f"{'simulation, images/s':22}{images / trainer.seconds['simulation']:12.1f}   {needed:.2f} processes feed it")


def whole_steps(trainer: Trainer, crops: SimulatedCrops, steps: int, workers: int) -> None:
    """Print images a second of the loop with its workers, and how long it waited for them."""
    trainer.apart = False
    loader = iter(DataLoader(crops, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None))
    for _ in range(WARM_UP):
        trainer.step(unpacked(next(loader)))
    images, waited, start = 0, 0.0, time.perf_counter()
    for _ in range(steps):
        before = time.perf_counter()
        batch = unpacked(next(loader))
        waited += time.perf_counter() - before
        trainer.step(batch)
        images += len(batch)
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    total = time.perf_counter() - start
    print(f"{f'whole steps, {workers} workers':22}{images / total:12.1f} images/s, waiting {waited / total:.1%}")


def host_waits(trainer: Trainer, batch: list[Crop]) -> None:
    """Print how often one step makes the host wait for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.step(batch)
    torch.cuda.set_sync_debug_mode("default")
    print(f"{'waits of the host':22}{sum('synchronizing' in str(w.message) for w in caught):12d}   in one step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8, help="crops of 256 px")
    parser.add_argument("--late", action="store_true", help="crops of 384 px, as in the last eighth of a run")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = resolve_device(args.device)
    there = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(describe_machine("torch", "numpy"))
    trainer = Trainer(device)
    print(f"device    {there}; {'bfloat16' if trainer.low_precision else 'float32'}; batches of {args.batch_size}")
    rng = np.random.default_rng(1)
    structures = [procedural_structure(rng) for _ in range(20)]
    first = RUN_STEPS * 9 // 10 if args.late else RUN_STEPS // 2
    crops = SimulatedCrops(structures, batch_size=args.batch_size, steps=RUN_STEPS, seed=1, first=first)
    parts(trainer, crops, args.steps)
    whole_steps(trainer, crops, args.steps, args.workers)
    if device.type == "cuda":
        trainer.apart = False
        host_waits(trainer, crops.batch(crops.first))


if __name__ == "__main__":
    main()
