"""`cryotx train` as a user sees it; the training itself is tested with its workflow."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.config import TrainConfig
from cryotx_cli.training.progress import StepReport
from cryotx_cli.workflows import train as workflow


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, TrainConfig]]:
    """Replace training by three reports and collect what it was started with."""
    calls: list[tuple[Path, TrainConfig]] = []

    def train(out: Path, config: TrainConfig) -> Iterator[StepReport]:
        calls.append((out, config))
        yield StepReport(20, config.steps, 3.25, None, 4.0)
        yield StepReport(40, config.steps, 2.5, 0.625, 9.0)
        yield StepReport(60, config.steps, 2.0, None, 75.0)

    monkeypatch.setattr(workflow, "train", train)
    return calls


def train(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", *arguments])


def test_flags_reach_the_training(started: list[tuple[Path, TrainConfig]]) -> None:
    result = train("--simulate", "--out", "run", "--steps", "60", "--minutes", "1.5", "--resume", "--seed", "7")

    assert result.exit_code == 0, result.stderr
    assert started == [(Path("run"), TrainConfig(steps=60, minutes=1.5, resume=True, seed=7))]


def test_progress_tells_loss_validation_and_end(started: list[tuple[Path, TrainConfig]]) -> None:
    lines = train("--simulate", "--out", "run", "--steps", "60").stderr.splitlines()

    assert lines[0] == "Step 40: loss 2.500, F1 0.625 on held-out micrographs"
    assert lines[1].startswith("60/60 steps, ")
    assert lines[1].endswith(", loss 2.000")
    assert lines[2] == "Stopped at step 60 of 60 after 1 min 15 s; the run is in run"


def test_the_source_of_micrographs_has_to_be_named(started: list[tuple[Path, TrainConfig]]) -> None:
    result = train("--out", "run")

    assert result.exit_code == 2
    assert "--simulate" in result.stderr
    assert not started
