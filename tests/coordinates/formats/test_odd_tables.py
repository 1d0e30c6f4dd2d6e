"""What other programs leave in coordinate files: several tables, refined origins, tomograms, filaments, no scores."""

from pathlib import Path

import pytest
from numpy.testing import assert_allclose

from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.errors import ParticleFileError


def loop(block: str, columns: str, *rows: str) -> str:
    return "\n".join([f"data_{block}", "", "loop_", *(f"_{name}" for name in columns.split()), *rows, "", ""])


def optics(columns: str, *rows: str) -> str:
    return loop("optics", f"rlnOpticsGroup {columns}", *rows)


def read(path: Path, content: str) -> tuple[dict[str, list[list[float]]], list[str]]:
    """Return the centres by micrograph, and what was told, without the file's name."""
    path.write_text(content)
    told: list[str] = []
    found = read_particles(path, lambda event: told.append(event.text))
    assert all(line.startswith(f"{path}: ") for line in told)
    return {name: here.centres.tolist() for name, here in found.items()}, [line.split(": ", 1)[1] for line in told]


def refused(path: Path, content: str, pattern: str) -> None:
    path.write_text(content)
    with pytest.raises(ParticleFileError, match=pattern) as caught:
        read_particles(path)
    assert path.name in caught.value.message
    assert "\n" not in caught.value.message


NAMED = "rlnMicrographName rlnCoordinateX rlnCoordinateY"
BARE = "rlnCoordinateX rlnCoordinateY"


# --- several tables --------------------------------------------------------------------------------------------------


def test_all_tables_of_a_joined_file_are_read(tmp_path):
    joined = loop("", NAMED, "m1.mrc 1 2", "m2.mrc 3 4") + loop("", NAMED, "m2.mrc 5 6", "m3.mrc 7 8")
    found, told = read(tmp_path / "all.star", joined)
    assert found == {"m1.mrc": [[1, 2]], "m2.mrc": [[3, 4], [5, 6]], "m3.mrc": [[7, 8]]}
    assert told == ["2 tables of coordinates were read together: data_ with 2 rows, data_ with 2 rows"]


def test_each_table_has_the_optics_before_it(tmp_path):
    grouped = f"{NAMED} rlnOpticsGroup"
    joined = "".join(
        optics("rlnMicrographPixelSize", f"1 {size}") + loop("particles", grouped, f"{name} 1 2 1")
        for size, name in ((1.5, "a.mrc"), (2.5, "b.mrc"))
    )
    (tmp_path / "all.star").write_text(joined)
    found = read_particles(tmp_path / "all.star", lambda event: None)
    assert {name: here.pixel_size for name, here in found.items()} == {"a.mrc": 1.5, "b.mrc": 2.5}
    refused(tmp_path / "two.star", joined.replace("b.mrc", "a.mrc"), r"1\.5 Å in one table and of 2\.5 Å in another")


def test_a_micrograph_in_pixels_of_two_sizes_is_refused(tmp_path):
    groups = optics("rlnMicrographPixelSize", "1 1.5", "2 2.5", "3 1.501", "4 <NA>")
    rows = ("a.mrc 1 2 1", "b.mrc 3 4 2", "a.mrc 5 6 3", "b.mrc 7 8 4")
    (tmp_path / "p.star").write_text(groups + loop("particles", f"{NAMED} rlnOpticsGroup", *rows))
    found = read_particles(tmp_path / "p.star")
    assert {name: here.pixel_size for name, here in found.items()} == {"a.mrc": 1.5, "b.mrc": 2.5}
    two_sizes = loop("particles", f"{NAMED} rlnOpticsGroup", *rows, "a.mrc 9 9 2")
    refused(tmp_path / "q.star", groups + two_sizes, r"of a\.mrc are in pixels of 1\.5 Å in one row and of 2\.5 Å")


def test_tables_without_names_are_refused_with_both_named(tmp_path):
    both = loop("first", BARE, "1 2") + loop("second", BARE, "3 4", "5 6")
    refused(tmp_path / "m.star", both, "2 tables.*data_first with 1 rows, data_second with 2 rows")
    refused(tmp_path / "n.star", loop("a", NAMED, "m.mrc 1 2") + loop("b", BARE, "3 4"), "data_a .* data_b")
    head = "CoordinateX CoordinateY Width Height"
    refused(tmp_path / "m.cbox", loop("cryolo", head, "1 2 3 4") * 2, "2 tables of boxes")


