"""EMAN info, crYOLO .cbox, Topaz and CryoSPARC files: letter by letter, back again, read by those programs."""

import json
import pickle

import numpy as np
import pytest
import starfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cryotx_cli.coordinates.formats.cbox import read_cbox, write_cbox
from cryotx_cli.coordinates.formats.cryosparc import (
    exposures_of,
    read_cs,
    read_exposures,
    write_cs,
)
from cryotx_cli.coordinates.formats.csv import read_csv, write_csv
from cryotx_cli.coordinates.formats.eman import read_eman_info, write_eman_info
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.topaz import read_topaz, topaz_names, write_topaz
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from read_by_others import by_cryosparc_tools, by_topaz

rows = st.lists(
    st.tuples(st.floats(-100, 12000), st.floats(-100, 12000), st.floats(-9, 9), st.floats(1, 900) | st.just(np.nan)),
    max_size=5,
)


def particles_of(table, pixel_size=np.nan):
    table = np.reshape(table, (-1, 4))
    return Particles(table[:, :2], table[:, 2], table[:, 3], pixel_size)


TWO = particles_of([(100.25, 200.5, 0.75, 80), (10, 20, 0.5, np.nan)])


# --- EMAN info -------------------------------------------------------------------------------------------------------


def test_an_eman_info_file_holds_centres(tmp_path):
    write_eman_info(tmp_path / "info/a_info.json", TWO)
    content = json.loads((tmp_path / "info/a_info.json").read_text())
    assert content == {"boxes": [[100.25, 200.5, "manual"], [10.0, 20.0, "manual"]]}


@settings(max_examples=30, deadline=None)
@given(rows)
def test_eman_info_reads_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("eman") / "a_info.json"
    write_eman_info(path, particles_of(table))
    assert_allclose(read_eman_info(path).centres, particles_of(table).centres, atol=5.001e-4)


def test_what_eman_adds_is_read_or_passed_over(tmp_path):
    boxes = [[1, 2, "auto_local", 0.25], [3.5, 4, "manual"], [5, 6, "refs", "x"], [7, 8]]
    (tmp_path / "a_info.json").write_text(json.dumps({"ctf": {"defocus": 1.5}, "boxes": boxes, "quality": 5}))
    read = read_eman_info(tmp_path / "a_info.json")
    assert_array_equal(read.centres, [[1, 2], [3.5, 4], [5, 6], [7, 8]])
    assert_array_equal(read.scores, [0.25, 1, 1, 1])


def test_all_that_eman_may_know_of_a_micrograph_is_read(tmp_path):
    content = {"ctf": "x" * 15_000_000, "boxes": [[1, 2]]}
    (tmp_path / "a_info.json").write_text(json.dumps(content))
    assert read_eman_info(tmp_path / "a_info.json").centres.tolist() == [[1, 2]]


# --- cbox ------------------------------------------------------------------------------------------------------------


def test_a_cbox_file_letter_by_letter(tmp_path):
    write_cbox(tmp_path / "a.cbox", TWO, 120)
    columns = "CoordinateX CoordinateY CoordinateZ Width Height Depth EstWidth EstHeight Confidence NumBoxes Angle"
    header = "".join(f"_{name} #{i}\n" for i, name in enumerate(columns.split(), 1))
    assert (tmp_path / "a.cbox").read_text() == (
        f"\ndata_global\n\n_cbox_format_version 1.0\n\ndata_cryolo\n\nloop_\n{header}"
        "40.250 140.500 <NA> 120 120 <NA> 80.000 80.000 0.750000 <NA> <NA>\n"
        "-50.000 -40.000 <NA> 120 120 <NA> <NA> <NA> 0.500000 <NA> <NA>\n"
        "\n\ndata_cryolo_include\n\nloop_\n_slice_index #1\n\n"
    )


def test_starfile_reads_a_cbox(tmp_path):
    write_cbox(tmp_path / "a.cbox", TWO, 120)
    blocks = starfile.read(tmp_path / "a.cbox", always_dict=True)
    assert float(blocks["global"]["cbox_format_version"]) == 1.0
    assert_allclose(blocks["cryolo"]["CoordinateX"] + blocks["cryolo"]["Width"] / 2, TWO.centres[:, 0])


