"""How messages count things and name a few of many."""

import pytest

from cryotx_cli.wording import counted, shortened, some_of


@pytest.mark.parametrize(("number", "told"), [(0, "0 picks"), (1, "1 pick"), (2, "2 picks")])
def test_a_number_and_its_noun_agree(number, told):
    assert counted(number, "picks") == told


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "none"),
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (["a", "b", "c"], "a, b and 1 more"),
        ("abcd", "a, b and 2 more"),
    ],
)
def test_a_few_names_stand_for_many(names, told):
    assert some_of(names) == told


LONG = [
    "FoilHole_15960849_Data_15972821_15972823_20211215_174903_EER.mrc",
    "FoilHole_15960850_Data_15972812_15972814_20211215_175058_EER.mrc",
]


@pytest.mark.parametrize(
    ("names", "width", "told"),
    [
        (["a/b.mrc", "a/c.mrc"], 7, ["a/b.mrc", "a/c.mrc"]),
        (["a/b.mrc", "a/c.mrc"], 6, ["b.mrc", "c.mrc"]),
        (["grid_5_a.mrc", "grid_5_bc.mrc"], 7, ["…a.mrc", "…bc.mrc"]),
        (["grid_5_a.mrc", "grid_5_bc.mrc"], 6, ["…a…", "…bc…"]),
        (LONG, 20, ["…15960849…215_174903…", "…15960850…215_175058…"]),
        (["x/same.mrc", "y/same.mrc"], 8, ["x/same.mrc", "y/same.mrc"]),  # nothing shorter tells them apart
        (["C:\\data\\a.mrc", "C:\\data\\b.mrc"], 8, ["a.mrc", "b.mrc"]),
        (["one_long_name_alone.mrc"], 11, ["one_l…e.mrc"]),
        ([], 4, []),
    ],
)
def test_names_are_cut_so_that_they_can_be_told_apart(names, width, told):
    cut = shortened(names, width)
    if names is LONG:  # enough of either end to see which is which
        assert len(set(cut)) == 2
        assert all(len(name) <= width for name in cut)
        assert [name[1:5] for name in cut] == ["1596", "1596"]
        return
    assert cut == told
