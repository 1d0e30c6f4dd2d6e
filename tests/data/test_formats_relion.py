"""RELION itself extracts what was written: as many particles, from the places that the files name."""

import shutil
import subprocess

import mrcfile
import numpy as np
import pytest
import starfile

from cryotx_cli.data.formats import write_micrograph_file
from cryotx_cli.data.particles import Particles

RELION = shutil.which("relion_preprocess")
BOX = 32


@pytest.mark.skipif(RELION is None, reason="relion_preprocess is not installed")
@pytest.mark.parametrize(("one", "ending"), [("relion", "_autopick.star"), ("box", ".box")])
def test_relion_extracts_every_particle_at_its_centre(tmp_path, monkeypatch, one, ending):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    image = rng.normal(0, 0.1, (300, 400)).astype(np.float32)
    # The rows and columns differ and none is in the middle: a flip or a swap would miss the bright pixels.
    centres = np.array([[x, y] for x in (60, 130, 250, 340) for y in (40, 110, 205)])
    image[centres[:, 1], centres[:, 0]] = 100
    (tmp_path / "mics").mkdir()
    with mrcfile.new("mics/m_1.mrc") as mrc:
        mrc.set_data(image)
        mrc.voxel_size = 1.5
    count = len(centres)
    particles = Particles(centres, np.ones(count), np.full(count, 20.0), 1.5)
    write_micrograph_file(tmp_path / f"coordinates/mics/m_1{ending}", one, particles, BOX)
    (tmp_path / "micrographs.star").write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n_rlnVoltage\n"
        "_rlnSphericalAberration\n_rlnAmplitudeContrast\none 1 1.5 300 2.7 0.1\n\n"
        "data_micrographs\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\nmics/m_1.mrc 1\n\n"
    )
    places = ["--i", "micrographs.star", "--coord_dir", "coordinates/", "--coord_suffix", ending]
    outputs = ["--part_star", "particles.star", "--part_dir", "Extract/", "--extract", "--extract_size", str(BOX)]
    subprocess.run([RELION, *places, *outputs], check=True, capture_output=True, timeout=60)
    blocks = starfile.read("particles.star", always_dict=True)
    assert len(blocks["particles"]) == count
    with mrcfile.open(next(tmp_path.glob("Extract/**/*.mrcs"))) as mrc:
        assert mrc.data.shape == (count, BOX, BOX)
        brightest = [np.unravel_index(np.argmax(particle), particle.shape) for particle in mrc.data]
    assert brightest == [(BOX // 2, BOX // 2)] * count
