"""`cryotx threshold` on a run of `cryotx pick`."""

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.workflows.pick import start_pick
from quick_picker import PickerWithoutNetwork

SCORES = [0.9, 0.7, 0.5, 0.3]


class FourParticles(PickerWithoutNetwork):
    """Finds the same four on every micrograph."""

    fingerprint = "four particles"

    def locate(self, prepared: Any, micrograph: Any) -> Located:
        centres = np.array([[20.0, 20.0], [80.0, 20.0], [20.0, 70.0], [80.0, 70.0]])
        return Located(Particles(centres, np.array(SCORES), np.full(4, 20.0), micrograph.pixel_size))

    def estimate_diameter(self, micrographs: Any) -> float:
        return 40.0


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished run on two micrographs: three picks each."""
    monkeypatch.chdir(tmp_path)
    Path("mics").mkdir()
    for name in ("a.mrc", "b.mrc"):
        with mrcfile.new(f"mics/{name}") as mrc:
            mrc.set_data(np.random.default_rng(0).normal(size=(96, 112)).astype(np.float32))
            mrc.voxel_size = 2.0
    list(start_pick(["mics"], "p.star", PickConfig(diameter=40.0, threshold=0.5), FourParticles()))


def threshold(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["threshold", *arguments])


def facts(result: Result) -> dict[str, str]:
    pairs = (line.partition("  ") for line in result.stdout.splitlines()[1:])
    return {name.strip(): value.strip() for name, _, value in pairs}


@pytest.mark.parametrize(
    ("flags", "picks"),
    [
        (["--threshold", "0.8"], 2),
        (["--threshold", "0"], 8),
        (["--expected-count", "2"], 4),
        (["--percentile", "50"], 4),
        (["--max-per-micrograph", "1"], 2),
        (["--threshold", "0", "--edge", "45"], 2),  # 22.5 px: those at 20 px from the left or the top go
        (["--threshold", "0", "--min-distance", "105"], 4),  # 52.5 px: two of each pair 50 px apart stay
        ([], 6),
    ],
)
def test_a_table_says_how_many_picks_there_are_now(flags: list[str], picks: int) -> None:
    result = threshold("p.star", *flags)

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].rstrip() == "Wrote p.star and p"
    assert facts(result)["Picks"] == f"{picks}, 6 before"
    assert facts(result)["Micrographs"] == "2"
    assert sum(map(len, read_particles_star("p.star").values())) == picks
    assert len(list(Path("p/png").iterdir())) == 2


def test_other_formats_are_written_on_demand() -> None:
    assert threshold("p", "--formats", "cbox,eman", "--no-images").exit_code == 0

    assert sorted(path.name for path in Path("p/cbox").iterdir()) == ["a.cbox", "b.cbox"]
    assert sorted(path.name for path in Path("p/eman/info").iterdir()) == ["a_info.json", "b_info.json"]
    assert not list(Path("p/png").iterdir())


def test_pictures_that_cannot_be_drawn_are_said() -> None:
    Path("mics/b.mrc").unlink()

    result = threshold("p", "--threshold", "0.8")

    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1].startswith("1 picture left out, for example: ")
    assert "b.mrc" in result.stderr.splitlines()[-1]
    assert [path.name for path in Path("p/png").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 1, "not a run of cryotx pick"),
        (["mics"], 1, "not a run of cryotx pick"),
        (["p", "--threshold", "0.5", "--expected-count", "3"], 2, "exclude each other"),
        (["p", "--threshold", "2"], 2, "threshold"),
        (["p", "--formats", "relion,word"], 2, "word"),
        (["p", "--exposures", "nowhere.cs"], 1, "nowhere.cs"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_run_is_left_alone(arguments: list[str], code: int, said: str) -> None:
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}

    result = threshold(*arguments)

    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_pictures_are_drawn_for_a_run_without_any_if_they_are_asked_for() -> None:
    config = PickConfig(diameter=40.0, threshold=0.5, images=False)
    list(start_pick(["mics"], "q.star", config, FourParticles()))

    unasked = threshold("q", "--threshold", "0.4")
    assert (unasked.exit_code, Path("q/png").exists()) == (0, False)
    asked = threshold("q", "--threshold", "0.3", "--images")

    assert asked.exit_code == 0
    assert sorted(path.name for path in Path("q/png").iterdir()) == ["a.png", "b.png"]
    again = start_pick(["mics"], "q.star", PickConfig(diameter=40.0, threshold=0.3), FourParticles())
    assert all(result.resumed for result in again)
