"""Polar Fourier space against images that OpenCV has turned and moved."""

import math

import cv2
import numpy as np
import pytest
import torch

from cryotx_cli.averages.polar import PolarFourier


@pytest.fixture(scope="module")
def polar() -> PolarFourier:
    return PolarFourier(64, 20.0, 12, torch.device("cpu"))


def blob(seed: int = 0) -> np.ndarray:
    """An image without symmetry that vanishes before the mask begins."""
    y, x = np.mgrid[:64, :64] - 31.5
    smooth = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((64, 64)), (0, 0), 3)
    return (smooth * np.exp(-(x**2 + y**2) / (2 * 6.0**2))).astype(np.float32)


def harmonics(polar: PolarFourier, image: np.ndarray) -> torch.Tensor:
    return polar.harmonics_of(torch.from_numpy(image)[None])


def test_samples_are_the_fourier_transform(polar: PolarFourier) -> None:
    image = blob()
    y, x = np.mgrid[:64, :64] - 31.5
    masked = image * polar.mask.numpy()

    values = polar.samples(harmonics(polar, image))[0]

    for ring, angle in ((1, 0), (5, 7), (12, 40)):
        a = 2 * math.pi * angle / polar.angles
        wave = np.exp(-2j * math.pi * ring * (x * math.cos(a) + y * math.sin(a)) / 64)
        assert values[ring - 1, angle].item() == pytest.approx((masked * wave).sum(), abs=1e-3)


def test_samples_and_harmonics_are_two_ways_to_say_the_same(polar: PolarFourier) -> None:
    found = harmonics(polar, blob())

    torch.testing.assert_close(polar.from_samples(polar.samples(found)), found)


@pytest.mark.parametrize("degrees", [30.0, -75.0, 180.0])
def test_turning_harmonics_turns_the_image(polar: PolarFourier, degrees: float) -> None:
    image = blob()
    # OpenCV counts angles from the x axis away from the y axis, which points down.
    matrix = cv2.getRotationMatrix2D((31.5, 31.5), -degrees, 1)
    turned = harmonics(polar, cv2.warpAffine(image, matrix, (64, 64), flags=cv2.INTER_CUBIC))

    found = polar.turned(harmonics(polar, image), torch.tensor([math.radians(degrees)]))

    assert (found - turned).abs().max() < 0.02 * turned.abs().max()


def test_moving_samples_moves_the_image(polar: PolarFourier) -> None:
    image = blob()
    moved = polar.samples(harmonics(polar, np.roll(image, (-1, 2), (0, 1))))

    found = polar.samples(harmonics(polar, image)) * polar.moves(torch.tensor([[2.0, -1.0]]))

    assert (found - moved).abs().max() < 0.03 * moved.abs().max()
