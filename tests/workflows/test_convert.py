"""Converting coordinate files: every format into every other, scale, flip, boxes, names, nothing lost on the way."""

import itertools
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cryotx_cli.config import ConvertConfig
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.box import read_box, write_box
from cryotx_cli.coordinates.formats.cbox import write_cbox
from cryotx_cli.coordinates.formats.csv import write_csv
from cryotx_cli.coordinates.formats.star import read_coordinate_index, write_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ConfigError, CryotxError, ParticleFileError
from cryotx_cli.workflows.convert import convert

HEIGHT, WIDTH = 300, 400
NAMES = ["mics/a.mrc", "mics/b.mrc"]
# Whole pixels and an even box, so that box files lose nothing either.
A = Particles([[100, 200], [10, 20]], [0.5, 0.25], [80, 80], np.nan)
B = Particles([[390, 290]], [0.75], [80], np.nan)
FORMATS = ["star", "relion", "box", "cbox", "csv", "eman", "topaz", "warp", "cryosparc"]
SCORED = {"star", "relion", "cbox", "csv", "topaz", "warp", "cryosparc"}
ONE_FILE = {"star": "p.star", "warp": "p_warp.star", "topaz": "p.txt", "cryosparc": "p.cs"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two micrographs, their exposures and a STAR file of picks; the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("mics").mkdir()
    for name in NAMES:
        with mrcfile.new(name) as mrc:
            mrc.set_data(np.random.default_rng(0).normal(size=(HEIGHT, WIDTH)).astype(np.float32))
    exposures = np.zeros(
        2,
        [
            ("uid", "<u8"),
            ("micrograph_blob/path", "S60"),
            ("micrograph_blob/shape", "<u4", (2,)),
            ("micrograph_blob/psize_A", "<f4"),
        ],
    )
    exposures["uid"], exposures["micrograph_blob/shape"] = (11, 12), (HEIGHT, WIDTH)
    exposures["micrograph_blob/path"] = [f"J1/012951868257382468663_{Path(name).name}".encode() for name in NAMES]
    exposures["micrograph_blob/psize_A"] = 1.5
    with Path("exposures.cs").open("wb") as file:
        np.save(file, exposures)
    write_particles_star("picks.star", zip(NAMES, [A, B], strict=True))
    return tmp_path


def to(target, source, out, **settings):
    exposures = Path("exposures.cs") if target == "cryosparc" else None
    box = 120 if target in ("box", "cbox") else None
    return convert(source, out, ConvertConfig(**{"to": target, "exposures": exposures, "box": box} | settings))


def by_stem(path):
    """Particles by the micrograph's bare name, whatever the format calls it."""
    return {
        Path(name).name.removeprefix("012951868257382468663_")[0]: one for name, one in read_particles(path).items()
    }


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FORMATS, FORMATS)))
def test_every_format_into_every_other_and_back(project, first, second):
    one, two = Path("one") / ONE_FILE.get(first, ""), Path("two") / ONE_FILE.get(second, "")
    to(first, "picks.star", one)
    done = to(second, one, two)
    to("star", two, "back.star", micrographs=Path("mics"))
    assert (done.file_format, done.out, done.micrographs, done.particles) == (second, two, 2, 3)
    found = read_particles("back.star")
    assert list(found) == NAMES
    for name, expected in zip(NAMES, [A, B], strict=True):
        assert_allclose(found[name].centres, expected.centres, atol=2e-3)
        if {first, second} <= SCORED:
            assert_allclose(found[name].scores, expected.scores, atol=1e-6)


def test_the_format_follows_the_suffix(project):
    write_csv("a.csv", A)
    for out in ("a.box", "a.cbox", "a.json", "a.txt", "a.star"):
        convert("a.csv", out, ConvertConfig())
        assert_allclose(by_stem(out)["a"].centres, A.centres, atol=1e-3)
    assert read_box("a.box").box_px == 120  # one and a half diameters


