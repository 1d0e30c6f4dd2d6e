"""Where a micrograph shows support film instead of ice: a small network of its own, beside the detector.

Film is a matter of the whole micrograph: a dark, mottled region behind a long sharp edge, for which a particle's
surroundings say little. So this network sees the normalised image in cells of 4 px, a sixth of a particle: their mean
and how much they vary, film being noisier than ice. It is a U-Net (Ronneberger et al. 2015) of 0.18 million parameters
whose lowest level knows the mean of the whole image.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cryotx_cli.detector.center.network import convolution
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, padding

CELL = 4
"""Side in network px of a cell of `film_features` and `film_probability`."""
_WIDTHS = (16, 24, 32, 48, 64)
_LEAST, _MOST = 0.5, 0.6
_SMALLEST = np.pi / 4 * PIXELS_PER_DIAMETER**2  # network px² of what is outlined: a particle
_BENDS = 2.0  # network px between an outline and the cells that it follows


class FilmFinder(nn.Module):
    """Says for every cell of an image whether it shows support film, or the inside of a large ice crystal."""

    def __init__(self) -> None:
        super().__init__()
        widths = _WIDTHS
        self.stem = convolution(2, widths[0], kernel=5, stride=2)
        self.down = nn.ModuleList(
            nn.Sequential(convolution(fine, coarse, stride=2), convolution(coarse, coarse))
            for fine, coarse in itertools.pairwise(widths)
        )
        self.whole = nn.Linear(widths[-1], widths[-1])
        self.lateral = nn.ModuleList(nn.Conv2d(fine, fine, 1) for fine in widths[:-1])
        self.narrow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in itertools.pairwise(widths))
        self.smooth = nn.ModuleList(convolution(fine, fine) for fine in widths[:-1])
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, height, width) of `film_features` (batch, 2, height, width)."""
        levels = [self.stem(features)]
        for stage in self.down:
            levels.append(stage(levels[-1]))
        y = levels.pop()
        y = y + F.silu(self.whole(y.mean((2, 3))))[:, :, None, None]
        stages = zip(levels, self.lateral, self.narrow, self.smooth, strict=True)
        for level, lateral, narrow, smooth in reversed(list(stages)):
            y = smooth(lateral(level) + _resized(narrow(y), level))
        return _resized(self.head(y), features)[:, 0]


def film_features(image: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Mean and variability of the cells of a normalised image, and which of them show the micrograph.

    Returns
    -------
    Tensor, Tensor
        (2, h, w), where h and w are the image's sides over 4, rounded up: the mean, and twice the logarithm of the
        standard deviation over that of the median cell; zero in padding. And (h, w) bool: False in padding.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None]
    mean, square = (F.avg_pool2d(x, CELL, ceil_mode=True, count_include_pad=False)[0, 0] for x in (pixels, pixels**2))
    spread = ((square - mean**2).clamp_min(0).sqrt() + 0.01).log()
    top, bottom, left, right = (-(-border // CELL) for border in padding(image))
    shown = torch.zeros(mean.shape, dtype=torch.bool)
    shown[top : mean.shape[0] - bottom, left : mean.shape[1] - right] = True
    features = torch.stack([mean, (2 * (spread - spread[shown].median())).clamp(-5, 5)])
    return features * shown, shown


def film_probability(model: FilmFinder, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability (h, w) that each cell of a normalised image shows film; h and w as those of `film_features`.

    Zero where it is below a half, lest doubts change the order of sure detections on ice. Zero everywhere if more than
    0.6 of the micrograph would be film: then that is what somebody took a micrograph of, or the network is wrong.
    """
    probability, shown = _raw_film(model, image)
    (top, *_, bottom), (left, *_, right) = (np.flatnonzero(shown.any(axis).numpy()) for axis in (1, 0))
    probability = probability[top : bottom + 1, left : right + 1]
    probability[probability < _LEAST] = 0
    if np.count_nonzero(probability) > _MOST * probability.size:
        probability[:] = 0
    # A cell that is padding in part may hold a particle; there, its neighbour speaks.
    height, width = shown.shape
    return np.pad(probability, ((top, height - 1 - bottom), (left, width - 1 - right)), mode="edge")


def film_share(model: FilmFinder, image: NDArray[np.float32]) -> float:
    """Share of a normalised image, padding apart, that is likelier film than not."""
    probability, shown = _raw_film(model, image)
    return float((probability[shown.numpy() > 0] >= _LEAST).mean())


def _raw_film(model: FilmFinder, image: NDArray[np.float32]) -> tuple[NDArray[np.float32], Tensor]:
    """Probability of film in each cell, and which cells show something."""
    features, shown = film_features(image)
    with torch.inference_mode():
        logits: Tensor = model(features[None].to(next(model.parameters()).device))[0]
    return logits.float().sigmoid().cpu().numpy(), shown


def film_at(film: NDArray[np.float32], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability (n,) of film, by `film_probability`, at points (n, 2) in px from the image's corner."""
    column, row = (centres // CELL).astype(int).T
    here = film[row.clip(0, film.shape[0] - 1), column.clip(0, film.shape[1] - 1)]
    return np.asarray(here, np.float64)


def film_outlines(film: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Outline the film that `film_probability` found, and the holes in it; neither if smaller than a particle.

    Returns
    -------
    list of NDArray
        Polygons (k, 2) of x, y in px of the image, whose first pixel has its centre at (0, 0); holes run the other way
        round.
    """
    if not film.any():
        return []
    # Blurred by a cell: without its steps.
    soft = cv2.GaussianBlur((film > 0).astype(np.float32), (0, 0), 1, borderType=cv2.BORDER_REPLICATE)
    fine = cv2.resize(soft, None, fx=CELL, fy=CELL, interpolation=cv2.INTER_LINEAR)
    contours, _ = cv2.findContours((fine >= 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    large = [contour for contour in contours if cv2.contourArea(contour) >= _SMALLEST]
    bends = (cv2.approxPolyDP(contour, _BENDS, True)[:, 0].astype(np.float64) for contour in large)
    # What reaches the last pixels reaches the border, half a pixel further.
    last = np.array(fine.shape[::-1]) - 1
    return [np.where(one <= 0, -0.5, np.where(one >= last, last + 0.5, one)) for one in bends if len(one) > 2]


def off_film(logits: NDArray[np.float64], film: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Logits of particles off the film, from those of particles anywhere and the probability of film at each; (n,).

    With the probability :math:`\sigma(x)` of a particle and :math:`f` of film, a particle off the film has the
    probability :math:`\sigma(x) (1 - f)`, whose logit is :math:`x + \ln(1 - f) - \ln(1 + f e^x)`.
    """
    film = film.clip(0, 1 - 1e-6)
    with np.errstate(divide="ignore"):
        return np.asarray(logits + np.log1p(-film) - np.logaddexp(0, np.log(film) + logits), np.float64)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
