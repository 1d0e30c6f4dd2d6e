"""`cryotx job relion-classes` as RELION starts it, on the coordinates of a job that picked."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.config import PickConfig
from cryotx_cli.files.star_blocks import read_tables
from cryotx_cli.micrographs.stack import read_stack
from cryotx_cli.workflows.job_relion import RelionJob
from cryotx_cli.workflows.pick import start_pick
from quick_picker import QuickPicker
from relion_project import MICS, make_project

PICKED, JOB = Path("External/job004"), Path("External/job005")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of RELION 5 in which a job has picked some 18 particles on each of four micrographs of noise."""
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, 4, pipeline="5")
    job = RelionJob(PICKED, Path(MICS))
    list(start_pick([MICS], job.star, PickConfig(diameter=60.0, threshold=0.4), QuickPicker()))
    job.lay_out()
    JOB.mkdir()
    return tmp_path


def run(coordinates: Path | str) -> Result:
    words = ["job", "relion-classes", "--in_coords", str(coordinates), "--o", f"{JOB}/", "--classes", "2", "--j", "1"]
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize("listed", ["autopick.star", "coords_suffix_autopick.star"])
def test_averages_are_in_the_folder_of_the_job_and_offered(project: Path, listed: str) -> None:
    result = run(PICKED / listed)

    assert result.exit_code == 0, result.output
    assert (JOB / "RELION_JOB_EXIT_SUCCESS").exists()
    (averages,) = read_tables(JOB / "classes.star")
    images, _ = read_stack(JOB / "classes.mrcs")
    named = [f"{i:06d}@External/job005/classes.mrcs" for i in range(1, len(images) + 1)]
    assert list(averages.texts("rlnReferenceImage")) == named
    assert np.array_equal(images, read_stack(PICKED / "cryotx/classes/classes.mrcs")[0])
    assert (JOB / "particles.star").read_bytes() == (PICKED / "cryotx/classes/particles.star").read_bytes()
    (nodes,) = read_tables(JOB / "RELION_OUTPUT_NODES.star")
    assert list(nodes.texts("rlnPipeLineNodeName")) == [f"{JOB}/classes.star", f"{JOB}/logfile.pdf"]
    assert nodes.texts("rlnPipeLineNodeTypeLabel")[0] == "Image2DGroupMetadata.star.relion.classaverages"
    assert (JOB / "logfile.pdf").stat().st_size > 10_000
    assert (JOB / "classes.png").exists()
    assert result.stderr == ""


def test_coordinates_of_another_program_are_refused(project: Path) -> None:
    Path("AutoPick/job009").mkdir(parents=True)
    Path("AutoPick/job009/autopick.star").touch()

    result = run("AutoPick/job009/autopick.star")

    assert result.exit_code == 1
    assert "not the coordinates of a job of cryotx" in result.stderr
    assert (JOB / "RELION_JOB_EXIT_FAILURE").exists()


def test_without_coordinates_it_says_which_input_it_needs(project: Path) -> None:
    result = CliRunner().invoke(app, ["job", "relion-classes", "--o", f"{JOB}/"])

    assert result.exit_code == 2
    assert "--in_coords" in result.stderr
    assert (JOB / "RELION_JOB_EXIT_FAILURE").exists()
