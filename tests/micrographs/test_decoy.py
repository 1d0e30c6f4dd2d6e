"""Decoys have the spectrum of the noise in a micrograph, and nothing else of it."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryotx_cli.micrographs.decoy import decoy_from, noise_power, noise_seed, radial_spectrum
from cryotx_cli.micrographs.image import normalise


def coloured(rng: np.random.Generator, shape: tuple[int, int] = (700, 600), blur: float = 1.0) -> np.ndarray:
    return np.asarray(normalise(gaussian_filter(rng.standard_normal(shape), blur).astype(np.float32)))


def ring_power(image: np.ndarray, low: float, high: float) -> float:
    """Mean power of an image between two frequencies, straight from its transform."""
    power = np.abs(np.fft.fft2(image)) ** 2 / image.size
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None])
    return float(power[(frequency >= low) & (frequency < high)].mean())


def of(image: np.ndarray, shape: tuple[int, int] | None = None, seed: int = 1) -> np.ndarray:
    spectrum = radial_spectrum(image)
    assert spectrum is not None
    return decoy_from(spectrum, shape or image.shape, seed)


@pytest.mark.parametrize("blur", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("band", [(0.03, 0.06), (0.06, 0.12), (0.12, 0.2)])
def test_a_decoy_has_the_power_of_the_noise_at_every_frequency(blur: float, band: tuple[float, float]) -> None:
    image = coloured(np.random.default_rng(5), blur=blur)

    assert ring_power(of(image), *band) == pytest.approx(ring_power(image, *band), rel=0.15)


def test_lumps_in_a_few_places_do_not_count() -> None:
    rng = np.random.default_rng(6)
    clean = rng.standard_normal((700, 600)).astype(np.float32)
    dirty = clean.copy()
    dirty[100:180, 100:180] += 30
    dirty[500:560, 400:480] -= 30

    a, b = radial_spectrum(clean), radial_spectrum(dirty)

    assert a is not None
    assert b is not None
    assert b.mean() < 1.15 * a.mean()
    assert ring_power(dirty, 0.005, 0.05) > 5 * b[1:5].mean()


def test_white_noise_of_unit_variance_has_unit_power() -> None:
    spectrum = radial_spectrum(np.random.default_rng(1).standard_normal((900, 900)).astype(np.float32))

    assert spectrum is not None
    assert len(spectrum) == 49
    assert spectrum[2:].mean() == pytest.approx(1, rel=0.03)


def test_the_power_of_the_noise_is_the_median_over_tiles_that_overlap_by_half() -> None:
    image = np.random.default_rng(3).standard_normal((300, 350)).astype(np.float32)
    side = 96
    taper = np.outer(np.hanning(side), np.hanning(side))
    tiles = [
        image[y : y + side, x : x + side].astype(float)
        for y in range(0, 300 - side + 1, side // 2)
        for x in range(0, 350 - side + 1, side // 2)
    ]
    powers = [np.abs(np.fft.rfft2((tile - tile.mean()) * taper)) ** 2 / (taper**2).sum() for tile in tiles]

    power = noise_power(image)

    assert power is not None
    assert np.allclose(power, np.median(powers, axis=0) / np.log(2), rtol=1e-4)


def test_a_decoy_follows_from_its_seed_and_has_the_size_that_is_asked_for() -> None:
    image = coloured(np.random.default_rng(7))

    assert np.array_equal(of(image, (300, 412), seed=3), of(image, (300, 412), seed=3))
    assert not np.array_equal(of(image, (300, 412), seed=3), of(image, (300, 412), seed=4))
    assert of(image, (300, 412)).shape == (300, 412)
    assert of(image, (300, 412)).dtype == np.float32


def test_a_decoy_is_no_copy() -> None:
    image = coloured(np.random.default_rng(8))

    assert abs(np.corrcoef(image.ravel(), of(image).ravel())[0, 1]) < 0.02


def test_padding_is_left_out_of_the_spectrum() -> None:
    image = np.random.default_rng(9).standard_normal((800, 800)).astype(np.float32)
    padded = image.copy()
    padded[:, 500:] = 0

    a, b = radial_spectrum(image), radial_spectrum(padded)

    assert a is not None
    assert b is not None
    assert np.median(b / a) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.random.default_rng(1).standard_normal((60, 400)), id="too small"),
        pytest.param(np.zeros((400, 400)), id="all padding"),
        pytest.param(np.full((400, 400), 2.0), id="uniform"),
        pytest.param(
            np.pad(np.random.default_rng(1).standard_normal((40, 400)), ((0, 360), (0, 0))), id="most padding"
        ),
    ],
)
def test_without_enough_noise_there_is_no_spectrum(image: np.ndarray) -> None:
    assert radial_spectrum(image.astype(np.float32)) is None


def test_twenty_grey_levels_are_enough() -> None:
    image = coloured(np.random.default_rng(2))
    coarse = np.round(image * 3) / 3

    assert ring_power(of(coarse), 0.06, 0.12) == pytest.approx(ring_power(of(image), 0.06, 0.12), rel=0.1)


def test_what_a_decoy_is_drawn_from_is_in_the_pixels_as_they_were_read() -> None:
    image = np.random.default_rng(9).normal(900, 30, (700, 500)).astype(np.float32)
    other = image.copy()
    other[::7] += 1
    turned_over = image.byteswap().view(image.dtype.newbyteorder())

    assert noise_seed(image) == noise_seed(image.copy("F")) == noise_seed(turned_over)
    assert noise_seed(image) != noise_seed(other)


@pytest.mark.parametrize("more", [(0, 0), (1, 0), (0, 1)])
def test_noise_hardly_differs_where_its_spectrum_or_its_size_hardly_does(more: tuple[int, int]) -> None:
    spectrum = radial_spectrum(coloured(np.random.default_rng(3), blur=1.0))
    assert spectrum is not None
    height, width = 400 + more[0], 300 + more[1]

    here = decoy_from(spectrum, (400, 300), 5, 2)
    there = decoy_from(spectrum * (1 + 1e-6), (height, width), 5, 2)

    inside = np.s_[60:-60, 60:-60]
    assert np.corrcoef(here[inside].ravel(), there[:400, :300][inside].ravel())[0, 1] > 0.99
    assert np.corrcoef(here.ravel(), decoy_from(spectrum, (400, 300), 5, 3).ravel())[0, 1] < 0.1
