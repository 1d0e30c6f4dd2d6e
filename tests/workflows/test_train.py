"""Training runs in miniature: what they write, how they stop and go on, and what stops them.

The network is the real one; crops are 64 px and few and structures are simple, so that a step is quick.
"""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from cryotx_cli.config import CenterTrainConfig, load_train_config
from cryotx_cli.coordinates.agreement import match
from cryotx_cli.detector.center.checkpoint import Checkpoint, load_checkpoint
from cryotx_cli.detector.center.network import CenterDETR
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.errors import CheckpointError, DatasetError
from cryotx_cli.simulator.structures import Structure, procedural_structure
from cryotx_cli.training import run as run_module
from cryotx_cli.training.center import data as training_data
from cryotx_cli.training.center import train as center_training
from cryotx_cli.training.center.data import simulated_crop
from cryotx_cli.training.center.loss import center_losses
from cryotx_cli.training.run import WeightAverage
from cryotx_cli.workflows.train import train

CONFIG = CenterTrainConfig(
    steps=4, batch_size=2, seed=5, workers=0, device="cpu", procedural_structures=2, validate_every=2
)


@pytest.fixture(autouse=True)
def miniature(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def small(structures, rng, size=256, *arguments):
        return simulated_crop(structures, rng, 64, *arguments)

    def blob(rng):
        points = rng.normal(0, rng.uniform(20, 50), (300, 3))
        return Structure.from_beads(points, np.full(300, 3000.0), "blob", rng)

    monkeypatch.setattr(training_data, "procedural_structure", blob)
    for module in (center_training, training_data):
        monkeypatch.setattr(module, "simulated_crop", small)
    for name, value in {"_VALIDATION_CROPS": 2, "_CALIBRATION_CROPS": 16, "_NORM_BATCHES": 2}.items():
        monkeypatch.setattr(center_training, name, value)
    monkeypatch.setattr(run_module, "LOG_EVERY", 1)
    monkeypatch.setattr(run_module, "SAVE_SECONDS", -1.0)  # after every step
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished():
    """Folder, reports and the optimiser's settings of a run that nobody disturbed; filled by the first who asks."""
    return {}


@pytest.fixture
def whole(finished, tmp_path_factory):
    if not finished:
        out = tmp_path_factory.mktemp("whole") / "run"
        finished.update(out=out, reports=[], groups=[])
        for report in train(out, CONFIG):
            finished["reports"].append(report)
            finished["groups"].append(state_of(out)["optimizer"]["param_groups"])
    return finished


def state_of(out):
    return torch.load(out / "state.pt", weights_only=True, mmap=True)


def rows(out):
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def steps_of(run, count):
    """Take so many steps of a run and drop it, as an interruption does."""
    reports = [next(run) for _ in range(count)]
    run.close()
    return reports


# --- what a run says and writes --------------------------------------------------------------------------------------


def test_a_run_reports_every_step_and_its_validations(whole):
    reports = whole["reports"]
    assert [r.step for r in reports] == [1, 2, 3, 4]
    assert {r.steps for r in reports} == {4}
    assert all(math.isfinite(r.loss) and r.loss > 0 for r in reports)
    assert [r.f1 is not None for r in reports] == [False, True, False, True]
    assert all(0 <= r.f1 <= 1 for r in reports if r.f1 is not None)
    assert (np.diff([r.seconds for r in reports]) > 0).all()


def test_a_run_leaves_its_settings_log_weights_and_state(whole):
    out = whole["out"]
    assert {p.name for p in out.iterdir()} == {
        "config.toml",
        "log.csv",
        "state.pt",
        "best.safetensors",
        "last.safetensors",
    }
    assert load_train_config(out / "config.toml") == CONFIG
    table = rows(out)
    assert [int(row["step"]) for row in table] == [1, 2, 3, 4]
    for row, report in zip(table, whole["reports"], strict=True):
        terms = [float(row[k]) for k in ("heat", "offset", "radius", "junk", "score", "centre", "size")]
        assert sum(terms) == pytest.approx(report.loss, abs=1e-3)
        assert (row["f1"] != "") == (report.f1 is not None)


@pytest.mark.parametrize("name", ["best", "last"])
def test_the_weights_pick(whole, name):
    checkpoint = load_checkpoint(whole["out"] / f"{name}.safetensors")
    assert checkpoint.calibration != Checkpoint({}).calibration
    assert checkpoint.training["steps"] in ({4} if name == "last" else {2, 4})
    assert checkpoint.training["settings"]["seed"] == 5
    found = Picker(checkpoint).detect(np.random.default_rng(0).normal(size=(64, 80)).astype(np.float32))
    assert np.isfinite(found.centres).all()


def test_batch_statistics_of_the_last_weights_are_estimated_anew(whole):
    # The average of four steps has hardly left its start at mean 0 and variance 1.
    last = load_checkpoint(whole["out"] / "last.safetensors").weights
    average = state_of(whole["out"])["average"]
    assert_allclose(last["stem.0.weight"], average["stem.0.weight"], atol=5e-3)
    assert float((last["stem.1.running_var"] - average["stem.1.running_var"]).abs().max()) > 0.05


def test_the_checkpoint_does_not_tell_where_files_lay(tmp_path, monkeypatch):
    folder = tmp_path / "private" / "proteins"
    folder.mkdir(parents=True)
    monkeypatch.setattr(training_data, "read_structures", lambda folder, rng: [procedural_structure(rng)])
    first = steps_of(train(tmp_path / "first", replace(CONFIG, structures=folder, validate_every=1)), 1)
    init = tmp_path / "first" / "best.safetensors"
    steps_of(train(tmp_path / "second", replace(CONFIG, init=str(init), validate_every=1)), 1)
    records = [load_checkpoint(tmp_path / n / "best.safetensors").training["settings"] for n in ("first", "second")]
    assert first[0].f1 is not None
    assert records[0]["structures"] == "proteins"
    assert records[1]["init"] == "best.safetensors"


# --- stopping and going on -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(whole, tmp_path, stop):
    out = tmp_path / "run"
    before = steps_of(train(out, CONFIG), stop)
    torch.manual_seed(999)  # another process has other random numbers
    after = list(train(out, replace(CONFIG, resume=True)))
    reports = [*before, *after]

    assert [(r.step, r.loss, r.f1) for r in reports] == [(r.step, r.loss, r.f1) for r in whole["reports"]]
    assert [row["heat"] for row in rows(out)] == [row["heat"] for row in rows(whole["out"])]
    assert after[0].seconds > before[-1].seconds
    resumed, straight = (load_checkpoint(o / "last.safetensors") for o in (out, whole["out"]))
    assert resumed.calibration == straight.calibration
    for name, value in straight.weights.items():
        assert torch.equal(resumed.weights[name], value), name


def test_a_run_out_of_time_stops_with_weights_and_a_state(tmp_path):
    out = tmp_path / "run"
    (only,) = train(out, replace(CONFIG, minutes=1e-9))
    assert only.step == 1
    assert load_checkpoint(out / "last.safetensors").training["steps"] == 1
    assert state_of(out)["run"]["step"] == 1


@pytest.mark.slow
def test_a_worker_beside_the_training_changes_nothing(whole, tmp_path):
    reports = steps_of(train(tmp_path / "run", replace(CONFIG, workers=1)), 3)
    assert [r.loss for r in reports] == [r.loss for r in whole["reports"][:3]]


def test_another_seed_is_another_run(whole, tmp_path):
    (first,) = steps_of(train(tmp_path / "run", replace(CONFIG, seed=6)), 1)
    assert first.loss != whole["reports"][0].loss


def test_weights_to_start_from_are_used(whole, tmp_path):
    init = whole["out"] / "last.safetensors"
    steps_of(train(tmp_path / "run", replace(CONFIG, init=str(init), learning_rate=1e-12, validate_every=1)), 1)
    started = load_checkpoint(tmp_path / "run" / "best.safetensors").weights
    for name, value in load_checkpoint(init).weights.items():
        if "running" not in name and "num_batches" not in name:
            assert_allclose(started[name], value, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_the_film_finder_of_the_weights_to_start_from_is_kept(tmp_path):
    list(train(tmp_path / "run", replace(CONFIG, init="default", steps=1)))
    film = load_checkpoint("default").film
    for name in ("best", "last"):
        kept = load_checkpoint(tmp_path / "run" / f"{name}.safetensors").film
        assert kept.keys() == film.keys()
        assert all(torch.equal(kept[key], value) for key, value in film.items())


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_run_is_never_overwritten(tmp_path):
    out = tmp_path / "run"
    steps_of(train(out, CONFIG), 1)
    content = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(DatasetError, match="holds a run already") as caught:
        next(train(out, CONFIG))
    assert "--resume" in caught.value.hint
    assert {p.name: p.read_bytes() for p in out.iterdir()} == content


def test_there_must_be_a_run_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="no run to resume"):
        next(train(tmp_path / "run", replace(CONFIG, resume=True)))


def test_a_state_that_is_none_is_named(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        next(train(tmp_path, replace(CONFIG, resume=True)))


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="missing"):
        next(train(tmp_path / "run", replace(CONFIG, init="missing.safetensors")))


def test_a_folder_without_structures_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty"):
        next(train(tmp_path / "run", replace(CONFIG, structures=tmp_path / "empty")))


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path, monkeypatch):
    out, batch = tmp_path / "run", training_data.SimulatedCrops.batch

    def spoiled(self, number):
        crops = batch(self, number)
        return [replace(c, image=c.image * math.nan) for c in crops] if number == 2 else crops

    monkeypatch.setattr(training_data.SimulatedCrops, "batch", spoiled)
    run = train(out, CONFIG)
    next(run)
    next(run)
    with pytest.raises(DatasetError, match="not finite") as caught:
        next(run)
    assert "heat nan" in caught.value.message
    assert "--learning-rate" in caught.value.hint
    assert not (out / "last.safetensors").exists()
    state = state_of(out)
    assert state["run"]["step"] == 2
    assert all(torch.isfinite(v.float()).all() for v in state["model"].values())


