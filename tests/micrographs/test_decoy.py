"""Decoys have the spectrum of the noise in a micrograph, and nothing else of it."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryotx_cli.micrographs.decoy import decoy_from, radial_spectrum
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
