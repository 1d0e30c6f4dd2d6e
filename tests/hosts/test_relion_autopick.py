"""The folder of a job with the coordinates where RELION's own picker puts them."""

from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.star import write_coordinate_index, write_micrograph_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError
from cryotx_cli.hosts.relion_autopick import lay_out

JOB = Path("External/job004")


def write_run(names: list[str]) -> None:
    """Write the coordinates of a run with one pick on each of these micrographs."""
    one = Particles(np.array([[10.0, 20.0]]), np.ones(1), np.full(1, 20.0), 1.0)
    files = {f"MotionCorr/job002/{name}.mrc": JOB / f"cryotx/relion/{name}_autopick.star" for name in names}
    for path in files.values():
        write_micrograph_star(path, one)
    write_coordinate_index(JOB / "cryotx/relion/autopick.star", [(name, str(path)) for name, path in files.items()])


@pytest.mark.parametrize("below", [".", "External"])
def test_names_are_relative_to_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(["Movies/a b", "m2"])
    absolute = below == "External"
    folder = JOB.absolute() if absolute else JOB

    assert lay_out(folder, folder / "cryotx", Path("mics.star").absolute()) == 2

    assert (JOB / "coords_suffix_autopick.star").read_text() == "mics.star\n"
    assert set(read_particles(JOB / "autopick.star")) == {
        "MotionCorr/job002/Movies/a b.mrc",
        "MotionCorr/job002/m2.mrc",
    }
    assert '"External/job004/Movies/a b_autopick.star"' in (JOB / "autopick.star").read_text()
    assert (JOB / "m2_autopick.star").is_symlink()


def test_a_job_that_is_moved_keeps_its_coordinates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(["Movies/a"])
    lay_out(JOB, JOB / "cryotx", Path("mics.star"))

    moved = JOB.rename(tmp_path / "Trash")

    assert (moved / "Movies/a_autopick.star").read_text().count("10.000") == 1


def test_links_of_an_earlier_run_go_with_their_coordinates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(["m1", "m2"])
    lay_out(JOB, JOB / "cryotx", Path("mics.star"))
    (JOB / "cryotx/relion/m1_autopick.star").unlink()
    write_run(["m2"])
    (JOB / "elsewhere.star").symlink_to("nowhere")

    lay_out(JOB, JOB / "cryotx", Path("mics.star"))

    assert not (JOB / "m1_autopick.star").is_symlink()
    assert (JOB / "m2_autopick.star").exists()
    assert (JOB / "elsewhere.star").is_symlink()


def test_what_is_in_the_way_is_named_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(["Movies/a"])
    (JOB / "Movies").write_text("mine")

    with pytest.raises(CryotxError, match="External/job004/Movies: is in the way"):
        lay_out(JOB, JOB / "cryotx", Path("mics.star"))

    assert (JOB / "Movies").read_text() == "mine"


def test_a_run_without_coordinates_leaves_an_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    JOB.mkdir(parents=True)

    assert lay_out(JOB, JOB / "cryotx", Path("mics.star")) == 0
    assert "_rlnMicrographCoordinates" in (JOB / "autopick.star").read_text()
