"""What chance would have scored, against expectations that can be written down."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from cryotx_cli.coordinates.agreement import Counts
from cryotx_cli.coordinates.chance import Field, pairs_by_chance
from cryotx_cli.coordinates.evaluation import judged_micrographs
from cryotx_cli.coordinates.particles import Particles

SIDE, RADIUS = 1000.0, 10.0
FIELD = Field((0.0, 0.0), (SIDE, SIDE))


def spread(step):
    """Points on a square grid, all as far from the border as from half of their neighbours."""
    at = np.arange(step / 2, SIDE, step)
    return np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)


def mean_of(picks, truth, radius=RADIUS, micrographs=60):
    return np.mean([pairs_by_chance(picks, truth, radius, FIELD, number) for number in range(micrographs)])


def scattered(apart, seed=0):
    """Points without order, further than a radius from the border and so far from each other at least."""
    rng, points = np.random.default_rng(seed), np.zeros((0, 2))
    for point in rng.uniform(RADIUS, SIDE - RADIUS, (2000, 2)):
        if not len(points) or np.hypot(*(points - point).T).min() > apart:
            points = np.vstack([points, point])
    return points


@pytest.mark.parametrize(
    ("picks", "truth"),
    [(spread(50), scattered(60)), (scattered(30), spread(50)), (scattered(25, 1), scattered(40, 2))],
    ids=["a grid of picks", "a grid of particles", "no grid"],
)
def test_points_further_apart_than_two_radii_hit_as_often_as_discs_cover_the_field(picks, truth):
    """No disc around either holds two of the others: pairs are the points in discs, n m pi r^2 / A of them."""
    expected = len(picks) * len(truth) * np.pi * RADIUS**2 / SIDE**2

    assert_allclose(mean_of(picks, truth), expected, rtol=0.03)


def test_points_in_one_place_pair_once():
    """Twenty picks on one spot are in a disc together or not at all, and only one of them is paired."""
    picks, truth = np.full((20, 2), 500.0), spread(100)
    expected = len(truth) * np.pi * RADIUS**2 / SIDE**2

    assert_allclose(mean_of(picks, truth), expected, rtol=0.1)


def test_points_strewn_one_by_one_are_what_they_are_compared_with():
    """For picks without any order the shifted ones are as good as others: 1 - (1 - p)^n of isolated discs are hit."""
    rng, truth, found, chance = np.random.default_rng(3), spread(100), [], []
    p = np.pi * RADIUS**2 / SIDE**2
    for number in range(40):
        picks = rng.uniform(0, SIDE, (1500, 2))
        chance.append(pairs_by_chance(picks, truth, RADIUS, FIELD, number))
        found.append(pairs_by_chance(rng.uniform(0, SIDE, (1500, 2)), truth, RADIUS, FIELD, number))

    assert_allclose(np.mean(chance), len(truth) * (1 - (1 - p) ** 1500), rtol=0.03)
    assert_allclose(np.mean(chance), np.mean(found), rtol=0.03)


def test_a_carpet_is_no_better_than_chance():
    """Picks in a grid cover pi/4 of the field with discs that touch; strewn one by one only 1 - exp(-pi/4) = 54 %."""
    rng, step = np.random.default_rng(1), 40.0
    truth = rng.uniform(0, SIDE, (60, 2))
    carpet = spread(step)
    rows = judged_micrographs(
        {"a": Particles(carpet, np.ones(len(carpet)), np.full(len(carpet), step), 1.0)},
        {"a": Particles(truth, np.ones(60), np.full(60, step), 1.0)},
        {"a": "a"},
        {"a": step},
        0.5,
    )

    assert rows[0].counts.recall == pytest.approx(np.pi / 4, abs=0.1)
    assert rows[0].pairs_by_chance == pytest.approx(60 * np.pi / 4, abs=3)
    assert rows[0].counts.f1 == pytest.approx(rows[0].chance, abs=0.04)
    assert rows[0].chance == Counts(len(carpet), 60).f1_of(rows[0].pairs_by_chance)


def test_the_same_picks_have_the_same_chance_and_others_numbers_of_their_own():
    picks, truth = spread(50), spread(100)

    assert pairs_by_chance(picks, truth, 20, FIELD, 3) == pairs_by_chance(picks, truth, 20, FIELD, 3)
    assert len({pairs_by_chance(picks, truth, 20, FIELD, number) for number in range(5)}) > 1


@pytest.mark.parametrize(("picks", "truth"), [(np.zeros((0, 2)), spread(100)), (spread(100), np.zeros((0, 2)))])
def test_nothing_makes_no_pairs(picks, truth):
    assert pairs_by_chance(picks, truth, RADIUS, FIELD) == 0


def test_points_stay_in_the_field_wherever_it_lies():
    """With the whole field in reach of one true centre every draw has a pair."""
    field = Field((4000.0, -300.0), (30.0, 30.0))

    assert pairs_by_chance([[4001, -299]], [[4015, -285]], 22, field) == 1
    assert pairs_by_chance([[4001, -299]], [[4055, -285]], 9, field) == 0


def test_the_field_holds_all_points_and_has_an_area():
    field = Field.around([np.array([[10.0, 50.0]]), np.array([[110.0, 52.0], [40.0, 51.0]])], 20)

    assert field == Field((10.0, 41.0), (100.0, 20.0))
    assert Field.around([], 5) == Field((0.0, 0.0), (5, 5))


def test_micrographs_of_a_set_tell_together_how_large_they_are():
    """One pick on one true centre says nothing about the field; another micrograph of the set does."""
    lone, many = np.array([[500.0, 500.0]]), spread(50)
    sides = [
        {name: Particles(here, np.ones(len(here)), np.full(len(here), 20.0), 1.0) for name, here in side}
        for side in [(("a", lone), ("b", many))] * 2
    ]
    rows = judged_micrographs(*sides, {"a": "a", "b": "b"}, {"a": 20.0, "b": 20.0}, 0.5)

    assert rows[0].counts.f1 == 1
    assert rows[0].chance < 0.05
