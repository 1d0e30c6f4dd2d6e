"""The folder of classes as starfile reads it."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile

from cryotx_cli.averages.output import Assigned, ClassRow, write_classes
from cryotx_cli.coordinates.formats.cryosparc import read_cs
from cryotx_cli.coordinates.formats.entry import Alignments, Exposure
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError

ROWS = [ClassRow(1, 3, 0.75, 0.9, 12.5, 0.8), ClassRow(2, 1, 0.25, 0.4, None, 0.1)]
IMAGES = np.random.default_rng(0).normal(size=(2, 64, 64))


def picks() -> list[Assigned]:
    first = Particles(np.array([[10.0, 20], [30, 40], [50, 60]]), np.array([0.9, 0.8, 0.7]), np.full(3, 9.0), 2.0)
    second = Particles(np.array([[15.5, 25.25]]), np.array([0.5]), np.full(1, 9.0), 4.0)
    of_first = Alignments(np.array([1, 2, 1]), np.array([0.0, 90, -45]), np.array([[4.0, -2], [0, 0], [1, 1]]))
    return [
        Assigned("a.mrc", first, of_first),
        Assigned("b c.mrc", second, Alignments(np.array([1]), np.array([10.0]), np.array([[-8.0, 4]]))),
    ]


def write(folder: Path, rows: list[ClassRow] = ROWS, exposures: dict[str, Exposure] | None = None) -> Path:
    about = {"seed": 1}
    return write_classes(folder, "run/classes/classes.mrcs", IMAGES, 2.5, rows, picks(), about, exposures or {})


def test_stack_and_tables(tmp_path: Path) -> None:
    folder = write(tmp_path)

    with mrcfile.open(folder / "classes.mrcs") as mrc:
        assert mrc.is_image_stack()
        assert mrc.data == pytest.approx(IMAGES, abs=1e-5)
        assert float(mrc.voxel_size.x) == pytest.approx(2.5)
    table = starfile.read(folder / "classes.star")
    assert table["rlnReferenceImage"].tolist() == [f"00000{k}@run/classes/classes.mrcs" for k in (1, 2)]
    assert table["rlnClassDistribution"].tolist() == [0.75, 0.25]
    assert table["rlnEstimatedResolution"].tolist() == [12.5, 999]
    assert json.loads((folder / "classes.json").read_text())["classes"][1]["resolution"] is None


def test_particles_carry_class_angle_and_shift(tmp_path: Path) -> None:
    folder = write(tmp_path)

    tables = starfile.read(folder / "particles.star")
    assert tables["optics"]["rlnMicrographPixelSize"].tolist() == [2.0, 4.0]
    found = tables["particles"]
    assert found["rlnMicrographName"].tolist() == ["a.mrc"] * 3 + ["b c.mrc"]
    assert found["rlnClassNumber"].tolist() == [1, 2, 1, 1]
    assert found["rlnAnglePsi"].tolist() == [0, 90, -45, 10]
    assert found["rlnOpticsGroup"].tolist() == [1, 1, 1, 2]


TITAN = {"defocus_u": 1e4, "defocus_v": 1e4, "angle": 0.0, "voltage": 300.0, "spherical_aberration": 2.7}
TITAN |= {"amplitude_contrast": 0.1, "phase_shift": 0.0}


def test_optics_groups_hold_the_microscope_where_all_micrographs_know_it(tmp_path: Path) -> None:
    first, second = picks()
    known = [replace(first, ctf=TITAN), replace(second, ctf=TITAN | {"voltage": 200.0})]
    for name, some in (("all", known), ("one", [known[0], second])):
        write_classes(tmp_path / name, "c.mrcs", IMAGES, 2.5, ROWS, some, {}, {})
    optics = starfile.read(tmp_path / "all/classes/particles.star")["optics"]

    assert optics["rlnVoltage"].tolist() == [300.0, 200.0]
    assert optics["rlnSphericalAberration"].tolist() == [2.7, 2.7]
    assert optics["rlnAmplitudeContrast"].tolist() == [0.1, 0.1]
    assert "rlnVoltage" not in starfile.read(tmp_path / "one/classes/particles.star")["optics"]


@pytest.mark.skipif(shutil.which("relion_star_handler") is None, reason="RELION is not installed")
def test_relion_selects_particles_of_a_class(tmp_path: Path) -> None:
    some = [replace(one, ctf=TITAN) for one in picks()]
    file = write_classes(tmp_path, "c.mrcs", IMAGES, 2.5, ROWS, some, {}, {}) / "particles.star"
    command = ["relion_star_handler", "--i", file, "--o", tmp_path / "one.star", "--select", "rlnClassNumber"]
    subprocess.run([*command, "--minval", "1", "--maxval", "1"], check=True, capture_output=True)

    chosen = starfile.read(tmp_path / "one.star")["particles"]
    assert chosen["rlnClassNumber"].tolist() == [1, 1, 1]
    assert chosen["rlnMicrographName"].tolist() == ["a.mrc", "a.mrc", "b c.mrc"]


def test_centres_are_corrected_where_the_file_is_read(tmp_path: Path) -> None:
    """An origin is what moves a particle into the middle: its centre is the coordinate less that."""
    found = read_particles_star(write(tmp_path) / "particles.star", lambda _: None)

    assert found["a.mrc"].centres == pytest.approx(np.array([[8.0, 21], [30, 40], [49.5, 59.5]]), abs=1e-3)
    assert found["b c.mrc"].centres == pytest.approx(np.array([[17.5, 24.25]]), abs=1e-3)


def test_cryosparc_reads_classes_angles_and_shifts(tmp_path: Path) -> None:
    """Its signs are RELION's: pyem takes pose for psi and shift for origin as they are, class from 0."""
    dataset = pytest.importorskip("cryosparc.dataset", reason="cryosparc-tools is not installed")
    folder = write(tmp_path, exposures={"a.mrc": Exposure(7, 1, "J1/a.mrc", 100, 200, 2.0)})

    found = dataset.Dataset.load(str(folder / "particles.cs"))

    assert found["location/micrograph_uid"].tolist() == [7, 7, 7]
    assert found["alignments2D/class"].tolist() == [0, 1, 0]
    assert found["alignments2D/pose"] == pytest.approx(np.radians([0, 90, -45]))
    assert found["alignments2D/shift"] * found["alignments2D/psize_A"][:, None] == pytest.approx(
        np.array([[4.0, -2], [0, 0], [1, 1]])
    )
    assert found["alignments2D/class_posterior"].tolist() == [1, 1, 1]
    centres = read_cs(folder / "particles.cs", lambda _: None)["J1/a.mrc"].centres
    assert centres == pytest.approx(picks()[0].particles.centres, abs=1e-3)


