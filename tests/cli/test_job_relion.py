"""`cryotx job relion` as RELION starts it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cryotx_cli.cli.app import app


def test_wrong_usage_is_marked_for_relion_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("External/job004").mkdir(parents=True)

    result = CliRunner().invoke(
        app, ["job", "relion", "--o", "External/job004/", "--in_mics", "a.star", "--edge", "wide"]
    )

    assert result.exit_code == 2
    assert Path("External/job004/RELION_JOB_EXIT_FAILURE").exists()
