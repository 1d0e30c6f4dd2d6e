"""Which family weights belong to, and that each is known to the settings by its name."""

import argparse
import ast
import importlib
import json
import subprocess
import sys
import typing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import cryotx_cli
from cryotx_cli.config import CenterConfig, PickConfig, WayOfTraining
from cryotx_cli.detector.center.checkpoint import Checkpoint, save_checkpoint
from cryotx_cli.detector.center.film import FilmFinder
from cryotx_cli.detector.center.network import CenterDETR
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint, DetrInput, save_detr_checkpoint
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.detector.cryotransformer.picker import DetrPicker
from cryotx_cli.detector.families import CENTER, CRYOTRANSFORMER, FAMILIES, family_of
from cryotx_cli.detector.load_picker import load_picker
from cryotx_cli.errors import CheckpointError

SMALL = CenterConfig(widths=(4, 8, 8, 8), depths=(1, 1, 1), hidden_dim=16, thin_dim=8, heads=2)
TINY = DetrConfig(
    backbone="resnet18", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=1, dim_feedforward=16, num_queries=8
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of each kind, by name."""
    folder = tmp_path_factory.mktemp("weights")
    network = Detr(TINY).state_dict()
    save_checkpoint(Checkpoint(CenterDETR(SMALL).state_dict(), SMALL), folder / "center.safetensors")
    save_detr_checkpoint(DetrCheckpoint(network, TINY, DetrInput("raw", 64, 96)), folder / "detr.safetensors")
    arguments = argparse.Namespace(nheads=TINY.nheads)
    for name in ("published.pth", "published.PT"):
        torch.save({"model": network, "args": arguments}, folder / name)
    return folder


@pytest.mark.parametrize(
    ("name", "family", "picker"),
    [
        ("center.safetensors", CENTER, Picker),
        ("detr.safetensors", CRYOTRANSFORMER, DetrPicker),
        ("published.pth", CRYOTRANSFORMER, DetrPicker),
        ("published.PT", CRYOTRANSFORMER, DetrPicker),
    ],
)
def test_weights_are_known_by_their_ending_or_header_and_make_a_picker(weights, name, family, picker):
    assert family_of(weights / name) is family
    loaded = load_picker(PickConfig(weights=str(weights / name), device="cpu"))
    assert type(loaded.picker) is picker
    assert loaded.picker.scales_to_diameter is (family is CENTER)


def test_the_bundled_weights_are_of_the_default_family():
    assert family_of("default") is CENTER


def test_weights_of_a_family_that_comes_later_are_named(weights, tmp_path):
    with safe_open(weights / "detr.safetensors", framework="pt") as file:
        settings = json.loads(file.metadata()["settings"]) | {"architecture": "later"}
    header = {"format": "cryotx 1", "settings": json.dumps(settings)}
    save_file({"weight": torch.zeros(3)}, tmp_path / "new.safetensors", metadata=header)
    with pytest.raises(CheckpointError, match=r"new\.safetensors: .*'later'") as caught:
        family_of(tmp_path / "new.safetensors")
    assert "newer cryotx" in caught.value.hint


@pytest.mark.parametrize(("family", "name"), [(CENTER, "detr.safetensors"), (CRYOTRANSFORMER, "center.safetensors")])
def test_weights_of_the_other_family_are_refused_by_name(weights, family, name):
    with pytest.raises(CheckpointError, match=rf"not a {family.name} model") as caught:
        family.read(weights / name)
    assert family.name in caught.value.hint


def test_what_shows_which_settings_do_not_fit_is_said_as_a_warning(weights):
    loaded = load_picker(PickConfig(weights=str(weights / "published.pth"), device="cpu"))
    (event,) = loaded.events
    assert event.level == "warning"
    assert "published.pth" in event.text
    assert "--refit-head" in event.text
    assert loaded.config.selection == "legacy"
    assert not load_picker(PickConfig(weights=str(weights / "detr.safetensors"), device="cpu")).events


def test_picks_less_sure_than_their_fellows_stay_with_adapted_weights(tmp_path):
    adapted = Checkpoint(CenterDETR(SMALL).state_dict(), SMALL, training={"fine_tuned_steps": 200})
    save_checkpoint(adapted, tmp_path / "adapted.safetensors")
    save_checkpoint(replace(adapted, training={"steps": 200}), tmp_path / "plain.safetensors")
    for name, unsure, settled in (
        ("adapted", "auto", "keep"),
        ("adapted", "drop", "drop"),
        ("plain", "auto", "auto"),
        ("plain", "keep", "keep"),
    ):
        config = PickConfig(weights=str(tmp_path / f"{name}.safetensors"), unsure=unsure, device="cpu")
        assert load_picker(config).config.unsure == settled


def test_the_film_finder_is_left_out_where_picks_may_lie_on_film(tmp_path):
    checkpoint = Checkpoint(CenterDETR(SMALL).state_dict(), SMALL, film=FilmFinder().state_dict())
    save_checkpoint(checkpoint, tmp_path / "film.safetensors")
    config = {"weights": str(tmp_path / "film.safetensors"), "device": "cpu"}
    assert load_picker(PickConfig(**config)).picker.film_finder is not None
    assert load_picker(PickConfig(**config, on_film=True)).picker.film_finder is None


def test_every_family_is_trained_somewhere_and_its_name_is_a_model_of_the_settings():
    names = set(typing.get_args(typing.get_type_hints(WayOfTraining)["model"]))
    for family in FAMILIES:
        assert family.name in names
        assert importlib.import_module(family.training).__name__ == family.training


def test_the_list_of_families_does_not_bring_torch():
    code = "import sys, cryotx_cli.detector.families as f; f.family_of('x.pth'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_other_module_knows_how_files_of_weights_end():
    home = Path(cryotx_cli.__file__).parent
    naming = {
        module.relative_to(home).as_posix()
        for module in home.rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in (".pth", ".pt")
    }
    assert naming == {"detector/families.py"}