@settings(max_examples=30, deadline=None)
@given(rows, st.integers(1, 800))
def test_cbox_reads_back(tmp_path_factory, table, box):
    path, written = tmp_path_factory.mktemp("cbox") / "a.cbox", particles_of(table)
    write_cbox(path, written, box)
    read = read_cbox(path)
    assert_allclose(read.centres, written.centres, atol=1e-3)
    assert_allclose(read.scores, written.scores, atol=5.001e-7)
    assert_allclose(read.diameters, written.diameters, atol=5.001e-4)  # never the box where there is no estimate
    assert read.box_px == box if len(written) else np.isnan(read.box_px)


def test_a_cbox_with_few_columns_and_windows_lines(tmp_path):
    text = "data_cryolo\n\nloop_\n_Width #1\n_CoordinateX #2\n_CoordinateY #3\n_Height #4\n10\t5 6 20\n"
    (tmp_path / "a.cbox").write_text(text.replace("\n", "\r\n"), newline="")
    read = read_cbox(tmp_path / "a.cbox")
    assert_array_equal(read.centres, [[10, 16]])
    assert (read.scores[0], read.box_px) == (1, 15)
    assert np.isnan(read.diameters).all()


CBOX_HEAD = "data_cryolo\n\nloop_\n_CoordinateX #1\n_CoordinateY #2\n_Width #3\n_Height #4\n"


@pytest.mark.parametrize("sides", ["40 -0.5", "-0.5 40", "-40 -40"])
def test_a_negative_side_of_a_box_is_refused_with_its_number(tmp_path, sides):
    (tmp_path / "a.cbox").write_text(f"{CBOX_HEAD}1 2 0 40\n1 2 0.5 40\n1 2 {sides}\n1 2 40 -1\n")
    with pytest.raises(ParticleFileError, match="box 3 has a negative side"):
        read_cbox(tmp_path / "a.cbox")


def test_a_box_without_a_side_is_a_place(tmp_path):
    (tmp_path / "a.cbox").write_text(f"{CBOX_HEAD}1 2 0 0\n3 4 0 0\n")
    read = read_cbox(tmp_path / "a.cbox")
    assert_array_equal(read.centres, [[1, 2], [3, 4]])
    assert np.isnan(read.box_px)


def test_an_estimate_of_one_side_alone_is_no_diameter(tmp_path):
    for column in ("EstWidth", "EstHeight"):
        (tmp_path / "a.cbox").write_text(f"{CBOX_HEAD}_{column} #5\n1 2 40 40 30\n")
        assert np.isnan(read_cbox(tmp_path / "a.cbox").diameters).tolist() == [True]
    (tmp_path / "a.cbox").write_text(f"{CBOX_HEAD}_EstWidth #5\n_EstHeight #6\n1 2 40 40 30 20\n")
    assert read_cbox(tmp_path / "a.cbox").diameters.tolist() == [25]


# --- Topaz -----------------------------------------------------------------------------------------------------------


def test_a_topaz_table_letter_by_letter(tmp_path):
    write_topaz(tmp_path / "p.txt", [("mics/a b.mrc", TWO), ("mics/c.d.tif", particles_of([])), ("e.mrc.gz", TWO)])
    assert (tmp_path / "p.txt").read_text() == (
        "image_name\tx_coord\ty_coord\tscore\n"
        "a b\t100.250\t200.500\t0.750000\na b\t10.000\t20.000\t0.500000\n"
        "e\t100.250\t200.500\t0.750000\ne\t10.000\t20.000\t0.500000\n"
    )


printable = st.text(min_size=1, max_size=9).filter(lambda s: s.isprintable() and not set(s) & set('/"') and s != "..")
topaz_stems = printable.map(lambda s: f"{s}_1")


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(topaz_stems, rows.filter(len), max_size=4))
@example({"0@_1": [(1.0, 2.0, 0.5, np.nan)]})  # no image of a stack
def test_topaz_reads_back(tmp_path_factory, micrographs):
    path = tmp_path_factory.mktemp("topaz") / "p.txt"
    written = {stem: particles_of(table) for stem, table in micrographs.items()}
    write_topaz(path, [(f"mics/{stem}.mrc", particles) for stem, particles in written.items()])
    read = read_topaz(path)
    assert list(read) == list(written)
    for stem, particles in written.items():
        assert_allclose(read[stem].centres, particles.centres, atol=5.001e-4)
        assert_allclose(read[stem].scores, particles.scores, atol=5.001e-7)


