"""`cryotx pick` with weights of the paper's model, against a recorded run of the original program."""

import argparse

import mrcfile
import numpy as np
import pytest
import torch

from cryotx_cli.config import CenterConfig, PickConfig
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.detector.center.checkpoint import Checkpoint, save_checkpoint
from cryotx_cli.detector.center.network import CenterDETR
from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint, DetrInput, save_detr_checkpoint
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.errors import CheckpointError, ConfigError
from cryotx_cli.workflows.pick import start_pick
from recorded_formulas import micrograph_by_formula, parameter_by_formula, recorded_json

TINY = DetrConfig(
    backbone="resnet18", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=1, dim_feedforward=16, num_queries=12
)
QUIET = {"images": False, "boxes": False}


def write_mrc(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as mrc:
        mrc.set_data(pixels)
        mrc.voxel_size = 1.5
    return path


def save_as_original(path, weights, config):
    arguments = argparse.Namespace(backbone=config.backbone, nheads=config.nheads, dropout=0.1, dilation=False)
    torch.save({"model": weights, "epoch": 199, "args": arguments}, path)
    return path


@pytest.fixture
def recorded_weights(tmp_path):
    shape = recorded_json("e2e.json")["_meta"]["model"]
    config = DetrConfig(**shape)
    weights = {
        name: torch.from_numpy(parameter_by_formula(name, tuple(old.shape)).astype(np.float32))
        for name, old in Detr(config).state_dict().items()
    }
    return save_as_original(tmp_path / "original.pth", weights, config)


@pytest.fixture
def recorded_micrographs(tmp_path):
    m4 = np.rint(micrograph_by_formula(104, 256, 240, 12).astype(np.float64) * 200).astype(np.int16)
    write_mrc(tmp_path / "mics/m1_f32_512x480.mrc", micrograph_by_formula(101, 512, 480, 40))
    write_mrc(tmp_path / "mics/m3_f32_403x517.mrc", micrograph_by_formula(103, 403, 517, 30))
    write_mrc(tmp_path / "mics/m4_i16_256x240.mrc", m4)
    return tmp_path / "mics"


def recorded_picks(stem):
    """Coordinates and scores in the original's file; its y is counted as cryotx counts, down the rows as stored."""
    text = recorded_json("e2e.json")["box_text"][f"{stem}_CryoTransformer.box"]
    rows = np.array([line.split("\t")[1:] for line in text.splitlines()[1:]], float)
    return rows[:, :2], rows[:, 4]


@pytest.mark.slow
def test_published_weights_pick_what_the_original_program_picks(tmp_path, recorded_weights, recorded_micrographs):
    run = start_pick(
        [recorded_micrographs], tmp_path / "p.star", PickConfig(diameter=60.0, weights=str(recorded_weights), **QUIET)
    )
    results = list(run)

    assert "--refit-head" in str(next(iter(run.events)))
    assert len(results) == 3
    for result in results:
        centres, scores = recorded_picks(result.file.path.stem)
        assert len(centres) > 5
        np.testing.assert_array_equal(result.particles.centres, centres)
        np.testing.assert_allclose(result.particles.scores, scores, atol=1e-5)
    assert len(read_particles_star(tmp_path / "p.star")) == 3


@pytest.mark.slow
def test_a_resumed_legacy_run_keeps_its_picks_and_another_percentile_makes_new_ones(
    tmp_path, recorded_weights, recorded_micrographs
):
    def picked(**changes):
        config = PickConfig(diameter=60.0, weights=str(recorded_weights), **QUIET, **changes)
        (result,) = start_pick([recorded_micrographs / "m4_i16_256x240.mrc"], tmp_path / "p.star", config)
        return result

    first, again = picked(), picked(selection="legacy")
    assert not first.resumed
    assert again.resumed
    np.testing.assert_array_equal(again.particles.centres, first.particles.centres)
    fewer = picked(percentile=60.0)
    assert not fewer.resumed
    assert len(fewer.particles) < len(first.particles)


def degenerate(tmp_path):
    return save_as_original(tmp_path / "published.pth", Detr(TINY).state_dict(), TINY)


@pytest.mark.parametrize("given", [{"threshold": 0.5}, {"expected_count": 5}])
def test_weights_without_probabilities_cannot_be_cut_by_probability(tmp_path, given):
    write_mrc(tmp_path / "m.mrc", micrograph_by_formula(1, 64, 64, 2))
    config = PickConfig(diameter=60.0, weights=str(degenerate(tmp_path)), **given)

    with pytest.raises(ConfigError, match=r"published\.pth.*class scores mean nothing"):
        start_pick([tmp_path / "m.mrc"], tmp_path / "p.star", config)


def test_weights_of_the_paper_run_in_float32_alone(tmp_path):
    config = PickConfig(diameter=60.0, weights=str(degenerate(tmp_path)), precision="bfloat16")
    with pytest.raises(ConfigError, match=r"precision bfloat16: .*published\.pth is a model of the CryoTransformer"):
        start_pick([write_mrc(tmp_path / "m.mrc", micrograph_by_formula(1, 64, 64, 2))], tmp_path / "p.star", config)


def test_asking_for_probabilities_that_do_not_exist_is_an_error(tmp_path):
    write_mrc(tmp_path / "m.mrc", micrograph_by_formula(1, 64, 64, 2))
    config = PickConfig(diameter=60.0, weights=str(degenerate(tmp_path)), selection="probability")

    with pytest.raises(CheckpointError) as caught:
        start_pick([tmp_path / "m.mrc"], tmp_path / "p.star", config)
    assert "--refit-head" in caught.value.hint


def test_legacy_selection_is_for_weights_of_the_original(tmp_path):
    write_mrc(tmp_path / "m.mrc", micrograph_by_formula(1, 64, 64, 2))
    small = CenterConfig(widths=(8, 8, 8, 8), depths=(1, 1, 1), hidden_dim=16, thin_dim=8, heads=2)
    save_checkpoint(Checkpoint(CenterDETR(small).state_dict(), small), tmp_path / "center.safetensors")
    config = PickConfig(diameter=60.0, weights=str(tmp_path / "center.safetensors"), selection="legacy")

    with pytest.raises(ConfigError, match="not a model of the original"):
        start_pick([tmp_path / "m.mrc"], tmp_path / "p.star", config)


def test_own_weights_of_this_model_pick_by_probability(tmp_path):
    torch.manual_seed(2)
    weights = Detr(TINY).state_dict()
    for name in ("query_embed.weight", "bbox_embed.layers.2.weight", "class_embed.weight"):
        weights[name] *= 10  # else all queries answer alike
    checkpoint = DetrCheckpoint(weights, TINY, DetrInput("raw", short_side=64, long_side=96))
    save_detr_checkpoint(checkpoint, tmp_path / "own.safetensors")
    write_mrc(tmp_path / "m.mrc", micrograph_by_formula(1, 96, 128, 4))

    def picked(**changes):
        config = PickConfig(diameter=0.1, weights=str(tmp_path / "own.safetensors"), **QUIET, **changes)
        run = start_pick([tmp_path / "m.mrc"], tmp_path / "p.star", config)
        assert not len(run.events) or "earlier run" in str(next(iter(run.events)))
        (result,) = run
        return result.particles

    everything = picked(threshold=0.0)
    middle = float(np.median(everything.scores))
    assert len(everything) >= 4
    assert 0 < len(picked(threshold=middle)) < len(everything)
    assert picked(threshold=middle).scores.min() >= middle
