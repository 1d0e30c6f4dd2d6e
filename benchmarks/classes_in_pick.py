"""What class averages add to ``cryotx pick``: time of runs with and without them, in turn.

    python benchmarks/classes_in_pick.py FOLDER --diameter 160 [--repeat 3]

FOLDER holds micrographs, such as `cryotx simulate --micrographs 20 --size 4096` makes. Each run is one call of the
command with pictures and report, start included. The clock counts only where nothing else runs on the machine; CPU
seconds do not show that averaging uses a second core. The goal: the median of the clock with averages is at most 1.25
times that without.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe_machine

GOAL = 1.25


def timed(folder: Path, diameter: float, flags: list[str]) -> tuple[float, float]:
    """Pick the micrographs of a folder once; return seconds by the clock and of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "cryotx_cli", "pick", str(folder), "--out", f"{out}/p.star"]
        command += ["--diameter", f"{diameter:g}", "--device", "cpu", *flags]
        subprocess.run(command, check=True, capture_output=True)
    clock = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Run both ways in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--diameter", type=float, required=True)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    print(describe_machine())
    found: dict[str, list[tuple[float, float]]] = {"--no-classes": [], "": []}
    for _ in range(args.repeat):
        for flag, runs in found.items():
            runs.append(timed(args.folder, args.diameter, [flag] if flag else []))
            print(
                f"{flag or 'with classes':14} {runs[-1][0]:7.1f} s by the clock, {runs[-1][1]:7.1f} CPU s", flush=True
            )
    ratios = [
        statistics.median(run[i] for run in found[""]) / statistics.median(run[i] for run in found["--no-classes"])
        for i in range(2)
    ]
    print(
        f"times as long: {ratios[0]:.2f} by the clock, {ratios[1]:.2f} in CPU seconds; the goal is {GOAL} by the clock"
    )


if __name__ == "__main__":
    main()
