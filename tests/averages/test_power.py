"""Whether classes that do not pass have picks enough to tell."""

import numpy as np
import pytest

from cryotx_cli.averages.classes import Class, Classes
from cryotx_cli.averages.output import AGREES, LEFTOVER, NOISE, TOO_FEW, UNCLEAR, ClassRow
from cryotx_cli.averages.power import ENOUGH, could_tell, expected_strength, verdict

NOTHING = np.zeros(32)


def halves_share(signal: float, picks: int) -> np.ndarray:
    """What halves of so many picks share of a signal: n s / (1 + n s), n in each."""
    return np.full(32, picks / 2 * signal / (1 + picks / 2 * signal))


def found(*classes: tuple[int, float, int | None, np.ndarray], leftover: int | None = None) -> Classes:
    """Classes by picks, strength, ring and curve; the strength of noise ends at 0.6."""
    numbers = np.repeat(np.arange(len(classes)), [picks for picks, *_ in classes])
    zeros = np.zeros(len(numbers))
    shown = [
        Class(np.zeros((64, 64)), curve, strength, ring, (8, 12), centred=0.05) for _, strength, ring, curve in classes
    ]
    return Classes(shown, numbers, zeros, zeros[:, None] + [0, 0], zeros, 0.6, NOTHING, 28, leftover)


@pytest.mark.parametrize("size", [20, 60, 400])
def test_a_class_of_another_size_shares_what_its_signal_says(size: int) -> None:
    curve = halves_share(0.01, 200)

    assert expected_strength(curve, 200, NOTHING, size, 28) == pytest.approx(np.arctanh(halves_share(0.01, size)[0]))


def test_what_noise_shares_is_no_signal() -> None:
    noise = np.full(32, 0.3)

    assert expected_strength(noise, 100, noise, 10000, 28) == pytest.approx(np.arctanh(0.3))


def test_a_class_is_noise_only_where_one_like_those_that_pass_would_pass() -> None:
    good = halves_share(0.03, 200), 200  # z = 0.97; of 100 picks 0.69, of 180 picks 0.92: 0.9 are asked

    assert [could_tell(size, [good] * 3, NOTHING, 0.6, 28) for size in (100, 180)] == [False, True]
    of = found(*[(200, 0.97, 10, good[0])] * 3, (180, 0.2, None, NOTHING), (100, 0.2, None, NOTHING))
    assert [verdict(of, i, 0.3) for i in range(5)] == [AGREES] * 3 + [NOISE, TOO_FEW]


@pytest.mark.parametrize("passing", [0, 2])
def test_where_next_to_none_passes_some_hundred_picks_tell(passing: int) -> None:
    of = found(
        *[(500, 2.0, 10, halves_share(0.03, 500))] * passing,
        (ENOUGH, 0.3, None, NOTHING),
        (ENOUGH - 1, 0.3, None, NOTHING),
    )

    assert [verdict(of, passing + i, 0.3) for i in range(2)] == [NOISE, TOO_FEW]


def test_what_is_noise_by_averages_and_not_by_scores_is_unclear() -> None:
    of = found((ENOUGH, 0.3, None, NOTHING), (ENOUGH - 1, 0.3, None, NOTHING), (ENOUGH, 2.0, 10, NOTHING))

    assert [verdict(of, i, 0.99) for i in range(3)] == [UNCLEAR, TOO_FEW, AGREES]
    assert [verdict(of, i, 0.49) for i in range(3)] == [NOISE, TOO_FEW, AGREES]


def test_halves_that_agree_on_nothing_of_their_own_are_noise_and_leftovers_are_told() -> None:
    of = found((40, 0.9, None, NOTHING), (40, 0.0, None, NOTHING), leftover=1)

    assert [verdict(of, i, 0.3) for i in range(2)] == [NOISE, LEFTOVER]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"picks": 70, "resolution": 12.0, "coarsest": 15.6, "finest": 10.2}, "10–16 Å"),
        ({"picks": 70, "resolution": 12.0, "coarsest": 12.2, "finest": 11.8}, "12 Å"),
        ({"picks": 70, "resolution": 12.0}, "12 Å"),  # of an older version
        ({"picks": 70, "resolution": None, "mean_score": 0.4}, "noise"),
        ({"picks": 70, "resolution": None, "mean_score": 0.4, "verdict": NOISE}, "noise"),
        ({"picks": 70, "resolution": None}, "unclear"),
        ({"picks": 70, "resolution": None, "verdict": NOISE}, "unclear"),  # of an older version
        ({"picks": 19, "resolution": 12.0, "coarsest": 15.6, "finest": 10.2}, "agrees, few"),
        ({"picks": 70, "resolution": None, "verdict": TOO_FEW}, "too few to tell"),
        ({"picks": 70, "resolution": None, "verdict": LEFTOVER}, "fits no average"),
    ],
)
def test_what_halves_say_in_words(more: dict, words: str) -> None:
    assert ClassRow(**{"number": 1, "share": 1, "mean_score": 0.5, "agreement": 0.5} | more).in_words == words
