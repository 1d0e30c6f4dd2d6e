"""Run a command and measure it: wall seconds, CPU seconds and peak memory of it and of all that it starts.

A process counts the memory of the one that started it as its own peak, so a small Python process stands in between:
this file, run as a script.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds on the clock, seconds of processor, and the largest memory of any one process."""

    wall: float
    cpu: float
    peak_mib: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.peak_mib, other.peak_mib))


def run(command: Sequence[str | float | Path], folder: Path, environment: Mapping[str, str] | None = None) -> Cost:
    """Run `command` in `folder` to its end.

    Parameters
    ----------
    environment
        Variables to set beside those of this process.

    Raises
    ------
    RuntimeError
        If it fails; with the end of what it printed.
    """
    with tempfile.TemporaryDirectory() as name:
        result = Path(name) / "cost.json"
        done = subprocess.run(
            [sys.executable, __file__, str(result), *map(str, command)],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-500:]
            raise RuntimeError(f"{command[0]} failed ({done.returncode}): {said}")
        return Cost(**json.loads(result.read_text()))


def measure(result: str, command: list[str]) -> int:
    started = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}
    Path(result).write_text(json.dumps(cost))
    return code


if __name__ == "__main__":
    sys.exit(measure(sys.argv[1], sys.argv[2:]))
