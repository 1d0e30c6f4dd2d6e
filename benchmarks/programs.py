"""How the benchmarks call cryotx and other pickers: as their users would, on a folder of MRC micrographs."""

from __future__ import annotations

import sys
from pathlib import Path

import child

FINEST_TOPAZ = 8.0  # Å per pixel: its authors advise to downsample to 4 to 8
Flag = str | float | Path


def thread_limit(count: int = 1) -> dict[str, str]:
    """Environment in which numerical libraries use `count` threads."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(count))


def run_cryotx(
    folder: Path, out: Path, pixel_size: float, diameter: float, *flags: Flag, threads: int = 1
) -> child.Cost:
    """Run `cryotx pick` on the CPU with these flags; the merged STAR file is `out`."""
    command: list[Flag] = [sys.executable, "-m", "cryotx_cli", "pick", folder, "--out", out, "--device", "cpu"]
    command += ["--pixel-size", pixel_size, "--diameter", diameter, *flags]
    return child.run(command, out.parent, thread_limit(threads))


def run_relion(program: Path, folder: Path, work: Path, pixel_size: float, diameter: float) -> child.Cost:
    """Run `relion_autopick --LoG` at full size; it uses one thread. Picks are ``*_autopick.star`` below `work`."""
    command = [program, "--i", f"{folder}/*.mrc", "--odir", "picks/", "--LoG", "--shrink", 0, "--angpix", pixel_size]
    command += ["--LoG_diam_min", 0.8 * diameter, "--LoG_diam_max", 1.2 * diameter]
    return child.run(command, work, thread_limit())


def run_topaz(
    program: Path,
    folder: Path,
    work: Path,
    pixel_size: float,
    diameter: float,
    *,
    doubled: bool = False,
    threads: int = 1,
) -> child.Cost:
    """Run `topaz preprocess` and `topaz extract` with the pretrained model; picks are ``picks.txt`` in `work`.

    Micrographs are downsampled by a whole number to just below `FINEST_TOPAZ`, or to twice that if `doubled`.
    """
    scale = max(1, int(FINEST_TOPAZ / pixel_size)) * (2 if doubled else 1)
    radius = max(1, round(diameter / pixel_size / 2 / scale))
    settings = ["--num-threads", threads, "--device", -1]
    small = work / "small"
    preprocess = [program, "preprocess", "--scale", scale, "--destdir", small, *settings, *sorted(folder.glob("*.mrc"))]
    cost = child.run(preprocess, work, thread_limit(threads))
    extract = [program, "extract", "--model", "resnet16", "--radius", radius, "--up-scale", scale, *settings]
    extract += ["--output", work / "picks.txt", *sorted(small.glob("*.mrc"))]
    return cost + child.run(extract, work, thread_limit(threads))
