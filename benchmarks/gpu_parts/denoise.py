"""Denoising in torch on the device, beside OpenCV and SciPy: seconds, memory, stages, and how many pixels differ."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cryotx_cli.detector.cryotransformer import denoise as stage
from cryotx_cli.micrographs.denoise import denoise as in_opencv
from denoise import PIPELINES, micrograph
from gpu_parts.timing import attempt, say, seconds_of


def run(arguments: argparse.Namespace) -> None:
    device, small = arguments.device, arguments.size // 2
    image, quarter = micrograph(arguments.size), micrograph(small)
    threads = cv2.getNumThreads()
    for pipeline in PIPELINES:
        started = time.perf_counter()
        expected = in_opencv(image, pipeline)
        on_cpu = time.perf_counter() - started
        cv2.setNumThreads(1)
        started = time.perf_counter()
        in_opencv(quarter, pipeline)
        alone = time.perf_counter() - started
        cv2.setNumThreads(threads)
        seconds, found = [], expected
        for _ in range(3):
            started = time.perf_counter()
            found = stage.denoise(image, pipeline, torch.device(device))
            seconds.append(time.perf_counter() - started)
        memory = torch.cuda.max_memory_allocated() / 2**20 if device != "cpu" else 0
        say(
            f"{pipeline}: {device} {min(seconds):.3f} s (first {seconds[0]:.2f}), {memory:.0f} MiB; CPU {on_cpu:.2f} s "
            f"with {threads} threads, {alone:.2f} s with one and {small} px, so about {4 * alone:.1f} s; "
            f"{int((found != expected).sum())} of {found.size} pixels differ"
        )
    attempt("stages", partial(denoise_stages, image, device))


def denoise_stages(image: NDArray[np.float32], device: str) -> None:
    pixels = torch.from_numpy(image).to(device)
    smooth = stage.to_8_bit(stage.standardise(pixels))
    restored = stage.to_8_bit(stage.wiener_filter(smooth))
    guide = restored.float() / 255
    works: dict[str, Callable[[], object]] = {
        "standardise": lambda: stage.standardise(pixels),
        "to_8_bit": lambda: stage.to_8_bit(pixels),
        "non_local_means": lambda: stage.non_local_means(smooth),
        "wiener_filter": lambda: stage.wiener_filter(smooth),
        "equalise": lambda: stage.equalise(restored),
        "guided_filter": lambda: stage.guided_filter(restored, guide, 41),
    }
    say("ms: " + ", ".join(f"{n} {1e3 * seconds_of(work, device, 0.2, 1):.1f}" for n, work in works.items()))
