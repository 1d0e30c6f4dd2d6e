"""How many cores and how much memory a command uses where a machine, container or scheduler does not grant all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cryotx_cli.processor import Cores, ThreadTime, free_memory, granted_cores, thread_time, threads_to_use


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 cores, all of them free."""
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def root_with(folder: Path, group: str, files: dict[str, str]) -> Path:
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        file = folder / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_all_cores_where_nothing_limits_them(tmp_path: Path) -> None:
    assert granted_cores(tmp_path) == Cores(64, "")


def test_cores_that_the_process_is_bound_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)

    assert granted_cores(tmp_path) == Cores(3, "the cores it is bound to")


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/box\n", {"box/cpu.max": "200000 100000\n"}, 2),
        ("0::/box\n", {"box/cpu.max": "150000 100000\n"}, 2),
        ("0::/box\n", {"box/cpu.max": "10000 100000\n"}, 1),
        ("0::/outer/inner\n", {"outer/cpu.max": "300000 100000\n", "outer/inner/cpu.max": "max 100000\n"}, 3),
        ("0::/outer/inner\n", {"outer/cpu.max": "300000 100000\n", "outer/inner/cpu.max": "800000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/box\n", {"box/cpu.max": "max 100000\n"}, 64),
        ("0::/box\n", {"box/cpu.max": "9900000 100000\n"}, 64),
        ("0::/box\n", {"box/cpu.max": "nonsense\n"}, 64),
        ("0::/box\n", {"box/cpu.max": "100000 0\n"}, 64),
        (
            "5:memory:/box\n4:cpu,cpuacct:/box\n",
            {"cpu,cpuacct/box/cpu.cfs_quota_us": "500000\n", "cpu,cpuacct/box/cpu.cfs_period_us": "100000\n"},
            5,
        ),
        ("4:cpu:/box\n", {"cpu/box/cpu.cfs_quota_us": "-1\n", "cpu/box/cpu.cfs_period_us": "100000\n"}, 64),
        ("nonsense", {}, 64),
    ],
)
def test_the_quota_of_a_container(tmp_path: Path, group: str, files: dict[str, str], cores: int) -> None:
    found = granted_cores(root_with(tmp_path, group, files))

    assert found.count == cores
    assert bool(found.limit) == (cores < 64)


@pytest.mark.parametrize(("share", "cores"), [("6", 6), ("0", 64), ("many", 64), ("128", 64)])
def test_the_share_of_a_slurm_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: str, cores: int) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", share)

    assert granted_cores(tmp_path).count == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
@pytest.mark.skipif(os.cpu_count() == 1, reason="there is one core only")
@pytest.mark.parametrize(
    ("given", "threads"),
    [
        ({}, "1"),
        ({"OMP_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "1", "SLURM_CPUS_PER_TASK": "2"}, "1"),
    ],
)
def test_a_command_starts_no_more_threads_than_it_has_cores(given: dict[str, str], threads: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "SLURM_", "OPENCV"))
    }
    code = (
        "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); sys.argv = ['cryotx', '--version']\n"
        "from cryotx_cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: print(os.environ['OMP_NUM_THREADS'], os.environ['OMP_WAIT_POLICY'])\n"
        "import cv2, torch; print(cv2.getNumThreads(), torch.get_num_threads())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **given}, capture_output=True, text=True, check=True
    )
    said, started = done.stdout.splitlines()[-2:]
    assert said == f"{threads} PASSIVE"
    of_opencv, of_torch = started.split()
    assert of_opencv == threads
    assert int(of_torch) <= int(threads)  # PyTorch starts no more than there are cores in any case


def test_libraries_start_as_many_threads_as_a_slurm_job_has_cores() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "OPENCV"))}
    code = (
        "from cryotx_cli.processor import use_granted_cores; use_granted_cores()\n"
        "import cv2, torch; print(cv2.getNumThreads(), torch.get_num_threads())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "SLURM_CPUS_PER_TASK": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "1"]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not tell threads")
@pytest.mark.skipif(os.cpu_count() == 1, reason="there is one core only")
@pytest.mark.parametrize(("given", "threads"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, 2)])
def test_products_of_numpy_take_one_thread_but_where_the_user_says_otherwise(
    given: dict[str, str], threads: int
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "OPENBLAS"))}
    code = (
        "from cryotx_cli.processor import use_granted_cores; use_granted_cores()\n"
        "import numpy; a = numpy.ones((900, 900)); a @ a\n"
        "import os; print(len(os.listdir('/proc/self/task')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **given}, capture_output=True, text=True, check=True
    )

    assert int(done.stdout) == threads


def test_free_memory_is_that_of_the_machine_or_of_the_container_if_that_has_less(tmp_path: Path) -> None:
    free = 32_000_000 * 1024

    def with_limits(name: str, group: str, files: dict[str, str]) -> int | None:
        root = root_with(tmp_path / name, group, files)
        (root / "proc/meminfo").write_text("MemTotal: 64000000 kB\nMemAvailable:   32000000 kB\n")
        return free_memory(root)

    assert with_limits("bare", "", {}) == free
    assert with_limits("none", "0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "999999999999999\n"}) == free
    assert with_limits("second", "0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "8000000000\n"}) == 8 * 10**9
    first = {"memory/a/memory.limit_in_bytes": "3000000000\n"}
    assert with_limits("first", "5:cpu:/a\n4:memory:/a\n", first) == 3 * 10**9
    assert free_memory(tmp_path / "no such system") is None


def test_what_became_of_threads_is_added_up_over_all_of_them(tmp_path: Path) -> None:
    for thread, text in (("7", "3000000000 1000000000 12\n"), ("8", "500000000 2000000000 3\n"), ("9", "")):
        folder = tmp_path / "proc/self/task" / thread
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(text)

    found = thread_time(tmp_path)

    assert found == ThreadTime(3.5, 3.0)
    assert found.waited_since(ThreadTime(2.5, 0.0)) == 0.75
    assert found.waited_since(found) == 0.0
    assert thread_time(tmp_path / "no such system") is None


@pytest.mark.skipif(thread_time() is None, reason="this system does not tell how long threads wait")
def test_threads_that_calculate_have_run() -> None:
    before = thread_time()
    sum(number * number for number in range(1_000_000))
    after = thread_time()

    assert before is not None
    assert after is not None
    assert after.ran > before.ran


@pytest.mark.parametrize(
    ("asked", "free_gib", "expected"),
    [("", 100, 64), ("6", 100, 6), ("6,2", 100, 64), ("99", 100, 64), ("6", 3, 3), ("", 0, 1)],
)
def test_micrographs_at_a_time_are_limited_by_cores_by_what_the_user_says_and_by_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, free_gib: int, expected: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {free_gib << 20} kB\n")

    assert threads_to_use(tmp_path) == expected
