"""Checking picks in files of several formats against a STAR file, CryoSPARC's exposures, a folder and patterns."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.checks.names import PickCheck
from cryotx_cli.config import CheckConfig
from cryotx_cli.coordinates.formats.box import write_box
from cryotx_cli.coordinates.formats.cryosparc import write_cs
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.star import write_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ConfigError, MicrographError, ParticleFileError
from cryotx_cli.workflows.check import check

SIDE, DIAMETER, PIXEL_SIZE = 400, 24, 1.5
UID = "012951868257382468663_"
NAMES = ("MotionCorr/job002/a.mrc", "MotionCorr/job002/b.mrc")
MICROGRAPHS_STAR = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnMicrographPixelSize #3
1 opticsGroup1 1.5

data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
"""


def micrograph(seed):
    """Dark discs in noise on a jittered grid, none in the lower left quarter: no symmetry brings it onto itself."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(30, SIDE - 20, 50), np.arange(30, SIDE - 20, 50)), axis=-1).reshape(-1, 2)
    centres = grid + rng.uniform(-12, 12, grid.shape)
    centres = centres[(centres[:, 0] > SIDE / 2) | (centres[:, 1] < SIDE / 2)]
    yy, xx = np.mgrid[:SIDE, :SIDE]
    image = rng.normal(0, 1, (SIDE, SIDE))
    for x, y in centres:
        image[np.hypot(xx - x, yy - y) <= DIAMETER / 2] -= 1
    return image.astype(np.float32), centres


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A RELION project, a CryoSPARC project with the same images, and the right picks by name."""
    monkeypatch.chdir(tmp_path)
    exposures = np.zeros(
        2,
        [
            ("uid", "<u8"),
            ("micrograph_blob/path", "S80"),
            ("micrograph_blob/shape", "<u4", (2,)),
            ("micrograph_blob/psize_A", "<f4"),
        ],
    )
    picks = {}
    for i, name in enumerate(NAMES):
        image, centres = micrograph(i)
        imported = Path("P1/J1/imported", UID + Path(name).name)
        for path in (Path(name), imported):
            path.parent.mkdir(parents=True, exist_ok=True)
            with mrcfile.new(path, image) as mrc:
                mrc.voxel_size = PIXEL_SIZE
        exposures[i] = (11 + i, imported.relative_to("P1").as_posix().encode(), (SIDE, SIDE), PIXEL_SIZE)
        picks[name] = Particles(centres, np.ones(len(centres)), np.full(len(centres), np.nan), np.nan)
    Path("P1/J3").mkdir()
    with Path("P1/J3/exposures.cs").open("wb") as file:
        np.save(file, exposures)
    Path("CtfFind/job003").mkdir(parents=True)
    Path("CtfFind/job003/micrographs_ctf.star").write_text(MICROGRAPHS_STAR + "".join(f"{name} 1\n" for name in NAMES))
    write_particles_star("picks.star", picks.items())
    return picks


def level(result: PickCheck, name: str) -> str:
    return next((one.level for one in result.findings if one.check == name), "")


@pytest.mark.parametrize(
    "against",
    [
        ["CtfFind/job003/micrographs_ctf.star"],
        ["P1/J3/exposures.cs"],
        ["MotionCorr"],
        ["MotionCorr/*/*.mrc"],
        [*NAMES],
    ],
    ids=["star", "exposures", "folder", "pattern", "files"],
)
def test_right_picks_pass_whatever_lists_the_micrographs(project, against):
    result = check("picks.star", against, CheckConfig())

    assert result.passed
    assert (result.micrographs, result.matched) == (2, 2)
    assert level(result, "orientation") == level(result, "pixel size") == level(result, "image") == "pass"


def test_flipped_picks_fail_against_exposures(project):
    write_particles_star("flipped.star", [(name, one.flipped_y(SIDE)) for name, one in project.items()])

    result = check("flipped.star", ["P1/J3/exposures.cs"], CheckConfig())

    assert [one.check for one in result.findings if one.level == "fail"] == ["orientation"]


def test_the_number_of_cryosparc_is_told_and_does_not_fail(project):
    result = check("picks.star", ["P1/J3/exposures.cs"], CheckConfig())

    assert level(result, "CryoSPARC numbers") == "warn"
    assert level(result, "names") == "pass"


def test_relion_gets_names_letter_by_letter(project):
    write_particles_star("short.star", [(Path(name).name, one) for name, one in project.items()])

    strict = check("short.star", ["CtfFind/job003/micrographs_ctf.star"], CheckConfig())
    lenient = check("short.star", ["MotionCorr"], CheckConfig())

    assert level(strict, "names") == "fail"
    assert lenient.passed


