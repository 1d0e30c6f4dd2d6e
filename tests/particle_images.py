"""Images of made-up particles as crops show them."""

import math

import cv2
import numpy as np

SIDE = 64


def shape(number: int) -> np.ndarray:
    """One of two bright shapes without symmetry, 40 px wide at most, in the middle of a crop."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    lobes = {
        0: [(-9, 0, 4, 1.0), (6, -6, 4, 0.8), (3, 9, 3, 1.2)],
        1: [(0, -9, 3, 1.2), (0, 0, 4, 1.0), (0, 9, 3, 0.8), (7, 4, 3, 0.9)],
    }[number]
    return np.sum([h * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * s**2)) for u, v, s, h in lobes], 0)


def placed(image: np.ndarray, angle: float, shift: np.ndarray | tuple[float, float]) -> np.ndarray:
    """Move an image, then turn it from the x axis towards the y axis, with OpenCV's own matrices."""
    moved = cv2.warpAffine(
        image, np.array([[1.0, 0, shift[0]], [0, 1.0, shift[1]]]), (SIDE, SIDE), flags=cv2.INTER_CUBIC
    )
    matrix = cv2.getRotationMatrix2D(((SIDE - 1) / 2,) * 2, -math.degrees(angle), 1)
    return cv2.warpAffine(moved, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC)


def noisy_particles(count: int, noise: float, seed: int, of: tuple[int, ...] = (0, 1)) -> tuple[np.ndarray, np.ndarray]:
    """Crops of particles anyhow turned and a little off their middle, in noise; and which shape each has."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice(of, count)
    crops = [placed(shape(k), rng.uniform(0, 2 * math.pi), rng.uniform(-2, 2, 2)) for k in numbers]
    noisy = np.stack(crops) + rng.normal(0, noise, (count, SIDE, SIDE))
    return (noisy / noisy.std((1, 2), keepdims=True)).astype(np.float32), numbers