# --- optimisation ----------------------------------------------------------------------------------------------------


def test_the_learning_rate_warms_up_stays_and_falls(whole):
    # In proportion over 200 steps; flat to the middle of the run, then 0.01 + 0.99 (1 + cos(pi t)) / 2 of the peak.
    warm = np.array([1, 2, 3, 4]) / 200
    late = 0.01 + 0.99 * (1 + np.cos(np.pi * np.array([0, 0, 0, 0.5]))) / 2
    assert_allclose([groups[0]["lr"] for groups in whole["groups"]], 1e-3 * warm * late)


def test_weights_decay_and_biases_and_norms_do_not(whole):
    decayed, free = whole["groups"][-1]
    assert (decayed["weight_decay"], free["weight_decay"]) == (1e-4, 0.0)
    assert len(free["params"]) == sum(p.ndim <= 1 for p in CenterDETR(Checkpoint({}).model).parameters())


def test_the_average_follows_the_weights_with_its_decay():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 4.0)
    average, expected = WeightAverage(model), 4.0
    for n, value in enumerate([1.0, 7.0, -2.0], start=1):
        nn.init.constant_(model.weight, value)
        average.update(model)
        keep = (1 + n) / (10 + n)
        expected = keep * expected + (1 - keep) * value
    assert float(average.state["weight"]) == pytest.approx(expected)


