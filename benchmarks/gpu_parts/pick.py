"""Whole runs of picking: one process, several, with pictures and report, and on the CPU."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from discs import write_micrograph
from gpu_parts.timing import DIAMETER, attempt, say

ONE_RUN = Path(__file__).with_name("one_run.py")


def run(arguments: argparse.Namespace) -> None:
    device, count = arguments.device, arguments.micrographs
    name = "cpu" if device == "cpu" else f"cuda:{torch.device(device).index or 0}"
    few, *more = [(",".join([name] * n), (2 + n // 4) * count) for n in arguments.processes]
    runs = [(device, count, False, False), (*few, False, False), (device, count, True, False)]
    runs += [(*one, False, False) for one in more]
    runs += [(*few, False, True), (*few, True, False)]
    if device != "cpu":
        runs.append(("cpu", min(24, count), False, False))
    say(
        f"{'device':18}{'pictures':>9}{'files':>6}{'per s':>8}{'whole/s':>8}{'start s':>8}{'CPU s':>7}"
        f"{'read':>7}{'prep':>7}{'net':>7}{'write':>7}{'GPU MiB':>9}{'host MiB':>9}"
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        originals = [write_micrograph(folder / f"{i}.mrc", arguments.size, DIAMETER, i) for i in range(8)]
        for number, (names, count, pictures, single) in enumerate(runs):
            files = folder / f"in{number}"
            files.mkdir()
            for one in range(count):
                os.link(originals[one % len(originals)], files / f"m{one:04}.mrc")
            attempt(names, partial(pick_row, files, names, pictures, single))


def pick_row(files: Path, device: str, pictures: bool, single: bool) -> None:
    """Print a row of the table; `single`: with one thread for each call of OpenBLAS, OpenMP and OpenCV."""
    libraries = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
    environment = os.environ | (dict.fromkeys(libraries, "1") if single else {})
    command = [sys.executable, str(ONE_RUN), str(files), "--device", device, "--diameter", str(DIAMETER)]
    command += ["--pictures"] * pictures
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with gpu_memory(device) as memory:
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
        seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip()[-300:])
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    told = json.loads(done.stdout.strip().splitlines()[-1])
    count = told["micrographs"]
    short = device if "," not in device else f"{device.split(',')[0]} x {device.count(',') + 1}"
    stages = "".join(f"{1e3 * told[stage]:7.0f}" for stage in ("read", "prepare", "pick", "write"))
    short += ", 1 thr" * single
    say(
        f"{short:18}{'yes' if pictures else 'no':>9}{count:6}{told['rate']:8.1f}{count / seconds:8.1f}"
        f"{seconds - told['after_first']:8.1f}{cpu / count:7.2f}{stages}"
        f"{max(memory, default=0):9.0f}{told['host']:9.0f}"
    )


@contextlib.contextmanager
def gpu_memory(device: str) -> Iterator[list[float]]:
    """Collect the MiB in use on the GPU, by all processes, beyond those at the beginning."""
    used: list[float] = []
    if device.startswith("cpu"):
        yield used
        return
    ended = threading.Event()
    at_first = torch.cuda.mem_get_info()[0]

    def watch() -> None:
        while not ended.wait(0.05):
            used.append((at_first - torch.cuda.mem_get_info()[0]) / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield used
    finally:
        ended.set()
        thread.join()
