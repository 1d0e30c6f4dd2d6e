"""STAR files: what is written is what RELION and other readers expect, and reads back."""

import re
from pathlib import Path

import numpy as np
import pytest
import starfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cryotx_cli.coordinates.formats.star import read_particles_star, write_micrograph_star, write_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.micrographs.find import read_micrographs_star

COLUMNS = ["_rlnCoordinateX", "_rlnCoordinateY", "_rlnAutopickFigureOfMerit", "_rlnClassNumber", "_rlnAnglePsi"]


def particles_of(points, scores=None):
    n = len(points)
    return Particles(np.reshape(points, (n, 2)), np.ones(n) if scores is None else scores, np.full(n, 50.0), 1.1)


def test_the_merged_file_letter_by_letter(tmp_path):
    a = particles_of([[10.25, 20.5], [3000.0, 4000.125]], [0.9, 0.25])
    b = particles_of([[1, 2]], [1.0])
    write_particles_star(tmp_path / "particles.star", [("mics/a.mrc", a), ("mics/b c.mrc", b)])
    assert (tmp_path / "particles.star").read_text() == (
        "\ndata_particles\n\nloop_\n"
        "_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
        "_rlnAutopickFigureOfMerit #4\n_rlnClassNumber #5\n_rlnAnglePsi #6\n"
        "mics/a.mrc 10.250 20.500 0.900000 0 0.000000\n"
        "mics/a.mrc 3000.000 4000.125 0.250000 0 0.000000\n"
        '"mics/b c.mrc" 1.000 2.000 1.000000 0 0.000000\n'
        "\n"
    )


def test_one_micrograph_has_a_nameless_block_and_no_names(tmp_path):
    write_micrograph_star(tmp_path / "star/a_autopick.star", particles_of([[10.25, 20.5]], [0.5]))
    text = (tmp_path / "star/a_autopick.star").read_text()
    assert re.findall(r"^data_\S*$", text, re.MULTILINE) == ["data_"]
    assert re.findall(r"^_\w+", text, re.MULTILINE) == COLUMNS
    assert "10.250 20.500 0.500000" in text
    (name, read), *rest = read_particles_star(tmp_path / "star/a_autopick.star").items()
    assert (name, rest) == ("a_autopick", [])
    assert_allclose(read.centres, [[10.25, 20.5]])


def test_no_particles_are_no_rows(tmp_path):
    write_particles_star(tmp_path / "a.star", [])
    assert read_particles_star(tmp_path / "a.star") == {}
    write_micrograph_star(tmp_path / "b.star", Particles.empty(1.0))
    assert len(read_particles_star(tmp_path / "b.star")["b"]) == 0


stems = st.text(st.characters(codec="utf-8", exclude_characters="\"'\x85", exclude_categories=["C", "Z"]), min_size=1)
tails = st.sampled_from([".mrc", " 1.mrc", "%s.mrc", "#1.mrc"])
odd_names = st.sampled_from(["data_1/a.mrc", "loop_.mrc", "_a.mrc", "001", "1e5", "nan", "20210903_106_a.mrc", "it's"])
rows = st.lists(st.tuples(st.floats(-100, 1e5), st.floats(-100, 1e5), st.floats(0, 1)), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.builds("".join, st.tuples(stems, tails)) | odd_names, rows, max_size=4))
def test_names_and_numbers_survive(tmp_path_factory, micrographs):
    path = tmp_path_factory.mktemp("star") / "particles.star"
    tables = {name: np.array(rows) for name, rows in micrographs.items()}
    write_particles_star(path, [(name, particles_of(t[:, :2], t[:, 2])) for name, t in tables.items()])
    read = read_particles_star(path)
    assert list(read) == list(tables)
    for name, table in tables.items():
        assert_allclose(read[name].centres, table[:, :2], atol=5.001e-4)
        assert_allclose(read[name].scores, table[:, 2], atol=5.001e-7)
        assert np.isnan(read[name].diameters).all()
        assert np.isnan(read[name].pixel_size)


def test_starfile_reads_the_same_names(tmp_path):
    names = ["mics/a.mrc", "with space.mrc", "data_2020/a.mrc", "a#b.mrc"]
    write_particles_star(tmp_path / "p.star", [(name, particles_of([[1, 2]])) for name in names])
    assert list(starfile.read(tmp_path / "p.star")["rlnMicrographName"]) == names


def test_names_with_an_apostrophe_read_back(tmp_path):
    names = ["'a.mrc", "it's.mrc", "'b c.mrc"]
    write_particles_star(tmp_path / "p.star", [(name, particles_of([[1, 2]])) for name in names])
    assert list(read_particles_star(tmp_path / "p.star")) == names


@pytest.mark.parametrize("name", ["", 'a"b.mrc', "a\nb.mrc", "a\x1fb.mrc", "a\x7fb.mrc", "it's a.mrc", "i's a.mrc"])
def test_a_name_that_star_cannot_hold_is_refused_and_nothing_is_left(tmp_path, name):
    with pytest.raises(ParticleFileError, match="name"):
        write_particles_star(tmp_path / "p.star", [("a.mrc", particles_of([[1, 2]])), (name, particles_of([[1, 2]]))])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "p.star"
    write_particles_star(path, [("a.mrc", particles_of([[1, 2]]))])
    before = path.read_bytes()

    def stops_half_way():
        yield "b.mrc", particles_of([[3, 4]])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_particles_star(path, stops_half_way())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.star").mkdir()
    for path in (tmp_path / "file" / "p.star", tmp_path / "folder.star"):
        with pytest.raises(ParticleFileError, match="cannot be written") as caught:
            write_particles_star(path, [])
        assert str(path) in caught.value.message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.star"]


