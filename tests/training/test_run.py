"""What every way of training shares: state, log and folder; a run that was killed goes on as if it had not been."""

import csv
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import short_runs
from cryotx_cli.config import CenterTrainConfig, FilmTrainConfig
from cryotx_cli.errors import CheckpointError, DatasetError
from cryotx_cli.training import run as run_module
from cryotx_cli.training.run import (
    Learner,
    Progress,
    StepLog,
    Stopwatch,
    WeightAverage,
    keep_state,
    make_folder,
    open_folder,
    require_finite,
    restore,
    save_state,
)

WAYS = list(short_runs.WAYS)
TRAINS = {
    "center": "center on simulated micrographs",
    "adapting": "center on labelled micrographs",
    "film": "film on simulated micrographs",
    "cryotransformer": "cryotransformer",
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def learner(way="way", size=3, average=True):
    torch.manual_seed(1)
    model = nn.Linear(size, 2)
    return Learner(way, model, torch.optim.AdamW(model.parameters()), WeightAverage(model) if average else None)


def learned(one):
    """Take a step, so that there is something to remember."""
    one.optimizer.zero_grad()
    one.model(torch.ones(1, one.model.in_features)).sum().backward()
    one.optimizer.step()
    if one.average is not None:
        one.average.update(one.model)
    return one


def logged_steps(path):
    with path.open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


# ---- every way of training -------------------------------------------------------------------------------------------


# What all of them share stands once in training/run.py: the two that take longest are left to the slow tests.
QUICK_AND_SLOW = [
    pytest.param(way, marks=[pytest.mark.slow] * (way in ("adapting", "cryotransformer"))) for way in WAYS
]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_killed_run_goes_on_without_a_row_twice_or_a_step_missing(way, tmp_path, monkeypatch):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = [sys.executable, short_runs.__file__, way, str(tmp_path)]
    killed = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    out = tmp_path / "run"
    assert logged_steps(out / "log.csv") == [1, 2, 3]
    assert torch.load(out / "state.pt", weights_only=True)["run"]["step"] == 2

    short_runs.shrink(monkeypatch.setattr)
    start = short_runs.WAYS[way](tmp_path)
    rest = [report for report in start(out, resume=True) if math.isfinite(report.loss)]
    whole = [report for report in start(tmp_path / "whole") if math.isfinite(report.loss)]

    assert [report.step for report in rest] == [3, 4]
    assert [report.loss for report in rest] == [report.loss for report in whole[2:]]
    assert logged_steps(out / "log.csv") == [1, 2, 3, 4]


@pytest.mark.parametrize("way", QUICK_AND_SLOW)
def test_rows_beyond_the_state_are_forgotten(way, tmp_path, monkeypatch):
    short_runs.shrink(monkeypatch.setattr)
    start, out = short_runs.WAYS[way](tmp_path), tmp_path / "run"
    with monkeypatch.context() as saving:
        short_runs.interrupted(start, out, saving.setattr)
    assert logged_steps(out / "log.csv") == [1, 2, 3]

    again = start(out, resume=True)
    assert next(again).step == 3
    again.close()
    assert logged_steps(out / "log.csv") == [1, 2, 3]


@pytest.mark.parametrize("way", QUICK_AND_SLOW)
def test_the_settings_that_a_run_wrote_repeat_it(way, tmp_path, monkeypatch):
    short_runs.shrink(monkeypatch.setattr)
    run = short_runs.WAYS[way](tmp_path)(tmp_path / "run")
    first = next(run)
    run.close()
    again = short_runs.repeated(tmp_path / "run" / "config.toml", tmp_path / "again")
    assert next(again).loss == first.loss
    again.close()
    configs = [(tmp_path / name / "config.toml").read_text() for name in ("run", "again")]
    assert configs[0] == configs[1]


DAMAGES = {
    "nothing": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "text": lambda whole: b"step = 3\n",
    "noise": lambda whole: np.random.default_rng(1).bytes(5000),
}


@pytest.mark.parametrize("way", QUICK_AND_SLOW)
def test_a_damaged_state_is_named(way, tmp_path, monkeypatch):
    short_runs.shrink(monkeypatch.setattr)
    monkeypatch.setattr(Stopwatch, "wants_saving", True)
    start, out = short_runs.WAYS[way](tmp_path), tmp_path / "run"
    reports = start(out, minutes=1e-9)
    next(reports)
    reports.close()
    whole, settings = (out / "state.pt").read_bytes(), (out / "config.toml").read_bytes()
    for damage in DAMAGES.values():
        (out / "state.pt").write_bytes(damage(whole))
        with pytest.raises(CheckpointError, match=re.escape(f"{out / 'state.pt'}: not the state of a run")):
            next(start(out, resume=True))
    assert (out / "config.toml").read_bytes() == settings


@pytest.mark.parametrize("way", WAYS)
def test_the_state_of_another_way_of_training_is_refused_by_name(way, tmp_path, monkeypatch):
    short_runs.shrink(monkeypatch.setattr)
    start, out = short_runs.WAYS[way](tmp_path), tmp_path / "run"
    out.mkdir()
    save_state(out, learner("the cook"), Progress())
    with pytest.raises(CheckpointError, match=f"the run in it trains the cook, not {TRAINS[way]}$"):
        next(start(out, resume=True))
    assert [path.name for path in out.iterdir()] == ["state.pt"]


@pytest.mark.slow
def test_a_state_that_does_not_say_of_what_it_is_goes_on_where_it_fits(tmp_path, monkeypatch):
    short_runs.shrink(monkeypatch.setattr)
    monkeypatch.setattr(Stopwatch, "wants_saving", True)
    start, out = short_runs.WAYS["center"](tmp_path), tmp_path / "run"
    reports = start(out)
    next(reports)
    reports.close()
    state = torch.load(out / "state.pt", weights_only=True)
    del state["way"]
    torch.save(state, out / "state.pt")
    with pytest.raises(CheckpointError, match="not the state of a run of this model"):
        next(short_runs.WAYS["film"](tmp_path)(out, resume=True))
    again = start(out, resume=True)
    assert next(again).step == 2
    again.close()


# ---- state -----------------------------------------------------------------------------------------------------------


def test_what_was_saved_comes_back(tmp_path):
    before = learned(learner())
    save_state(tmp_path, before, Progress(7, 12.5, 0.5, 3))
    drawn = torch.rand(4)

    after = learner()
    progress = restore(tmp_path, open_folder(tmp_path, True, "way"), after)

    assert progress == Progress(7, 12.5, 0.5, 3)
    assert torch.equal(torch.rand(4), drawn)
    assert after.average.updates == 1
    for one, other in (
        (before.model.state_dict(), after.model.state_dict()),
        (before.average.state, after.average.state),
    ):
        assert all(torch.equal(other[name], value) for name, value in one.items())
    learned(before), learned(after)
    assert torch.equal(before.model.weight, after.model.weight)  # the optimiser's moments, too


@pytest.mark.parametrize("other", [learner(size=4), learner(average=False)])
def test_a_state_of_another_model_is_refused(tmp_path, other):
    save_state(tmp_path, other, Progress())
    with pytest.raises(CheckpointError, match="not the state of a run of this model"):
        restore(tmp_path, open_folder(tmp_path, True, "way"), learner())


@pytest.mark.parametrize("content", [[], {}, {"model": 3}, {"way": "way", "model": {}, "run": {}}, 5])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        restore(tmp_path, open_folder(tmp_path, True, "way"), learner())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 704 vs 598")])
def test_saving_that_fails_leaves_the_state_before(tmp_path, monkeypatch, error):
    save_state(tmp_path, learner(), Progress(step=1))
    before = (tmp_path / "state.pt").read_bytes()

    def half(state, file):
        file.write_bytes(before[: len(before) // 2])
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(CheckpointError, match=r"state\.pt: cannot be written"):
        save_state(tmp_path, learner(), Progress(step=2))
    assert (tmp_path / "state.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_the_state_is_kept_now_and_then(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: clock[0])
    progress = Progress(step=4, seconds=30.0)
    watch = Stopwatch(progress, minutes=2)
    saved = []
    monkeypatch.setattr(run_module, "save_state", lambda out, who, at: saved.append(at.step))
    for now in (110, 240, 251, 260, 402, 403):
        clock[0] = now
        watch.count_step()
        keep_state(tmp_path, learner(), watch, now=now == 260)
    assert saved == [7, 8]  # 151 s after the start, and when told to
    assert progress == Progress(step=10, seconds=333.0)
    assert watch.is_over


# ---- log -------------------------------------------------------------------------------------------------------------


def write_log(path, steps, first=0, terms=("a",)):
    with StepLog(path, first) as log:
        for step in steps:
            f1 = 0.5 if step % 2 == 0 else None
            log.write(Progress(step, 1.5 * step), dict.fromkeys(terms, 0.12345), f1)


def test_a_log_goes_on_below_the_step_of_the_state(tmp_path):
    log = tmp_path / "log.csv"
    write_log(log, [1, 2, 3])
    write_log(log, [2, 3, 4], first=1)
    assert log.read_text().split() == [
        "step,seconds,a,f1", "1,1.5,0.1235,", "2,3.0,0.1235,0.5000", "3,4.5,0.1235,", "4,6.0,0.1235,0.5000",
    ]  # fmt: skip


def test_a_log_is_cut_before_the_first_new_row(tmp_path):
    write_log(tmp_path / "log.csv", [1, 2, 3])
    write_log(tmp_path / "log.csv", [], first=2)
    assert logged_steps(tmp_path / "log.csv") == [1, 2]


def test_a_run_from_the_start_keeps_no_rows(tmp_path):
    write_log(tmp_path / "log.csv", [1, 2, 3])
    write_log(tmp_path / "log.csv", [1], first=0)
    assert logged_steps(tmp_path / "log.csv") == [1]


def test_half_a_row_is_dropped(tmp_path):
    log = tmp_path / "log.csv"
    write_log(log, [1, 2])
    log.write_bytes(log.read_bytes() + b"2")
    write_log(log, [3], first=2)
    assert logged_steps(log) == [1, 2, 3]


def test_new_columns_come_last_and_are_empty_above(tmp_path):
    log = tmp_path / "log.csv"
    write_log(log, [1])
    write_log(log, [2], first=1, terms=("a", "b"))
    assert log.read_text().split() == ["step,seconds,a,f1,b", "1,1.5,0.1235,,", "2,3.0,0.1235,0.5000,0.1235"]


def test_a_table_of_the_user_is_not_overwritten(tmp_path):
    (tmp_path / "log.csv").write_text("sample,grid\n1,2\n")
    with pytest.raises(DatasetError, match="is not the log of a run"):
        StepLog(tmp_path / "log.csv", 0)
    assert (tmp_path / "log.csv").read_text() == "sample,grid\n1,2\n"


# ---- loss ------------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_its_terms_and_what_was_learned_from():
    require_finite({"a": 1.0, "b": -2.0})
    with pytest.raises(DatasetError, match=r"^the loss is not finite \(b nan, c inf\)$"):
        require_finite({"a": 1.0, "b": math.nan, "c": math.inf})
    with pytest.raises(DatasetError, match=r"\(a nan\) at m1\.png$") as caught:
        require_finite({"a": math.nan}, where="m1.png")
    assert caught.value.hint.startswith("Look at these images; else resume from the last saved state")


def test_the_folder_has_to_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        run_module.make_folder(Path(tmp_path / "file"), short_runs.CenterTrainConfig())


def test_files_of_others_are_kept(tmp_path):
    (tmp_path / "best.safetensors").write_text("weights of another program")
    with pytest.raises(DatasetError, match=r"holds best\.safetensors, which no run of cryotx train has written"):
        make_folder(tmp_path, CenterTrainConfig())
    assert not (tmp_path / "config.toml").exists()


def test_a_run_that_trains_something_else_is_kept(tmp_path):
    make_folder(tmp_path, CenterTrainConfig())
    make_folder(tmp_path, FilmTrainConfig())  # nothing is lost yet
    (tmp_path / "last.safetensors").write_text("weights")
    make_folder(tmp_path, FilmTrainConfig())
    with pytest.raises(DatasetError, match="something else"):
        make_folder(tmp_path, CenterTrainConfig())
