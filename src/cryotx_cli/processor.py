"""How many cores and how much memory a command was granted, and what its threads do while they wait for each other.

Imports nothing outside the standard library, and has to be asked before PyTorch is loaded.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_THREADS = "OMP_NUM_THREADS"
_OF_OPENCV = "OPENCV_FOR_THREADS_NUM"
_WAITING = "OMP_WAIT_POLICY"
_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
_OF_NUMPY = "OPENBLAS_NUM_THREADS"


@dataclass(frozen=True)
class Cores:
    """How many cores there are for this process, and who says so.

    Parameters
    ----------
    count
        At least 1.
    limit
        What allows no more of them; empty where all cores of the machine may be used.
    """

    count: int
    limit: str


def granted_cores(root: Path = Path("/")) -> Cores:
    """Return the cores that the machine, its scheduler or the container of this process grant it.

    PyTorch starts a thread for each core that it may be scheduled on. It does not ask for the quota of a container, nor
    for the share that SLURM gives a job without binding it to cores: with 2 of 64 cores it would start 64 threads that
    wait for each other.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    """
    everything = os.cpu_count() or 1
    found = [Cores(everything, "")]
    if hasattr(os, "sched_getaffinity"):
        found.append(Cores(len(os.sched_getaffinity(0)), "the cores it is bound to"))
    for quota in _quotas(root):
        found.append(Cores(max(1, math.ceil(quota)), f"a quota of {quota:g} cores"))
    share = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if share.isdigit() and int(share) > 0:
        found.append(Cores(int(share), f"SLURM_CPUS_PER_TASK={share}"))
    return min(found, key=lambda cores: cores.count)


def threads_to_use(root: Path = Path("/")) -> int:
    """Return how many micrographs may be worked on at a time where each takes little memory.

    As many as there are cores, no more than the user lets PyTorch use, and one for each GiB of free memory.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    """
    asked, free = os.environ.get(_THREADS, ""), free_memory(root)
    limits = [granted_cores(root).count]
    limits += [int(asked)] if asked.isdigit() else []
    limits += [free >> 30] if free is not None else []
    return max(1, min(limits))


def use_granted_cores() -> None:
    """Tell the libraries that are loaded from here on to start no more threads, and to let those that wait sleep.

    Threads of OpenMP spin while they wait for each other. A machine with nothing else to do loses nothing by it, but
    where cores are shared they spin in the time of the thread they wait for: on two busy cores picking with two threads
    took twice the processor time of one, and longer by the clock. PyTorch asks for memory in large pages, of which
    the system has to hand over fewer. NumPy's products are small, and made by threads that are side by side as it is:
    those that its own library starts for each of them spin, too. What the user has set stays.
    """
    os.environ.setdefault(_HUGE_PAGES, "1")
    os.environ.setdefault(_WAITING, "PASSIVE")
    os.environ.setdefault(_OF_NUMPY, "1")
    cores = granted_cores()
    if cores.limit:
        os.environ.setdefault(_THREADS, str(cores.count))
    if os.environ.get(_THREADS, "").isdigit():  # OpenCV knows nothing of OpenMP's threads, nor of SLURM
        os.environ.setdefault(_OF_OPENCV, os.environ[_THREADS])


@dataclass(frozen=True)
class ThreadTime:
    """What became of the threads of this process so far, in seconds of all of them together.

    Parameters
    ----------
    ran
        On a core.
    waited
        With something to do, but no core to do it on.
    """

    ran: float
    waited: float

    def waited_since(self, before: ThreadTime) -> float:
        """Return which share of the time that threads have had something to do they waited for a core."""
        ran, waited = (max(0.0, now - then) for now, then in ((self.ran, before.ran), (self.waited, before.waited)))
        return waited / (ran + waited) if ran + waited else 0.0


def thread_time(root: Path = Path("/")) -> ThreadTime | None:
    """Return what became of the threads of this process.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.

    Returns
    -------
    ThreadTime or None
        None where the system does not say.
    """
    ran = waited = 0
    told = False
    for file in (root / "proc/self/task").glob("*/schedstat"):
        with suppress(OSError, ValueError):  # of a thread that has just ended
            numbers = [int(number) for number in file.read_text().split()]
            if len(numbers) > 1:
                ran, waited, told = ran + numbers[0], waited + numbers[1], True
    return ThreadTime(ran / 1e9, waited / 1e9) if told else None


def free_memory(root: Path = Path("/")) -> int | None:
    """Return how many bytes this process may still take: what the machine has free, or a container's limit if less.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.

    Returns
    -------
    int or None
        None where the system does not say.
    """
    found = []
    with suppress(OSError):
        told = (root / "proc/meminfo").read_text(encoding="utf-8")
        free = re.search(r"^MemAvailable:\s*(\d+) kB$", told, re.MULTILINE)
        found += [1024 * int(free[1])] if free else []
    for folder, is_second in _control_groups(root, "memory"):
        with suppress(OSError, ValueError):  # ``max`` is no limit
            found.append(int((folder / ("memory.max" if is_second else "memory.limit_in_bytes")).read_text()))
    return min(found, default=None)


def _control_groups(root: Path, *controllers: str) -> Iterator[tuple[Path, bool]]:
    """Yield the folders of the control groups around this process, innermost first.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    controllers
        Names of those of the first version that count, as ``/proc/self/cgroup`` writes them.

    Yields
    ------
    Path, bool
        A folder, and whether it is of the second version, which has all controllers in one tree.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, mounted, path = (line.split(":", 2) + ["", ""])[:3]
        if mounted not in ("", *controllers):
            continue
        top = root / "sys/fs/cgroup" / mounted
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            yield folder, not mounted
            if folder == top:
                break


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas, in cores, of the control groups around this process, of either version."""
    for folder, is_second in _control_groups(root, "cpu", "cpu,cpuacct", "cpuacct,cpu"):
        quota = _number_pair(folder / "cpu.max") if is_second else _first_version(folder)
        if quota is not None:
            yield quota


def _number_pair(file: Path) -> float | None:
    """Return what ``quota period`` in microseconds is in cores; None where the quota is ``max``."""
    try:
        quota, period = file.read_text(encoding="utf-8").split()
        return float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _first_version(folder: Path) -> float | None:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
