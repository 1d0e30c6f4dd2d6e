"""The marks of cameras and software: what real files went through before anybody picks particles in them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, uniform_filter

from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER


def develop(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Put the marks of cameras and software on a simulated image: what real files went through before a user picks.

    Smoothing (binning, denoising, interpolation: real images are smoother than physics alone makes them), coloured
    noise gain, local contrast equalisation as CLAHE does, tone curves, few grey levels, hot pixels, stripes, borders.
    """
    image = (image - image.mean()) / image.std()
    if rng.random() < 0.7:
        image = _recoloured(image, rng)
    if rng.random() < 0.5:
        image = gaussian_filter(image, rng.uniform(0.4, 3.0))
        image = image / image.std()
    if rng.random() < 0.04:  # uncorrected drift
        image = gaussian_filter1d(image, rng.uniform(0.7, 4.0), axis=int(rng.integers(2)))
        image = image / image.std()
    if rng.random() < 0.15:
        image = _locally_equalised(image, rng)
    if rng.random() < 0.3:
        image = _toned(image, rng)
    if rng.random() < 0.12:
        low, high = np.quantile(image, [0.001, 0.999])
        levels = int(math.exp(rng.uniform(math.log(12), math.log(255))))
        image = np.round(np.clip((image - low) / (high - low), 0, 1) * levels).astype(np.float32)
    return _marked(image, rng)


def _recoloured(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Multiply the spectrum by a smooth random curve of the radius."""
    height, width = image.shape
    # Rows of frequencies beyond the middle repeat the others'.
    radius = np.hypot(np.fft.rfftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    gain = np.exp(np.interp(radius, np.linspace(0, 0.5, 5), rng.normal(0, 0.3, 5)))
    if rng.random() < 0.3:
        gain *= 1 - np.exp(-((radius * PIXELS_PER_DIAMETER * rng.uniform(1, 6)) ** 2))
    gain = np.concatenate([gain, gain[(height - 1) // 2 : 0 : -1]]).astype(np.float32)
    spectrum = torch.fft.rfft2(torch.from_numpy(image)).mul_(torch.from_numpy(gain))
    out = torch.fft.irfft2(spectrum, s=image.shape).numpy()
    return np.asarray(out / out.std(), np.float32)


def _locally_equalised(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    window = int(rng.integers(40, 120))
    mean = uniform_filter(image, window)
    spread = np.sqrt(np.maximum(uniform_filter((image - mean) ** 2, window), 1e-6))
    strength = rng.uniform(0.3, 1.0)
    return np.asarray((image - strength * mean) / spread**strength, np.float32)


def _toned(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Apply a monotone tone curve: saturation on either side and a gamma."""
    gain, shift = rng.uniform(0.2, 0.8), rng.normal(0, 0.5)
    return np.asarray(np.tanh(gain * (image - shift)), np.float32)


def _marked(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    spread = float(image.std())
    if rng.random() < 0.05:
        hot = rng.random(image.shape) < 1e-4
        image = np.where(hot, image.max() + spread * rng.uniform(0, 10), image)
    if rng.random() < 0.04:
        lines = rng.normal(0, rng.uniform(0.1, 0.6) * spread, (image.shape[int(rng.integers(2))],))
        image = (image + (lines[:, None] if rng.random() < 0.5 else lines[None])).astype(np.float32)
    if rng.random() < 0.04:
        border = int(rng.integers(2, 12))
        value = image.mean() + spread * rng.normal(0, 6)
        # At the top; turning the crop takes it to any side.
        image = np.concatenate([np.full_like(image[:border], value), image[border:]])
    if rng.random() < 0.06:  # motion correction and filters repeat the outermost row that they know
        border = int(rng.integers(2, 40))
        image = np.concatenate([np.repeat(image[border : border + 1], border, axis=0), image[border:]])
    return np.ascontiguousarray(image, np.float32)
