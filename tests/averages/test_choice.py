"""Which classes ``--drop-classes auto`` takes out, and what is left of the orientations."""

import math
from dataclasses import replace

import pytest

from cryotx_cli.averages.choice import StoredClasses
from cryotx_cli.averages.output import AGREES, LEFTOVER, TOO_FEW, ClassRow


def classes(*known: tuple[int, float, float | None]) -> StoredClasses:
    """Classes by their picks, mean score and resolution."""
    rows = [ClassRow(i, picks, 0.1, score, resolution, 0.5) for i, (picks, score, resolution) in enumerate(known, 1)]
    return StoredClasses(tuple(rows), {}, {})


def dropped(*known: tuple[int, float, float | None]) -> list[int]:
    return sorted(classes(*known).to_drop("auto", None))


def test_auto_drops_noise_whose_scores_promise_next_to_no_particle() -> None:
    assert dropped((1000, 0.9, 10.0), (50, 0.15, None)) == [2]


def test_auto_drops_what_fits_no_average_and_never_what_has_too_few_picks_to_tell() -> None:
    rows = [ClassRow(1, 1000, 0.8, 0.9, 10.0, 0.5, verdict=AGREES)]
    rows += [ClassRow(i, 50, 0.1, 0.15, None, 0.5, verdict=told) for i, told in enumerate((TOO_FEW, LEFTOVER), 2)]

    assert StoredClasses(tuple(rows), {}, {}).to_drop("auto", None) == {3}


def test_auto_drops_nothing_where_no_class_is_more_than_noise_not_even_what_fits_none() -> None:
    rows = [ClassRow(1, 1000, 0.8, 0.9, None, 0.5, verdict=TOO_FEW), ClassRow(2, 50, 0.1, 0.15, None, 0.5)]

    assert StoredClasses((rows[0], replace(rows[1], verdict=LEFTOVER)), {}, {}).to_drop("auto", None) == frozenset()


def test_what_fits_no_average_and_noise_promise_no_more_together_than_one_of_them() -> None:
    rows = [ClassRow(1, 1000, 0.8, 0.9, 10.0, 0.5, verdict=AGREES)]
    rows += [ClassRow(2, 60, 0.1, 0.2, None, 0.5, verdict=LEFTOVER), ClassRow(3, 30, 0.1, 0.1, None, 0.5)]

    # 12 and 3 of 915 particles; 13.7 may go
    assert StoredClasses(tuple(rows), {}, {}).to_drop("auto", None) == {2}


def test_auto_never_drops_a_class_that_is_more_than_noise() -> None:
    assert dropped((1000, 0.9, 10.0), (50, 0.05, 25.0)) == []


def test_auto_spares_a_rare_view_that_is_called_noise_for_want_of_picks() -> None:
    assert dropped((5000, 0.9, 10.0), (20, 0.8, None)) == []


def test_auto_drops_nothing_where_all_is_noise() -> None:
    assert dropped((1000, 0.9, None), (50, 0.1, None)) == []


def test_auto_loses_no_more_than_one_or_two_particles_of_a_hundred() -> None:
    """Of 910 expected particles the three cost 3, 6 and 10: the last one would make it 19, more than 1.5 %."""
    assert dropped((1000, 0.9, 10.0), (30, 0.1, None), (30, 0.2, None), (33, 0.3, None)) == [2, 3]


@pytest.mark.parametrize(
    ("without", "views", "picks", "even"),
    [
        (frozenset(), 4, 400, 4.0),  # four of equal size
        (frozenset({1, 5}), 3, 300, 3.0),
        (frozenset({1, 2, 3, 4}), 0, 0, 0.0),
    ],
)
def test_coverage_counts_views_and_not_noise(without: frozenset[int], views: int, picks: int, even: float) -> None:
    of = classes(*[(100, 0.9, 10.0)] * 4, (500, 0.3, None)).coverage(without)

    assert (of.views, of.picks) == (views, picks)
    assert of.even == pytest.approx(even)


def test_uneven_views_count_for_less() -> None:
    """Shares of 0.9 and 0.1 have an entropy of 0.325."""
    assert classes((90, 1.0, 9.0), (10, 1.0, 9.0)).coverage().even == pytest.approx(math.exp(0.32508), rel=1e-4)