def test_structures_from_files_make_up_two_fifths(tmp_path, monkeypatch):
    seen = []

    class Looking(training_data.SimulatedCrops):
        def __init__(self, structures, **settings):
            seen.extend(s.name for s in structures)
            super().__init__(structures, **settings)

    def read(folder, rng):
        return [replace(procedural_structure(rng), name=f"file {i}") for i in range(3)]

    monkeypatch.setattr(center_training, "SimulatedCrops", Looking)
    monkeypatch.setattr(training_data, "read_structures", read)
    steps_of(train(tmp_path / "run", replace(CONFIG, structures=tmp_path, procedural_structures=18)), 1)
    assert len(seen) == 30
    assert {name: seen.count(name) for name in seen if name.startswith("file")} == {
        "file 0": 4,
        "file 1": 4,
        "file 2": 4,
    }


@pytest.mark.slow
def test_a_small_network_learns_a_few_crops_by_heart():
    # Places, sizes and scores, through simulation, criterion, optimiser and picker: nothing may disagree about pixels.
    torch.manual_seed(0)
    structures = [procedural_structure(np.random.default_rng(3))]
    crops = [simulated_crop(structures, np.random.default_rng(i), 96, 1.1, 0.0) for i in range(4)]
    config = replace(
        Checkpoint({}).model, widths=(8, 16, 24, 32), depths=(1, 1, 1), hidden_dim=32, thin_dim=24, heads=4
    )
    model = CenterDETR(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    images = torch.stack([crop.image for crop in crops])
    for step in range(250):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 if step < 125 else 2 - step / 125)
        loss = torch.stack(list(center_losses(model(images, max_queries=60), crops, config.radius).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():  # batch statistics of these crops
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        model(images)
    picker = Picker(Checkpoint(model.state_dict(), config))
    misses, hits, picks, wanted = [], 0, 0, 0
    for crop in crops:
        found = picker.detect(crop.image[0].numpy())
        sure = found.logits > 0
        truth = crop.centres[~crop.ignored].double().numpy()
        everything = crop.centres.double().numpy()
        partner = match(found.centres[sure], everything, 12.0)
        for centre, p in zip(found.centres[sure], partner, strict=True):
            if p < 0:
                picks += 1
            elif not crop.ignored[p]:
                picks, hits = picks + 1, hits + 1
                misses.append(centre - everything[p])
        wanted += len(truth)
    assert wanted > 10
    assert 2 * hits / (picks + wanted) > 0.9
    assert np.abs(np.mean(misses, axis=0)).max() < 0.4
    assert np.median(np.linalg.norm(misses, axis=1)) < 1.0
