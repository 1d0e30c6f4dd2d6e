"""Tiles cover an image, and every place belongs to exactly one of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryotx_cli.micrographs.tiling import tiles

sides = st.integers(1, 5000)


def owners(tiling, x, y):
    return sum((t.core[0] <= x) & (x < t.core[2]) & (t.core[1] <= y) & (y < t.core[3]) for t in tiling)


def test_a_small_image_is_one_tile():
    (tile,) = tiles(200, 300, largest=300, size=100, overlap=20)
    assert (tile.x0, tile.y0, tile.x1, tile.y1) == (0, 0, 300, 200)
    assert tile.core == (0, 0, 300, 200)


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
    assert sum((t.core[2] - t.core[0]) * (t.core[3] - t.core[1]) for t in tiling) == height * width
    rng = np.random.default_rng(0)
    seams = np.array([[t.core[0], t.core[1]] for t in tiling][:50])
    x = np.concatenate([rng.uniform(0, width, 50), seams[:, 0], rng.choice(seams[:, 0], 20)])
    y = np.concatenate([rng.uniform(0, height, 50), seams[:, 1], rng.choice(seams[:, 1], 20)])
    assert (owners(tiling, x, y) == 1).all()


@settings(deadline=None, max_examples=60)
@given(height=sides, width=sides, size=st.integers(100, 1200), overlap=st.integers(0, 72))
def test_every_core_sees_half_the_overlap_around_it_except_at_the_border(height, width, size, overlap):
    for tile in tiles(height, width, largest=size, size=size, overlap=overlap):
        assert 0 <= tile.x0 < tile.x1 <= width
        assert 0 <= tile.y0 < tile.y1 <= height
        assert tile.x1 - tile.x0 == min(size, width)
        assert tile.y1 - tile.y0 == min(size, height)
        x0, y0, x1, y1 = tile.core
        assert x0 == 0 if tile.x0 == 0 else x0 - tile.x0 >= overlap / 2
        assert y0 == 0 if tile.y0 == 0 else y0 - tile.y0 >= overlap / 2
        assert x1 == width if tile.x1 == width else tile.x1 - x1 >= overlap / 2
        assert y1 == height if tile.y1 == height else tile.y1 - y1 >= overlap / 2


@pytest.mark.parametrize("length", [1025, 1976, 1977, 4000])
def test_no_more_tiles_than_needed(length):
    count = len(tiles(100, length, largest=1024, size=1024, overlap=72))
    assert (count - 1) * (1024 - 72) + 72 < length <= count * (1024 - 72) + 72
