"""Regions by their outlines: how large they are, and that they survive being stored."""

import json

import numpy as np
import pytest

from cryotx_cli.coordinates.region import Region

SQUARE = np.array([[10.0, 10.0], [10.0, 50.0], [50.0, 50.0], [50.0, 10.0]])
HOLE = np.array([[20.0, 20.0], [40.0, 20.0], [40.0, 40.0], [20.0, 40.0]])  # the other way round
ELSEWHERE = SQUARE + (100.0, 0.0)


def test_the_share_is_that_of_parts_without_holes():
    assert Region((SQUARE,)).share(100, 200) == pytest.approx(1600 / 20000)
    assert Region((SQUARE, HOLE)).share(100, 200) == pytest.approx(1200 / 20000)
    assert Region((HOLE[::-1], SQUARE[::-1], ELSEWHERE[::-1])[1:]).share(100, 200) == pytest.approx(3200 / 20000)
    assert Region().share(100, 200) == 0
    assert not Region()


def test_a_region_reads_back_from_json():
    rows = json.loads(json.dumps(Region((SQUARE, HOLE)).rows()))
    for stored, outline in zip(Region.of(rows).outlines, (SQUARE, HOLE), strict=True):
        np.testing.assert_array_equal(stored, outline)


@pytest.mark.parametrize("rows", [[[[1, 2], [3, 4]]], [[1, 2, 3]], [[[1, 2], [3, 4], [5, float("nan")]]], 7, [["a"]]])
def test_what_is_no_region_is_refused(rows):
    with pytest.raises((ValueError, TypeError)):
        Region.of(rows)
