"""What the machine can do at best: memory of the device, the way to it, and files."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from cryotx_cli.micrographs.micrograph import read_micrograph
from discs import write_micrograph
from gpu_parts.timing import DIAMETER, attempt, say, seconds_of


def run(arguments: argparse.Namespace) -> None:
    attempt("memory of the device", lambda: device_ceilings(arguments))
    attempt("files", lambda: file_ceilings(arguments))


def device_ceilings(arguments: argparse.Namespace) -> None:
    device = arguments.device
    there = torch.empty(2**30 if device != "cpu" else 2**24, dtype=torch.uint8, device=device)
    other = torch.empty_like(there)
    rate = 2 * there.numel() / seconds_of(lambda: other.copy_(there), device)
    say(f"{'device to device':32}{rate / 1e9:10.1f} GB/s read and written")
    one = torch.ones(1, device=device)
    say(f"{'one small kernel':32}{1e6 * seconds_of(lambda: one.add_(1), device):10.1f} us from the host")
    say(f"{'one small kernel, waited for':32}{1e6 * seconds_of(lambda: one.add_(1).item(), device):10.1f} us")
    if device == "cpu":
        return
    image = torch.from_numpy(np.ones((arguments.size, arguments.size), np.float32))
    started = time.perf_counter()
    pinned = image.pin_memory()
    say(f"{'pinning a micrograph, first time':32}{1e3 * (time.perf_counter() - started):10.1f} ms")
    there = torch.empty_like(image, device=device)
    each: dict[str, Callable[[], object]] = {
        "host to device, unpinned": lambda: there.copy_(image),
        "host to device, pinned": lambda: there.copy_(pinned, non_blocking=True),
        "copy into pinned memory, host": lambda: pinned.copy_(image),
    }
    for name, work in each.items():
        say_rate(name, image.nbytes, seconds_of(work, device))


def say_rate(name: str, size: int, seconds: float) -> None:
    say(f"{name:32}{size / seconds / 1e9:10.1f} GB/s{1 / seconds:10.1f} micrographs/s")


def file_ceilings(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder, count = Path(name), 8
        say(f"{'files':32}{mount_of(folder)}")
        first = write_micrograph(folder / "0.mrc", arguments.size, DIAMETER, 0)
        data = first.read_bytes()
        started = time.perf_counter()
        paths = [folder / f"{number}.mrc" for number in range(1, count + 1)]
        for path in paths:
            with path.open("wb") as file:
                file.write(data)
                os.fsync(file.fileno())
        say_rate("writing, on the disk", len(data), (time.perf_counter() - started) / count)
        for threads in (1, 4):
            for path in paths:
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            say_rate(f"reading, not cached, {threads} threads", len(data), reading_seconds(raw, paths, threads))
        readers: dict[str, Callable[[Path], object]] = {"np.fromfile": raw, "read_micrograph": read_micrograph}
        for what, read in readers.items():
            for threads in (1, 4, 8):
                say_rate(f"{what}, cached, {threads} threads", len(data), reading_seconds(read, paths, threads))


def raw(path: Path) -> object:
    return np.fromfile(path, np.float32)


def reading_seconds(read: Callable[[Path], object], paths: Sequence[Path], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        for _ in pool.map(lambda path: bool(read(path) is None), paths):
            pass
        return (time.perf_counter() - started) / len(paths)


def mount_of(folder: Path) -> str:
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    source, place, kind = max((m for m in mounts if folder.is_relative_to(m[1])), key=lambda m: len(m[1]))
    return f"{folder.parent} on {source}, {kind}, mounted at {place}"
