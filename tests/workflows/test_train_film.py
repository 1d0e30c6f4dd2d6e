"""Training the film finder in miniature: what it writes, how it stops and goes on, what it learns from."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from cryotx_cli.config import FilmTrainConfig, load_train_config
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.film import FilmFinder
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.errors import CheckpointError, DatasetError
from cryotx_cli.simulator.structures import Structure
from cryotx_cli.training import run as run_module
from cryotx_cli.training.center import data as training_data
from cryotx_cli.training.center import film as film_training
from cryotx_cli.training.center.film import FilmBatch, SimulatedFilm, film_f1
from cryotx_cli.workflows.train import train

CONFIG = FilmTrainConfig(
    steps=4,
    batch_size=2,
    seed=5,
    workers=0,
    device="cpu",
    procedural_structures=2,
    validate_every=2,
)


def blob(rng):
    points = rng.normal(0, rng.uniform(20, 50), (300, 3))
    return Structure.from_beads(points, np.full(300, 3000.0), "blob", rng)


@pytest.fixture(autouse=True)
def miniature(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(training_data, "procedural_structure", blob)
    monkeypatch.setattr(film_training, "_SIDES", (128, 160))
    monkeypatch.setattr(film_training, "_VALIDATION", 4)
    monkeypatch.setattr(run_module, "LOG_EVERY", 1)
    monkeypatch.setattr(run_module, "SAVE_SECONDS", -1.0)  # after every step
    yield
    torch.set_num_threads(threads)


def batches(seed=1, steps=6, first=0, batch_size=4):
    rng = np.random.default_rng(3)
    return list(SimulatedFilm([blob(rng)], batch_size=batch_size, steps=steps, seed=seed, first=first))


@pytest.fixture(scope="module")
def many():
    """Batches kept by the first who asks: training in miniature is set up for each test."""
    return []


@pytest.fixture
def ninety_six(many):
    """So many micrographs."""
    if not many:
        many.extend(batches(steps=12, batch_size=8))
    return many


# --- a run -----------------------------------------------------------------------------------------------------------


def test_the_weights_are_those_of_the_detector_with_a_film_finder(tmp_path):
    reports = list(train(tmp_path / "run", CONFIG))
    assert [r.step for r in reports] == [1, 2, 3, 4]
    assert [r.f1 is not None for r in reports] == [False, True, False, True]
    assert all(math.isfinite(r.loss) for r in reports)
    assert load_train_config(tmp_path / "run" / "config.toml") == CONFIG

    default, read = load_checkpoint("default"), load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert read.weights.keys() == default.weights.keys()
    for name, value in default.weights.items():
        assert_array_equal(read.weights[name], value)
    assert read.calibration == default.calibration
    assert read.training["steps"] == default.training["steps"]
    assert read.training["film"]["steps"] == 4
    FilmFinder().load_state_dict(read.film)
    assert Picker(read).fingerprint != Picker(default).fingerprint


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(tmp_path):
    list(train(tmp_path / "whole", CONFIG))
    run = train(tmp_path / "stopped", CONFIG)
    next(run)
    next(run)
    run.close()
    reports = list(train(tmp_path / "stopped", replace(CONFIG, resume=True)))
    assert [r.step for r in reports] == [3, 4]
    whole, stopped = (load_checkpoint(tmp_path / name / "last.safetensors").film for name in ("whole", "stopped"))
    for name, value in whole.items():
        assert_array_equal(stopped[name], value, err_msg=name)


def test_runs_are_neither_overwritten_nor_made_up(tmp_path):
    with pytest.raises(CheckpointError, match="no run to resume"):
        list(train(tmp_path / "run", replace(CONFIG, resume=True)))
    next(train(tmp_path / "run", CONFIG))
    with pytest.raises(DatasetError, match="holds a run already"):
        list(train(tmp_path / "run", CONFIG))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    run = train(tmp_path / "run", replace(CONFIG, learning_rate=math.inf, steps=9))
    with pytest.raises(DatasetError, match="not finite"):
        list(run)


# --- what it learns from ---------------------------------------------------------------------------------------------


def test_a_batch_depends_on_the_seed_and_its_number_alone():
    whole, rest = batches(), batches(first=4)
    for one, other in zip(whole[4:], rest, strict=True):
        for a, b in zip(one, other, strict=True):
            assert_array_equal(a, b)
    assert not torch.equal(whole[0].features[0, 0, :8, :8], batches(seed=2)[0].features[0, 0, :8, :8])


def test_half_of_the_micrographs_show_film_and_some_of_them_little_else(ninety_six):
    shares = torch.cat([batch.film.mean((1, 2)) for batch in ninety_six])
    assert 0.3 < (shares > 0.01).float().mean() < 0.7
    assert (shares > 0.6).any()
    assert ((shares > 0.01) & (shares < 0.3)).any()


def test_nothing_is_learned_from_film_that_covers_everything(ninety_six):
    for batch in ninety_six:
        covered = batch.film.mean((1, 2)) > 0.9
        assert not batch.weight[covered].any()
        assert (batch.weight[batch.film.mean((1, 2)) < 0.5].mean((1, 2)) > 0.5).all()


class SeesBright(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self, features):
        return features[:, 0] - 0.5


def test_f1_counts_cells_outside_of_padding():
    features = torch.zeros(1, 2, 4, 4)
    features[0, 0, :2] = 1  # 8 cells taken for film
    film = torch.zeros(1, 4, 4)
    film[0, 1:3] = 1  # 8 cells of film, 4 of them found
    assert film_f1(SeesBright(), [FilmBatch(features, film, torch.ones(1, 4, 4))]) == pytest.approx(0.5)
    weight = torch.ones(1, 4, 4)
    weight[0, 0] = 0  # what was taken for film in the first row counts no longer
    assert film_f1(SeesBright(), [FilmBatch(features, film, weight)]) == pytest.approx(8 / 12)
