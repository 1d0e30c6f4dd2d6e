"""Picking in several processes and on a Dask cluster: the bytes of one process, whoever dies meanwhile."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.config import PickConfig, device_names, load_config
from cryotx_cli.errors import CheckpointError, ConfigError, CryotxError, DeviceError
from cryotx_cli.events import Event
from cryotx_cli.picking import class_averages
from cryotx_cli.runs import arrivals
from cryotx_cli.workflows.pick import start_pick
from quick_picker import QuickPicker

CONFIG = PickConfig(diameter=60.0, threshold=0.5, contrast="dark", formats=("relion", "box", "topaz"), no_classes=True)
TWO = replace(CONFIG, device="cpu,cpu")
MICROGRAPHS = 12


@pytest.fixture(scope="module")
def mics(tmp_path_factory):
    """Noise in MRC files; the fifth of them is none."""
    folder = tmp_path_factory.mktemp("session") / "mics"
    folder.mkdir()
    for number in range(MICROGRAPHS):
        path = folder / f"m{number:02}.mrc"
        with mrcfile.new(path) as mrc:
            mrc.set_data(np.random.default_rng(number).normal(0, 1, (96, 128)).astype(np.float32))
            mrc.voxel_size = 2.0
    (folder / "m04.mrc").write_bytes(b"no micrograph")
    return folder


@pytest.fixture
def pick(mics, tmp_path, monkeypatch):
    """Pick into a folder of that name; leave the loop where `during` says so of the number of results."""

    def pick_into(name, config, picker, during=lambda count: False):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        with suppress(FileExistsError):
            (folder / "mics").symlink_to(mics)
        run = start_pick(["mics"], "p.star", config, picker)
        results = []
        for result in run:
            results.append(result)
            if during(len(results)):
                break
        return contents(folder), run, results

    return pick_into


def contents(folder):
    """Bytes of every file but the times in the ledger and the place where the network ran."""
    found = {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"FOLDER")
        for path in folder.rglob("*")
        if path.is_file() and "mics" not in path.relative_to(folder).parts[:1]
    }
    settings = found["p/config.toml"].decode().splitlines()
    rows = [json.loads(line) for line in found["p/ledger.jsonl"].splitlines()]
    found["p/config.toml"] = [line for line in settings if not line.startswith("device")]
    found["p/ledger.jsonl"] = [
        {name: value for name, value in row.items() if not name.endswith("seconds")} for row in rows
    ]
    return found


@pytest.fixture
def session(mics, tmp_path, monkeypatch):
    """Watch a folder of copies; while it is watched one micrograph arrives and another is replaced."""
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(arrivals, "STILL_SECONDS", 0.1)

    def watch(config, picker, during=lambda count: None):
        folder = tmp_path / "session"
        shutil.copytree(mics, folder / "mics")
        monkeypatch.chdir(folder)
        run = start_pick(["mics"], "p.star", replace(config, watch=True, stop_after=1.5), picker)
        results = []
        for result in run:
            results.append(result)
            during(len(results))
            if len(results) == 1:
                shutil.copy("mics/m03.mrc", "mics/m99.mrc")
                shutil.copy("mics/m00.mrc", "mics/m11.mrc")
        watched = contents(folder)
        for made in ("p.star", "p"):
            Path(made).rename(f"watched_{made}")
        list(start_pick(["mics"], "p.star", config, QuickPicker(refused=picker.refused)))
        for made in ("watched_p.star", "watched_p"):
            shutil.rmtree(made, ignore_errors=True)
            Path(made).unlink(missing_ok=True)
        return watched, contents(folder), run, results

    return watch


def kill_a_child(count):
    if count == 3:
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)


# ---- one process for each device -------------------------------------------------------------------------------------


# The picker needs no GPU: those devices have only more threads beside it.
@pytest.mark.parametrize("devices", ["cpu,cpu", pytest.param("cuda:0,0", marks=pytest.mark.slow)])
def test_two_processes_write_the_bytes_of_one(pick, devices):
    picker = QuickPicker(refused=("m02.mrc",))
    whole, _, results = pick("one", CONFIG, picker)
    found, run, shared = pick("two", replace(CONFIG, device=devices), picker)
    assert found == whole
    assert len(whole) > 4 * (MICROGRAPHS - 2)
    assert run.device == ", ".join(device_names(devices))
    assert {result.file.name for result in shared} == {result.file.name for result in results}
    assert [result.file.name for result in run.summary.skipped] == ["mics/m02.mrc", "mics/m04.mrc"]
    reasons = [row["error"] for row in found["p/ledger.jsonl"] if row["error"]]
    assert reasons[0] == "mics/m02.mrc: refused"
    assert reasons[1].startswith("mics/m04.mrc: ")


class Telling(QuickPicker):
    """Has something to say of one micrograph."""

    def locate(self, prepared, micrograph):
        located = super().locate(prepared, micrograph)
        events = (Event("m05 is odd", micrograph="m05.mrc"),) if micrograph.source.name == "m05.mrc" else ()
        return replace(located, events=events)


@pytest.mark.parametrize(
    "config", [pytest.param(CONFIG, id="one process"), pytest.param(TWO, id="two processes", marks=pytest.mark.slow)]
)
def test_what_a_picker_says_of_a_micrograph_is_said_once(pick, config):
    _, run, _ = pick("told", config, Telling())
    assert [event for event in run.events if "odd" in event.text] == [Event("m05 is odd", micrograph="m05.mrc")]


@pytest.mark.slow
def test_a_process_that_is_killed_loses_nothing(pick):
    whole, _, _ = pick("one", CONFIG, QuickPicker())
    found, run, results = pick("two", TWO, QuickPicker(seconds=0.05), kill_a_child)
    assert found == whole
    assert len(results) == MICROGRAPHS
    assert [text for text in map(str, run.events) if "signal 9" in text]


@pytest.mark.slow
def test_two_processes_pick_what_arrives(session):
    watched, plain, run, results = session(TWO, QuickPicker(seconds=0.05, refused=("m02.mrc",)), kill_a_child)
    assert watched == plain
    assert {result.file.name for result in results} >= {"mics/m11.mrc", "mics/m99.mrc"}
    assert run.summary.micrographs == MICROGRAPHS - 1
    assert [result.file.name for result in run.summary.skipped] == ["mics/m02.mrc", "mics/m04.mrc"]
    assert [event.level for event in run.events if "signal 9" in event.text] == ["warning"]


@pytest.mark.slow
def test_a_stop_leaves_what_is_not_begun_and_waits_for_the_rest(pick):
    def stop(count):
        if count == 2:
            Path("p/stop").touch()

    config = replace(TWO, watch=True)
    _, run, results = pick("two", config, QuickPicker(seconds=0.1), stop)
    assert 2 <= run.summary.micrographs < MICROGRAPHS - 1
    assert len(results) + run.summary.left == MICROGRAPHS
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_micrograph_that_kills_whoever_picks_it_is_skipped_and_no_other(pick):
    whole, _, _ = pick("one", CONFIG, QuickPicker(refused=("m07.mrc",)))
    found, run, _ = pick("two", TWO, QuickPicker(deadly=("m07.mrc",)))
    reasons = {result.file.name: result.error for result in run.summary.skipped}
    assert sorted(reasons) == ["mics/m04.mrc", "mics/m07.mrc"]
    assert reasons["mics/m07.mrc"] == "mics/m07.mrc: 3 processes have died over it, the last by signal 9"
    for file in ("p/ledger.jsonl", "p/report.html"):  # both give the reason
        del whole[file], found[file]
    assert found == whole


@pytest.mark.slow
def test_leaving_the_loop_keeps_what_is_done_and_the_next_run_goes_on(pick):
    whole, _, _ = pick("one", CONFIG, QuickPicker())
    pick("two", TWO, QuickPicker(seconds=0.02), lambda count: count == 4)
    assert not multiprocessing.active_children()
    found, run, _ = pick("two", TWO, QuickPicker())
    assert found == whole
    assert 3 <= run.summary.resumed < MICROGRAPHS - 1


@dataclass
class Fatal(QuickPicker):
    """Kills the process that it is sent to."""

    def __setstate__(self, state):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Shifting(QuickPicker):
    """Says in every process that its weights are others."""

    @property
    def fingerprint(self):
        return str(os.getpid())


@pytest.mark.slow
def test_processes_that_cannot_load_the_model_end_the_run(pick):
    with pytest.raises(DeviceError, match=r"--device cpu: the process there died while it loaded the model"):
        pick("dead", TWO, Fatal())
    with pytest.raises(CheckpointError, match="not the same on all machines"):
        pick("other", TWO, Shifting())


def test_each_of_the_devices_has_to_be_there(mics, tmp_path):
    with pytest.raises(DeviceError, match="--device cuda:98: this GPU is not there"):
        start_pick([mics], tmp_path / "p.star", replace(CONFIG, device="cuda:98,99"))


# ---- a Dask cluster --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="Dask comes with the extra 'cluster'")
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1, "distributed.comm.timeouts.connect": "3s"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0", silence_logs=50) as local,
    ):
        yield local


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_writes_the_bytes_of_one_process(pick, cluster):
    pids = [worker.process.pid for worker in cluster.workers.values()]

    def kill_a_worker(count):
        if count == 3:
            os.kill(pids[0], signal.SIGKILL)

    whole, _, _ = pick("one", CONFIG, QuickPicker(refused=("m02.mrc",)))
    picker = QuickPicker(seconds=0.2, refused=("m02.mrc",))
    config = replace(CONFIG, scheduler=cluster.scheduler_address)
    found, run, results = pick("cluster", config, picker, kill_a_worker)
    assert found == whole
    assert len(results) == MICROGRAPHS
    assert run.device == f"2 workers of {cluster.scheduler_address}"
    (said,) = [text for text in map(str, run.events) if "is lost" in text]
    assert re.fullmatch(r"The worker at tcp://127.0.0.1:\d+ is lost; what it was at is picked again.", said)


@pytest.mark.slow
def test_a_cluster_picks_what_arrives(session, cluster):
    config = replace(CONFIG, scheduler=cluster.scheduler_address)
    watched, plain, run, results = session(config, QuickPicker(seconds=0.1))
    assert watched == plain
    assert {result.file.name for result in results} >= {"mics/m11.mrc", "mics/m99.mrc"}
    assert run.summary.micrographs == MICROGRAPHS


@pytest.mark.slow
def test_a_micrograph_that_kills_workers_is_skipped(pick, cluster):
    config = replace(CONFIG, scheduler=cluster.scheduler_address)
    _, run, results = pick("cluster", config, QuickPicker(deadly=("m07.mrc",)))
    reasons = {result.file.name: result.error for result in run.summary.skipped}
    assert reasons["mics/m07.mrc"] == "mics/m07.mrc: 2 workers were lost over it"
    assert len(results) == MICROGRAPHS


@pytest.mark.slow
def test_a_worker_with_another_model_ends_the_run(pick, cluster):
    with pytest.raises(CheckpointError, match="not the same on all machines"):
        pick("other", replace(CONFIG, scheduler=cluster.scheduler_address), Shifting())


@pytest.mark.slow
def test_crops_for_averages_come_from_the_workers(pick, cluster, monkeypatch):
    """They are there when this process begins to average, which needs no micrograph any more."""
    there = []

    def average_run(run, *_, **__):
        there.extend(sorted(path.name for path in (run.folder.path / "crops").iterdir()))
        raise CryotxError("enough")

    monkeypatch.setattr(class_averages, "average_run", average_run)
    settings = {"no_classes": False, "scheduler": cluster.scheduler_address}

    _, _, results = pick("cluster", replace(CONFIG, **settings), QuickPicker())

    assert there == [
        f"{result.file.path.stem}.npz"
        for result in sorted(results, key=lambda one: str(one.file.path))
        if result.particles
    ]


@pytest.fixture
def scheduler(tmp_path):
    """The processes of a scheduler and of its one worker, and its address."""
    distributed = pytest.importorskip("distributed", reason="Dask comes with the extra 'cluster'")
    import dask

    file = tmp_path / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command, "--scheduler-file", file, "--no-dashboard"],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in (
            ["scheduler", "--port", "0", "--host", "127.0.0.1"],
            ["worker", "--no-nanny", "--nthreads", "2"],
        )
    ]
    try:
        while not file.exists():
            assert processes[0].poll() is None, "the scheduler does not start"
            time.sleep(0.05)
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            address = client.scheduler.address
        with dask.config.set({"distributed.comm.timeouts.connect": "3s"}):
            yield (*processes, address)
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_and_the_next_one_goes_on(pick, scheduler):
    process, worker, address = scheduler

    def kill_the_scheduler(count):
        if count == 3:
            process.kill()

    whole, _, _ = pick("one", CONFIG, QuickPicker())
    with pytest.raises(CryotxError, match=f"--scheduler {address}: the connection .* is lost") as caught:
        pick("lost", replace(CONFIG, scheduler=address), QuickPicker(seconds=0.2), kill_the_scheduler)
    assert "What is finished is kept. The same command goes on" in caught.value.hint
    worker.kill()  # it would finish what it is at, while the next run picks that again
    worker.wait()
    found, run, _ = pick("lost", CONFIG, QuickPicker())
    assert found == whole
    assert 3 <= run.summary.resumed < MICROGRAPHS - 1


@pytest.mark.slow
def test_a_scheduler_that_dies_before_the_first_micrograph(mics, tmp_path, scheduler):
    process, _, address = scheduler
    run = start_pick([mics], tmp_path / "p.star", replace(CONFIG, scheduler=address), QuickPicker())
    process.kill()
    process.wait()
    with pytest.raises(CryotxError, match=f"--scheduler {address}: the connection .* is lost"):
        list(run)


def test_no_scheduler_at_the_address(pick):
    distributed = pytest.importorskip("distributed", reason="Dask comes with the extra 'cluster'")
    import dask

    assert distributed
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(ConfigError, match=r"--scheduler tcp://127.0.0.1:9: no Dask scheduler answers there"),
    ):
        pick("none", replace(CONFIG, scheduler="tcp://127.0.0.1:9"), QuickPicker())


def test_without_dask_one_line_says_how_to_get_it(pick, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match="needs Dask, which is not installed") as caught:
        pick("none", replace(CONFIG, scheduler="tcp://127.0.0.1:9"), QuickPicker())
    assert "cryotx-cli[cluster]" in caught.value.hint


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "names"),
    [
        ("auto", ("auto",)),
        ("cuda:0,1", ("cuda:0", "cuda:1")),
        ("cuda:0, cuda:3,5", ("cuda:0", "cuda:3", "cuda:5")),
        ("cpu,cpu", ("cpu", "cpu")),
        ("cuda:1,1", ("cuda:1", "cuda:1")),
    ],
)
def test_several_devices_in_one_flag(device, names):
    assert device_names(device) == names
    assert PickConfig(device=device).device == device


@pytest.mark.parametrize("device", ["auto,cpu", "cpu,1", "1,2", "cuda:0,", "cuda:0,x", "cuda,cuda:1", "cuda:0,-1"])
def test_a_list_of_devices_that_is_none(device):
    with pytest.raises(ConfigError, match="cannot be one of several"):
        load_config(PickConfig, overrides={"device": device})


def test_a_scheduler_does_not_go_with_several_devices():
    with pytest.raises(ConfigError, match="exclude each other"):
        load_config(PickConfig, overrides={"scheduler": "tcp://here:1", "device": "cpu,cpu"})
