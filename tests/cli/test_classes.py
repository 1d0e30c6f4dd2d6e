"""`cryotx classes` prints a table of classes and where they are."""

import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.config import PickConfig
from cryotx_cli.workflows.pick import start_pick
from quick_picker import QuickPicker


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run: some 15 picks on each of four micrographs of noise."""
    monkeypatch.chdir(tmp_path)
    Path("mics").mkdir()
    for seed in range(4):
        with mrcfile.new(f"mics/m{seed}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(seed).normal(size=(500, 600)).astype(np.float32))
            mrc.voxel_size = 2.0
    list(start_pick(["mics"], "p.star", PickConfig(diameter=60.0, threshold=0.4, report=False), QuickPicker()))
    return tmp_path


def classes(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["classes", *arguments])


def test_classes_and_their_files_are_told(run: Path) -> None:
    result = classes("p.star", "--classes", "2")

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "Classes"
    assert "noise" in result.stdout  # there is nothing else
    assert "Wrote p/classes" in lines
    assert any(line.startswith("In classes that are more than noise") and line.split()[-1] == "0" for line in lines)
    assert (run / "p" / "classes" / "classes.mrcs").is_file()


def test_micrographs_that_have_gone_are_one_line_and_an_exit_code(run: Path) -> None:
    shutil.rmtree("mics")

    result = classes("p.star")

    assert result.exit_code == 1
    assert "Error: p: there is nothing to average" in result.stderr


def test_no_run_is_an_error() -> None:
    result = classes("nothing.star")

    assert result.exit_code == 1
    assert "not a run of cryotx pick" in result.stderr
