"""`cryotx job relion-train` as RELION starts it. The training itself is that of `cryotx train`; here it is made up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.config import AdaptConfig
from cryotx_cli.coordinates.agreement import Counts
from cryotx_cli.files.star_blocks import read_tables
from cryotx_cli.training.progress import Agreement, FineTuned, StepReport
from cryotx_cli.workflows import train as workflow
from relion_project import MICS, make_project

JOB = Path("External/job007")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[AdaptConfig]:
    """A project of RELION 5, and the settings of each training that has been asked for."""
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, 1, pipeline="5")
    JOB.mkdir(parents=True)
    settings: list[AdaptConfig] = []

    def train(out: Path, config: AdaptConfig) -> Iterator[StepReport]:
        settings.append(config)
        out.mkdir(exist_ok=True)
        (out / "state.pt").touch()
        yield StepReport(1, 2, 0.5, None, 1.0)
        yield StepReport(2, 2, 0.4, 0.8, 2.0)
        (out / "best.safetensors").touch()
        before, after = (Agreement(Counts(truth=10, picks=10, matched=hits), 0.5) for hits in (6, 8))
        yield FineTuned(2, 2, 0.4, None, 3.0, None, ("m1.mrc",), before, after, True)

    monkeypatch.setattr(workflow, "train", train)
    return settings


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["job", "relion-train", "--o", f"{JOB}/", *words, "--j", "1"])


@pytest.mark.parametrize("flag", ["--in_parts", "--in_coords"])
def test_it_learns_from_what_relion_hands_over_and_offers_the_weights(asked: list[AdaptConfig], flag: str) -> None:
    result = run("--in_mics", MICS, flag, "labels.star", "--diameter", "120", "--steps", "2")

    assert result.exit_code == 0, result.output
    assert (JOB / "RELION_JOB_EXIT_SUCCESS").exists()
    (config,) = asked
    assert (config.data, config.micrographs, config.diameter) == (Path("labels.star"), Path(MICS), 120.0)
    assert not config.resume
    assert "before: precision 0.600, recall 0.600" in result.stdout
    assert "after: precision 0.800, recall 0.800" in result.stdout
    assert f"{JOB}/model/best.safetensors" in result.stdout
    (nodes,) = read_tables(JOB / "RELION_OUTPUT_NODES.star")
    assert list(nodes.texts("rlnPipeLineNodeName")) == [f"{JOB}/model/best.safetensors", f"{JOB}/logfile.pdf"]
    assert result.stderr == ""


def test_a_job_that_is_continued_resumes(asked: list[AdaptConfig]) -> None:
    for _ in range(2):
        assert run("--in_mics", MICS, "--in_parts", "labels.star").exit_code == 0

    assert [config.resume for config in asked] == [False, True]


@pytest.mark.parametrize(
    "words",
    [
        ["--in_mics", MICS],
        ["--in_parts", "p.star"],
        ["--in_mics", MICS, "--in_parts", "p.star", "--in_coords", "c.star"],
    ],
)
def test_labels_and_micrographs_are_needed(asked: list[AdaptConfig], words: list[str]) -> None:
    result = run(*words)

    assert result.exit_code == 2
    assert "--in_mics" in result.stderr
    assert (JOB / "RELION_JOB_EXIT_FAILURE").exists()
    assert not asked


def test_flags_that_make_no_sense_here_are_unknown(asked: list[Any]) -> None:
    assert run("--in_mics", MICS, "--in_parts", "p.star", "--batch-size", "2").exit_code == 2
