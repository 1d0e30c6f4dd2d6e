"""EMAN box files, CSV tables, and folders of coordinate files."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.box import box_side_px, read_box, write_box
from cryotx_cli.coordinates.formats.csv import read_csv, write_csv
from cryotx_cli.coordinates.formats.star import write_micrograph_star, write_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError


def particles_of(points, diameter=80.0):
    return Particles(np.reshape(points, (-1, 2)), np.ones(len(points)), np.full(len(points), diameter), 1.0)


points = st.lists(st.tuples(st.floats(-50, 12000), st.floats(-50, 12000)), max_size=5)


# --- box -------------------------------------------------------------------------------------------------------------


def test_a_box_file_letter_by_letter(tmp_path):
    write_box(tmp_path / "box/a.box", particles_of([[100.0, 200.0], [10.4, 20.6]]), 80)
    assert (tmp_path / "box/a.box").read_bytes() == b"60\t160\t80\t80\n-30\t-19\t80\t80\n"


@settings(max_examples=40, deadline=None)
@given(points, st.integers(1, 500))
def test_boxes_keep_centres_to_half_a_pixel(tmp_path_factory, centres, side):
    path = tmp_path_factory.mktemp("box") / "a.box"
    write_box(path, particles_of(centres), side)
    read = read_box(path)
    assert_allclose(read.centres, np.reshape(centres, (-1, 2)), atol=0.5 + 1e-9)
    assert read.box_px == side if centres else math.isnan(read.box_px)
    assert np.isnan(read.diameters).all()  # a box is no diameter
    assert_array_equal(read.scores, np.ones(len(centres)))


def test_foreign_box_files(tmp_path):
    (tmp_path / "a.box").write_text("10 20 30 40 0.75\n\n  1.5\t2.5\t10\t10\t0.5\textra\r\n")
    read = read_box(tmp_path / "a.box")
    assert_array_equal(read.centres, [[25, 40], [6.5, 7.5]])
    assert_array_equal(read.scores, [0.75, 0.5])
    assert np.isnan(read.diameters).all()
    assert read.box_px == (35 + 10) / 2  # the median of the boxes' mean sides


@pytest.mark.parametrize("line", ["x\ty\tw\th", "1 2 3", "1 2 3 nan", "1 2 -0.5 4", "1 2 3 -0.5"])
def test_a_broken_line_is_named(tmp_path, line):
    (tmp_path / "a.box").write_text(f"1 2 3 4\n{line}\n")
    with pytest.raises(ParticleFileError, match=r"a\.box: line 2"):
        read_box(tmp_path / "a.box")


def test_coordinates_that_no_micrograph_has_are_not_written(tmp_path):
    write_box(tmp_path / "a.box", particles_of([[1e9, -1e9]]), 80)
    assert (tmp_path / "a.box").read_text() == "999999960\t-1000000040\t80\t80\n"
    for coordinate in (1.1e9, -1.1e9):
        with pytest.raises(ParticleFileError, match=r"b\.box: cannot be written"):
            write_box(tmp_path / "b.box", particles_of([[5.0, coordinate]]), 80)
    assert not (tmp_path / "b.box").exists()


@pytest.mark.parametrize("line", ["10 20 30 40", "10 20 30 40 0.5", "10\t20\t30\t40\t0.5\tmore"])
def test_boxes_are_known_by_their_numbers_where_the_suffix_says_nothing(tmp_path, line):
    (tmp_path / "a.dat").write_text(f"{line}\n")
    assert read_particles(tmp_path / "a.dat")["a"].centres.tolist() == [[25, 40]]


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_a_csv_file_letter_by_letter(tmp_path):
    write_csv(tmp_path / "a.csv", particles_of([[1.25, 2.0]], 108.0))
    assert (tmp_path / "a.csv").read_text() == "X-Coordinate,Y-Coordinate,Diameter\n1.250,2.000,108\n"


@settings(max_examples=40, deadline=None)
@given(points, st.floats(1, 1000))
def test_csv_reads_back(tmp_path_factory, centres, diameter):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    write_csv(path, particles_of(centres, diameter))
    read = read_csv(path)
    assert_allclose(read.centres, np.reshape(centres, (-1, 2)), atol=5.001e-4)
    assert_allclose(read.diameters, np.full(len(centres), diameter), rtol=1e-5)


CRYOPPP = (
    "X-Coordinate,Y-Coordinate,Class Number,Diameter,Defocus U,Defocus V,Astigmatism Angle,Pixel Size,"
    "Amplitude Contrast,Voltage,Dose\n4003.0,3711.0,1,108,1.9e4,1.8e4,0.4,1.77,0.1,200,30\n"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CRYOPPP, [[4003, 3711, 1, 108]]),
        ("x,y\n1,2\n3,4\n", [[1, 2, 1, np.nan], [3, 4, 1, np.nan]]),
        ("y, x, score, diameter\n1, 2, 0.5, 90\n", [[2, 1, 0.5, 90]]),
        ("\ufeffX-Coordinate,Y-Coordinate\r\n1,2\r\n\r\n", [[1, 2, 1, np.nan]]),
        ("1.5,2.5\n3,4\n", [[1.5, 2.5, 1, np.nan], [3, 4, 1, np.nan]]),
        ("1.5,2.5,0.25,88\n", [[1.5, 2.5, 0.25, 88]]),
        ("X-Coordinate,Y-Coordinate,Diameter\n", []),
    ],
)
def test_csv_variants(tmp_path, text, expected):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    read = read_csv(tmp_path / "a.csv")
    table = np.column_stack([read.centres, read.scores, read.diameters])
    assert_array_equal(table, np.reshape(expected, (-1, 4)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no columns.*; it is empty"),
        ("a,b\n1,2\n", "no columns.*; it begins with 'a,b'"),
        ("a;b\n1;2\n", "no columns.*; it begins with 'a;b'"),
        ("x\n1\n", "no columns"),
        ("x,y\n1,2\n3,oops\n", "line 3 has 'oops'"),
        ("x,y\n1,\n", "line 2 has ''"),
        ("x,y\n1,inf\n", "line 2 has 'inf'"),
    ],
)
def test_broken_csv_files_are_refused_with_the_reason(tmp_path, text, reason):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ParticleFileError, match=reason) as caught:
        read_csv(tmp_path / "a.csv")
    assert "a.csv" in caught.value.message


def test_files_that_are_no_text_are_refused(tmp_path):
    for read, name in ((read_box, "a.box"), (read_csv, "a.csv")):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00\x81" * 10)
        with pytest.raises(ParticleFileError, match=name):
            read(tmp_path / name)
        with pytest.raises(ParticleFileError, match="missing"):
            read(tmp_path / f"missing{name}")


# --- any of them -----------------------------------------------------------------------------------------------------


def test_one_file_of_each_format_by_its_stem(tmp_path):
    p = particles_of([[10, 20], [30, 40]])
    write_box(tmp_path / "a.b.box", p, 20)
    write_csv(tmp_path / "c.csv", p)
    write_micrograph_star(tmp_path / "d_autopick.star", p)
    write_particles_star(tmp_path / "all.STAR", [("mics/e.mrc", p)])
    for file, name in (("a.b.box", "a.b"), ("c.csv", "c"), ("d_autopick.star", "d"), ("all.STAR", "mics/e.mrc")):
        ((found, read),) = read_particles(tmp_path / file).items()
        assert found == name
        assert_array_equal(read.centres, p.centres)


def test_a_folder_keeps_its_tree_and_one_kind_of_file(tmp_path):
    p, q = particles_of([[10, 20]]), particles_of([[30, 40]])
    write_micrograph_star(tmp_path / "star/a.star", p)
    write_micrograph_star(tmp_path / "star/sub/a_manualpick.star", q)
    write_box(tmp_path / "box/a.box", q, 20)
    read = read_particles(tmp_path)
    assert sorted(read) == ["star/a", "star/sub/a"]
    assert_array_equal(read["star/sub/a"].centres, q.centres)
    assert list(read_particles(tmp_path / "box")) == ["a"]


def test_two_files_of_one_micrograph_are_refused(tmp_path):
    for job, y in (("one.star", 2), ("two.star", 3)):
        write_particles_star(tmp_path / job, [("mics/a.mrc", particles_of([[1, y]]))])
    with pytest.raises(ParticleFileError, match=r"two\.star and .*one\.star both hold coordinates of mics/a\.mrc"):
        read_particles(tmp_path)


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(ParticleFileError, match=r"\.xyz is not a coordinate format") as caught:
        read_particles(tmp_path / "a.xyz")
    assert ".star" in caught.value.hint
    with pytest.raises(ParticleFileError, match="no coordinate files"):
        read_particles(tmp_path)
    with pytest.raises(ParticleFileError, match="no such file"):
        read_particles(tmp_path / "missing.star")


def test_box_side():
    assert [box_side_px(diameter) for diameter in (30, 31, 0.5, 100)] == [46, 48, 2, 150]