def test_columns_of_a_topaz_table_in_any_order(tmp_path):
    (tmp_path / "p.txt").write_text("y_coord\timage_name\tx_coord\tdiameter\r\n2\ta b\t1\t9\r\n\r\n4\tc\t3\t9\r\n")
    read = read_topaz(tmp_path / "p.txt")
    assert {name: one.centres.tolist() for name, one in read.items()} == {"a b": [[1, 2]], "c": [[3, 4]]}
    assert read["a b"].scores.tolist() == [1]


def test_what_is_no_topaz_table_is_refused_with_what_stands_there(tmp_path):
    path = tmp_path / "p.txt"
    for text, reason in (
        ("", "its first line is ''"),
        ("image_name\tx\ty_coord\n", r"its first line is 'image_name\\tx\\ty_coord', not the columns"),
        ("image_name\tx_coord\ty_coord\na\t1\t2\n\nb\t3\tfour\n", "line 4 has 'four' where a number belongs"),
        ("image_name\tx_coord\ty_coord\na\t1\n", "line 2 has '' where a number belongs"),
        ("image_name\tx_coord\ty_coord\n\t1\t2\n", "no row names its micrograph"),
        ("image_name\tx_coord\ty_coord\na\t1\tinf\n", "line 2 has 'inf' where a number belongs"),
    ):
        path.write_text(text)
        with pytest.raises(ParticleFileError, match=reason):
            read_topaz(path)


def test_names_that_topaz_cannot_tell_apart_are_refused():
    with pytest.raises(ParticleFileError, match=r"one/a\.mrc and two/a\.mrc"):
        topaz_names(["one/a.mrc", "two/a.mrc"])
    for name in ("a\tb.mrc", 'a"b.mrc', "a\nb.mrc", ".mrc"):
        with pytest.raises(ParticleFileError, match="Topaz"):
            topaz_names([name])


def test_topaz_reads_its_table(tmp_path):
    write_topaz(tmp_path / "p.txt", [("mics/a b.mrc", TWO), ("001.mrc", TWO)])
    table = by_topaz(tmp_path / "p.txt")
    assert table["image_name"] == ["a b", "a b", "001", "001"]
    assert table["x_coord"] == [100.25, 10, 100.25, 10]


# --- CSV -------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(rows)
def test_csv_keeps_scores_and_unknown_diameters(tmp_path_factory, table):
    path, written = tmp_path_factory.mktemp("csv") / "a.csv", particles_of(table)
    write_csv(path, written)
    read = read_csv(path)
    assert_allclose(read.centres, written.centres, atol=5.001e-4)
    assert_allclose(read.scores, written.scores, atol=5.001e-7)
    assert_allclose(read.diameters, written.diameters, rtol=1e-5)


# --- CryoSPARC -------------------------------------------------------------------------------------------------------

UID = "012951868257382468663"
EXPOSURE_DTYPE = [
    ("uid", "<u8"),
    ("micrograph_blob/path", "S90"),
    ("micrograph_blob/idx", "<u4"),
    ("micrograph_blob/shape", "<u4", (2,)),
    ("micrograph_blob/psize_A", "<f4"),
    ("mscope_params/exp_group_id", "<u4"),
]


def write_exposures(path, names, dtype=EXPOSURE_DTYPE):
    table = np.zeros(len(names), EXPOSURE_DTYPE)
    for i, name in enumerate(names):
        table[i] = (2**63 + i, f"J2/motioncorrected/{UID}_{name}".encode(), 0, (3710, 3838), 0.885, 3)
    kept = table[[column[0] for column in dtype]]
    with path.open("wb") as file:
        np.save(file, kept.astype(dtype))
    return path


