"""How the cost of ``cryotx pick`` grows: with micrographs, with particles a micrograph, and with the size of the image.

    python benchmarks/scaling.py [micrographs] [particles] [side] [--threads 1] [--full]
    python benchmarks/scaling.py cores

Each row is one call of the command, start included, on float32 MRC files of noise with dark discs on a jittered grid:

micrographs    10 to 1,000 of 512 x 512 px, 36 particles of 30 px each
particles      10 to 3,000 of 30 px in 2048 x 2048 px, four micrographs
side           2048 to 8192 px, as full of particles of 140 px as a grid allows by half, four micrographs

With `cores`, a run of 1,000 micrographs of 4096 x 4096 px is reckoned for 1 to 64 cores, not measured: each core has a
thread that picks micrographs of its own, and one thread hands them out and writes what is of the run. Measured are the
processor seconds of both, in two runs of different length in this process. That threads wait for Python's lock, for
memory or for a disk is not in it, nor is the start.

CPU seconds and peak memory of the whole process are printed, then the straight line through the CPU seconds and how
far the rows lie from it. With --full pictures and report are written, too.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np

import child
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.workflows.pick import start_pick
from machine import describe_machine
from programs import run_cryotx

PIXEL_SIZE = 2.5  # Å
TABLES = ("micrographs", "particles", "side")
CORES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Case:
    """`files` micrographs of `side` px with `particles` discs each, as one point at `x` of a table."""

    x: int
    files: int
    side: int
    particles: int
    diameter_px: int = 30


def cases(table: str) -> list[Case]:
    if table == "micrographs":
        return [Case(files, files, 512, 36) for files in (10, 30, 100, 300, 1000)]
    if table == "particles":
        return [Case(particles, 4, 2048, particles) for particles in (10, 100, 300, 1000, 3000)]
    return [Case(side, 4, side, (side // 147) ** 2 // 2, 140) for side in (2048, 4096, 6144, 8192)]


def write_micrographs(folder: Path, case: Case) -> None:
    """Write up to ten different micrographs; the others are further names of these."""
    folder.mkdir()
    for number in range(case.files):
        path = folder / f"m{number:04}.mrc"
        if number < 10:
            with mrcfile.new(path) as mrc:
                mrc.set_data(micrograph(case, number))
                mrc.voxel_size = PIXEL_SIZE
        else:
            os.link(folder / f"m{number % 10:04}.mrc", path)


def micrograph(case: Case, seed: int) -> np.ndarray:
    """Noise with dark discs on randomly chosen places of a jittered grid."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((case.side, case.side), np.float32)
    half = case.diameter_px // 2
    y, x = np.ogrid[-half : half + 1, -half : half + 1]
    disc = (np.hypot(x, y) <= half).astype(np.float32)
    cell = case.diameter_px + 7
    places = rng.choice((case.side // cell) ** 2, case.particles, replace=False)
    corners = np.column_stack(np.divmod(places, case.side // cell)) * cell
    for top, left in corners + rng.integers(0, cell - len(disc), (case.particles, 2)):
        image[top : top + len(disc), left : left + len(disc)] -= 24 / case.diameter_px * disc
    return image


def measure(case: Case, arguments: argparse.Namespace) -> tuple[child.Cost, int]:
    """Pick the micrographs of a case; what it cost and how many picks there were."""
    flags = () if arguments.full else ("--no-images", "--no-report")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_micrographs(folder / "micrographs", case)
        out = folder / "p.star"
        diameter = case.diameter_px * PIXEL_SIZE
        cost = run_cryotx(folder / "micrographs", out, PIXEL_SIZE, diameter, *flags, threads=arguments.threads)
        return cost, sum(map(len, read_particles(out).values()))


def rows(table: str, arguments: argparse.Namespace) -> Iterator[tuple[Case, child.Cost]]:
    print(f"\n{table:>12}{'picks each':>12}{'CPU s':>9}{'clock s':>9}{'each CPU s':>12}{'peak MiB':>10}")
    for case in cases(table):
        if case.x <= arguments.largest:
            cost, picks = measure(case, arguments)
            print(
                f"{case.x:12}{picks / case.files:12.0f}{cost.cpu:9.2f}{cost.wall:9.2f}{cost.cpu / case.files:12.3f}"
                f"{cost.peak_mib:10.0f}",
                flush=True,
            )
            yield case, cost


def print_line(measured: list[tuple[Case, child.Cost]], table: str) -> None:
    """Fit CPU seconds over the table's quantity, relative errors least; images count by their area."""
    if len(measured) < 3:
        return
    x = np.array([case.x for case, _ in measured], float)
    x = (x / 1024) ** 2 if table == "side" else x
    seconds = np.array([cost.cpu for _, cost in measured])
    slope, start = np.polyfit(x, seconds, 1, w=1 / seconds)
    off = np.abs((start + slope * x) / seconds - 1).max()
    unit = {"micrographs": "micrograph", "particles": "particle on each of 4", "side": "megapixel on each of 4"}[table]
    print(f"line: {start:.2f} s + {slope:.5f} s a {unit}; rows are at most {100 * off:.0f} % off it")


def reckon_cores() -> None:
    """Print how long 1,000 micrographs would take on so many cores, after Amdahl."""
    import torch

    torch.set_num_threads(1)
    config = PickConfig(diameter=140 * PIXEL_SIZE, device="cpu", images=False, report=False, no_classes=True)
    counts, rows = (2, 6, 18), []
    with tempfile.TemporaryDirectory() as name:
        for count in counts:
            folder = Path(name) / f"{count}"
            write_micrographs(folder, Case(count, count, 4096, (4096 // 147) ** 2 // 2, 140))
            own, together = time.thread_time(), time.process_time()
            list(start_pick([folder], Path(name) / f"{count}.star", config))
            own, together = time.thread_time() - own, time.process_time() - together
            rows.append((own, together - own))
    # The first run has loaded libraries.
    (own, own_start), (shared, shared_start) = (np.polyfit(counts[1:], column, 1) for column in np.array(rows[1:]).T)
    print(f"\none thread: {own_start:.2f} s + {own:.4f} s each; all cores: {shared_start:.2f} s + {shared:.4f} s each")
    print(f"{'cores':>8}{'seconds':>10}{'micrographs/s':>16}{'of as many cores':>18}")
    for cores in CORES:
        seconds = own_start + 1000 * own + (shared_start + 1000 * shared) / cores
        alone = own_start + 1000 * own + shared_start + 1000 * shared
        print(f"{cores:8}{seconds:10.0f}{1000 / seconds:16.1f}{alone / seconds / cores:18.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; default: these; or cores")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--largest", type=float, default=float("inf"), help="leave out rows beyond this")
    parser.add_argument("--full", action="store_true", help="with pictures and report")
    arguments = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    for table in arguments.tables or TABLES:
        if table == "cores":
            reckon_cores()
        else:
            print_line(list(rows(table, arguments)), table)


if __name__ == "__main__":
    main()