def test_without_exposures_there_is_nothing_for_cryosparc(tmp_path: Path) -> None:
    assert not (write(tmp_path) / "particles.cs").exists()


def test_a_folder_with_files_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "classes" / "run_it025_classes.mrcs").write_text("mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "classes").iterdir()}

    with pytest.raises(CryotxError, match=r"classes: holds run_it025_classes.mrcs, which cryotx has not written"):
        write(tmp_path)

    assert {path.name: path.read_bytes() for path in (tmp_path / "classes").iterdir()} == before


def test_what_was_there_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (write(tmp_path) / "particles.cs").write_text("of an earlier run")

    folder = write(tmp_path, ROWS[:1])

    assert sorted(path.name for path in folder.iterdir()) == [
        "classes.json", "classes.mrcs", "classes.star", "particles.star",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["classes"]


def test_what_was_there_stays_where_the_new_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cryotx_cli.averages.output.write_json", full)
    with pytest.raises(CryotxError, match="No space left"):
        write(tmp_path, ROWS[:1])

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["classes"]


def test_what_was_there_comes_back_where_the_last_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in write(tmp_path).iterdir()}
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if target.name == "classes" and "before" not in path.name:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(CryotxError, match="Input/output error"):
        write(tmp_path, ROWS[:1])

    assert {path.name: path.read_bytes() for path in (tmp_path / "classes").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["classes"]
