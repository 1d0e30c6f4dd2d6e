"""The network alone: operations, milliseconds an image, images a second in batches and formats, and CUDA graphs."""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.network import CenterDETR, DenseMap
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, clip_outliers, normalise
from cryotx_cli.micrographs.micrograph import read_micrograph
from discs import PIXEL_SIZE, write_micrograph
from gpu_parts.number_formats import Context, formats
from gpu_parts.timing import attempt, say, seconds_of


def network_image(side: int, device: str) -> Tensor:
    """Discs in noise at network scale, (1, 1, side, side)."""
    with tempfile.TemporaryDirectory() as name:
        path = write_micrograph(Path(name) / "m.mrc", side, PIXELS_PER_DIAMETER * PIXEL_SIZE, 1)
        return torch.from_numpy(normalise(clip_outliers(read_micrograph(path).image)))[None, None].to(device)


def repeated(image: Tensor, batch: int) -> Tensor:
    """Return a batch of one image, channels last."""
    return image.repeat(batch, 1, 1, 1).contiguous(memory_format=torch.channels_last)


class Trunk(nn.Module):
    """All that does not depend on how many peaks there are: features at three strides and the dense head."""

    def __init__(self, model: CenterDETR) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the three feature maps and the maps of the dense head."""
        levels = self.model.features(images)
        return (*levels, *self.model.dense(levels[0]))


def run(arguments: argparse.Namespace) -> None:
    device = arguments.device
    picker = Picker(load_checkpoint("default"), device)
    model, trunk = picker.model, Trunk(picker.model)
    with torch.inference_mode():
        for side in arguments.sizes:
            image = network_image(side, device)
            attempt("operations", partial(count_operations, model, trunk, image))
            pick = 1e3 * seconds_of(partial(picker.detect, image[0, 0].cpu().numpy()), device)
            whole, features = (1e3 * seconds_of(partial(net, image), device) for net in (model, trunk))
            say(
                f"{side} px, as shipped, ms: detect {pick:.2f}, network {whole:.2f}, of it up to the map {features:.2f}"
            )
        say(f"{'micrographs/s':22}" + "".join(f"{f'batch {batch}':>10}" for batch in arguments.batches))
        for side in arguments.sizes:
            image = network_image(side, device)
            for name, context in formats(device).items():
                attempt(name, partial(network_row, model, image, name, context, arguments))
        if device == "cpu":
            return
        say(f"peak memory of the device: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
        for side in arguments.sizes:  # last: a capture that fails may leave the device unusable
            image = network_image(side, device)
            for name, context in formats(device).items():
                attempt(f"CUDA graph, {name}", partial(cuda_graph, model, trunk, image, name, context))


def network_row(model: nn.Module, image: Tensor, name: str, context: Context, arguments: argparse.Namespace) -> None:
    rates = []
    for batch in arguments.batches:
        images = repeated(image, batch)
        with context():
            rates.append(batch / seconds_of(partial(model, images), arguments.device))
    say(f"{f'{image.shape[-1]} px, {name}':22}" + "".join(f"{rate:10.1f}" for rate in rates))


def count_operations(model: nn.Module, trunk: Trunk, image: Tensor) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for net in (model, trunk):
        with FlopCounterMode(display=False) as counter:
            out = net(image)
        counts.append(counter.get_total_flops() / 1e9)
    peaks = model(image).peaks.logits.shape[1]
    say(f"{image.shape[-1]} px: {counts[0]:.1f} GFLOP, of it up to the map {counts[1]:.1f}; {peaks} queries")
    del out


def cuda_graph(model: CenterDETR, trunk: Trunk, image: Tensor, name: str, context: Context) -> None:
    """Say what replaying the part up to the map gains, alone and with the rest as it is."""
    graph, warm_up = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    # A cast that autocast remembers would be freed between capture and replay.
    with context(), torch.autocast("cuda", torch.bfloat16, enabled=name == "bfloat16", cache_enabled=False):
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            for _ in range(3):
                trunk(image)
        torch.cuda.current_stream().wait_stream(warm_up)
        with torch.cuda.graph(graph):
            level4, level8, level16, *dense = trunk(image)

        def replayed(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            graph.replay()
            return level4, level8, level16

        alone = 1e3 * seconds_of(graph.replay, "cuda")
        with patch.multiple(model, features=replayed, dense=lambda thin: DenseMap(*dense)):
            all_of_it = 1e3 * seconds_of(partial(model, image), "cuda")
    say(f"{image.shape[-1]} px, CUDA graph, {name}: up to the map {alone:.2f} ms, network {all_of_it:.2f} ms")
