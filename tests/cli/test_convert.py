"""`cryotx convert` as a user types it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.coordinates.formats import read_particles

STAR = """
data_particles

loop_
_rlnMicrographName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
mics/a.mrc 100.5 200.25
mics/a.mrc 10 20
mics/b.mrc 30 40
"""


@pytest.fixture(autouse=True)
def picks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("picks.star").write_text(STAR)


def convert(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["convert", *arguments])


def test_one_line_says_what_was_written() -> None:
    result = convert("picks.star", "picks.txt")

    assert result.exit_code == 0
    assert result.stderr == "Wrote 3 particles of 2 micrographs as topaz to picks.txt: coordinates as they were\n"
    assert read_particles("picks.txt")["a"].centres.tolist() == [[100.5, 200.25], [10, 20]]


def test_changes_of_the_coordinates_are_said() -> None:
    result = convert("picks.star", "csv", "--to", "csv", "--scale", "2")

    assert result.stderr.endswith(": scaled by 2\n")
    assert read_particles("csv")["b"].centres.tolist() == [[60.5, 80.5]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["picks.star", "out"], 2, "no suffix"),
        (["picks.star", "p.txt", "--flip-y"], 2, "--micrographs"),
        (["picks.star", "box", "--to", "box"], 2, "--box 256"),
        (["picks.star", "p.txt", "--scale", "0"], 2, "scale"),
        (["picks.star", "p.txt", "--to", "tabs"], 2, "tabs"),
        (["picks.star", "p.cs"], 2, "--exposures"),
        (["picks.star", "p.txt", "--micrographs", "nowhere"], 1, "nowhere"),
        (["nowhere.star", "p.txt"], 1, "nowhere.star"),
        (["picks.star"], 2, "OUT"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], code: int, said: str) -> None:
    result = convert(*arguments)

    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["picks.star"]


def test_objects_in_a_cs_file_are_refused_in_one_line() -> None:
    import numpy as np

    with Path("p.cs").open("wb") as file:
        np.save(file, np.array([{"uid": 1}], object), allow_pickle=True)

    result = convert("p.cs", "p.star")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: p.cs: cannot be read as .cs: it holds Python objects")
    assert len(result.stderr.splitlines()) == 2
