"""Pairs of points that lie close together, against SciPy's tree."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from cryotx_cli.coordinates.close_pairs import close_pairs


@pytest.mark.parametrize("extent", [1.0, 60.0, 4096.0, 1e9])
@pytest.mark.parametrize("distance", [1e-3, 0.5, 10.0, 3e3, 3e9])
@pytest.mark.parametrize("count", [0, 1, 2, 150])
def test_they_are_those_that_a_tree_finds(extent: float, distance: float, count: int) -> None:
    points = np.random.default_rng(count).random((count, 2)) * extent - extent / 3

    pairs, gaps = close_pairs(points, distance)

    expected = cKDTree(points).query_pairs(distance, output_type="ndarray") if count else np.zeros((0, 2), int)
    assert np.array_equal(pairs, expected[np.lexsort(expected.T[::-1])])
    assert np.allclose(gaps, np.hypot(*(points[pairs[:, 0]] - points[pairs[:, 1]]).T), rtol=1e-12)


def test_points_of_a_grid_are_as_far_apart_as_they_may_be() -> None:
    grid = np.stack(np.meshgrid(np.arange(7.0), np.arange(5.0)), -1).reshape(-1, 2)

    pairs, gaps = close_pairs(grid, 1.0)

    assert len(pairs) == 6 * 5 + 7 * 4
    assert set(gaps) == {1.0}


def test_points_in_one_place_are_all_pairs() -> None:
    pairs, gaps = close_pairs(np.full((40, 2), 17.0), 1e-6)

    assert len(pairs) == 40 * 39 / 2
    assert not gaps.any()


def test_a_hundred_thousand_points_take_no_table_of_all_their_pairs() -> None:
    points = np.random.default_rng(0).random((100_000, 2)) * 4096

    pairs, _ = close_pairs(points, 5.0)

    assert len(pairs) == len(cKDTree(points).query_pairs(5.0, output_type="ndarray"))
