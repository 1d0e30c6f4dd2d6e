"""Reading and preparing: by step, by several threads, and with the preparation on the device."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cryotx_cli.micrographs.image import CLIP, PIXELS_PER_DIAMETER, clip_outliers, normalise, rescale
from cryotx_cli.micrographs.micrograph import read_micrograph
from discs import PIXEL_SIZE, write_micrograph
from gpu_parts.ceilings import reading_seconds
from gpu_parts.timing import DIAMETER, attempt, say, seconds_of

BACKGROUND_PX = 49


def run(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        paths = [write_micrograph(Path(name) / f"{i}.mrc", arguments.size, DIAMETER, i) for i in range(4)]
        factor = PIXELS_PER_DIAMETER * PIXEL_SIZE / DIAMETER
        attempt("one thread", lambda: preparation_by_step(paths, factor))
        attempt("readers", lambda: readers(paths, factor, "as it likes"))
        attempt("readers, one BLAS thread", lambda: readers_with_one_blas_thread(paths, factor))
        attempt("on the device", lambda: preparation_on(arguments.device, paths, factor))


def preparation_by_step(paths: Sequence[Path], factor: float) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    steps = np.zeros((len(paths), 4))
    for row, path in zip(steps, (paths[0], *paths), strict=False):
        times = [time.perf_counter()]
        image = read_micrograph(path).image
        times.append(time.perf_counter())
        image = clip_outliers(image)
        times.append(time.perf_counter())
        image = rescale(image, factor)
        times.append(time.perf_counter())
        image = normalise(image)
        row[:] = np.diff([*times, time.perf_counter()])
    cv2.setNumThreads(threads)
    read, clip, scale, grey = 1e3 * np.median(steps[1:], axis=0)
    total = read + clip + scale + grey
    say(f"ms, one thread: read {read:.1f}, clip {clip:.1f}, rescale {scale:.1f}, normalise {grey:.1f}, all {total:.1f}")


def readers(paths: Sequence[Path], factor: float, blas: str) -> None:
    """Say how many micrographs a second several threads of this process read and prepare."""

    def prepare(path: Path) -> object:
        return normalise(rescale(clip_outliers(read_micrograph(path).image), factor))

    rates = [f"{threads}: {1 / reading_seconds(prepare, [*paths] * 6, threads):.1f}" for threads in (1, 2, 4, 8)]
    say(f"micrographs/s by threads that read and prepare: {', '.join(rates)}; BLAS threads {blas}")


def readers_with_one_blas_thread(paths: Sequence[Path], factor: float) -> None:
    from threadpoolctl import threadpool_limits  # what scipy or scikit-learn may bring

    with threadpool_limits(1, "blas"):
        readers(paths, factor, "one")


def preparation_on(device: str, paths: Sequence[Path], factor: float) -> None:
    images = [read_micrograph(path).image for path in paths]
    expected = [normalise(rescale(clip_outliers(image), factor)) for image in images]
    there = DevicePreparation(images[0].shape, factor, device)
    worst = max(float(np.abs(there(torch.from_numpy(i)) - e).max()) for i, e in zip(images, expected, strict=True))
    first = torch.from_numpy(images[0])
    resident, pinned = first.to(device), first.pin_memory() if device != "cpu" else first
    for name, image in (("on the device already", resident), ("from pinned memory", pinned), ("unpinned", first)):
        say(f"prepared on {device}, {name}: {1e3 * seconds_of(partial(there, image), device):.2f} ms")
    say(f"largest difference from the CPU's: {worst:.2e} (the image goes from -{CLIP:g} to {CLIP:g})")


class DevicePreparation:
    """`clip_outliers`, `rescale` and `normalise` of micrographs of one size in torch; padded ones are not cared for."""

    def __init__(self, shape: tuple[int, int], factor: float, device: str) -> None:
        self.device = device
        sides = [max(1, round(n * factor)) for n in shape]
        self.rows, self.columns = (overlaps(n, side).to(device) for n, side in zip(shape, sides, strict=True))
        reach = BACKGROUND_PX // 2
        self.around = [torch.from_numpy(np.pad(np.arange(s), reach, mode="symmetric")).to(device) for s in sides]

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> NDArray[np.float32]:
        """Return the network's image, float32."""
        image = image.to(self.device, non_blocking=True)
        sample = image[::8, ::8].flatten()
        middle = median(sample)
        spread = 1.4826 * median((sample - middle).abs())
        image = torch.clamp(image, middle - 10 * spread, middle + 10 * spread)
        small = self.rows @ image @ self.columns.T
        background = small
        for _ in range(2):
            extended = background[self.around[0]][:, self.around[1]][None]
            background = F.avg_pool2d(F.avg_pool2d(extended, (BACKGROUND_PX, 1), 1), (1, BACKGROUND_PX), 1)[0]
        flat = small - background
        flat -= median(flat.flatten())
        flat /= 1.4826 * median(flat.abs().flatten())
        prepared: NDArray[np.float32] = flat.clamp_(-CLIP, CLIP).cpu().numpy()
        return prepared


def median(values: Tensor) -> Tensor:
    ordered = values.sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def overlaps(length: int, side: int) -> Tensor:
    """Share of each of `length` pixels in each of `side` larger ones, (side, length)."""
    edges = np.arange(side + 1) * (length / side)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return torch.from_numpy((np.clip(overlap, 0, None) * (side / length)).astype(np.float32))
