"""RELION itself extracts what was written: as many particles, from the places that the files name."""

import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.table import format_named
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.workflows.pick import start_pick
from quick_picker import PickerWithoutNetwork
from read_by_others import RELION, by_relion, extract

SHARED = Path(__file__).resolve().parents[4] / "shared"
BOX = 32


def write_micrographs_star(project, names, pixel_size):
    rows = "".join(f"{name} 1\n" for name in names)
    (project / "micrographs.star").write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n_rlnVoltage\n"
        f"_rlnSphericalAberration\n_rlnAmplitudeContrast\none 1 {pixel_size} 300 2.7 0.1\n\n"
        f"data_micrographs\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\n{rows}\n"
    )


@pytest.mark.parametrize(("one", "ending"), [("relion", "_autopick.star"), ("box", ".box")])
def test_relion_extracts_every_particle_at_its_centre(tmp_path, one, ending):
    rng = np.random.default_rng(0)
    image = rng.normal(0, 0.1, (300, 400)).astype(np.float32)
    # The rows and columns differ and none is in the middle: a flip or a swap would miss the bright pixels.
    centres = np.array([[x, y] for x in (60, 130, 250, 340) for y in (40, 110, 205)])
    image[centres[:, 1], centres[:, 0]] = 100
    (tmp_path / "mics").mkdir()
    with mrcfile.new(tmp_path / "mics/m_1.mrc") as mrc:
        mrc.set_data(image)
        mrc.voxel_size = 1.5
    count = len(centres)
    particles = Particles(centres, np.ones(count), np.full(count, 20.0), 1.5)
    format_named(one).write(tmp_path / f"coordinates/mics/m_1{ending}", particles, BOX)
    write_micrographs_star(tmp_path, ["mics/m_1.mrc"], 1.5)
    micrographs, brightest = by_relion(tmp_path, "coordinates/", ending, BOX)
    assert micrographs == ["mics/m_1.mrc"] * count
    assert brightest == [[BOX // 2, BOX // 2]] * count


class Bright(PickerWithoutNetwork):
    """Finds the pixels that stand out."""

    def locate(self, prepared, micrograph):
        y, x = np.nonzero(prepared > prepared.max() / 2)
        centres = np.column_stack([x, y])
        return Located(Particles(centres, np.ones(len(x)), np.full(len(x), 20.0), micrograph.pixel_size))


def test_relion_finds_every_pick_of_a_run_in_its_own_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = [f"MotionCorr/job002/Movies/{name}.mrc" for name in ("m_1", "deep/m_2", "20210903_106_a.b")]
    count = 0
    for number, name in enumerate(names, 3):
        image = rng.normal(0, 0.1, (300, 400)).astype(np.float32)
        for _ in range(number):
            image[rng.integers(40, 260), rng.integers(40, 360)] = 100
        count += int((image > 50).sum())
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(name) as mrc:
            mrc.set_data(image)
            mrc.voxel_size = 1.5
    write_micrographs_star(tmp_path, names, 1.5)
    config = PickConfig(diameter=30.0, device="cpu", images=False, report=False, threshold=0.5, min_distance=0)
    for given, out in ((["micrographs.star"], "listed.star"), (["MotionCorr/job002"], "RUN.star")):
        results = list(start_pick(given, out, config, Bright()))
        assert sum(len(result.particles) for result in results) == count
        micrographs, brightest = by_relion(tmp_path, f"{Path(out).stem}/relion/", "_autopick.star", BOX)
        assert len(micrographs) == count
        assert sorted(set(micrographs)) == sorted(names)
        assert brightest == [[BOX // 2, BOX // 2]] * count


@pytest.mark.slow
@pytest.mark.skipif(RELION is None, reason="relion_preprocess is not installed")
@pytest.mark.skipif(
    not (SHARED / "data/raw_mrc/fei-extended.mrc").exists(), reason="needs ../shared/data/raw_mrc/fei-extended.mrc"
)
def test_relion_extracts_as_many_as_were_picked_on_a_real_micrograph_with_the_particle_in_the_middle(
    tmp_path, monkeypatch
):
    micrograph = SHARED / "data/raw_mrc/fei-extended.mrc"
    monkeypatch.chdir(tmp_path)
    Path("mics").mkdir()
    Path("mics/fei.mrc").symlink_to(micrograph)
    write_micrographs_star(tmp_path, ["mics/fei.mrc"], 0.8538)
    config = PickConfig(diameter=160.0, device="cpu", images=False, report=False)
    (result,) = start_pick(["micrographs.star"], "picks.star", config)
    Path("coordinates/mics").mkdir(parents=True)
    assert len(result.particles) > 50
    for one, ending in (("relion", "_autopick.star"), ("box", ".box")):
        (written,) = Path("picks", one).rglob(f"fei{ending}")
        shutil.copy(written, f"coordinates/mics/fei{ending}")
        scaled = ("--extract_size", "336", "--scale", "84", "--norm", "--bg_radius", "23")
        rows, boxes = extract(tmp_path, "coordinates/", ending, *scaled)
        assert len(rows) == len(boxes) == len(result.particles)
        mean = boxes.mean(axis=0)
        distance = np.hypot(*(np.indices(mean.shape) - 42)) * 336 / 84 * 0.8538  # Å
        scatter = mean[distance > 110].std()
        assert mean[distance < 50].mean() < mean[distance > 110].mean() - 2 * scatter  # particles are dark
        weights = np.clip(mean[distance > 110].mean() - 3 * scatter - mean, 0, None)
        centre = [np.average(axis - 42, weights=weights) for axis in np.indices(mean.shape)]
        assert np.hypot(*centre) * 336 / 84 * 0.8538 < 12  # Å
