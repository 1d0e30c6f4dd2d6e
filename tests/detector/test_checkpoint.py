"""Checkpoints: written and read back whole, and files that are none."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors import safe_open
from safetensors.torch import save_file

from cryotx_cli.config import CenterConfig
from cryotx_cli.detector.calibration import Calibration
from cryotx_cli.detector.center.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cryotx_cli.detector.center.film import FilmFinder
from cryotx_cli.detector.center.network import CenterDETR
from cryotx_cli.detector.checkpoint import checkpoint_path
from cryotx_cli.errors import CheckpointError

TINY = CenterConfig(widths=(4, 8, 8, 8), depths=(1, 1, 1), hidden_dim=16, thin_dim=8, heads=2, decoder_layers=1)


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    return Checkpoint(
        weights=CenterDETR(TINY).state_dict(),
        model=TINY,
        calibration=Calibration((-2.0, 0.5, 3.0), (0.1, 0.4, 0.9)),
        use_decoder=False,
        training={"steps": 12, "settings": {"seed": 3}},
    )


def rewrite(path, **header):
    """Replace entries of a checkpoint's header; None removes one."""
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), **header}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={k: v for k, v in metadata.items() if v is not None})


def settings_of(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["settings"])


# --- a round trip ----------------------------------------------------------------------------------------------------


def test_everything_comes_back(tmp_path, checkpoint):
    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, path)
    read = load_checkpoint(path)

    assert read.model == TINY
    assert read.calibration == checkpoint.calibration
    assert read.use_decoder is False
    assert read.training == checkpoint.training
    assert read.name == str(path)
    assert read.weights.keys() == checkpoint.weights.keys()
    for name, value in checkpoint.weights.items():
        assert read.weights[name].dtype == torch.float32
        assert_allclose(read.weights[name].numpy(), value.numpy(), rtol=1e-3, atol=1e-7, err_msg=name)  # half precision
    CenterDETR(read.model).load_state_dict(read.weights)
    assert read.film == {}


def test_the_film_finder_comes_back_apart_from_the_detector(tmp_path, checkpoint):
    film = FilmFinder().state_dict()
    save_checkpoint(replace(checkpoint, film=film), tmp_path / "model.safetensors")
    read = load_checkpoint(tmp_path / "model.safetensors")
    CenterDETR(read.model).load_state_dict(read.weights)
    FilmFinder().load_state_dict(read.film)
    for name, value in film.items():
        assert_allclose(read.film[name].numpy(), value.numpy(), rtol=1e-3, atol=1e-7, err_msg=name)


def test_half_precision_halves_the_file(tmp_path, checkpoint):
    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, path)
    values = sum(v.numel() for v in checkpoint.weights.values())
    assert 2 * values < path.stat().st_size < 2 * values + 40_000  # names and header


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path, checkpoint):
    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, path)
    save_checkpoint(replace(checkpoint, use_decoder=True), path)
    assert load_checkpoint(path).use_decoder is True
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_others_may_read_a_checkpoint_as_any_new_file(tmp_path, checkpoint):
    path, ordinary = tmp_path / "model.safetensors", tmp_path / "ordinary"
    save_checkpoint(checkpoint, path)
    ordinary.touch()
    assert path.stat().st_mode == ordinary.stat().st_mode


def test_a_checkpoint_that_cannot_be_written_is_reported_and_leaves_nothing(tmp_path, checkpoint):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "model.safetensors"
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        save_checkpoint(checkpoint, path)
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


# --- files that are no checkpoint ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["defualt", "missing.safetensors", "."])
def test_an_unknown_name_says_what_there_is(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no such file") as caught:
        load_checkpoint(name)
    assert f"--weights {name}" in caught.value.message
    assert "default" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02}q\x00.", bytes(range(255, -1, -1)) * 16])
def test_any_other_file_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a cryotx checkpoint") as caught:
        load_checkpoint(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("kept", [7, 500, 0.5, 0.999])
def test_a_truncated_file_is_no_checkpoint(tmp_path, checkpoint, kept):
    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, path)
    content = path.read_bytes()
    path.write_bytes(content[: kept if kept > 1 else int(len(content) * kept)])
    with pytest.raises(CheckpointError, match="not a cryotx checkpoint"):
        load_checkpoint(path)


def test_safetensors_of_another_program_are_no_checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"not a cryotx checkpoint \(format None\)"):
        load_checkpoint(path)


def test_the_format_of_a_later_version_is_named(tmp_path, checkpoint):
    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, path)
    rewrite(path, format="cryotx 99")
    with pytest.raises(CheckpointError, match="cryotx 99"):
        load_checkpoint(path)


@pytest.mark.parametrize("key", ["model", "calibration", "use_decoder", "training"])
def test_a_header_without_its_settings_is_refused(tmp_path, checkpoint, key):
    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, path)
    settings = settings_of(path)
    del settings[key]
    rewrite(path, settings=json.dumps(settings))
    with pytest.raises(CheckpointError, match=key):
        load_checkpoint(path)


@pytest.mark.parametrize("settings", [None, "", "{", "[]", '{"model": [1]}', '{"model": {"unheard_of": 1}}'])
def test_a_header_with_broken_settings_is_refused(tmp_path, checkpoint, settings):
    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, path)
    rewrite(path, settings=settings)
    with pytest.raises(CheckpointError, match="not a cryotx checkpoint"):
        load_checkpoint(path)


# --- calibration -----------------------------------------------------------------------------------------------------


def test_the_default_calibration_is_the_logistic_function():
    logits = np.linspace(-7, 7, 301)
    assert_allclose(Calibration()(logits), 1 / (1 + np.exp(-logits)), atol=1e-3)


def test_between_knots_a_calibration_is_linear_and_beyond_them_constant():
    calibration = Calibration((-2.0, 0.0, 4.0), (0.1, 0.3, 0.9))
    assert_allclose(calibration(np.array([[-9.0, -1.0], [1.0, 9.0]])), [[0.1, 0.2], [0.45, 0.9]])


@pytest.mark.parametrize(
    ("settings", "first", "second"),
    [('data = "labels"\n', "best", "last"), ("simulate = true\n", "last", "best"), ("", "best", "last")],
)
def test_the_folder_of_a_run_means_weights_that_are_ready_to_pick_with(tmp_path, settings, first, second):
    (tmp_path / "config.toml").write_text(settings)
    assert checkpoint_path(tmp_path) == tmp_path / f"{first}.safetensors"
    (tmp_path / f"{second}.safetensors").touch()
    assert checkpoint_path(tmp_path) == tmp_path / f"{second}.safetensors"
    (tmp_path / f"{first}.safetensors").touch()
    assert checkpoint_path(tmp_path) == tmp_path / f"{first}.safetensors"
    assert checkpoint_path(tmp_path / "other.safetensors") == tmp_path / "other.safetensors"