FIELDS = {
    "uid": "<u8",
    "location/micrograph_uid": "<u8",
    "location/exp_group_id": "<u4",
    "location/micrograph_path": "|S56",
    "location/micrograph_shape": ("<u4", (2,)),
    "location/micrograph_psize_A": "<f4",
    "location/center_x_frac": "<f4",
    "location/center_y_frac": "<f4",
    "location/min_dist_A": "<f4",
    "pick_stats/ncc_score": "<f4",
    "pick_stats/power": "<f4",
    "pick_stats/template_idx": "<u4",
    "pick_stats/angle_rad": "<f4",
}


def written_cs(tmp_path, particles, names=("a long name with spaces.mrc", "b.mrc")):
    exposures = exposures_of(write_exposures(tmp_path / "exposures.cs", names), names)
    write_cs(tmp_path / "p.cs", [(exposures[name], particles) for name in names])
    return tmp_path / "p.cs"


def test_a_cs_file_has_all_fields_of_a_picking_job(tmp_path):
    names = ("a long name with.mrc", "b.mrc")
    rows = np.load(written_cs(tmp_path, TWO, names), allow_pickle=False)
    path = f"J2/motioncorrected/{UID}_a long name with.mrc"
    expected = FIELDS | {"location/micrograph_path": f"|S{len(path)}"}
    found = {n: (d.subdtype[0].str, d.shape) if d.subdtype else d.str for n, (d, *_) in rows.dtype.fields.items()}
    assert found == expected
    assert rows["location/micrograph_uid"].tolist() == [2**63, 2**63, 2**63 + 1, 2**63 + 1]
    assert rows["location/micrograph_path"][0].decode() == path
    assert rows["location/micrograph_shape"].tolist() == [[3710, 3838]] * 4  # height, width
    assert rows["location/exp_group_id"].tolist() == [3] * 4
    assert_allclose(rows["location/center_x_frac"][:2], [100.25 / 3838, 10 / 3838], rtol=1e-6)
    assert_allclose(rows["location/center_y_frac"][:2], [200.5 / 3710, 20 / 3710], rtol=1e-6)
    assert_allclose(rows["location/min_dist_A"], 80 * 0.885, rtol=1e-6)
    assert_allclose(rows["location/micrograph_psize_A"], 0.885, rtol=1e-6)
    assert_allclose(rows["pick_stats/ncc_score"], [0.75, 0.5] * 2)
    assert len(set(rows["uid"].tolist())) == 4


@settings(max_examples=30, deadline=None)
@given(rows.filter(len))
def test_cs_reads_back(tmp_path_factory, table):
    folder, written = tmp_path_factory.mktemp("cs"), particles_of(table)
    read = read_cs(written_cs(folder, written, ("a.mrc", "b.mrc")))
    assert list(read) == [f"J2/motioncorrected/{UID}_{name}" for name in ("a.mrc", "b.mrc")]
    for one in read.values():
        assert_allclose(one.centres, written.centres, atol=1e-3)
        assert_allclose(one.scores, written.scores, rtol=1e-6, atol=1e-30)
        assert one.pixel_size == pytest.approx(0.885)
    # Two particles in one place are still two.
    uids = np.load(folder / "p.cs")["uid"]
    assert len(set(uids.tolist())) == 2 * len(written)


def test_the_same_particle_has_the_same_number_in_every_file(tmp_path):
    first = np.load(written_cs(tmp_path, TWO))["uid"]
    second = np.load(written_cs(tmp_path, TWO.select([1])))["uid"]
    assert second.tolist() == first[[1, 3]].tolist()


def test_no_particles_are_no_rows_of_the_same_fields(tmp_path):
    path = written_cs(tmp_path, particles_of([]))
    assert np.load(path).dtype.names == tuple(FIELDS)
    assert read_cs(path) == {}
    write_cs(path, [])
    assert np.load(path).dtype["location/micrograph_path"].itemsize == 1
    assert read_cs(path) == {}


def test_shapes_and_the_leading_mark_of_paths(tmp_path):
    path = written_cs(tmp_path, TWO, ("b.mrc",))
    rows = np.load(path)
    rows["location/micrograph_path"] = b">J1/b.mrc"
    with path.open("wb") as file:
        np.save(file, rows)
    assert {name: here.shape for name, here in read_cs(path).items()} == {"J1/b.mrc": (3710, 3838)}


