"""`cryotx train` as a user sees it; the training itself is tested with its workflow."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.config import AdaptConfig, CenterTrainConfig, FilmTrainConfig, RunConfig
from cryotx_cli.coordinates.agreement import Counts
from cryotx_cli.coordinates.gain import Gain
from cryotx_cli.events import Event
from cryotx_cli.training.progress import Agreement, FineTuned, StepReport
from cryotx_cli.workflows import train as workflow


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, RunConfig]]:
    """Replace training by three reports and collect what it was started with."""
    calls: list[tuple[Path, RunConfig]] = []

    def train(out: Path, config: RunConfig) -> Iterator[StepReport]:
        calls.append((out, config))
        yield StepReport(20, config.steps, 3.25, None, 4.0)
        yield StepReport(40, config.steps, 2.5, 0.625, 9.0)
        yield StepReport(60, config.steps, 2.0, None, 75.0)

    monkeypatch.setattr(workflow, "train", train)
    return calls


def train(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", *arguments])


def test_flags_reach_the_training(started: list[tuple[Path, RunConfig]]) -> None:
    result = train("--simulate", "--out", "run", "--steps", "60", "--minutes", "1.5", "--resume", "--seed", "7")

    assert result.exit_code == 0, result.stderr
    assert started == [(Path("run"), CenterTrainConfig(steps=60, minutes=1.5, resume=True, seed=7))]


def test_progress_tells_loss_validation_and_end(started: list[tuple[Path, RunConfig]]) -> None:
    lines = train("--simulate", "--out", "run", "--steps", "60").stderr.splitlines()

    assert lines[0] == "Step 40: loss 2.500, F1 0.625 on held-out micrographs"
    assert lines[1].startswith("60/60 steps, ")
    assert lines[1].endswith(", loss 2.000")
    assert lines[2] == "Finished: 60 steps in 1 min 15 s; cryotx pick --weights run"


def adapted(helped: bool, spread: float) -> FineTuned:
    before = Agreement(Counts(picks=125, truth=100, matched=90), 0.8125, chance=0.25, dice=0.75)
    after = Agreement(Counts(picks=110, truth=100, matched=93), 0.875, chance=0.125, dice=0.5) if helped else before
    return FineTuned(
        step=60,
        steps=600,
        loss=float("nan"),
        f1=None,
        seconds=75.0,
        micrographs=("m2.mrc", "m4.mrc"),
        before=before,
        after=after,
        helped=helped,
        gain=Gain(0.0857, spread),
    )


@pytest.fixture(params=[(True, 0.02), (True, 0.1), (False, 0.02)], ids=["helped", "may have helped", "did not help"])
def adapting(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[bool, float]:
    """Replace fine-tuning by two reports, the last of which says whether it helped."""

    def train(out: Path, config: RunConfig) -> Iterator[StepReport]:
        yield StepReport(60, 600, 2.0, 0.875, 75.0, event=Event("3 micrographs to learn from"))
        yield adapted(*request.param)

    monkeypatch.setattr(workflow, "train", train)
    helped, spread = request.param
    return helped, spread


def test_adapting_ends_with_a_table_of_before_and_after(adapting: tuple[bool, float], tmp_path: Path) -> None:
    helped, spread = adapting
    result = train("--data", str(tmp_path), "--init", "default", "--out", "run")

    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[:2] == [
        "3 micrographs to learn from",
        "Step 60: loss 2.000, F1 0.875 on held-out micrographs",
    ]
    title, *rows = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert " ".join(title) == "Picks on 2 micrographs held back, with 100 labels"
    assert ["Weights", "Picks", "Precision", "Recall", "F1", "Chance", "Dice", "AP"] in rows
    assert ["before", "125", "0.720", "0.900", "0.800", "0.250", "0.750", "0.812"] in rows
    assert rows[-1][:3] == (["after", "110", "0.845"] if helped else ["after", "125", "0.720"])
    told = result.stderr.splitlines()[-1]
    if helped and spread < 0.05:
        assert told == (
            "Adapted in 1 min 15 s: F1 is higher by 0.086 ± 0.020; cryotx pick --weights run/best.safetensors"
        )
    elif helped:
        assert told.startswith(
            "Adapted in 1 min 15 s, but no gain is shown: F1 is higher by 0.086, within the spread of "
            "2 held-back micrographs, ± 0.100."
        )
        assert "run/best.safetensors holds the adapted weights" in told
    else:
        assert told.startswith("Adapting did not help on the held-back micrographs (1 min 15 s): run/best.safetensors")


def test_micrographs_are_simulated_or_labelled_and_not_both(started: list[tuple[Path, RunConfig]]) -> None:
    result = train("--simulate", "--data", "labels", "--out", "run")

    assert result.exit_code == 2
    assert "Leave out --simulate" in result.stderr
    assert not started


def test_the_film_finder_is_trained_on_simulated_micrographs(started: list[tuple[Path, RunConfig]]) -> None:
    result = train("--model", "film", "--out", "run")
    assert result.exit_code == 2
    assert "Add --simulate" in result.stderr
    assert not started

    result = train("--model", "film", "--simulate", "--out", "run")
    assert result.exit_code == 0, result.stderr
    assert started == [(Path("run"), FilmTrainConfig())]


def test_flags_about_labelled_micrographs_reach_the_training(started: list[tuple[Path, RunConfig]]) -> None:
    given = ("--data", "picks.star", "--micrographs", "mics", "--diameter", "160", "--pixel-size", "1.06")
    result = train(*given, "--out", "run")

    assert result.exit_code == 0, result.stderr
    assert started == [
        (
            Path("run"),
            AdaptConfig(data=Path("picks.star"), micrographs=Path("mics"), diameter=160.0, pixel_size=1.06),
        )
    ]


def test_the_source_of_micrographs_has_to_be_named(started: list[tuple[Path, RunConfig]]) -> None:
    result = train("--out", "run")

    assert result.exit_code == 2
    assert "--simulate" in result.stderr
    assert not started


def test_a_run_that_is_told_to_stop_says_how_it_goes_on(started: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(out: Path, config: RunConfig) -> Iterator[StepReport]:
        yield StepReport(31, 60, 2.0, None, 75.0)

    monkeypatch.setattr(workflow, "train", stopped)

    last = train("--simulate", "--out", "run", "--steps", "60", "--minutes", "1.5").stderr.splitlines()[-1]

    assert last == (
        "Stopped at step 31 of 60 after 1 min 15 s, its minutes being over: the same command with --resume goes on, "
        "and cryotx pick --weights run has the weights so far"
    )


def test_a_run_that_has_ended_before_says_so(started: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "train", lambda out, config: iter(()))

    result = train("--simulate", "--out", "run", "--resume")

    assert result.stderr == "Nothing to do: the run in run has come to its end before.\n"
