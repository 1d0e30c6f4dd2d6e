"""Trees of data sets: the table of their sizes, and where the coordinates of each set lie."""

from pathlib import Path

import pytest

from cryotx_cli.datasets.data_sets import (
    SetSizes,
    entries_of_no_set,
    entries_of_sets,
    read_set_sizes,
    sizes_of,
    truth_of_sets,
)
from cryotx_cli.errors import DatasetError, ParticleFileError


def table(tmp_path, text):
    (tmp_path / "sets.csv").write_text(text)
    return tmp_path / "sets.csv"


@pytest.mark.parametrize(
    "text",
    [
        "set,diameter,pixel_size\n10017,191,1.77\ntoxin.v2,,10\n",
        "Pixel Size;Comment;Data set;Diameter (Å)\r\n1.77;good;10017;191\r\n\r\n10;;toxin.v2;\r\n",
        "\ufeffset\tdiameter\tapix\n10017\t191\t1.77\ntoxin.v2\t\t10\n",
    ],
)
def test_a_table_of_sets_as_spreadsheets_write_it(tmp_path, text):
    assert read_set_sizes(table(tmp_path, text)) == {
        "10017": SetSizes(191.0, 1.77),
        "toxin.v2": SetSizes(None, 10.0),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no columns set and diameter; it is empty"),
        ("10017,191\n", "no columns set and diameter; it begins with '10017,191'"),
        ("set,comment\na,b\n", "no columns set and diameter"),
        ("set,diameter\na,wide\n", "a has 'wide' in its column diameter"),
        ("set,diameter\na,0\n", "a has '0' in its column diameter"),
        ("set,diameter\na,nan\n", "a has 'nan' in its column diameter"),
        ("set,diameter\na,1,5\n", "'a,1,5' has 3 values for 2 columns"),
        ("set;diameter\na;1,5\n", "a has '1,5' in its column diameter"),
        ("set,diameter\na,1\na,2\n", "a is there twice"),
        ("set,diameter\n,1\n", "names no set"),
        ("set,diameter_px,pixel_size\na,200,4\n", "the column 'diameter_px' is neither a diameter in Å nor"),
        ("set,diameter,diameter nm\na,200,20\n", "the column 'diameter nm' is neither a diameter in Å nor"),
        ("set,diameter,Diameter\na,200,210\n", "the column 'diameter' is there twice"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, said):
    with pytest.raises(DatasetError, match=r"sets\.csv: ") as caught:
        read_set_sizes(table(tmp_path, text))
    assert said in caught.value.message
    assert caught.value.hint


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ParticleFileError, match=r"none\.csv: no such file"):
        read_set_sizes(tmp_path / "none.csv")


def test_what_a_table_leaves_open_is_what_holds_for_all():
    sizes = {"a": SetSizes(100.0, None), "b": SetSizes(None, 2.0)}
    assert sizes_of("a", sizes, 50.0, 1.0) == SetSizes(100.0, 1.0)
    assert sizes_of("b", sizes, None, 1.0) == SetSizes(None, 2.0)
    assert sizes_of("c", sizes, None, 1.0) == SetSizes(None, 1.0)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.touch()
    return folder


def test_coordinates_have_the_names_of_sets(tmp_path):
    make(tmp_path, "a/", "b.star", "c.v2.cs", "c.v2/", "notes.pdf", ".hidden/", "d.STAR", "logs/")
    with pytest.raises(ParticleFileError, match=r"c\.v2 and .*c\.v2\.cs: both could be"):
        entries_of_sets(tmp_path, ["a", "b", "c.v2"])
    assert entries_of_sets(tmp_path, ["a", "b", "z"]) == {"a": tmp_path / "a", "b": tmp_path / "b.star"}
    assert entries_of_no_set(tmp_path, ["a", "b", "c.v2"]) == ["d.STAR", "logs"]


def test_the_folder_of_a_run_belongs_to_the_file_beside_it(tmp_path):
    make(tmp_path, "a/", "a.star")
    assert entries_of_sets(tmp_path, ["a"]) == {"a": tmp_path / "a.star"}


def test_a_file_holds_no_sets(tmp_path):
    assert entries_of_sets(make(tmp_path, "a.star") / "a.star", ["a"]) == {}


def test_a_cryoppp_tree_of_several_sets_needs_no_table_and_other_folders_do(tmp_path):
    labels = "ground_truth/particle_coordinates/"
    make(tmp_path / "tree", f"10017/{labels}", "10017/micrographs/", f"10028/{labels}", "10028/micrographs/", "notes/")
    make(tmp_path / "one", f"10017/{labels}", "10017/micrographs/")
    make(tmp_path / "lab", "x.star", "y.star")

    assert truth_of_sets(tmp_path / "tree") == {name: tmp_path / "tree" / name for name in ("10017", "10028")}
    assert truth_of_sets(tmp_path / "tree/10017", ["10017"]) == {}
    assert truth_of_sets(tmp_path / "one") == {}
    assert truth_of_sets(tmp_path / "lab") == {}
    assert truth_of_sets(tmp_path / "lab", ["x", "z"]) == {"x": tmp_path / "lab/x.star"}