def test_tables_of_other_things_and_empty_ones_are_no_second_table(tmp_path):
    others = loop("micrographs", "rlnMicrographName", "m1.mrc", "m9.mrc") + loop("", NAMED)
    found, told = read(tmp_path / "p.star", others + loop("particles", NAMED, "m1.mrc 1 2"))
    assert (found, told) == ({"m1.mrc": [[1, 2]]}, [])


def test_one_particle_as_single_values(tmp_path):
    text = "data_particles\n_rlnMicrographName m.mrc\n_rlnCoordinateX 1\n_rlnCoordinateY 2\n"
    assert read(tmp_path / "p.star", text) == ({"m.mrc": [[1, 2]]}, [])


# --- one micrograph or many ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("rlnImageName", "000001@J5/m1_particles.mrcs", "000001@J5/m2_particles.mrcs"),
        ("rlnGroupName", "group_1", "group_2"),
        ("rlnMicrographMovieName", "m1.tif", "m2.tif"),
    ],
)
def test_particles_of_several_unnamed_micrographs_are_refused(tmp_path, column, one, other):
    refused(
        tmp_path / "p.star", loop("", f"{BARE} {column}", f"1 2 {one}", f"3 4 {other}"), f"_{column} tells.*several"
    )
    alone, told = read(tmp_path / "m.star", loop("", f"{BARE} {column}", f"1 2 {one}", f"3 4 {one}"))
    assert (alone, told) == ({"m": [[1, 2], [3, 4]]}, [])


def test_particles_without_a_micrograph_are_left_out_and_counted(tmp_path):
    found, told = read(tmp_path / "p.star", loop("", NAMED, "m.mrc 1 2", '"" 3 4', "<NA> 5 6"))
    assert (found, told) == ({"m.mrc": [[1, 2]]}, ["2 of 3 particles name no micrograph: left out"])
    refused(tmp_path / "q.star", loop("", NAMED, '"" 3 4'), "no particle names its micrograph")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "head", ["image_name", "Micrograph Name", "rlnMicrographName", "filename", "micrograph", "name"]
)
def test_csv_files_of_several_micrographs(tmp_path, head, separator):
    rows = (("x", head, "y"), (1, "m1", 2), (" ", " ", " "), (3, "m1", 4), (5, "m2", 6))
    content = "\n".join(separator.join(map(str, row)) for row in rows)
    assert read(tmp_path / "picks.csv", content) == ({"m1": [[1, 2], [3, 4]], "m2": [[5, 6]]}, [])


def test_csv_names_are_known_by_what_they_look_like(tmp_path):
    assert read(tmp_path / "a.csv", "Label,X,Y\nm1.mrc,1,2\nm2.mrc,3,4\n") == (
        {"m1.mrc": [[1, 2]], "m2.mrc": [[3, 4]]},
        [],
    )
    assert read(tmp_path / "b.csv", "1,2,m1.tif\n3,4,m2.tif\n")[0] == {"m1.tif": [[1, 2]], "m2.tif": [[3, 4]]}
    found, told = read(tmp_path / "c.csv", "micrograph,x,y\nm1,1,2\n,3,4\nm1,,\n")
    assert found == {"m1": [[1, 2]]}
    assert told == ["1 row without coordinates left out", "1 of 2 rows name no micrograph: left out"]


def test_csv_columns_that_may_name_particles_are_refused(tmp_path):
    refused(tmp_path / "a.csv", "name,x,y\np1,1,2\np2,3,4\np3,5,6\n", "not certain that the column 'name'")
    refused(tmp_path / "b.csv", "rlnImageName,x,y\n1@a.mrcs,1,2\n2@b.mrcs,3,4\n", "not certain.*a.mrcs, b.mrcs")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1,2,m1.tif\n3,4,m2.tif\n5,6,m3.tif\n", {"m1.tif": [[1, 2]], "m2.tif": [[3, 4]], "m3.tif": [[5, 6]]}),
        ("Label,Of,X,Y\nm1.mrc,movie1.tif,1,2\n", {"m1.mrc": [[1, 2]]}),
        ("rlnImageName,x,y\n1@m1.mrcs,1,2\n2@m1.mrcs,3,4\n", {"m1.mrcs": [[1, 2], [3, 4]]}),
        ("name,x,y\nm1,1,2\nm2,3,4\n", {"m1": [[1, 2]], "m2": [[3, 4]]}),
    ],
    ids=["no header", "two names", "one stack", "two particles"],
)
def test_csv_names_that_are_those_of_micrographs(tmp_path, content, expected):
    assert read(tmp_path / "a.csv", content) == (expected, [])


