"""Averages and poses as RELION reads them."""

import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.averages.output import ClassRow, relion_poses, write_classes
from cryotx_cli.micrographs.stack import write_stack
from particle_images import placed, shape

ROWS = [ClassRow(1, 3, 0.75, 0.9, 12.5, 0.8), ClassRow(2, 1, 0.25, 0.4, None, 0.1)]
IMAGES = np.random.default_rng(0).normal(size=(2, 64, 64))

if not all(map(shutil.which, ("relion_image_handler", "relion_stack_create"))):
    pytest.skip("relion_image_handler or relion_stack_create is not installed", allow_module_level=True)


def test_relion_reads_the_averages(tmp_path: Path) -> None:
    folder = write_classes(tmp_path, "run/classes/classes.mrcs", IMAGES, 2.5, ROWS, [], {}, {})

    command = ["relion_image_handler", "--i", "classes.mrcs", "--stats"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()

    assert len([line for line in said if "64 x 64 x 1 x 1" in line and "angpix = 2.5" in line]) == 2
    assert float(said[0].split("stddev=")[1].split()[0]) == pytest.approx(IMAGES[0].std(), rel=1e-3)


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
