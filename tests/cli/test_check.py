"""`cryotx check` as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.coordinates.formats.star import write_particles_star
from cryotx_cli.coordinates.particles import Particles

SIDE = 400


@pytest.fixture(autouse=True)
def picks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Particles:
    """A micrograph with dark discs, its right picks, and the same upside down."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.arange(40, 360, 50), np.arange(40, 360, 50)), axis=-1).reshape(-1, 2)
    centres = (grid + rng.uniform(-12, 12, grid.shape))[:30]
    yy, xx = np.mgrid[:SIDE, :SIDE]
    image = rng.normal(0, 1, (SIDE, SIDE))
    for x, y in centres:
        image[np.hypot(xx - x, yy - y) <= 12] -= 1
    Path("mics").mkdir()
    with mrcfile.new("mics/a.mrc", image.astype(np.float32)) as mrc:
        mrc.voxel_size = 1.5
    particles = Particles(centres, np.ones(30), np.full(30, np.nan), np.nan)
    write_particles_star("picks.star", [("mics/a.mrc", particles)])
    write_particles_star("flipped.star", [("mics/a.mrc", particles.flipped_y(SIDE))])
    return particles


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments])


def test_picks_that_fit_pass() -> None:
    result = check("picks.star", "--against", "mics", "--diameter", "36")

    assert result.exit_code == 0, result.stderr
    *findings, verdict = result.stdout.splitlines()
    assert verdict == "PASS: 30 picks, 1 micrograph"
    assert "ok    names: 1 of 1 names of the picks match a micrograph, by file name" in findings
    assert all(line.startswith("ok    ") for line in findings)


def test_picks_upside_down_fail_and_the_way_out_is_told() -> None:
    result = check("flipped.star", "--against", "mics", "--diameter", "36")

    assert result.exit_code == 1
    assert "FAIL  orientation: these look upside down" in result.stdout
    assert "      > cryotx convert PICKS OUT --flip-y" in result.stdout
    assert result.stdout.splitlines()[-1] == "FAIL: 30 picks, 1 micrograph: orientation"
    assert result.stderr == ""


def test_the_way_out_works() -> None:
    convert = ["convert", "flipped.star", "right.star", "--flip-y", "--micrographs", "mics"]
    assert CliRunner().invoke(app, convert).exit_code == 0

    assert check("right.star", "--against", "mics").exit_code == 0


def test_a_warning_does_not_fail(picks: Particles) -> None:
    twice = picks.select([0, *range(30)])
    write_particles_star("twice.star", [("mics/a.mrc", twice)])

    result = check("twice.star", "--against", "mics")

    assert result.exit_code == 0
    assert "WARN  duplicates: 1 pick within 1 px of another one, on 1 micrograph" in result.stdout
    assert result.stdout.splitlines()[-1] == "PASS: 31 picks, 1 micrograph, 1 warning"


def test_json_holds_the_findings(tmp_path: Path) -> None:
    assert check("flipped.star", "--against", "mics", "--json", "out/check.json").exit_code == 1

    content = json.loads((tmp_path / "out/check.json").read_text())
    assert content["passed"] is False
    assert {one["check"]: one["level"] for one in content["findings"]}["orientation"] == "fail"
    assert content["evidence"]["mics/a.mrc"]["orientation"] == "upside down"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["picks.star"], 2, "--against"),
        (["picks.star", "--against", "nowhere"], 1, "nowhere"),
        (["nowhere.star", "--against", "mics"], 1, "nowhere.star"),
        (["picks.star", "--against", "mics", "--diameter", "0"], 2, "diameter"),
    ],
)
def test_what_cannot_be_checked_is_said(arguments: list[str], code: int, said: str) -> None:
    result = check(*arguments)

    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_torch_is_not_needed() -> None:
    script = (
        "import sys; from cryotx_cli.cli.app import main; sys.argv[1:] = ['check', 'picks.star', '--against', 'mics']"
    )
    script += "\ntry: main()\nexcept SystemExit as end: assert not end.code\nassert 'torch' not in sys.modules"

    subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
