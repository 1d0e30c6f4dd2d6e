"""Names of micrographs: which belong together, and files named after them."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryotx_cli.errors import ParticleFileError
from cryotx_cli.micrographs.names import difference, output_stems, pair_names, pairing, relion_stems


def test_pairs_of_names():
    uid = "012951868257382468663_"
    assert pair_names(["a.mrc", "x.mrc"], [f"J1/{uid}a.tif", "b"]) == {f"J1/{uid}a.tif": "a.mrc"}
    assert pair_names(["two/a"], ["one/a.mrc", "two/a.mrc"]) == {"two/a.mrc": "two/a"}
    with pytest.raises(ParticleFileError, match=r"could belong to one/a\.mrc or two/a\.mrc"):
        pair_names(["a"], ["one/a.mrc", "two/a.mrc"])
    with pytest.raises(ParticleFileError, match="could both belong to"):
        pair_names(["a", "x/a"], ["a.mrc"])


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a", "mics/a.tif.mrc"),
        ("Movies/a.tif", "mics/a.tif.mrc"),
        ("a.mrc", "a.mrc.mrc"),
        ("Movies/a_EER.eer", "mics/a_EER.mrc"),
        ("Movies/a_EER.eer", "MotionCorr/job002/Movies/a.mrc"),
        ("a.dm4", "a.mrc"),
        ("a.mrc.bz2", "a.mrc"),
        ("a_fractions.tiff", "J3/012951868257382468663_a_fractions_patch_aligned_doseweighted.mrc"),
        ("a_rigid_aligned.mrc", "a.tif"),
        ("a_topazpicks", "a.mrc"),
        ("a_automatch", "a_DW.mrc"),
        ("Extract/job010/Movies/a_extract", "a.mrc"),
        ("a_cryolo", "a.mrc"),
        ("a_autopick", "a.mrc"),
        ("a_manualpick", "a.mrc"),
        ("a.mrc_topazpicks", "a.mrc"),
        ("a_BoxNet2Mask_20180918", "a.mrc"),
        (r"D:\data\average\a.mrc", "mics/a.mrc"),
        (r"average\a.mrc", "mics/a.mrc"),
        (r"a\b", r"mics/a\b.mrc"),
        ("_DW.mrc", "_DW.tif"),
    ],
)
def test_what_programs_put_on_and_take_off(name, other):
    assert pair_names([name], [other]) == {other: name}
    assert pair_names([other], [name]) == {name: other}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("m1", "m10.mrc"),
        ("m1_2", "m1.mrc"),
        ("m1_tilt", "m1.mrc"),
        ("20210903_106_a", "a.mrc"),
        ("20210903_106_a", "20210903_107_a.mrc"),
        ("_DW", "_PS.mrc"),
        (r"a\b", "mics/a.mrc"),
        ("a.b", "a.mrc"),
        ("grid1_autopick", "grid2.mrc"),
    ],
)
def test_two_micrographs_are_never_paired(name, other):
    assert pairing([name], [other]).partners == {}


def test_the_name_that_agrees_best_is_the_partner():
    versions = ["mics/a.mrc", "mics/a_DW.mrc", "mics/a_noDW.mrc"]
    for name, version in [
        ("a", versions[0]),
        ("a_autopick", versions[0]),
        ("a_DW", versions[1]),
        ("a_noDW_info", versions[2]),
    ]:
        assert pair_names([name], versions) == {version: name}
    # Names of files are those of the micrographs themselves before they are stems of others.
    names = ["a.mrc", "a.mrc.mrc"]
    assert pair_names(names, names) == dict(zip(names, names, strict=True))
    files = ["mics/a.mrc", "mics/a.mrc.mrc"]
    assert pair_names(["a", "a.mrc"], files) == {files[0]: "a", files[1]: "a.mrc"}  # stems, as Topaz has them
    assert pair_names(files, ["a", "a.mrc"]) == {"a": files[0], "a.mrc": files[1]}
    assert pair_names(["mics/a.mrc"], files) == {files[0]: "mics/a.mrc"}
    # The micrograph is that of the name that agrees to the ending.
    assert pairing(["a", "a_DW"], ["a_DW.mrc"]).partners == {"a_DW.mrc": "a_DW"}


def test_what_is_not_certain_is_refused_with_both_names():
    with pytest.raises(ParticleFileError, match=r"picks of a could belong to a_DW\.mrc or a_noDW\.mrc"):
        pair_names(["a"], ["a_DW.mrc", "a_noDW.mrc"])
    with pytest.raises(ParticleFileError, match=r"picks of a_automatch and of a_autopick could both belong to a\.mrc"):
        pair_names(["a_autopick", "a_automatch"], ["a.mrc"])
    with pytest.raises(ParticleFileError, match=r"picks of a\.mrc could belong to mics/a\.mrc or mics/a\.mrc\.mrc"):
        pair_names(["a.mrc"], ["mics/a.mrc", "mics/a.mrc.mrc"])
    uncertain = pairing(["a_autopick", "a_automatch", "b", "c"], ["a.mrc", "b.mrc", "x/c.mrc", "y/c.mrc"])
    assert uncertain.partners == {"b.mrc": "b"}
    assert len(uncertain.problems) == 2


def test_where_relion_puts_the_files_of_a_micrograph():
    places = {
        "MotionCorr/job002/Movies/x.mrc": "Movies/x",
        "/data/project/MotionCorr/job002/Movies/x.y.mrc": "Movies/x.y",
        "mics/x.mrc": "mics/x",
        "job002/x.mrc": "job002/x",  # RELION wants the type of the job in front
        "a/job12/x.mrc": "a/job12/x",
        "External/job1234/x.mrc": "x",
        "../mics/x.mrc": "0",
        "/data/mics/x.mrc": "0",
        r"D:\data\x.mrc": "0",
    }
    for name, place in places.items():
        assert [one.as_posix() for one in relion_stems([name], [Path("0")])] == [place]
    both = ["A/job001/m/x.mrc", "B/job002/m/x.mrc", "C/job003/m/y.mrc"]
    stems = output_stems(both)
    assert relion_stems(both, stems) == [*stems[:2], Path("m/y")]


def test_what_a_name_has_more():
    assert difference("a_tilt", ["a.mrc", "b.mrc"]) == (
        "a_tilt is a.mrc but for _tilt: if they are the same, rename the files without it."
    )
    assert difference("ab", ["a.mrc"]) == ""


# --- names of output files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mics/a.mrc", "mics/b.c.mrc.gz"], ["a", "b.c"]),
        (["x/y/a.mrc", "x/z/a.mrc"], ["y/a", "z/a"]),
        (["m/a.mrc", "m/a.tif", "m/b.tif"], ["a.mrc", "a.tif", "b"]),
        (["MotionCorr/job002/Movies/a b.mrc"], ["a b"]),
        (["a", "Größe_µ_粒子.mrc"], ["a", "Größe_µ_粒子"]),
        (["../../../etc/passwd"], ["passwd"]),
        (["/etc/a.mrc", "/home/me/b.mrc"], ["etc/a", "home/me/b"]),
        (["ok/a.mrc", "../../b.mrc", "/abs/c.mrc"], ["ok/a", "b", "abs/c"]),
        ([".mrc"], [".mrc"]),
        (["m/a.mrc", "m/a.mrc.mrc", "n/a.mrc"], ["m/a", "m/a.mrc.mrc", "n/a"]),
        ([r"D:\data\average\a.mrc", r"D:\data\average\b.mrc"], ["a", "b"]),
        ([r"D:\x\a.mrc", r"D:\y\a.mrc"], ["x/a", "y/a"]),
        ([r"m/a\b.mrc"], [r"a\b"]),
        ([], []),
    ],
)
def test_output_stems(names, expected):
    assert [stem.as_posix() for stem in output_stems(names)] == expected


parts = st.sampled_from(["a", "b", "..", ".", "...", "a.mrc", "a.tif", "", "x y", "-", "~"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(parts, min_size=1, max_size=5).map("/".join), min_size=1, max_size=5, unique=True))
def test_no_name_leads_out_of_the_folder(names):
    try:
        stems = output_stems(names)
    except ParticleFileError:
        return
    assert len(set(stems)) == len(names)
    for stem in stems:
        inner = os.path.normpath(f"/out/{stem}")
        assert inner.startswith("/out/")
        assert ".." not in stem.parts


@pytest.mark.parametrize("name", ["", "..", "/", "a\0b.mrc", "x" * 300])
def test_names_that_no_file_can_have_are_refused(name):
    with pytest.raises(ParticleFileError, match="cannot be that of a file"):
        output_stems([name])


def test_names_that_would_meet_are_refused():
    with pytest.raises(ParticleFileError, match=r"the files of /a\.mrc and \.\./a\.mrc would have the same name"):
        output_stems(["/a.mrc", "../a.mrc"])
