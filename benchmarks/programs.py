"""How the benchmarks call cryotx and other pickers: as their users would, on a folder of MRC micrographs.

Every command line is printed before it runs.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import child

FINEST_TOPAZ = 8.0  # Å per pixel: its authors advise to downsample to 4 to 8
LOWEST_LOG, HIGHEST_LOG = 150 / 191, 180 / 191  # of the diameter: see `run_relion`
LOG_RESOLUTION = 20  # Å: "Maximum resolution to consider" of RELION's job
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
    return run(command, out.parent, thread_limit(threads))


def run_relion(
    program: Path, folder: Path, work: Path, pixel_size: float, diameter: float, processes: int = 1
) -> child.Cost:
    """Run RELION's LoG as its job does when nothing is changed there; picks are ``*_autopick.star`` below `work`.

    Micrographs are shrunk as far as a resolution of 20 Å allows. The range of diameters is that of RELION's tutorial in
    proportion: there it is 150 to 180 Å for β-galactosidase, which is 191 Å wide in the labels of EMPIAR-10017. A
    process uses one thread; several are those of MPI, with ``relion_autopick_mpi``.
    """
    command: list[Flag] = [program]
    if processes > 1:
        command = ["mpirun", "-n", processes, program.with_name(f"{program.name}_mpi")]
    command += ["--i", f"{folder}/*.mrc", "--odir", "picks/", "--pickname", "autopick", "--LoG"]
    command += ["--LoG_diam_min", round(LOWEST_LOG * diameter, 1), "--LoG_diam_max", round(HIGHEST_LOG * diameter, 1)]
    command += ["--shrink", 0, "--lowpass", LOG_RESOLUTION, "--LoG_adjust_threshold", 0, "--angpix", pixel_size]
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return run(command, work, thread_limit() | as_root)


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
    settings: list[Flag] = ["--num-threads", threads, "--device", -1]
    small = work / "small"
    command: list[Flag] = [program, "preprocess", "--scale", scale, "--destdir", small, *settings]
    cost = run([*command, *sorted(folder.glob("*.mrc"))], work, thread_limit(threads))
    command = [program, "extract", "--model", "resnet16", "--radius", radius, "--up-scale", scale, *settings]
    command += ["--output", work / "picks.txt", *sorted(small.glob("*.mrc"))]
    return cost + run(command, work, thread_limit(threads))


def run(command: list[Flag], folder: Path, environment: Mapping[str, str]) -> child.Cost:
    """Print a command line, with the first alone of the micrographs it ends with, and run it."""
    words = [str(word) for word in command]
    micrographs = [word for word in words if word.endswith(".mrc") and "*" not in word]
    shown = [word for word in words if word not in micrographs[1:]]
    more = f" ... ({len(micrographs)} files)" if len(micrographs) > 1 else ""
    threads = f"OMP_NUM_THREADS={environment['OMP_NUM_THREADS']}"
    print(f"$ {threads} {shlex.join(shown)}{more}", flush=True)
    return child.run(command, folder, environment)