# --- what is no 2D particle ------------------------------------------------------------------------------------------

CBOX_3D = "CoordinateX CoordinateY CoordinateZ Width Height Depth"
TOMOGRAMS = {
    "a.star": loop("particles", f"{BARE} rlnTomoName", "1 2 t1"),
    "b.star": loop("particles", f"{NAMED} rlnCoordinateZ", "t.tomostar 1 2 0", "t.tomostar 1 2 9"),
    "c.star": loop("particles", "rlnTomoName rlnCenteredCoordinateXAngst rlnCenteredCoordinateYAngst", "t1 1 2"),
    "a.cbox": loop("cryolo", CBOX_3D, "1 2 7 40 40 <NA>"),
    "c.cbox": loop("cryolo", CBOX_3D, "1 2 <NA> 40 40 <NA>") + loop("cryolo_include", "slice_index", "12"),
    "a.csv": "x,y,z\n1,2,3\n",
    "a.txt": "image_name\tx_coord\ty_coord\tz_coord\nt\t1\t2\t3\n",
    "a_info.json": '{"boxes": [], "boxes_3d": [[1, 2, 3, "manual", 1.0, 0]]}',
}


@pytest.mark.parametrize("name", TOMOGRAMS)
def test_coordinates_in_tomograms_are_refused(tmp_path, name):
    refused(tmp_path / name, TOMOGRAMS[name], "in (a )?tomogram")


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("a.cbox", "_CoordinateZ"),
        ("c.cbox", "_slice_index"),
        ("a.star", "_rlnTomoName"),
        ("b.star", "_rlnCoordinateZ"),
    ],
)
def test_what_shows_a_tomogram_is_named(tmp_path, name, column):
    refused(tmp_path / name, TOMOGRAMS[name], rf"in (a )?tomograms? \({column}\)")


def test_a_z_of_nothing_is_no_tomogram(tmp_path):
    flat = loop("particles", f"{NAMED} rlnCoordinateZ", "m.mrc 1 2 0", "m.mrc 3 4 0.0")
    assert read(tmp_path / "p.star", flat) == ({"m.mrc": [[1, 2], [3, 4]]}, [])
    box = loop("cryolo", CBOX_3D, "1 2 <NA> 40 40 <NA>") + loop("cryolo_include", "slice_index")
    assert read(tmp_path / "m.cbox", box) == ({"m": [[21, 22]]}, [])
    box = loop("cryolo", CBOX_3D, "1 2 0 40 40 40") + loop("cryolo_include", "slice_index")
    assert read(tmp_path / "n.cbox", box) == ({"n": [[21, 22]]}, [])
    assert read(tmp_path / "m.csv", "x,y,z\n1,2,0\n3,4,\n") == ({"m": [[1, 2], [3, 4]]}, [])


@pytest.mark.parametrize("marks", [(-1, -2), (-1, -2, -1, -2), (-1, 0, 0, -2)])
def test_ends_of_filaments_are_refused(tmp_path, marks):
    rows = "".join(f"{10 * i}\t20\t8\t8\t{mark}\n" for i, mark in enumerate(marks))
    refused(tmp_path / "m.box", rows, "starts and ends of filaments")


@pytest.mark.parametrize("marks", [(-1, -1), (-2, -1), (0.5, -2), (-1, -2, -1)])
def test_other_fifth_columns_are_scores(tmp_path, marks):
    (tmp_path / "m.box").write_text("".join(f"0 0 8 8 {mark}\n" for mark in marks))
    assert_allclose(read_particles(tmp_path / "m.box")["m"].scores, marks)


def test_the_mark_of_eman1_is_no_score(tmp_path):
    (tmp_path / "m.box").write_text("0 0 8 8 -3\n10 10 8 8 -3\n")
    assert_allclose(read_particles(tmp_path / "m.box")["m"].scores, 1)


