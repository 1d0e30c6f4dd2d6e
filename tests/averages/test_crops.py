"""Crops show the picks in their middle, at one scale, bright in white noise."""

from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.averages.crops import DIAMETER_PX, SIDE, Frame, crops_of
from cryotx_cli.micrographs.micrograph import Micrograph


def micrograph(
    centres: np.ndarray, radius: float, pixel_size: float, shape=(600, 500), red: bool = False
) -> Micrograph:
    """Dark discs in noise."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, shape)
    if red:
        frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
        noise = np.fft.irfft2(np.fft.rfft2(noise) / (0.02 + frequency), s=shape)
        noise /= noise.std()
    y, x = np.mgrid[: shape[0], : shape[1]]
    for u, v in centres:
        noise -= 2 - 2 * np.tanh((np.hypot(x - u, y - v) - radius) / 2)
    return Micrograph(noise.astype(np.float32), pixel_size, Path("m"))


@pytest.mark.parametrize("diameter", [15.0, 40.0, 90.0])
def test_a_pick_is_bright_in_the_middle_of_its_crop(diameter: float) -> None:
    centres = np.array([[210.3, 290.7]])
    found = crops_of(micrograph(centres, 0.3 * diameter, 2.0), centres, Frame(2 * diameter))

    weight = np.clip(found.images[0], 2, None) - 2
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    assert (weight * x).sum() / weight.sum() == pytest.approx(0, abs=0.7)
    assert (weight * y).sum() / weight.sum() == pytest.approx(0, abs=0.7)
    inside = np.hypot(x, y) < 0.2 * DIAMETER_PX
    assert found.images[0][inside].mean() > 1.0


def test_a_crop_begins_at_a_whole_pixel_and_says_where_the_pick_is() -> None:
    particle = np.array([[250.0, 300.0]])
    beside = np.random.default_rng(4).uniform(-1.5, 1.5, (20, 2))
    found = crops_of(micrograph(particle, 12, 2.0), particle + beside, Frame(80.0))

    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    weight = np.clip(found.images, 2, None) - 2
    seen = np.stack([(weight * axis).sum((1, 2)) for axis in (x, y)], 1) / weight.sum((1, 2))[:, None]
    from_pick = seen - found.offsets + beside
    assert 0.4 < np.abs(found.offsets).max() <= 0.5
    assert from_pick == pytest.approx(np.tile(from_pick.mean(0), (20, 1)), abs=0.1)


def test_noise_is_white_whatever_it_was() -> None:
    rng = np.random.default_rng(1)
    centres = rng.uniform(100, 400, (200, 2))
    found = crops_of(micrograph(np.zeros((0, 2)), 1, 2.0, red=True), centres, Frame(80.0))
    power = (np.abs(np.fft.rfft2(found.images)) ** 2).mean(0)

    ring = (np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]) * SIDE).round()
    rings = [power[ring == k].mean() for k in range(3, 28)]

    assert max(rings) < 2.0 * min(rings)
    assert found.noise[4] > 3 * found.noise[28]  # what was taken away


def test_which_picks_the_micrograph_holds_as_a_whole() -> None:
    centres = np.array([[250.0, 300], [30, 300], [3, 3], [498, 598], [250, 590]])
    found = crops_of(micrograph(centres, 12, 2.0), centres, Frame(80.0))

    assert found.whole.tolist() == [True, True, False, False, False]
    assert np.isfinite(found.images).all()


def test_padding_is_no_part_of_the_micrograph() -> None:
    """Motion correction leaves borders of one value: a particle that reaches into one is not there as a whole."""
    padded = micrograph(np.zeros((0, 2)), 1, 2.0)
    padded.image[:40] = padded.image.mean()
    padded.image[:, -30:] = padded.image.mean()

    centres = np.array([[250.0, 300], [250, 45], [250, 62], [250, 70], [460, 300], [440, 300]])
    found = crops_of(padded, centres, Frame(80.0))

    # 20 px of the particle, and 4 by which its centre may be wrong
    assert found.whole.tolist() == [True, False, False, True, False, True]


def test_mean_of_the_background_and_deviation() -> None:
    centres = np.array([[250.0, 300], [120, 90]])
    found = crops_of(micrograph(centres, 12, 2.0), centres, Frame(80.0))
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2

    assert found.images.std((1, 2)) == pytest.approx(1, abs=1e-3)
    assert found.images[:, np.hypot(x, y) > 26].mean(1) == pytest.approx(0, abs=0.02)


def test_rings_beyond_the_recorded_pixels_are_not_used() -> None:
    frame = Frame(60.0)

    assert frame.rings(1.0) == 28  # 1.5 Å per pixel of a crop: the micrograph has more
    assert frame.rings(10.0) == 4  # a particle of 6 px
