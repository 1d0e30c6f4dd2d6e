"""The network with convolutions in bfloat16: which of its numbers are, and what becomes of picks."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from cryotx_cli.config import PickConfig, SimulateConfig
from cryotx_cli.detector import device as device_module
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.micrograph import read_micrograph
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.simulate import simulate


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """One micrograph of 512 px at 4 Å with particles of 209 Å."""
    folder = tmp_path_factory.mktemp("simulated")
    (written,) = simulate(folder, SimulateConfig(micrographs=1, size=512, pixel_size=4.0, seed=3))
    return written.path


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint("default")


def is_bfloat16(numbers):
    """Whether each number is one that bfloat16 has."""
    return numbers.dtype == torch.bfloat16 or torch.equal(numbers, numbers.to(torch.bfloat16).to(numbers.dtype))


def test_convolutions_are_in_bfloat16_and_the_rest_is_not(checkpoint):
    picker = Picker(checkpoint, precision="bfloat16")
    image = torch.randn(1, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        level4, level8, level16 = picker.model.features(image)
        found = picker.model(image)
    assert is_bfloat16(level4)
    assert is_bfloat16(level8)
    assert {level.dtype for level in (level4, level8, level16, found.final.logits)} == {torch.float32}
    assert not is_bfloat16(level16)  # attention has seen it
    assert not is_bfloat16(found.dense.heat)  # neighbours as warm as each other would both be peaks
    assert not is_bfloat16(found.final.centres)
    assert {value.dtype for value in checkpoint.weights.values() if value.is_floating_point()} == {torch.float32}


def test_picks_are_nearly_those_of_float32(simulated, checkpoint):
    micrograph = read_micrograph(simulated)
    exact, coarse = (Picker(checkpoint, precision=one).pick(micrograph, 209.0) for one in ("float32", "bfloat16"))
    sure = exact.scores > 0.5
    assert sure.sum() > 20
    away, nearest = cKDTree(coarse.centres).query(exact.centres[sure])
    assert away.max() < 0.05 * 209 / micrograph.pixel_size
    assert np.abs(coarse.scores[nearest] - exact.scores[sure]).max() < 0.05
    assert not np.array_equal(coarse.scores[nearest], exact.scores[sure])  # else this has compared nothing


def test_another_precision_makes_another_fingerprint(checkpoint):
    exact, coarse = (Picker(checkpoint, precision=one).fingerprint for one in ("float32", "bfloat16"))
    assert Picker(checkpoint).fingerprint == exact
    assert coarse != exact


def test_a_run_that_goes_on_in_another_precision_picks_all_of_it_anew(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(device_module, "supports_bfloat16", lambda device: True)  # slow where it is not true

    def picked(precision):
        config = PickConfig(
            diameter=209.0, device="cpu", precision=precision, images=False, report=False, no_classes=True
        )
        run = start_pick([simulated], tmp_path / "p.star", config)
        (result,) = run
        return result.resumed, (tmp_path / "p.star").read_bytes(), decoys(), [str(event) for event in run.events]

    def decoys():
        return {path.name: path.read_bytes() for path in (tmp_path / "p" / "decoys").iterdir()}

    _, exact_picks, exact_decoys, _ = picked("float32")
    resumed, coarse_picks, coarse_decoys, said = picked("bfloat16")
    assert not resumed
    assert any("changed since an earlier run" in text for text in said)
    assert coarse_picks != exact_picks
    assert exact_decoys.keys() == coarse_decoys.keys()
    assert all(coarse_decoys[name] != content for name, content in exact_decoys.items())
    assert 'precision = "bfloat16"' in (tmp_path / "p" / "config.toml").read_text()
    assert picked("bfloat16")[0]
