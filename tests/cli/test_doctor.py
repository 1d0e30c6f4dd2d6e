"""`cryotx doctor` as a user sees it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.config import DoctorConfig
from cryotx_cli.workflows import doctor as workflow
from cryotx_cli.workflows.doctor import Examined


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Examined]:
    examined = [Examined("Disk", "7 GB free")]

    def examine(config: DoctorConfig) -> Iterator[Examined]:
        assert config.out == Path("there")
        yield from examined

    monkeypatch.setattr(workflow, "examine", examine)
    return examined


def test_all_well(found: list[Examined]) -> None:
    result = doctor("--out", "there")

    assert result.exit_code == 0
    assert "7 GB free" in result.stdout
    assert result.stderr.strip() == "Picking works."


def test_a_warning_comes_with_its_remedy_and_does_not_fail(found: list[Examined]) -> None:
    found.append(Examined("Device", "cpu", "there is a GPU", "Install another build."))

    result = doctor("--out", "there")

    assert result.exit_code == 0
    assert result.stderr.splitlines()[:2] == ["Warning: Device: there is a GPU", "Install another build."]


def test_what_makes_picking_impossible_exits_with_1(found: list[Examined]) -> None:
    found.append(Examined("torch", "missing", "torch is not installed", "Install it.", fatal=True))

    result = doctor("--out", "there")

    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["Error: torch: torch is not installed", "Install it."]
