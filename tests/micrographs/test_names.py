"""Names of micrographs: which belong together, and files named after them."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryotx_cli.errors import ParticleFileError
from cryotx_cli.micrographs.names import output_stems, pair_names


def test_pairs_of_names():
    uid = "012951868257382468663_"
    assert pair_names(["a.mrc", "x.mrc"], [f"J1/{uid}a.tif", "b"]) == {f"J1/{uid}a.tif": "a.mrc"}
    assert pair_names(["two/a"], ["one/a.mrc", "two/a.mrc"]) == {"two/a.mrc": "two/a"}
    with pytest.raises(ParticleFileError, match=r"could belong to one/a\.mrc or two/a\.mrc"):
        pair_names(["a"], ["one/a.mrc", "two/a.mrc"])
    with pytest.raises(ParticleFileError, match="could both belong to"):
        pair_names(["a", "x/a"], ["a.mrc"])


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