centres = st.lists(st.tuples(st.floats(0, WIDTH - 1), st.floats(0, HEIGHT - 1)), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(centres, st.sampled_from([0.25, 0.5, 2, 4, 3.7]))
def test_scaling_there_and_back_changes_nothing(tmp_path_factory, points, factor):
    folder = tmp_path_factory.mktemp("scale")
    write_csv(folder / "a.csv", Particles(points, np.ones(len(points)), np.full(len(points), 60.0), np.nan))
    convert(folder / "a.csv", folder / "b.csv", ConvertConfig(scale=factor))
    convert(folder / "b.csv", folder / "c.csv", ConvertConfig(scale=1 / factor))
    scaled, back = (read_particles(folder / name)[name[0]] for name in ("b.csv", "c.csv"))
    # The border of the image stays where it is, half a pixel outside the first pixel's centre. Files hold 1/1000 px.
    assert_allclose(scaled.centres, (np.array(points) + 0.5) * factor - 0.5, atol=6e-4 * factor + 6e-4)
    assert_allclose(scaled.diameters, 60 * factor, rtol=1e-5)
    assert_allclose(back.centres, points, atol=5e-3)


def test_a_flip_follows_the_pixel_that_it_marks(project):
    image = np.zeros((HEIGHT, WIDTH))
    for x, y in A.centres.astype(int):
        image[y, x] = 1
    to("csv", "picks.star", "csv", flip_y=True, micrographs=Path("mics"))
    turned = np.flipud(image)
    for x, y in read_particles("csv")["a"].centres.astype(int):
        assert turned[y, x] == 1


def test_flipping_twice_changes_nothing(project):
    to("csv", "picks.star", "csv", flip_y=True, micrographs=Path("mics"))
    to("star", "csv", "back.star", flip_y=True, micrographs=Path("mics"))
    for name, expected in zip(NAMES, [A, B], strict=True):
        assert_allclose(read_particles("back.star")[name].centres, expected.centres, atol=1e-3)


def test_the_height_comes_from_whatever_knows_it(project):
    to("cryosparc", "picks.star", "p.cs")
    to("star", "p.cs", "from_cs.star", flip_y=True)
    to("star", "picks.star", "from_micrographs.star", flip_y=True, micrographs=Path("mics"))
    to("cryosparc", "picks.star", "flipped.cs", flip_y=True)
    expected = HEIGHT - 1 - A.centres[:, 1]
    for path in ("from_cs.star", "from_micrographs.star", "flipped.cs"):
        assert_allclose(by_stem(path)["a"].centres[:, 1], expected, atol=1e-3)


def test_a_flip_of_binned_coordinates_is_that_of_the_full_micrographs(project):
    to("star", "picks.star", "binned.star", scale=0.25)
    to("star", "binned.star", "full.star", scale=4, flip_y=True, micrographs=Path("mics"))
    assert_allclose(read_particles("full.star")[NAMES[0]].centres[:, 1], HEIGHT - 1 - A.centres[:, 1], atol=5e-3)
    to("cryosparc", "picks.star", "p.cs")
    to("star", "p.cs", "half.star", scale=0.5, flip_y=True)
    assert_allclose(by_stem("half.star")["a"].centres, (A.centres * (1, -1) + (0, 299) + 0.5) / 2 - 0.5, atol=1e-3)


def test_nothing_is_flipped_unasked_and_no_height_is_made_up(project):
    with pytest.raises(ConfigError, match=r"--flip-y needs the heights") as caught:
        to("csv", "picks.star", "csv", flip_y=True)
    assert "--micrographs" in caught.value.hint
    with pytest.raises(ParticleFileError, match=r"reach to \(402, 802\), and the micrograph has 400 x 300 px"):
        to("csv", "picks.star", "csv", flip_y=True, scale=4, micrographs=Path("mics"))
    assert not Path("csv").exists()


def test_boxes_are_those_asked_for_those_of_the_input_or_from_diameters(project):
    write_box("in/a.box", A, 64)
    write_csv("sized/a.csv", A)
    write_cbox("cryolo/a.cbox", A, 70)
    for source, changes, side in (
        ("in", {"box": None}, 64),
        ("in/a.box", {"box": None}, 64),
        ("in", {"box": None, "scale": 2}, 128),
        ("in", {"box": 100}, 100),
        ("sized", {"box": None}, 120),
        ("cryolo", {"box": None}, 70),
    ):
        to("cbox", source, "out", overwrite=True, **changes)
        text = Path("out/a.cbox").read_text()
        assert f" {side} {side} " in text
    to("csv", "in", "csv")  # a side becomes no diameter
    assert np.isnan(by_stem("csv")["a"].diameters).all()
    to("csv", "cryolo", "csv", overwrite=True)
    assert_allclose(by_stem("csv")["a"].diameters, A.diameters)
    with pytest.raises(ConfigError, match="holds no sizes") as caught:
        to("box", "picks.star", "box", box=None)
    assert "--box" in caught.value.hint
    with pytest.raises(ConfigError, match="star files hold no boxes"):
        to("star", "in", "p.star", box=64)


def test_micrographs_give_their_names(project):
    write_csv("csv/a.csv", A)
    star = "data_micrographs\n\nloop_\n_rlnMicrographName #1\nMotionCorr/job002/Movies/a.mrc\n"
    Path("micrographs_ctf.star").write_text(star)
    to("relion", "csv", "relion", micrographs=Path("micrographs_ctf.star"))
    ((name, path),) = read_coordinate_index("relion/autopick.star")
    assert (name, path.name) == ("MotionCorr/job002/Movies/a.mrc", "a_autopick.star")


def test_relion_paths_are_relative_to_the_project_folder(project, monkeypatch):
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    Path("m.star").write_text("data_micrographs\n\nloop_\n_rlnMicrographName #1\nmics/a.mrc\nmics/b.mrc\n")
    to("relion", "../picks.star", "../out", micrographs=Path("m.star"))
    assert "mics/a.mrc out/a_autopick.star\n" in Path("../out/autopick.star").read_text()
    to("relion", "../picks.star", "../apart/autopick.star")
    assert f"mics/a.mrc {project}/apart/a_autopick.star\n" in Path("../apart/autopick.star").read_text()


def test_a_micrograph_that_is_not_there_stops_everything(project):
    Path("mics/b.mrc").unlink()
    with pytest.raises(ParticleFileError, match=r"1 of 2 names have no micrograph in mics, for example mics/b\.mrc"):
        to("csv", "picks.star", "csv", micrographs=Path("mics"))
    write_particles_star("more.star", [("a.mrc", A), ("c.mrc", A)])
    with pytest.raises(ParticleFileError, match=r"1 of 2 names have no exposure in exposures\.cs, for example c\.mrc"):
        to("cryosparc", "more.star", "p.cs")
    assert not Path("csv").exists()
    assert not Path("p.cs").exists()


HOSTILE = ["../../../escaped.mrc", "/abs/escaped.mrc", "ok/../../escaped2.mrc", "~/x.mrc", "with space é.mrc"]


@pytest.mark.parametrize("target", ["relion", "box", "cbox", "csv", "eman"])
def test_no_name_writes_outside_the_output(project, target):
    write_particles_star("hostile.star", [(name, A) for name in HOSTILE])
    before = {path for path in project.parent.rglob("*") if project / "out" not in path.parents}
    to(target, "hostile.star", "out")
    after = {path for path in project.parent.rglob("*") if project / "out" not in path.parents}
    assert after - before == {project / "out"}
    written = [path for path in Path("out").rglob("*") if path.is_file() and path.name != "autopick.star"]
    assert len(written) == len(HOSTILE)


def test_files_that_are_there_are_kept_unless_asked(project):
    Path("there.star").write_text("mine")
    with pytest.raises(ConfigError, match=r"there\.star: there already"):
        to("star", "picks.star", "there.star")
    assert Path("there.star").read_text() == "mine"
    to("star", "picks.star", "there.star", overwrite=True)
    assert list(read_particles("there.star")) == NAMES
    with pytest.raises(ConfigError, match="both IN and OUT"):
        to("star", "picks.star", "picks.star", overwrite=True, scale=2)
    to("csv", "picks.star", "csv")
    with pytest.raises(ConfigError, match=r"a\.csv and 1 more: there already"):
        to("csv", "picks.star", "csv", scale=2)


@pytest.mark.parametrize(("target", "out"), [("star", "o.star"), ("topaz", "o.txt"), ("csv", "o"), ("relion", "o")])
def test_the_same_command_may_be_given_twice(project, target, out):
    assert to(target, "picks.star", out) == to(target, "picks.star", out)
    assert sorted(map(len, read_particles(out).values())) == [len(B), len(A)]


def test_several_lists_in_one_folder_do_not_share_their_files(project):
    Path("o").mkdir()
    to("relion", "picks.star", "o/first.star")
    to("relion", "picks.star", "o/second.star", scale=2)
    first, second = read_particles("o/first.star"), read_particles("o/second.star")
    assert list(first) == list(second) == NAMES
    assert all(np.allclose(second[name].centres, 2 * first[name].centres + 0.5, atol=0.01) for name in NAMES)
    to("relion", "picks.star", "o/autopick.star")
    assert len(list(Path("o").glob("*_autopick.star"))) == len(NAMES)


@pytest.mark.parametrize(
    ("source", "out", "settings", "reason"),
    [
        ("picks.star", "out", {}, "no suffix that tells which format"),
        ("picks.star", "out.xyz", {}, "no suffix that tells which format"),
        ("picks.star", "mics", {"to": "star"}, "one file for all micrographs"),
        ("picks.star", "out", {"to": "topaz"}, "one file for all micrographs"),
        ("picks.star", "one.csv", {}, "one micrograph each, and there are 2"),
        ("picks.star", "exposures.cs", {"to": "csv"}, "a file where a folder for csv files belongs"),
        ("picks.star", "p.cs", {}, "needs --exposures"),
        ("picks.star", "p.txt", {"exposures": Path("exposures.cs")}, "no use for --exposures"),
        ("picks.star", "p.cs", {"exposures": Path("nowhere.cs")}, "nowhere.cs"),
        ("picks.star", "p.cs", {"exposures": Path("picks.star")}, "not a .cs file"),
        ("nowhere.star", "p.txt", {}, "no such file"),
        ("exposures.cs", "p.star", {}, "not a .cs file of particle locations"),
        ("empty.star", "p.txt", {}, "holds no particles"),
        ("picks.star", "mics/a.mrc/p.star", {}, "cannot be written"),
        ("picks.star", "p.txt", {"micrographs": Path("nowhere")}, "nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(project, source, out, settings, reason):
    Path("empty.star").write_text("data_\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n")
    before = sorted(project.rglob("*"))
    with pytest.raises(CryotxError, match=reason):
        convert(source, out, ConvertConfig(**settings))
    assert sorted(project.rglob("*")) == before


# --- two grids -------------------------------------------------------------------------------------------------------


def change(path, **fields):
    rows = np.load(path)
    for name, value in fields.items():
        rows[name.replace("__", "/")] = value
    with Path(path).open("wb") as file:
        np.save(file, rows)


def test_fractions_of_a_binned_image_become_pixels_of_the_micrograph(project):
    to("cryosparc", "picks.star", "p.cs")
    change("p.cs", location__micrograph_shape=(HEIGHT // 2, WIDTH // 2), location__micrograph_psize_A=3)
    (event,) = to("star", "p.cs", "full.star", micrographs=Path("mics")).events
    assert "2 micrographs were rescaled by 2, from 200 x 150 px of 3 Å per pixel to 400 x 300 px" in event.text
    full = by_stem("full.star")
    # A location is a fraction of the image, whose border stays where it is: x + 1/2 doubles.
    assert_allclose(full["a"].centres, A.centres + 0.5, atol=2e-3)
    to("cryosparc", "p.cs", "q.cs")
    assert_allclose(np.load("q.cs")["location/center_x_frac"], (np.array([100, 10, 390]) + 0.5) / WIDTH, atol=1e-5)


def test_exposures_of_other_pixels_are_compared(project):
    change("exposures.cs", micrograph_blob__shape=(2 * HEIGHT, 2 * WIDTH), micrograph_blob__psize_A=0.75)
    to("cryosparc", "picks.star", "twice.cs", micrographs=Path("mics"))
    rows = np.load("twice.cs")
    assert_allclose(rows["location/center_x_frac"] * 2 * WIDTH, (np.array([100, 10, 390]) + 0.5) * 2 - 0.5, atol=1e-3)
    change("exposures.cs", micrograph_blob__shape=(HEIGHT // 2, WIDTH // 2), micrograph_blob__psize_A=1.5)
    with pytest.raises(ParticleFileError, match=r"reach to \(100, 200\), and the exposure has 200 x 150 px"):
        to("cryosparc", "picks.star", "cut.cs")
    change("exposures.cs", micrograph_blob__shape=(HEIGHT, WIDTH // 2))
    with pytest.raises(ParticleFileError, match=r"400 x 300 px.*, and the exposure has 200 x 300 px"):
        to("cryosparc", "picks.star", "other.cs", micrographs=Path("mics"))


STAR_OF = """data_optics

loop_
_rlnOpticsGroup
_rlnMicrographPixelSize
1 {size}

data_{block}

loop_
_rlnMicrographName
_rlnOpticsGroup
{columns}
mics/a.mrc 1 {place}
"""
XY = "_rlnCoordinateX\n_rlnCoordinateY"


def test_a_star_file_of_another_pixel_size_is_refused_until_somebody_decides(project):
    Path("p.star").write_text(STAR_OF.format(size=1.2, block="particles", columns=XY, place="100 200"))
    Path("m.star").write_text(STAR_OF.format(size=2.4, block="micrographs", columns="", place=""))
    with pytest.raises(
        ParticleFileError, match=r"pixels of 1\.2 Å per pixel, and the micrograph has .*2\.4 Å"
    ) as caught:
        convert("p.star", "out.star", ConvertConfig(micrographs=Path("m.star")))
    assert "--scale 0.5 " in caught.value.hint
    for scale, expected in ((0.5, [[49.75, 99.75]]), (1, [[100, 200]])):
        done = convert("p.star", "out.star", ConvertConfig(micrographs=Path("m.star"), scale=scale, overwrite=True))
        assert_allclose(read_particles("out.star")["mics/a.mrc"].centres, expected)
        assert done.events == ()


def test_a_list_that_contradicts_the_headers_is_told_of(project):
    with mrcfile.open("mics/a.mrc", mode="r+") as mrc:
        mrc.voxel_size = 2.4
    Path("m.star").write_text(STAR_OF.format(size=1.2, block="micrographs", columns="", place=""))
    write_particles_star("one.star", [("a", A)])
    (event,) = convert("one.star", "out.star", ConvertConfig(micrographs=Path("m.star"))).events
    assert (event.level, "m.star says 1.2 Å, the header of mics/a.mrc 2.4 Å" in event.text) == ("warning", True)


def test_what_was_odd_about_the_input_is_told(project):
    Path("t.star").write_text(f"data_\nloop_\n{XY}\n_rlnHelicalTubeID\n1 2 1\n")
    (event,) = convert("t.star", "t.csv", ConvertConfig()).events
    assert event.text.startswith("t.star: these are segments of filaments")