def test_the_folder_of_a_run_stands_for_its_star_file(project):
    Path("picks/box").mkdir(parents=True)
    write_box(Path("picks/box/half.box"), project[NAMES[0]], 60)
    for name in ("config.toml", "ledger.jsonl"):
        Path("picks", name).touch()

    result = check("picks", ["CtfFind/job003/micrographs_ctf.star"], CheckConfig())

    assert (result.matched, level(result, "names")) == (2, "pass")


def test_the_sides_in_box_files_are_sides(project):
    """Boxes of 60 px reach 30 px: the same picks, as particles of 60 px, would need boxes of 90 px."""
    for name, one in project.items():
        write_box(Path("boxes", Path(name).stem + ".box"), one, 60)

    edge = next(one for one in check("boxes", ["MotionCorr"], CheckConfig()).findings if one.check == "edge")

    assert "half a box of 60 px" in edge.summary
    expected = sum(len(one) - len(one.inside(SIDE, SIDE, 30)) for one in project.values())
    assert edge.summary.startswith(f"{expected} of ")


def test_the_diameter_is_in_angstrom(project):
    result = check("picks.star", ["MotionCorr"], CheckConfig(diameter=30))

    edge = next(one for one in result.findings if one.check == "edge")
    assert "30 px" in edge.summary  # 30 Å are 20 px, and a box has 1.5 diameters


def test_exposures_whose_images_are_elsewhere(project):
    Path("exposures.cs").write_bytes(Path("P1/J3/exposures.cs").read_bytes())

    result = check("picks.star", ["exposures.cs"], CheckConfig())

    assert level(result, "orientation") == "skip"
    assert level(result, "image") == "pass"  # their sizes stand in the exposures


def test_no_images_are_read_where_none_are_wanted(project):
    assert check("picks.star", ["MotionCorr"], CheckConfig(sample=0)).fits == {}


@pytest.mark.parametrize(
    ("picks", "against", "error"),
    [
        ("nowhere.star", ["MotionCorr"], ParticleFileError),
        ("picks.star", ["nowhere"], MicrographError),
        ("picks.star", ["P1/J3/exposures.cs", "MotionCorr"], ConfigError),
    ],
)
def test_what_cannot_be_checked_is_an_error(project, picks, against, error):
    with pytest.raises(error):
        check(picks, against, CheckConfig())


def test_nothing_is_written(project, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    check("picks.star", ["MotionCorr"], CheckConfig())

    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def locations(shape, psize):
    """Write picks as fractions of images of this shape and pixel size."""
    exposures = [Exposure(11 + i, 1, f"J1/{UID}{Path(name).name}", *shape, psize) for i, name in enumerate(NAMES)]
    factor = shape[0] / SIDE
    picks = []
    for i, exposure in enumerate(exposures):
        centres = (micrograph(i)[1] + 0.5) * factor - 0.5
        unknown = np.full(len(centres), np.nan)
        picks.append((exposure, Particles(centres, np.ones(len(centres)), unknown, np.nan)))
    write_cs("p.cs", picks)
    return "p.cs"


def test_fractions_of_other_images_fail(project):
    result = check(locations((200, 200), 3.0), ["MotionCorr"], CheckConfig())
    (finding,) = [one for one in result.findings if one.check == "grid"]
    assert finding.level == "fail"
    assert "picks on 200 x 200 px of 3 Å per pixel, micrograph 400 x 400 px of 1.5 Å" in finding.examples[0]
    assert "cryotx convert PICKS OUT with --micrographs" in finding.advice
    result = check(locations((300, 200), 3.0), ["MotionCorr"], CheckConfig())
    (finding,) = [one for one in result.findings if one.check == "grid"]
    assert "no images of the same field of view" in finding.advice


def test_fractions_of_the_same_image_with_another_pixel_size_warn(project):
    result = check(locations((SIDE, SIDE), 3.0), ["MotionCorr"], CheckConfig())
    assert level(result, "grid") == "warn"
    assert result.passed
    assert level(check(locations((SIDE, SIDE), PIXEL_SIZE), ["MotionCorr"], CheckConfig()), "grid") == ""


def test_what_is_odd_about_the_picks_is_a_finding(project):
    Path("a.star").write_text("data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnHelicalTubeID\n50 50 1\n")
    (finding,) = [one for one in check("a.star", ["MotionCorr"], CheckConfig()).findings if one.check == "file"]
    assert finding.level == "warn"
    assert "segments of filaments" in finding.summary
