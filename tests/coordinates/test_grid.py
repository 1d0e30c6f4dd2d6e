"""Coordinates on one image brought onto another of the same field of view, or refused."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from cryotx_cli.coordinates.grid import Grid, factor_between, grid_of, on_grid, on_grids
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.micrographs.micrograph import MicrographFile, MicrographHeader


def particles(shape=None, pixel_size=np.nan):
    return Particles([[9.5, 19.5]], [1], [8.0], pixel_size, 16.0, shape)


@pytest.mark.parametrize(
    ("one", "other", "factor"),
    [
        (Grid((100, 200), 1.0), Grid((50, 100), 2.0), 0.5),
        (Grid((100, 200)), Grid((400, 800)), 4),
        (Grid((101, 201), 1.0), Grid((50, 100), 2.0), 0.5),  # what is left over is cut off
        (Grid((3838, 3710), 0.885), Grid((1918, 1854), 1.77), 0.5),
        (Grid((100, 200), 1.0), Grid((100, 200), 2.0), 1),  # the same pixels, whatever is said of their size
        (Grid((100, 200), 1.0), Grid(None, 2.0), 0.5),
        (Grid(None, 1.0), Grid(None, 1.005), 1),
        (Grid(), Grid((50, 100), 2.0), 1),
        (Grid((100, 200), 1.0), Grid((50, 100), 1.0), None),  # a part cut out
        (Grid((100, 200), 1.0), Grid((50, 100), 3.0), None),
        (Grid((100, 200)), Grid((200, 100)), None),
        (Grid((100, 200)), Grid((100, 150)), None),
    ],
)
def test_the_factor_between_two_images(one, other, factor):
    assert factor_between(one, other) == (None if factor is None else pytest.approx(factor, rel=5e-3))


def test_rescaled_particles_keep_their_place_in_the_field_of_view():
    moved, told = on_grid("a", particles((100, 200), 1.0), Grid((50, 100), 2.0), "the micrograph", "")
    assert_allclose(moved.centres, [[4.5, 9.5]])  # (9.5 + 0.5) / 200 of the width, as before
    assert (moved.shape, moved.pixel_size, moved.box_px, moved.diameters.tolist()) == ((50, 100), 2.0, 8, [4])
    own, other = "200 x 100 px of 1 Å per pixel", "100 x 50 px of 2 Å per pixel"
    assert told == f"rescaled by 0.5, from {own} to {other} of the micrograph"


def test_particles_in_the_same_pixels_learn_their_image():
    same, told = on_grid("a", particles(), Grid((50, 100), 2.0), "the micrograph", "")
    assert (same.shape, told) == ((50, 100), "")
    assert_allclose(same.centres, [[9.5, 19.5]])


def test_pixel_sizes_alone_rescale_nothing():
    """Either may be wrong: an optics table with the value before binning is common."""
    with pytest.raises(ParticleFileError, match=r"a: its particles are in pixels of 1\.2 Å per pixel, and") as caught:
        on_grid("a", particles(pixel_size=1.2), Grid((50, 100), 2.4), "the micrograph", "by {factor}")
    assert caught.value.hint == "by 0.5"


def test_many_are_told_of_in_one_line():
    told = []
    here, others = {n: particles((100, 200)) for n in "abc"}, {n: Grid((50, 100)) for n in "ab"}
    found = on_grids(here, others, "the truth", "", told.append)
    assert [here.centres[0].tolist() for here in found.values()] == [[4.5, 9.5], [4.5, 9.5], [9.5, 19.5]]
    (event,) = told
    assert event.text.startswith("the coordinates of 2 micrographs were rescaled by 0.5")


def test_of_two_stated_pixel_sizes_that_of_the_particles_counts(tmp_path):
    file, header = MicrographFile(tmp_path / "a.mrc", "a.mrc", 1.2), MicrographHeader(50, 100, 2.4)
    assert grid_of(file, header, particles(pixel_size=2.4)) == Grid((50, 100), 2.4)
    assert grid_of(file, header, particles()) == Grid((50, 100), 1.2)
    assert grid_of(file, None, particles()) == Grid(None, 1.2)
