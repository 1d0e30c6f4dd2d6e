"""How messages count things and name a few of many."""

import pytest

from cryotx_cli.wording import counted, some_of


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