def test_segments_of_filaments_are_read_and_told_of(tmp_path):
    boxes = "#micrograph: m.mrc\n#helix: (9.0, 9.0),(50.0, 9.0),8\n0.0\t2.0\t8\t8\n10\t2\t8\t8\n"
    (tmp_path / "boxes").write_text(boxes)
    assert len(read_particles(tmp_path / "boxes", lambda event: None)["boxes"]) == 2  # known by its content
    found, told = read(tmp_path / "m.box", boxes)
    assert found == {"m": [[4, 6], [14, 6]]}
    assert [line for line in told if "segments of helices" in line] == told != []
    found, told = read(tmp_path / "m.star", loop("", f"{BARE} rlnHelicalTubeID", "1 2 1", "3 4 1"))
    assert found == {"m": [[1, 2], [3, 4]]}
    assert [line for line in told if "filaments" in line] == told != []
    head = "CoordinateX CoordinateY Width Height filamentid"
    assert "filaments" in read(tmp_path / "m.cbox", loop("cryolo", head, "1 2 3 4 0"))[1][0]


# --- scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("none", ["-999", "-999.000000", "nan", "-nan", "inf", "<NA>"])
def test_a_missing_score_refuses_no_file(tmp_path, none):
    (tmp_path / "a.star").write_text(loop("", f"{NAMED} rlnAutopickFigureOfMerit", "m 1 2 0.5", f"m 3 4 {none}"))
    head = "CoordinateX CoordinateY Width Height Confidence"
    (tmp_path / "m.cbox").write_text(loop("cryolo", head, "1 2 3 4 0.5", f"3 4 5 6 {none}"))
    (tmp_path / "m.box").write_text(f"0 0 8 8 0.5\n1 1 8 8 {none}\n")
    (tmp_path / "m.csv").write_text(f"x,y,score,diameter\n1,2,0.5,9\n3,4,{none},{none.replace('-999', 'nan')}\n")
    (tmp_path / "t.txt").write_text(f"image_name\tx_coord\ty_coord\tscore\nm\t1\t2\t0.5\nm\t3\t4\t{none}\n")
    for name in ("a.star", "m.cbox", "m.box", "m.csv", "t.txt"):
        told = []
        assert_allclose(read_particles(tmp_path / name, told.append)["m"].scores, [0.5, 1])
        assert [event.text for event in told] == [
            f"{tmp_path / name}: some particles do not have a score that is a number (-999 stands for none, too): they "
            "count as 1, and are all read"
        ]


def test_no_scores_at_all_are_nothing_to_tell(tmp_path):
    picked_by_hand = loop("", f"{BARE} rlnAutopickFigureOfMerit", "1 2 -999", "3 4 -999.0")
    assert read(tmp_path / "m.star", picked_by_hand)[1] == []
    assert read_particles(tmp_path / "m.star")["m"].scores.tolist() == [1, 1]


