"""Versions of one micrograph in one folder: one is taken, which the names decide."""

from pathlib import Path

import pytest

from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.find import find_micrographs
from cryotx_cli.micrographs.versions import choose_versions

UID = "012951868257382468663_"


def taken(names, named=()):
    return [file.name for file in choose_versions([Path("mics", name) for name in names], named).taken]


@pytest.mark.parametrize(
    ("best", "others"),
    [
        ("m1.mrc", ["m1_noDW.mrc", "m1_PS.mrc"]),  # RELION
        ("m1_DW.mrc", ["m1.mrc", "m1_DWS.mrc", "m1_EVN.mrc", "m1_ODD.mrc"]),  # MotionCor2 and 3
        (f"{UID}m1_patch_aligned_doseweighted.mrc", [f"{UID}m1_patch_aligned.mrc", f"{UID}m1_background.mrc"]),
        ("m1_patch_aligned.mrc", ["m1_rigid_aligned.mrc", "m1_patch_aligned_background.mrc"]),
        ("m1_fractions_patch_aligned.mrc", ["m1_fractions.tiff", "m1.jpg"]),
        ("FoilHole_1.mrc", ["FoilHole_1_fractions.tiff", "FoilHole_1.jpg"]),
        ("m1.mrc", ["m1.tif", "m1.png", "m1.mrcs", "m1_bin4.mrc", "m1_ctf.mrc"]),
        ("m1.tif.mrc", ["m1.tif"]),
        ("m1_aligned.mrc", ["m1_noDW.mrc", "m1_frames.mrcs"]),
        ("m1.png", ["m1_mask.png"]),
    ],
)
def test_the_best_version_is_taken(best, others):
    files = [Path("mics", name) for name in [*others, best]]
    for order in (files, files[::-1]):
        versions = choose_versions(order)
        assert [file.name for file in versions.taken] == [best]
        assert {file.name: one.name for file, one in versions.left_out.items()} == dict.fromkeys(others, best)


@pytest.mark.parametrize(
    "names",
    [
        ["m1_background.mrc"],
        ["m1_PS.mrc", "m2_noDW.mrc"],
        ["m1.mrc", "m10.mrc", "m1_2.mrc", "m1_tilt.mrc"],
        ["FoilHole_1_Data_2.mrc", "FoilHole_1_Data_3.mrc", "FoilHole_2_Data_2.jpg"],
        ["DW.mrc", "PS.mrc"],
        ["a.png", "ab.mrc"],
    ],
)
def test_what_is_no_version_of_another_stays(names):
    assert taken(names) == names


def test_versions_lie_in_one_folder():
    files = [Path("one/m1.mrc"), Path("two/m1_DW.mrc")]
    assert choose_versions(files).taken == files


def test_a_preview_of_a_movie_is_left_out_whether_the_movie_can_be_read_or_not():
    movies = ["FoilHole_9_20260101_010202_fractions.tiff", "FoilHole_8_20260101_010101_EER.eer"]
    previews = ["FoilHole_9_20260101_010202.jpg", "FoilHole_8_20260101_010101.jpg"]
    assert taken(movies + previews) == movies[:1]
    assert taken(["m1_0001_frames_n50.tif", "m1_0001.png", "m1_0002.png"]) == ["m1_0001_frames_n50.tif", "m1_0002.png"]


def test_the_version_that_is_asked_for_is_taken():
    names = ["m1.mrc", "m1_DW.mrc", "m1_noDW.mrc", "m2.mrc", "m2_DW.mrc"]
    assert taken(names, ["Movies/m1_noDW.mrc"]) == ["m1_noDW.mrc", "m2_DW.mrc"]
    assert taken(names, ["m1_autopick", "m1_noDW_autopick"]) == ["m1.mrc", "m1_noDW.mrc", "m2_DW.mrc"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("m1.mrc", "m1_DW.mrc", "m2.mrc", "m2_DW.mrc", "m1.png"):
        (tmp_path / "mics").mkdir(exist_ok=True)
        (tmp_path / "mics" / name).touch()
    return tmp_path


def found(*inputs):
    events = []
    return [file.name for file in find_micrographs(inputs, events.append)], [str(event) for event in events]


def test_a_folder_and_a_pattern_are_told_of_in_one_line(folder):
    for given in ("mics", "mics/*", "*"):
        names, (told,) = found(given)
        assert names == ["mics/m1_DW.mrc", "mics/m2_DW.mrc"]
        assert told.startswith(
            "Left out 3 files that seem to be other versions or previews of the same micrographs: m1"
        )
    assert found("mics/m?.mrc") == (["mics/m1.mrc", "mics/m2.mrc"], [])


def test_files_that_are_named_are_taken_as_named(folder):
    assert found("mics/m1.mrc") == (["mics/m1.mrc"], [])
    names, (told,) = found("mics/m1.mrc", "mics/m1_DW.mrc")
    assert names == ["mics/m1.mrc", "mics/m1_DW.mrc"]
    assert told.startswith("1 micrograph named in several versions, such as m1.mrc, m1_DW.mrc: all are taken")
    listed = folder / "all.star"
    listed.write_text("data_micrographs\n\nloop_\n_rlnMicrographName #1\nmics/m1.mrc\nmics/m1_DW.mrc\n")
    assert found(listed) == (names, [])


def test_a_folder_of_movies_alone_says_so(tmp_path):
    for name in ("m1_EER.eer", "m1.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(MicrographError, match="no micrographs found") as caught:
        find_micrographs([tmp_path])
    assert caught.value.hint.endswith("1 movie (.eer, .dm4, ...) cannot be picked.")


def test_a_list_from_windows_is_followed(folder):
    listed = folder / "good.star"
    listed.write_text("data_micrographs\n\nloop_\n_rlnMicrographName #1\nD:\\data\\mics\\m1.mrc\nmics\\m2.mrc\n")
    one, two = find_micrographs([listed])
    assert (one.name, two.name) == (r"D:\data\mics\m1.mrc", r"mics\m2.mrc")
    assert one.path.samefile("mics/m1.mrc")
    assert two.path.samefile("mics/m2.mrc")