def test_exposures_pair_by_name_without_the_unique_number(tmp_path):
    names = ["20210903_106_a.mrc", "b c.mrc"]
    path = write_exposures(tmp_path / "e.cs", names)
    found = exposures_of(path, ["mics/b c.mrc", "mics/20210903_106_a.tif", "mics/106_a.mrc"])
    assert {name: one.uid - 2**63 for name, one in found.items()} == {"mics/b c.mrc": 1, "mics/20210903_106_a.tif": 0}
    path_of_b = f"J2/motioncorrected/{UID}_b c.mrc"
    assert found["mics/b c.mrc"] == Exposure(2**63 + 1, 3, path_of_b, 3710, 3838, pytest.approx(0.885))
    with pytest.raises(ParticleFileError, match=r"none of the micrographs.*20210903_106_a.*the picks name x\.mrc"):
        exposures_of(path, ["x.mrc"])


def test_exposures_without_a_group_are_in_the_first(tmp_path):
    path = write_exposures(tmp_path / "e.cs", ["a.mrc"], EXPOSURE_DTYPE[:-1])
    assert [one.exp_group_id for one in read_exposures(path).values()] == [1]


@pytest.mark.parametrize(
    ("field", "dtype", "reason"),
    [
        ("uid", ("<f8",), "uid is of type float64 or negative"),
        ("uid", ("<u8", (2,)), "uid is of type uint64 or negative"),
        ("uid", ("<i8",), "uid is of type int64 or negative"),
        ("micrograph_blob/psize_A", ("S9",), r"psize_A is of type \|S9, not numbers"),
        ("micrograph_blob/psize_A", ("<f4", (2,)), "psize_A is of type float32, not numbers"),
        ("micrograph_blob/shape", ("<u4", (3,)), r"shape is of type uint32 \(3,\), not height and width"),
        ("micrograph_blob/shape", ("<f4", (2,)), r"shape is of type float32 \(2,\), not height and width"),
        ("micrograph_blob/path", ("S9", (2,)), "path is of type .*, not text"),
    ],
)
def test_exposures_with_fields_of_another_type_are_refused(tmp_path, field, dtype, reason):
    table = np.zeros(2, [(name, *(dtype if name == field else given)) for name, *given in EXPOSURE_DTYPE])
    if dtype == ("<i8",):
        table["uid"] = [0, -1]
    if field != "micrograph_blob/shape":
        table["micrograph_blob/shape"] = 9
    with (tmp_path / "e.cs").open("wb") as file:
        np.save(file, table)
    with pytest.raises(ParticleFileError, match=reason):
        read_exposures(tmp_path / "e.cs")


@pytest.mark.parametrize("dtype", ["<i8", "<u4"])
def test_numbers_of_exposures_begin_at_zero_in_any_type_that_counts(tmp_path, dtype):
    table = np.load(write_exposures(tmp_path / "e.cs", ["a.mrc", "b.mrc"]))
    table["uid"] = [0, 1]
    with (tmp_path / "e.cs").open("wb") as file:
        np.save(file, table.astype([(name, dtype if name == "uid" else t, *rest) for name, t, *rest in EXPOSURE_DTYPE]))
    assert [one.uid for one in read_exposures(tmp_path / "e.cs").values()] == [0, 1]


@pytest.mark.parametrize("size", [0.0, -0.5, -2.0])
def test_a_pixel_size_that_is_none_is_not_known(tmp_path, size):
    path = written_cs(tmp_path, TWO, ("b.mrc",))
    rows = np.load(path)
    rows["location/micrograph_psize_A"] = size
    with path.open("wb") as file:
        np.save(file, rows)
    (found,) = read_cs(path).values()
    assert np.isnan(found.pixel_size)


def test_a_diameter_that_is_not_known_is_written_as_zero(tmp_path):
    unknown = Particles(TWO.centres, TWO.scores, np.full(2, np.nan), np.nan)
    assert np.load(written_cs(tmp_path, unknown))["location/min_dist_A"].tolist() == [0] * 4
    one_known = Particles(TWO.centres, TWO.scores, np.array([np.nan, 50.0]), np.nan)
    assert_allclose(np.load(written_cs(tmp_path, one_known))["location/min_dist_A"], 50 * 0.885)


