"""Tiles cover an image, and every place belongs to exactly one of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryotx_cli.micrographs.tiling import tiles

sides = st.integers(1, 2000)


def owners(tiling, x, y):
    """How many tiles own each place."""
    return sum(tile.owns(np.column_stack([x, y])).astype(int) for tile in tiling)


@pytest.mark.parametrize(("height", "width"), [(200, 300), (300, 200), (300, 300)])
def test_an_image_of_at_most_the_largest_side_is_one_tile(height, width):
    (tile,) = tiles(height, width, largest=300, size=100, overlap=20)
    assert (tile.x0, tile.y0, tile.x1, tile.y1) == (0, 0, width, height)
    assert tile.owns(np.array([[0.0, 0.0], [299.9, 199.9], [-3.0, 100.0], [150.0, 207.0]])).all()


def test_one_long_side_is_cut_and_the_other_is_not():
    tiling = tiles(90, 301, largest=300, size=100, overlap=20)
    assert {(t.y0, t.y1) for t in tiling} == {(0, 90)}
    # ceil((301 - 20) / (100 - 20)) windows
    assert len(tiling) == 4
    assert tiling[0].x0 == 0
    assert tiling[-1].x1 == 301


@settings(deadline=None, max_examples=60)
@given(height=sides, width=sides, size=st.integers(40, 1200), overlap=st.integers(0, 30))
def test_cores_part_the_image_without_gap_or_overlap(height, width, size, overlap):
    tiling = tiles(height, width, largest=size, size=size, overlap=overlap)
    clipped = [np.clip(t.core, 0, [width, height, width, height]) for t in tiling]
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in clipped) == height * width
    rng = np.random.default_rng(0)
    seams = np.array([[x0, y0] for x0, y0, _, _ in clipped][:50])
    x = np.concatenate([rng.uniform(-9, width + 9, 50), seams[:, 0], rng.choice(seams[:, 0], 20)])
    y = np.concatenate([rng.uniform(-9, height + 9, 50), seams[:, 1], rng.choice(seams[:, 1], 20)])
    assert (owners(tiling, x, y) == 1).all()


# Four tiles of 100 x 100 px in an image of 180 x 180 share 20 px; their cores meet at 90.
FOUR = tiles(180, 180, largest=100, size=100, overlap=20)
BEFORE_90 = np.nextafter(90, 0)


@pytest.mark.parametrize(
    ("centre", "owner"),
    [
        ((90.0, 50.0), (80, 0)),  # on a seam: the tile to the right
        ((BEFORE_90, 50.0), (0, 0)),
        ((50.0, 90.0), (0, 80)),  # and the tile below
        ((50.0, BEFORE_90), (0, 0)),
        ((90.0, 90.0), (80, 80)),
        ((BEFORE_90, 90.0), (0, 80)),
        ((90.0, BEFORE_90), (80, 0)),
        ((BEFORE_90, BEFORE_90), (0, 0)),
        ((0.0, 0.0), (0, 0)),
        ((0.5, 1.0), (0, 0)),
        ((179.5, 179.5), (80, 80)),
        ((180.0, 180.0), (80, 80)),
        ((-2.0, 100.0), (0, 80)),  # a network may place a centre beyond the border
        ((100.0, -2.0), (80, 0)),
        ((182.0, 10.0), (80, 0)),
        ((10.0, 182.0), (0, 80)),
    ],
)
def test_a_centre_belongs_to_this_tile_alone(centre, owner):
    assert [(tile.x0, tile.y0) for tile in FOUR if tile.owns(np.array([centre]))[0]] == [owner]


@pytest.mark.parametrize("x0", [0, 80])
@pytest.mark.parametrize("y0", [0, 80])
def test_of_many_centres_those_of_the_tile_are_marked_in_their_order(x0, y0):
    (tile,) = (t for t in FOUR if (t.x0, t.y0) == (x0, y0))
    y, x = np.mgrid[0:180, 0:180]
    centres = np.column_stack([x.ravel(), y.ravel()])
    expected = ((centres[:, 0] >= 90) == (x0 == 80)) & ((centres[:, 1] >= 90) == (y0 == 80))
    np.testing.assert_array_equal(tile.owns(centres), expected)


@settings(deadline=None, max_examples=60)
@given(height=sides, width=sides, size=st.integers(100, 1200), overlap=st.integers(0, 72))
def test_every_core_sees_half_the_overlap_around_it_except_at_the_border(height, width, size, overlap):
    for tile in tiles(height, width, largest=size, size=size, overlap=overlap):
        assert 0 <= tile.x0 < tile.x1 <= width
        assert 0 <= tile.y0 < tile.y1 <= height
        assert tile.x1 - tile.x0 == min(size, width)
        assert tile.y1 - tile.y0 == min(size, height)
        x0, y0, x1, y1 = tile.core
        assert x0 == -np.inf if tile.x0 == 0 else x0 - tile.x0 >= overlap / 2
        assert y0 == -np.inf if tile.y0 == 0 else y0 - tile.y0 >= overlap / 2
        assert x1 == np.inf if tile.x1 == width else tile.x1 - x1 >= overlap / 2
        assert y1 == np.inf if tile.y1 == height else tile.y1 - y1 >= overlap / 2


@pytest.mark.parametrize("length", [1025, 1976, 1977, 4000])
def test_no_more_tiles_than_needed(length):
    count = len(tiles(100, length, largest=1024, size=1024, overlap=72))
    assert (count - 1) * (1024 - 72) + 72 < length <= count * (1024 - 72) + 72
