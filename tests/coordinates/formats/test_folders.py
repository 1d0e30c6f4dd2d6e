"""Which format a file has, lists of files, folders, the names of output files, and hostile input for every reader."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cryotx_cli.coordinates.formats import format_of, read_particles
from cryotx_cli.coordinates.formats.box import write_box
from cryotx_cli.coordinates.formats.cryosparc import write_cs
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.star import (
    read_coordinate_index,
    write_coordinate_index,
    write_micrograph_star,
    write_particles_star,
)
from cryotx_cli.coordinates.formats.table import micrograph_formats, readable_formats, table_formats
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError

PARTICLES = Particles([[100.5, 200.25], [10, 20]], [0.5, 0.25], [80, 80], 1.5)
EXPOSURE = Exposure(7, 1, "J1/a.mrc", 300, 400, 1.5)


def write_all(folder):
    """One file of each format, each with the particles of micrograph a."""
    for one in micrograph_formats():
        one.write(folder / one.name / one.file_name("a"), PARTICLES, 64)
    for table in table_formats():
        table.write(folder / table.name / f"p{table.suffix}", [("mics/a.mrc", PARTICLES)], {"mics/a.mrc": EXPOSURE})
    return sorted(path for path in folder.rglob("*") if path.is_file())


# --- which format ----------------------------------------------------------------------------------------------------


def test_every_format_is_read_by_suffix_and_by_content(tmp_path):
    files = write_all(tmp_path)
    assert len(files) == 9
    for file in files:
        ((name, read),) = read_particles(file).items()
        assert name in ("a", "mics/a.mrc", "J1/a.mrc")
        assert_allclose(read.centres, PARTICLES.centres, atol=0.51 if file.suffix == ".box" else 1e-3)
        ((_, same),) = read_particles(file.parent).items()
        assert_array_equal(same.centres, read.centres)
        without = file.rename(file.with_name("unknown.xyz"))
        ((_, by_content),) = read_particles(without).items()
        assert_array_equal(by_content.centres, read.centres)


def test_what_is_no_coordinate_file_is_refused(tmp_path):
    for content in (b"", b"prose without numbers", b"1 2 3", bytes(range(256))):
        (tmp_path / "a.xyz").write_bytes(content)
        with pytest.raises(ParticleFileError, match=r"\.xyz is not a coordinate format") as caught:
            format_of(tmp_path / "a.xyz")
        assert all(suffix in caught.value.hint for suffix in readable_formats())


def test_a_folder_with_many_kinds_is_read_once(tmp_path):
    write_all(tmp_path)
    assert sorted(read_particles(tmp_path)) == ["mics/a.mrc", "relion/a"]  # the STAR files alone


# --- RELION's list of coordinate files -------------------------------------------------------------------------------


def test_a_list_of_coordinate_files_letter_by_letter(tmp_path):
    files = [("Job/mics/a b.mrc", "AutoPick/job010/mics/a b_autopick.star"), ("c.mrc", "c.star")]
    write_coordinate_index(tmp_path / "autopick.star", files)
    assert (tmp_path / "autopick.star").read_text() == (
        "\ndata_coordinate_files\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographCoordinates #2\n"
        '"Job/mics/a b.mrc" "AutoPick/job010/mics/a b_autopick.star"\nc.mrc c.star\n\n'
    )


def relion_project(folder):
    job = folder / "AutoPick/job010"
    write_micrograph_star(job / "mics/001_autopick.star", PARTICLES)
    write_box(job / "mics/b.box", PARTICLES, 64)
    names = ["MotionCorr/job002/mics/001.mrc", "MotionCorr/job002/mics/b.mrc"]
    paths = ["AutoPick/job010/mics/001_autopick.star", "AutoPick/job010/mics/b.box"]
    write_coordinate_index(job / "autopick.star", zip(names, paths, strict=True))
    return job, names


def test_a_comment_behind_the_name_of_its_block_hides_no_list(tmp_path):
    job, names = relion_project(tmp_path)
    text = (job / "autopick.star").read_text()
    (job / "autopick.star").write_text(text.replace("data_coordinate_files", "data_coordinate_files # of job 10"))
    assert list(read_particles(job / "autopick.star")) == names


def test_a_list_is_followed_from_the_project_folder(tmp_path, monkeypatch):
    job, names = relion_project(tmp_path)
    for path in (job / "autopick.star", job):  # the listed files lie in the folder: they are not read twice
        read = read_particles(path)
        assert list(read) == names
        assert_array_equal(read[names[0]].centres, PARTICLES.centres)
    monkeypatch.chdir(tmp_path)
    moved = Path("elsewhere.star")
    (job / "autopick.star").rename(moved)
    assert list(read_particles(moved)) == names


def test_a_list_that_was_copied_finds_its_files_beside_it_by_the_end_of_their_names(tmp_path):
    write_micrograph_star(tmp_path / "copy/b_autopick.star", PARTICLES)
    write_coordinate_index(tmp_path / "copy/autopick.star", [("b.mrc", "AutoPick/job010/b_autopick.star")])
    assert list(read_particles(tmp_path / "copy/autopick.star")) == ["b.mrc"]
    one_folder_less = tmp_path / "copy/job010/c_autopick.star"
    write_micrograph_star(one_folder_less, PARTICLES)
    write_coordinate_index(tmp_path / "copy/autopick.star", [("c.mrc", "AutoPick/job010/c_autopick.star")])
    assert read_coordinate_index(tmp_path / "copy/autopick.star") == [("c.mrc", one_folder_less)]


def test_a_list_that_leads_nowhere_or_to_itself_is_refused(tmp_path):
    job, _ = relion_project(tmp_path)
    (job / "mics/b.box").unlink()
    with pytest.raises(ParticleFileError, match=r"there is no AutoPick/job010/mics/b\.box"):
        read_particles(job / "autopick.star")
    write_coordinate_index(tmp_path / "loop.star", [("a.mrc", "loop.star")])
    with pytest.raises(ParticleFileError, match="such a list itself"):
        read_particles(tmp_path / "loop.star")
    write_coordinate_index(tmp_path / "long.star", [("a.mrc", "x" * 5000)])
    with pytest.raises(ParticleFileError, match="there is no xxx"):
        read_coordinate_index(tmp_path / "long.star")
    write_particles_star(tmp_path / "m.star", [("a.mrc", PARTICLES), ("b.mrc", PARTICLES)])
    write_coordinate_index(tmp_path / "i.star", [("a.mrc", "m.star")])
    with pytest.raises(ParticleFileError, match=r"does not hold the coordinates of a\.mrc alone"):
        read_particles(tmp_path / "i.star")


# --- hostile input for every reader ----------------------------------------------------------------------------------

STAR_HEAD = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
CBOX_HEAD = "data_cryolo\n\nloop_\n_CoordinateX\n_CoordinateY\n_Width\n_Height\n"
TOPAZ_HEAD = "image_name\tx_coord\ty_coord\tscore\n"
REFUSED = {
    "a.star": [STAR_HEAD.replace("Y", "Z"), STAR_HEAD + "a.mrc 1 x\n", STAR_HEAD + "a.mrc 1 inf\n"],
    "a.cbox": [
        "data_cryolo\n\n_version 1\n",
        CBOX_HEAD.replace("Width", "W"),
        CBOX_HEAD + "1 2 x 4\n",
        CBOX_HEAD + "1 2 nan 4\n",
    ],
    "a.box": ["1 2 3", "x y w h", "1,2,3,4", "1 2 3 1e999"],
    "a_info.json": [
        "",
        "{",
        "[]",
        "{}",
        '{"boxes": 5}',
        '{"boxes": [5]}',
        '{"boxes": [[1]]}',
        '{"boxes": [[1, "2"]]}',
        '{"boxes": [[1, NaN]]}',
        '{"boxes": [[true, 1]]}',
        '{"boxes": [[1, 1' + "0" * 400 + "]]}",
        "[" * 100_000,
    ],
    "a.csv": ["a,b\n1,2\n", "x,y\n1\n", "x,y\n1,nan\n", 'x,y\n"1,2\n', "x,y\n" + "9" * 200_000 + ",x\n"],
    "p.txt": [
        "",
        "image_name x_coord y_coord\na 1 2\n",
        TOPAZ_HEAD.replace("y_coord", "y"),
        TOPAZ_HEAD + "a\t1\n",
        TOPAZ_HEAD + "a\t1\tinf\t0\n",
        TOPAZ_HEAD + "\t1\t2\t0\n",
        TOPAZ_HEAD + '"a\t1\t2\t0\n',
        TOPAZ_HEAD + "x" * 200_000,
    ],
    "p.cs": ["", "data_\n", "{}"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_broken_files_are_refused_in_one_line(tmp_path, name):
    rubbish = [bytes(range(256)) * 30, b"\xff\xfe" + "x,y\n1,2".encode("utf-16-le"), b"\0" * 5000]
    for content in [*(text.encode() for text in REFUSED[name]), *rubbish]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ParticleFileError) as caught:
            read_particles(tmp_path / name)
        assert name in caught.value.message
        assert len(caught.value.message) < 1000
        assert "\n" not in caught.value.message
    (tmp_path / name).unlink()
    with pytest.raises(ParticleFileError, match=name):
        read_particles(tmp_path / name)


@pytest.mark.parametrize("name", ["with space.mrc", "Größe_µ_粒子.mrc", "it's.mrc", "../a.mrc", "/abs/a.mrc", "001"])
def test_odd_names_in_tables_survive(tmp_path, name):
    write_particles_star(tmp_path / "p.star", [(name, PARTICLES)])
    assert list(read_particles(tmp_path / "p.star")) == [name]
    text = (tmp_path / "p.star").read_text().replace("\n", "\r\n")
    (tmp_path / "p.star").write_text(text, newline="")
    assert list(read_particles(tmp_path / "p.star")) == [name]
    write_cs(tmp_path / "p.cs", [(Exposure(1, 1, name, 300, 400, 1.5), PARTICLES)])
    assert list(read_particles(tmp_path / "p.cs")) == [name]


def test_tabs_and_quotes_in_a_star_file(tmp_path):
    (tmp_path / "p.star").write_text(STAR_HEAD + "\t'a b.mrc'\t1\t2\n\"c d.mrc\"   3   4\n")
    assert {name: one.centres.tolist() for name, one in read_particles(tmp_path / "p.star").items()} == {
        "a b.mrc": [[1, 2]],
        "c d.mrc": [[3, 4]],
    }


def read_or_refuse(path):
    """The particles, or the message of the one error that is allowed."""
    try:
        return read_particles(path)
    except ParticleFileError as error:
        return error.message


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    return {file.name: file.read_bytes() for file in write_all(tmp_path_factory.mktemp("whole"))}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_gives_particles_or_one_clear_error(tmp_path, whole_files, data):
    name = data.draw(st.sampled_from(sorted(whole_files)))
    content = bytearray(whole_files[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        insert = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\n", b"\t", b'"', b"'", b" ", b"#", b"_", b"1e999"])
        )
        content[place : place + data.draw(st.sampled_from([0, 1, 5, 10_000]))] = insert
    (tmp_path / name).write_bytes(bytes(content))
    read = read_or_refuse(tmp_path / name)
    if isinstance(read, str):
        assert name in read
        assert "\n" not in read
        return
    for particles in read.values():
        assert np.isfinite(particles.centres).all()
        assert not np.isnan(particles.scores).any()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(REFUSED)), st.text(max_size=60))
@example("a_info.json", json.dumps({"boxes": [[1e308, 1e308]]}))
def test_any_text_gives_particles_or_one_clear_error(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", errors="replace")
    read = read_or_refuse(tmp_path / name)
    assert isinstance(read, dict) or name in read


@pytest.mark.slow
def test_a_million_rows_are_read(tmp_path):
    row = "MotionCorr/job002/mics/m{}.mrc {}.5 2.25 0.5\n"
    head = STAR_HEAD + "_rlnAutopickFigureOfMerit #4\n"
    (tmp_path / "p.star").write_text(head + "".join(row.format(i // 1000, i) for i in range(1_000_000)))
    read = read_particles(tmp_path / "p.star")
    assert len(read) == 1000
    assert read["MotionCorr/job002/mics/m999.mrc"].centres[-1].tolist() == [999_999.5, 2.25]


def test_an_error_in_a_listed_file_names_the_list_too(tmp_path):
    (tmp_path / "a.mrc").write_bytes(b"no coordinates")
    rows = "data_coordinate_files\n\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\nmics/a.mrc a.mrc\n"
    (tmp_path / "autopick.star").write_text(rows)
    with pytest.raises(ParticleFileError, match=r"autopick\.star: of those that it names, .*a\.mrc: \.mrc is not"):
        read_particles(tmp_path / "autopick.star")
