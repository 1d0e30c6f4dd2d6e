"""Where the picks of a class lie, against distances worked out by hand."""

import numpy as np
import pytest

from cryotx_cli.averages.surroundings import Surroundings, Whereabouts, surroundings, whereabouts
from cryotx_cli.coordinates.region import Region

SQUARE = Region((np.array([[60.0, 60], [90, 60], [90, 90], [60, 90]]),))


def test_distances_are_in_diameters() -> None:
    of = surroundings(np.array([[4.5, 49.5], [24.5, 49.5], [50, 75.0]]), 100, 200, SQUARE, 10.0)

    assert of.neighbour.tolist() == pytest.approx([2, 2, np.hypot(25.5, 25.5) / 10])
    assert of.border.tolist() == pytest.approx([0.5, 2.5, 2.45])
    assert of.film[2] == pytest.approx(1.0)


def test_one_pick_has_no_neighbour_and_none_looked_for_film() -> None:
    of = surroundings(np.array([[50.0, 50]]), 100, 100, None, 10.0)

    assert np.isinf(of.neighbour).all()
    assert whereabouts(of, np.ones(1, bool)).at_film is None


def test_shares_are_those_of_the_class_alone() -> None:
    of = Surroundings(np.array([0.6, 0.6, 2, 2]), np.array([0.5, 3, 3, 3]), np.array([np.inf, 0.5, 0.2, 5]))

    own = whereabouts(of, np.array([True, True, False, False]))

    assert (own.apart, own.touching, own.at_border, own.at_film) == (0.6, 1.0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("own", "run", "looks"),
    [
        ((0.1, 0.1, 0.6), (0.1, 0.1, 0.2), "edge of film"),
        ((0.1, 0.6, None), (0.1, 0.2, None), "border of the micrograph"),
        ((0.7, 0.1, None), (0.2, 0.1, None), "touching"),
        ((0.7, 0.6, 0.6), (0.5, 0.4, 0.4), ""),  # as everywhere in this run
        ((0.3, 0.3, 0.3), (0.1, 0.1, 0.1), ""),  # not most of them
    ],
)
def test_what_sets_a_class_apart_is_named(own: tuple, run: tuple, looks: str) -> None:
    assert Whereabouts(1.0, *own).looks_like(Whereabouts(1.0, *run)) == looks
