"""The annotated picture, read back: where things are drawn, in what colour, and that contrast survives hot pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.report.annotated_image import LONG_SIDE_PX, write_annotated_image

STRIP = 34


def micrograph(image, pixel_size=2.0):
    return Micrograph(np.asarray(image, np.float32), pixel_size, Path("m.mrc"))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).normal(1000.0, 50.0, (height, width))


def picks(*rows, pixel_size=2.0):
    table = np.array(rows, float).reshape(-1, 4)
    return Particles(table[:, :2], table[:, 2], table[:, 3], pixel_size)


def draw(folder, image, particles, title="m.mrc", pixel_size=2.0):
    path = folder / "m.png"
    write_annotated_image(path, micrograph(image, pixel_size), particles, title)
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return picture[:STRIP], picture[STRIP:]


def coloured(image):
    """Mask of pixels that are clearly not grey."""
    return np.ptp(image.astype(int), axis=2) > 40


@pytest.mark.parametrize(("height", "width"), [(2400, 1800), (1500, 3000)])
def test_circles_lie_at_the_picks_with_their_own_diameters(tmp_path, height, width):
    rows = [(600.0, 500.0, 0.9, 300.0), (1300.0, 1100.0, 0.9, 160.0)]
    _, image = draw(tmp_path, noise(height, width), picks(*rows))
    assert max(image.shape[:2]) == LONG_SIDE_PX
    scale = LONG_SIDE_PX / max(height, width)
    y, x = np.nonzero(coloured(image))
    for centre_x, centre_y, _, diameter in rows:
        distance = np.hypot((x + 0.5) / scale - 0.5 - centre_x, (y + 0.5) / scale - 0.5 - centre_y)
        ring = distance[distance < diameter * 0.8]
        assert len(ring) > 50
        assert np.median(ring) == pytest.approx(diameter / 2, abs=0.5 / scale)
        assert abs(ring - diameter / 2).max() < 2.5 / scale


def test_rows_are_as_stored(tmp_path):
    image = noise(800, 600)
    image[:200] += 400.0
    _, drawn = draw(tmp_path, image, picks())
    assert drawn[:200].mean() > drawn[400:700].mean() + 60


def test_one_score_has_one_colour_in_every_picture(tmp_path):
    def colour_of(score, *others):
        _, image = draw(tmp_path, noise(500, 500), picks((150, 150, score, 80), *others))
        ring = image[148:153, 108:113].reshape(-1, 3)  # the leftmost point of the circle
        return ring[np.argmax(np.ptp(ring.astype(int), axis=1))].astype(int)

    high, low = colour_of(0.95), colour_of(0.3)
    assert np.abs(high - colour_of(0.95, (300, 300, 0.1, 80))).max() < 10
    assert high.sum() > low.sum() + 80  # viridis grows lighter with the score, so it also reads in grey


def test_hot_pixels_and_dead_areas_leave_the_contrast_of_the_particles(tmp_path):
    rng = np.random.default_rng(5)
    image = noise(2000, 2000)
    y, x = np.mgrid[:2000, :2000]
    image[np.hypot(y - 1000, x - 1000) < 200] -= 25.0
    _, clean = draw(tmp_path, image, picks())
    image[rng.integers(0, 2000, 400), rng.integers(0, 2000, 400)] = 45_804.0
    image[:, :8] = 0.0
    _, hot = draw(tmp_path, image, picks())

    def contrast(drawn):
        return drawn[300:400, 100:900].mean() - drawn[470:530, 470:530].mean()

    assert contrast(clean) > 100
    assert contrast(hot) > 0.8 * contrast(clean)


def test_scale_bar_has_the_length_that_it_says(tmp_path):
    # 4000 px of 1.5 Å on 1000 px: 6 Å a pixel; a quarter of the width is 150 nm, so the bar is 100 nm = 166.7 px.
    _, image = draw(tmp_path, noise(3000, 4000), picks(), pixel_size=1.5)
    row = image[-16].astype(int)
    white = np.flatnonzero((row > 250).all(axis=1))
    longest = max(np.split(white, np.flatnonzero(np.diff(white) > 1) + 1), key=len)
    assert len(longest) == 167
    assert longest[0] < 20


def test_title_strip_holds_the_name_and_leaves_the_image_whole(tmp_path):
    strip, image = draw(tmp_path, noise(600, 900), picks(), title="a name")
    assert image.shape == (600, 900, 3)
    assert strip.shape == (STRIP, 900, 3)
    other, _ = draw(tmp_path, noise(600, 900), picks(), title="another name")
    assert not np.array_equal(strip, other)
    assert coloured(strip).sum() > 500  # the colour key
    long_name, _ = draw(tmp_path, noise(600, 900), picks(), title="name " * 100)
    assert np.array_equal(long_name[:, 715:], strip[:, 715:])  # shortened, not written over the key


@pytest.mark.parametrize(("height", "width"), [(40, 30), (64, 2000), (256, 240)])
def test_small_and_narrow_micrographs(tmp_path, height, width):
    _, image = draw(tmp_path, noise(height, width), picks((15, 15, 0.8, 10)), title="Größe µ.mrc")
    assert max(image.shape[:2]) == min(max(height, width), LONG_SIDE_PX)


def test_a_failed_picture_leaves_nothing_behind(tmp_path):
    (tmp_path / "m.png").mkdir()
    with pytest.raises(OSError, match=r"m\.png"):
        draw(tmp_path, noise(100, 100), picks())
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]


def test_film_is_outlined_in_a_colour_of_its_own(tmp_path):
    corner = np.array([[-0.5, -0.5], [899.5, -0.5], [-0.5, 1199.5]])
    path = tmp_path / "m.png"
    write_annotated_image(path, micrograph(noise(1500, 2000)), picks(), "m.mrc", film=Region((corner,)))
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    y, x = np.nonzero(coloured(picture[STRIP:]))
    assert (picture[STRIP:][y, x, 2] >= picture[STRIP:][y, x, 0]).all()  # orange, as no score is
    beyond = ((x + 0.5) * 2 / 900 + (y + 0.5) * 2 / 1200 - 1) / np.hypot(1 / 900, 1 / 1200)  # px from the long side
    assert beyond.max() < 6
    assert (abs(beyond) < 4).sum() > 1000  # drawn along all of it
    assert coloured(picture[:STRIP])[:, :200].any()  # the strip says what it is
    _, without = draw(tmp_path, noise(1500, 2000), picks())
    assert not coloured(without).any()
