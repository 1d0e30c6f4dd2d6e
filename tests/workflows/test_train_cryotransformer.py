"""`cryotx train --model cryotransformer` from files to picks: what is refused, what is written, what then picks."""

import argparse
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cryotx_cli.cli.app import app
from cryotx_cli.config import load_train_config
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import write_labels
from cryotx_cli.detector.cryotransformer.checkpoint import load_detr_checkpoint
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.detector.cryotransformer.picker import DetrPicker
from cryotx_cli.detector.cryotransformer.published_checkpoint import read_published_checkpoint
from cryotx_cli.micrographs.micrograph import read_micrograph

TINY = DetrConfig(
    backbone="resnet18", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=1, dim_feedforward=16, num_queries=10
)
SIZE = 96


@pytest.fixture(autouse=True)
def no_heap_of_networks(tmp_path):
    """Remove what a test leaves: a run is hundreds of megabytes, and pytest keeps the folders of three sessions."""
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture
def published(tmp_path):
    """Weights in the original's format whose queries answer in different places."""
    torch.manual_seed(6)
    weights = Detr(TINY).state_dict()
    weights["query_embed.weight"] *= 5
    weights["bbox_embed.layers.2.weight"] *= 30
    arguments = argparse.Namespace(nheads=TINY.nheads, dropout=0.1, dilation=False)
    torch.save({"model": weights, "epoch": 1, "args": arguments}, tmp_path / "published.pth")
    return tmp_path / "published.pth"


def write_tree(folder, count, label):
    """CryoPPP tree of noise; `label(path)` gives the particles of each micrograph."""
    for number in range(count):
        path = folder / "10001" / "micrographs" / f"m{number}.mrc"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(number)
        with mrcfile.new(path) as mrc:
            mrc.set_data(rng.normal(0, 1, (SIZE, SIZE + 32)).astype(np.float32))
            mrc.voxel_size = 2.0
        write_labels(folder / "10001", path, label(path), SIZE)
    return folder


def some_particles(path):
    centres = np.random.default_rng(int(path.stem[1:])).uniform(10, SIZE - 10, (4, 2))
    return Particles(centres, np.ones(4), np.full(4, 12.0), 2.0)


def cryotx(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def pick(micrographs, out, weights, *more):
    small = ("--diameter", 1, "--threshold", 0, "--no-images", "--no-boxes", "--device", "cpu")
    return cryotx("pick", micrographs, "--out", out, "--weights", weights, *small, *more)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--data DIR"),
        (["--model", "cryotransformer"], "--data DIR"),
        (["--model", "cryotransformer", "--data", "d", "--simulate"], "cryotx simulate"),
    ],
)
def test_wrong_usage_says_what_to_give(tmp_path, arguments, word):
    result = cryotx("train", "--out", tmp_path / "run", *arguments)
    assert result.exit_code == 2
    assert word in result.stderr


def test_several_processes_do_not_make_one_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    tree = write_tree(tmp_path / "tree", 2, some_particles)
    result = cryotx("train", "--model", "cryotransformer", "--data", tree, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "cryotx make-coco" in result.stderr


@pytest.mark.slow
def test_a_tree_is_learned_from_and_the_result_picks(tmp_path, published):
    tree, out = write_tree(tmp_path / "tree", 10, some_particles), tmp_path / "run"
    small = ("--cryotransformer.short-sides", "64,64", "--batch-size", 4, "--workers", 0, "--device", "cpu")
    result = cryotx(
        "train", "--model", "cryotransformer", "--data", tree, "--init", published, "--epochs", 1, "--out", out, *small
    )

    assert result.exit_code == 0, result.output
    assert "Finished: 2 steps" in result.stderr
    assert "F1" in result.stderr
    saved = load_train_config(out / "config.toml")
    assert (saved.data, saved.cryotransformer.short_sides) == (out / "dataset", (64, 64))
    checkpoint = load_detr_checkpoint(out / "last.safetensors")
    assert (checkpoint.input.pipeline, checkpoint.input.short_side) == ("paper", 64)
    assert checkpoint.training["steps"] == 2

    assert pick(tree, tmp_path / "p.star", out / "last.safetensors").exit_code == 0
    assert sum(map(len, read_particles_star(tmp_path / "p.star").values())) > 10

    again = cryotx("train", "--config", out / "config.toml", "--out", out, "--resume")
    assert again.exit_code == 0, again.output


@pytest.mark.slow
def test_published_weights_get_probabilities_from_labels(tmp_path, published):
    """The labels are where some of the queries answer, in the rows as stored; refitted weights then pick them."""
    boxes = DetrPicker(read_published_checkpoint(published).as_detr_checkpoint(), legacy_percentile=0.0)

    def first_boxes(path):
        found = boxes.pick(read_micrograph(path), 1.0)
        inside = found.inside(SIZE, SIZE + 32).with_minimum_distance(8.0)
        return Particles(inside.centres[:2], np.ones(2), np.full(2, 3.0), 2.0)

    tree, out = write_tree(tmp_path / "tree", 3, first_boxes), tmp_path / "run"
    result = cryotx(
        "train", "--model", "cryotransformer", "--refit-head", "--init", published, "--data", tree, "--out", out,
        "--device", "cpu",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    assert "Class layer refitted" in result.stderr
    checkpoint = load_detr_checkpoint(out / "last.safetensors")
    assert (checkpoint.input.pipeline, checkpoint.input.short_side) == ("original", 800)
    picked = pick(tree, tmp_path / "p.star", out / "last.safetensors", "--percentile", 0)
    assert picked.exit_code == 2  # two rules at once
    threshold = pick(tree, tmp_path / "p.star", out / "last.safetensors")
    assert threshold.exit_code == 0, threshold.output
    assert "--refit-head" not in threshold.stderr
    for name, particles in read_particles_star(tmp_path / "p.star").items():
        truth = first_boxes(Path(name)).centres
        best = particles.with_minimum_distance(4.0).sorted_by_score().centres[:2]  # some queries answer alike
        distance = np.linalg.norm(best[:, None] - truth[None], axis=2)
        assert (distance.min(0) < 2.5).all()