def test_the_same_remark_about_many_files_is_one_line(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.star").write_text(loop("", f"{BARE} rlnAutopickFigureOfMerit", "1 2 0.5", "1 2 nan"))
    told = []
    read_particles(tmp_path, told.append)
    assert [event.text.split(": ")[0] for event in told] == [f"{tmp_path / 'a.star'} and 2 more files"]
    (tmp_path / "c.star").unlink()
    told.clear()
    read_particles(tmp_path, told.append)
    assert [event.text.split(": ")[0] for event in told] == [f"{tmp_path / 'a.star'} and 1 more file"]


@pytest.mark.parametrize(("sizes", "expected"), [(("0.9", "0.9"), 0.9), (("0.905", "0.9"), 0.9), (("0.9", ""), 0.9)])
def test_a_micrograph_in_two_tables_has_the_pixel_size_that_is_known(tmp_path, sizes, expected):
    tables = [loop("particles", f"{NAMED} rlnOpticsGroup", f"m.mrc {x} 2 1") for x in (1, 3)]
    known = [optics("rlnMicrographPixelSize", f"1 {size}") if size else "" for size in sizes]
    if sizes[1] == "":
        tables[1] = loop("particles", NAMED, "m.mrc 3 2")
        known = [known[0], optics("rlnVoltage", "1 300")]
    (tmp_path / "all.star").write_text("".join(map("".join, zip(known, tables, strict=True))))
    found = read_particles(tmp_path / "all.star", lambda event: None)
    assert found["m.mrc"].centres.tolist() == [[1, 2], [3, 2]]
    assert found["m.mrc"].pixel_size == expected


def test_who_listens_to_nothing_is_warned(tmp_path):
    (tmp_path / "m.star").write_text(loop("", f"{BARE} rlnHelicalTubeID", "1 2 1"))
    with pytest.warns(UserWarning, match="segments of filaments"):
        read_particles(tmp_path / "m.star")


# --- shifts of a refinement ------------------------------------------------------------------------------------------

IN_ANGSTROM = f"{NAMED} rlnOpticsGroup rlnOriginXAngst rlnOriginYAngst"


@pytest.mark.parametrize("column", ["rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize"])
def test_origins_in_angstrom_are_subtracted_in_pixels_of_the_micrograph(tmp_path, column):
    particles = loop("particles", IN_ANGSTROM, "m 300 400 1 24 -48", "m 500 600 1 <NA> 0")
    found, told = read(tmp_path / "p.star", optics(f"{column} rlnImagePixelSize", "1 2.4 4.8") + particles)
    assert_allclose(found["m"], [[290, 420], [500, 600]])  # 300 - 24 / 2.4, 400 + 48 / 2.4
    assert len(told) == 1
    assert told[0].startswith("the shifts of the refinement (_rlnOriginXAngst) were applied at 2.4 Å per pixel")
    assert f"(_{column})" in told[0]


def test_origins_in_angstrom_of_an_unknown_pixel_size_are_told_of(tmp_path):
    particles = loop("particles", IN_ANGSTROM, "m 300 400 1 24 -48")
    found, told = read(tmp_path / "p.star", optics("rlnImagePixelSize", "1 4.8") + particles)
    assert found == {"m": [[300, 400]]}
    assert "(_rlnOriginXAngst) were not applied" in told[0]
    assert "up to 48 Å" in told[0]


def test_origins_in_pixels_are_those_of_the_extracted_images(tmp_path):
    columns = f"{NAMED} rlnOpticsGroup rlnOriginX rlnOriginY"
    particles = loop("particles", columns, "m 300 400 1 5 -2")
    sizes = optics("rlnMicrographPixelSize rlnImagePixelSize", "1 1.5 6")
    assert_allclose(read(tmp_path / "p.star", sizes + particles)[0]["m"], [[280, 408]])
    found, told = read(tmp_path / "q.star", particles)
    assert_allclose(found["m"], [[295, 402]])
    assert "in pixels" in told[0]


def test_origins_of_zero_are_nothing_to_tell(tmp_path):
    assert read(tmp_path / "p.star", loop("particles", IN_ANGSTROM, "m 300 400 1 0 0")) == ({"m": [[300, 400]]}, [])


# --- tables of spreadsheets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("x,y,width,height\n100,200,50,60\n", "width and height"),
        ("mic;X;Y;W;H;score\na.mrc;100;200;50;50;0.9\n", "w and h"),
        ("100,200,256,256\n300,400,256,256\n", "3 and 4"),
        ("100.5\t200.5\t256\t180\n", "3 and 4"),
        ("100,200,64,64,0.9\n300,400,64,64,0.7\n", "3 and 4"),
        ("100,200,64.5,64.5\n300,400,70.5,70.5\n", "3 and 4"),
        ("X,Y,Width (px),Height (px)\n100,200,64,64\n", "widthpx and heightpx"),
    ],
)
def test_boxes_of_a_table_are_taken_neither_for_middles_nor_for_corners(tmp_path, content, columns):
    refused(tmp_path / "a.csv", content, f"middles of boxes or their corners: the columns {columns} ")


@pytest.mark.parametrize(
    "content",
    [
        "100,200,0.5,60\n300,400,7,60\n",
        "100,200,1,60\n300,400,1,60\n",
        "x,y,score,diameter\n100,200,50,60\n300,400,50,60\n",
        "Area,X,Y,BX,BY,Width,Height\n9,100,200,98,198,4,4\n9,300,400,298,398,4,4\n",
        "x,y,Width\n100,200,4\n300,400,4\n",
    ],
)
def test_scores_diameters_and_sides_that_leave_no_doubt_are_no_boxes(tmp_path, content):
    assert read(tmp_path / "a.csv", content)[0] == {"a": [[100, 200], [300, 400]]}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.star", loop("", BARE, "1 2")),
        ("a.csv", "x,y\n1,2\n"),
        ("a.box", "1 2 10 10\n"),
        ("a.cbox", loop("cryolo", "CoordinateX CoordinateY Width Height", "1 2 10 10")),
        ("a.txt", "image_name\tx_coord\ty_coord\na\t1\t2\n"),
    ],
)
def test_text_of_two_bytes_a_character_is_named(tmp_path, name, content, encoding):
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / name).write_bytes((mark + content).encode(encoding))
    with pytest.raises(ParticleFileError, match=f"{name}: text in UTF-16") as caught:
        read_particles(tmp_path / name)
    assert caught.value.hint == "Save it as UTF-8."
