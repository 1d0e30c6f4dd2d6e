"""What a GPU gives: ceilings, the network alone, preparation, whole runs of picking, denoising and training.

    python benchmarks/gpu.py [--parts ceilings network ...] [--device cuda] [--real FOLDER] [--seconds 200]

Each part is a module of gpu_parts and a process of its own with a limit of time: what fails or hangs costs itself
alone. `precision` counts the picks that other formats of numbers change, on the micrographs of --real, a folder as for
accuracy.py, or else on discs in noise. The micrographs of `pick` are float32 MRC files of noise with discs, a few of
them under many names, read from the page cache: the disk is a line of `ceilings`. Rates of `pick` are those of the
second half of a run, so that the start, which is in a column of its own, does not count; `1 thr`: the libraries start
no threads of their own. With --device cpu everything runs, slowly, and means little.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import torch

from gpu_parts.timing import say
from machine import describe_machine

LIMITS = {  # seconds a part may take; in this order, the most important first
    "pick": 85,
    "network": 45,
    "precision": 30,
    "preparation": 25,
    "ceilings": 25,
    "training": 60,
    "denoise": 45,
    "compile": 45,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=4096, help="height and width of micrographs in pixels")
    parser.add_argument("--micrographs", type=int, default=96, help="of a run in one process; several get more")
    parser.add_argument("--sizes", type=int, nargs="+", default=[656, 1024], help="sides of the network's images")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--processes", type=int, nargs="+", default=[4, 8], help="that share the GPU")
    parser.add_argument("--real", type=Path, help="folder of labelled data sets")
    parser.add_argument("--batch-size", type=int, default=64, help="of training, crops of 256 px")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="that simulate crops")
    parser.add_argument("--seconds", type=float, default=200.0, help="for everything: no part begins later")
    parser.add_argument("--folder", type=Path, help="where micrographs are written; default: the temporary folder")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        importlib.import_module(f"gpu_parts.{arguments.only}").run(arguments)
        return
    print_header(arguments)
    started = time.perf_counter()
    for part in arguments.parts:
        left = arguments.seconds - (time.perf_counter() - started)
        run_part(part, min(LIMITS[part], left))
    say(f"\nall parts: {time.perf_counter() - started:.0f} s")


def print_header(arguments: argparse.Namespace) -> None:
    say(describe_machine("torch", "numpy"))
    say(f"          OpenCV {cv2.__version__}; threads: torch {torch.get_num_threads()}, OpenCV {cv2.getNumThreads()}")
    if arguments.device == "cpu":
        return
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        say(f"gpu       {subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()}")
    say(f"          CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")  # type: ignore[no-untyped-call]


def run_part(part: str, limit: float) -> None:
    """Run one part in a process of its own, and say why if it does not end well."""
    if limit < 5:
        say(f"\n== {part}: skipped, no time left")
        return
    say(f"\n== {part}")
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *sys.argv, "--only", part], start_new_session=True)
    try:
        code: object = process.wait(limit)
    except subprocess.TimeoutExpired:
        code = f"stopped after {limit:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):  # its own group: it, and what it has started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    say(f"-- {part}: {time.perf_counter() - started:.1f} s" + (f", FAILED: {code}" if code else ""))


if __name__ == "__main__":
    main()
