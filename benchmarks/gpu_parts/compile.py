"""What `torch.compile` gains on the network up to the map, and how long it takes to compile."""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch
from torch import Tensor

from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from gpu_parts.network import Trunk, network_image, repeated
from gpu_parts.timing import attempt, say, seconds_of, wait_for


def run(arguments: argparse.Namespace) -> None:
    device = arguments.device
    image = network_image(arguments.sizes[0], device)
    trunk = Trunk(Picker(load_checkpoint("default"), device).model)
    for mode in ("default", "reduce-overhead") if device != "cpu" else ("default",):
        for batch in (1, 8):
            attempt(f"torch.compile, {mode}", partial(compiled, trunk, repeated(image, batch), mode, device))


def compiled(trunk: Trunk, images: Tensor, mode: str, device: str) -> None:
    torch.compiler.reset()
    with torch.inference_mode():
        eager = seconds_of(lambda: trunk(images), device)
        optimised = torch.compile(trunk, mode=mode, dynamic=False)
        started = time.perf_counter()
        optimised(images)
        wait_for(device)
        first = time.perf_counter() - started
        each = seconds_of(lambda: optimised(images), device)
    say(
        f"up to the map, batch {len(images)}, {mode}: {1e3 * eager:.2f} ms eager, {1e3 * each:.2f} ms compiled, which "
        f"took {first:.1f} s"
    )
