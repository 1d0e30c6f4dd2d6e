"""A single path where several may be given: one input, never a sequence of letters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryotx_cli.config import CheckConfig, DenoiseConfig, PickConfig
from cryotx_cli.coordinates.formats.csv import write_csv
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ConfigError, MicrographError
from cryotx_cli.micrographs.find import find_micrographs
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.runs import arrivals
from cryotx_cli.workflows.check import check
from cryotx_cli.workflows.denoise import denoise
from cryotx_cli.workflows.pick import start_pick
from quick_picker import QuickPicker


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two micrographs below an absolute path, whose first letter alone is the root of the file system."""
    monkeypatch.setattr(arrivals, "STILL_SECONDS", 0.1)
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.02)
    for number in (1, 2):
        pixels = np.random.default_rng(number).normal(size=(128, 128)).astype(np.float32)
        write_micrograph(tmp_path / "mics" / f"m{number}.mrc", pixels, 2.0)
    return tmp_path / "mics"


def names(files: Any) -> list[str]:
    return sorted(Path(str(file)).name for file in files)


@pytest.fixture(params=["text", "path", "list", "tuple"])
def inputs(request: pytest.FixtureRequest, folder: Path) -> Any:
    return {"text": str(folder), "path": folder, "list": [folder], "tuple": (str(folder),)}[request.param]


def test_find(inputs: Any) -> None:
    assert names(file.path for file in find_micrographs(inputs)) == ["m1.mrc", "m2.mrc"]


def test_pick(inputs: Any, tmp_path: Path) -> None:
    config = PickConfig(diameter=60, formats=(), images=False, report=False)

    run = start_pick(inputs, tmp_path / "out.star", config, QuickPicker())

    assert names(result.file.path for result in run) == ["m1.mrc", "m2.mrc"]


def test_watch(inputs: Any, tmp_path: Path) -> None:
    config = PickConfig(diameter=60, formats=(), images=False, report=False, watch=True, stop_after=0.2)

    run = start_pick(inputs, tmp_path / "out.star", config, QuickPicker())

    assert names(result.file.path for result in run) == ["m1.mrc", "m2.mrc"]


def test_denoise(inputs: Any, tmp_path: Path) -> None:
    for result in denoise(inputs, tmp_path / "out", DenoiseConfig(device="cpu", workers=1)):
        assert result.error is None

    assert names((tmp_path / "out").rglob("*.mrc")) == ["m1.mrc", "m2.mrc"]


def test_check(inputs: Any, tmp_path: Path) -> None:
    picks = Particles(np.array([[64.0, 64.0]]), np.ones(1), np.full(1, 20.0), 2.0)
    write_csv(tmp_path / "picks" / "m1.csv", picks)

    result = check(tmp_path / "picks", inputs, CheckConfig(sample=0, diameter=40))

    assert (result.micrographs, result.picks) == (2, 1)


def test_a_path_that_is_not_there_is_named_whole(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")

    with pytest.raises(MicrographError, match=f"^{missing}: no such file"):
        start_pick(missing, tmp_path / "out.star", PickConfig(diameter=60), QuickPicker())
    with pytest.raises(MicrographError, match=f"^{missing}: no such file"):
        start_pick(missing, tmp_path / "out.star", PickConfig(diameter=60, watch=True), QuickPicker())


def test_an_input_that_is_the_output_is_refused_alone_as_in_a_list(tmp_path: Path) -> None:
    star = tmp_path / "micrographs.star"
    star.write_text("data_\n")

    with pytest.raises(ConfigError, match="also an input"):
        start_pick(str(star), star, PickConfig(diameter=60), QuickPicker())
