"""Detections of tiles, put together: those of the whole image, each once."""

import numpy as np
import pytest

from cryotx_cli.detector.detections import Detections
from cryotx_cli.micrographs.tiling import tiles


def found_in(points, x0, y0, x1, y1):
    """What a network without faults finds in a window: every point that lies in it, in pixels of the window."""
    seen = ((points >= [x0, y0]) & (points < [x1, y1])).all(1)
    index = np.nonzero(seen)[0].astype(float)
    return Detections(points[seen] - [x0, y0], index + 0.5, -index)


def in_order(detections):
    order = np.argsort(detections.radii)
    return [column[order] for column in (detections.centres, detections.radii, detections.logits)]


@pytest.mark.parametrize("step", [1.0, 0.5, 7.3])
@pytest.mark.parametrize(("size", "overlap"), [(100, 20), (64, 0), (90, 33), (400, 20)])
def test_tiles_find_together_what_the_whole_image_shows(step, size, overlap):
    height, width = 180, 230
    y, x = np.mgrid[0:height:step, 0:width:step]  # with steps of 1 and 0.5 many lie exactly on a seam
    points = np.column_stack([x.ravel(), y.ravel()])
    whole = found_in(points, 0, 0, width, height)
    parts = [
        found_in(points, tile.x0, tile.y0, tile.x1, tile.y1).owned_by(tile)
        for tile in tiles(height, width, largest=0, size=size, overlap=overlap)
    ]
    for once, all_ in zip(in_order(Detections.joined(parts)), in_order(whole), strict=True):
        np.testing.assert_array_equal(once, all_)


def test_an_image_without_detections_has_none():
    (tile,) = tiles(50, 60, largest=100, size=100, overlap=0)
    none = found_in(np.zeros((0, 2)), 0, 0, 60, 50).owned_by(tile)
    joined = Detections.joined([none, none])
    assert joined.centres.shape == (0, 2)
    assert joined.radii.shape == joined.logits.shape == (0,)