# RELION 5 writes particles like this; the columns stand in an order of their own.
RELION_PARTICLES = """
# version 50001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographPixelSize #3
_rlnImagePixelSize #4
opticsGroup1 1 0.885000 3.540000
opticsGroup2 2 1.100000 3.540000


# version 50001

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnImageName #3
_rlnMicrographName #4
_rlnOpticsGroup #5
_rlnClassNumber #6
 1614.500000  1032.250000 000001@Extract/job007/a.mrcs MotionCorr/job002/a.mrc  1  3
  214.000000   560.000000 000001@Extract/job007/b.mrcs "MotionCorr/job002/b c.mrc"  2  1
   14.000000  3560.000000 000002@Extract/job007/a.mrcs MotionCorr/job002/a.mrc  1  2

"""


def test_relion_particles_with_an_optics_table(tmp_path):
    (tmp_path / "particles.star").write_text(RELION_PARTICLES)
    read = read_particles_star(tmp_path / "particles.star")
    assert list(read) == ["MotionCorr/job002/a.mrc", "MotionCorr/job002/b c.mrc"]
    a, b = read.values()
    assert_array_equal(a.centres, [[1614.5, 1032.25], [14.0, 3560.0]])
    assert_array_equal(b.centres, [[214.0, 560.0]])
    # The pixel size of the micrographs, not that of the binned particle images.
    assert (a.pixel_size, b.pixel_size) == (0.885, 1.1)
    assert_array_equal(a.scores, [1, 1])


def test_without_a_micrograph_pixel_size_none_is_made_up(tmp_path):
    text = RELION_PARTICLES.replace("_rlnMicrographPixelSize", "_rlnMicrographOriginalPixelSize")
    (tmp_path / "particles.star").write_text(text)
    assert all(np.isnan(p.pixel_size) for p in read_particles_star(tmp_path / "particles.star").values())


BROKEN = {
    "no coordinates": ("data_\n\nloop_\n_rlnMicrographName #1\na.mrc\n", "_rlnCoordinateX.*rlnMicrographName"),
    "text for a number": ("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\nx 3\n", "_rlnCoordinateX"),
    "nan": ("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n3 nan\n", "_rlnCoordinateY.*row 2"),
    "too many values": ("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n1 2 3 4\n", "STAR"),
    "empty": ("", "no tables"),
    "prose": ("hello\nworld\n", "no tables"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_refused_with_the_reason(tmp_path, kind):
    content, reason = BROKEN[kind]
    (tmp_path / "p.star").write_text(content)
    with pytest.raises(ParticleFileError, match=reason) as caught:
        read_particles_star(tmp_path / "p.star")
    assert str(tmp_path / "p.star") in caught.value.message


def test_binary_and_missing_files_are_refused(tmp_path):
    (tmp_path / "p.star").write_bytes(bytes(range(256)) * 20)
    for path in (tmp_path / "p.star", tmp_path / "missing.star", tmp_path):
        with pytest.raises(ParticleFileError, match=re.escape(str(path))):
            read_particles_star(path)


# --- lists of micrographs --------------------------------------------------------------------------------------------


def listed(tmp_path: Path, text: str):
    (tmp_path / "m.star").write_text(text)
    return read_micrographs_star(tmp_path / "m.star")


def test_micrographs_of_relion_4(tmp_path):
    text = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnMicrographPixelSize #5
one 1 0.4425 200 0.885
two 2 0.5 300 1.77


# version 30001

data_micrographs

loop_
_rlnCtfImage #1
_rlnMicrographName #2
_rlnOpticsGroup #3
x.ctf:mrc MotionCorr/job002/Movies/m10.mrc 2
x.ctf:mrc MotionCorr/job002/Movies/m2.mrc 1
x.ctf:mrc MotionCorr/job002/Movies/m10.mrc 2
"""
    expected = [("MotionCorr/job002/Movies/m10.mrc", 1.77), ("MotionCorr/job002/Movies/m2.mrc", 0.885)]
    assert listed(tmp_path, text) == expected


def test_micrographs_of_relion_3_0(tmp_path):
    text = (
        "\ndata_\n\nloop_\n_rlnMicrographName #1\n_rlnDetectorPixelSize #2\n_rlnMagnification #3\n"
        "a.mrc 14.000000 79096.000000\n"
    )
    ((name, pixel_size),) = listed(tmp_path, text)
    assert name == "a.mrc"
    assert pixel_size == pytest.approx(1.77, abs=1e-3)


def test_micrographs_without_pixel_sizes(tmp_path):
    assert listed(tmp_path, "data_micrographs\n\nloop_\n_rlnMicrographName #1\n001\n002\n") == [
        ("001", None),
        ("002", None),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data_movies\n\nloop_\n_rlnMicrographMovieName #1\na.tif\n", "lists movies"),
        ("data_micrographs\n\nloop_\n_rlnMicrographName #1\n", "m.star"),
        ("data_\n\nloop_\n_rlnCoordinateX #1\n1\n", "_rlnMicrographName"),
    ],
)
def test_other_lists_are_refused(tmp_path, text, reason):
    with pytest.raises(ParticleFileError, match=reason):
        listed(tmp_path, text)
