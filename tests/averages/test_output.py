"""The folder of classes as RELION and starfile read it."""

import json
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile

from cryotx_cli.averages.output import Assigned, ClassRow, relion_poses, write_classes
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError
from cryotx_cli.micrographs.stack import write_stack
from particle_images import placed, shape

ROWS = [ClassRow(1, 3, 0.75, 0.9, 12.5, 0.8), ClassRow(2, 1, 0.25, 0.4, None, 0.1)]
IMAGES = np.random.default_rng(0).normal(size=(2, 64, 64))


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} of RELION is not installed")


def picks() -> list[Assigned]:
    first = Particles(np.array([[10.0, 20], [30, 40], [50, 60]]), np.array([0.9, 0.8, 0.7]), np.full(3, 9.0), 2.0)
    second = Particles(np.array([[15.5, 25.25]]), np.array([0.5]), np.full(1, 9.0), 4.0)
    return [
        Assigned("a.mrc", first, np.array([1, 2, 1]), np.array([0.0, 90, -45]), np.array([[4.0, -2], [0, 0], [1, 1]])),
        Assigned("b c.mrc", second, np.array([1]), np.array([10.0]), np.array([[-8.0, 4]])),
    ]


def write(folder: Path, rows: list[ClassRow] = ROWS) -> Path:
    return write_classes(folder, "run/classes/classes.mrcs", IMAGES, 2.5, rows, picks(), {"seed": 1})


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


def test_centres_are_corrected_where_the_file_is_read(tmp_path: Path) -> None:
    """An origin is what moves a particle into the middle: its centre is the coordinate less that."""
    found = read_particles_star(write(tmp_path) / "particles.star", lambda _: None)

    assert found["a.mrc"].centres == pytest.approx(np.array([[8.0, 21], [30, 40], [49.5, 59.5]]), abs=1e-3)
    assert found["b c.mrc"].centres == pytest.approx(np.array([[17.5, 24.25]]), abs=1e-3)


def test_what_was_there_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (write(tmp_path) / "stray").write_text("of an earlier version")

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


@needs("relion_image_handler")
def test_relion_reads_the_averages(tmp_path: Path) -> None:
    folder = write(tmp_path)

    command = ["relion_image_handler", "--i", "classes.mrcs", "--stats"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()

    assert len([line for line in said if "64 x 64 x 1 x 1" in line and "angpix = 2.5" in line]) == 2
    assert float(said[0].split("stddev=")[1].split()[0]) == pytest.approx(IMAGES[0].std(), rel=1e-3)


@needs("relion_stack_create")
def test_relion_puts_crops_back_by_psi_and_origin(tmp_path: Path) -> None:
    """RELION's own transformation of crops by what is written brings them all onto the average."""
    rng = np.random.default_rng(4)
    angles, shifts = rng.uniform(-np.pi, np.pi, 8), rng.uniform(-4, 4, (8, 2))
    psi, origins = relion_poses(angles, shifts, 2.0)
    half_a_pixel = (0.0, (0.5, 0.5))  # RELION turns about the pixel at half the side
    crops = [placed(placed(shape(0), *one), *half_a_pixel) for one in zip(angles, shifts, strict=True)]
    write_stack(tmp_path / "crops.mrcs", np.stack(crops), 2.0)
    optics = "rlnOpticsGroupName rlnOpticsGroup rlnImagePixelSize rlnImageSize rlnImageDimensionality rlnVoltage"
    particles = "rlnImageName rlnAnglePsi rlnOriginXAngst rlnOriginYAngst rlnOpticsGroup"
    poses = zip(psi, *origins.T, strict=True)
    rows = [f"{i:06d}@crops.mrcs {p:.3f} {x:.4f} {y:.4f} 1" for i, (p, x, y) in enumerate(poses, 1)]
    blocks = {
        "optics": (f"{optics} rlnSphericalAberration".split(), ["o 1 2.0 64 2 300 2.7"]),
        "particles": (particles.split(), rows),
    }
    text = "# version 30001\n"
    for name, (columns, lines) in blocks.items():
        header = "".join(f"_{column} #{i}\n" for i, column in enumerate(columns, 1))
        text += f"\ndata_{name}\n\nloop_\n{header}" + "".join(f"{line}\n" for line in lines)
    (tmp_path / "crops.star").write_text(text + "\n")

    command = ["relion_stack_create", "--i", "crops.star", "--o", "back", "--apply_transformation"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)

    with mrcfile.open(tmp_path / "back.mrcs", permissive=True) as mrc:
        back = np.array(mrc.data)
    inside, wanted = (slice(12, 52), slice(12, 52)), placed(shape(0), *half_a_pixel)
    alike = [np.corrcoef(one[inside].ravel(), wanted[inside].ravel())[0, 1] for one in back]
    assert min(alike) > 0.97
