"""A crop shows its particle where it says and as large as it says."""

import cv2
import numpy as np
import pytest

from cryotx_cli.report.crop import CROP_DIAMETERS, crop_jpeg


def decoded(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED).astype(float)


@pytest.mark.parametrize("diameter", [9.0, 40.0, 333.0])
@pytest.mark.parametrize("at_border", [False, True])
def test_a_crop_shows_the_particle_in_the_middle_and_as_large_as_it_says(diameter, at_border):
    side = round(6 * diameter)
    x, y = (diameter * 0.2, diameter * 0.7) if at_border else (side / 2 + 0.37, side / 2 - 1.2)
    rows, columns = np.indices((side, side))
    distance = np.hypot(columns - x, rows - y)
    image = np.where(distance <= diameter / 2, -3.0, 0.0) + np.random.default_rng(1).normal(0, 0.3, (side, side))
    image[side - 2, side - 3] = 1e6
    crop = decoded(crop_jpeg(image.astype(np.float32), x, y, diameter))
    assert crop.shape == (120, 120)
    rows, columns = (np.indices(crop.shape) - 59.5) * CROP_DIAMETERS / 120
    away = np.hypot(rows, columns)  # in diameters
    inside = away < 0.35
    outside = (away > 0.7) & ((columns > 0) & (rows > 0) if at_border else True)
    assert crop[inside].mean() < crop[outside].mean() - 100
    if not at_border:
        dark = crop < (crop[inside].mean() + crop[outside].mean()) / 2
        centre = [float(np.average(axis[dark])) for axis in (rows, columns)]
        assert np.abs(centre).max() < 0.04
        assert np.sqrt(4 * dark.mean() * CROP_DIAMETERS**2 / np.pi) == pytest.approx(1, abs=0.12)


def test_a_crop_of_nothing_is_grey():
    assert np.ptp(decoded(crop_jpeg(np.full((50, 50), 7.0, np.float32), 20, 20, 20))) < 3