def test_cryosparc_tools_load_the_file(tmp_path):
    loaded = by_cryosparc_tools(written_cs(tmp_path, TWO, ("a b.mrc", "b.mrc")))
    assert set(loaded) == set(FIELDS)
    assert loaded["location/micrograph_path"][0] == f"J2/motioncorrected/{UID}_a b.mrc"
    widths = np.array(loaded["location/micrograph_shape"])[:, 1]
    assert_allclose(loaded["location/center_x_frac"] * widths, [100.25, 10] * 2)


# --- a .cs that is none ----------------------------------------------------------------------------------------------


class Bomb:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_objects_in_a_cs_file_are_never_unpickled(tmp_path):
    trace = tmp_path / "trace"
    table = np.array([(1, Bomb(trace))], [("uid", "<u8"), ("location/micrograph_path", "O")])
    whole = np.array([Bomb(trace)], object)
    for content in (table, whole):
        with (tmp_path / "p.cs").open("wb") as file:
            np.save(file, content, allow_pickle=True)
        for read in (read_cs, read_exposures):
            with pytest.raises(ParticleFileError, match="it holds Python objects, which may run code"):
                read(tmp_path / "p.cs")
    (tmp_path / "p.cs").write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(ParticleFileError, match="does not begin as a NumPy table"):
        read_cs(tmp_path / "p.cs")
    assert not trace.exists()


def header(shape, descr="[('uid', '<u8'), ('location/micrograph_path', 'S4')]"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not begin"),
        (b"\x93NUMPY", "cannot be read"),
        (b"\x95CSDAT" + bytes(50), "compressed CryoSPARC stream"),
        (bytes(range(256)) * 8, "does not begin"),
        (header("(10000000000000,)") + bytes(64), "cannot be read"),  # 120 TB that are not there
        (header("(3,)") + bytes(24), "cannot be read"),
        (header("(-1,)") + bytes(24), "cannot be read"),
        (header("(2, 2)") + bytes(48), "not a table"),
        (header("(2,)", "'<f4'") + bytes(8), "not a table"),
        (header("(1,)", "__import__('os').system('true')") + bytes(8), "cannot be read"),
        (header("(2,)") + bytes(24), "no location/micrograph_shape"),
        (header("(" * 300 + ")" * 300), "cannot be read"),
        (header("-" * 30000 + "1"), "cannot be read"),
    ],
    ids=range(13),
)
def test_broken_cs_files_are_refused_with_the_reason(tmp_path, content, reason):
    (tmp_path / "p.cs").write_bytes(content)
    with pytest.raises(ParticleFileError, match=reason) as caught:
        read_cs(tmp_path / "p.cs")
    assert str(tmp_path / "p.cs") in caught.value.message
    assert "Python objects" not in caught.value.message


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("location/center_x_frac", np.nan, "not a finite number in row 2"),
        ("location/micrograph_shape", 0, "not positive in row 2"),
        ("location/micrograph_shape", [0, 3838], "not positive in row 2"),
        ("location/micrograph_path", b"\xff\xfe", "UTF-8"),
    ],
)
def test_values_that_mean_nothing_are_refused(tmp_path, field, value, reason):
    path = written_cs(tmp_path, TWO)
    rows = np.load(path)
    rows[field][1:] = value  # the first of them is named
    with path.open("wb") as file:
        np.save(file, rows)
    with pytest.raises(ParticleFileError, match=reason):
        read_cs(path)


def test_fields_of_another_type_are_refused(tmp_path):
    dtype = [(n, "<u4" if n.endswith("path") else d) for n, d in FIELDS.items() if n != "location/micrograph_shape"]
    with (tmp_path / "p.cs").open("wb") as file:
        np.save(file, np.zeros(2, [*dtype, ("location/micrograph_shape", "<u4", (2,))]))
    with pytest.raises(ParticleFileError, match="micrograph_path is of type uint32, not text"):
        read_cs(tmp_path / "p.cs")
    with pytest.raises(
        ParticleFileError,
        match=r"exposures: no micrograph_blob/path, .*/shape, .*/psize_A; it holds location, pick_stats, uid",
    ):
        read_exposures(written_cs(tmp_path, TWO))
