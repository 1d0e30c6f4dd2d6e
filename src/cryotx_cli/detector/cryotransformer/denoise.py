"""The denoising of `cryotx_cli.micrographs.denoise` in torch: the same pixels from a GPU, stage by stage.

Non-local means and equalisation follow the integer arithmetic of OpenCV. Where floating-point numbers are rounded, the
order and the kind of the operations are kept, because a last bit can decide a pixel. The one exception is the Wiener
filter: its Fourier transforms may differ in the last bits of double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor
from torch.nn import functional as F

from cryotx_cli.config import DenoisingPipeline
from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.denoise import (
    CONSTANT_HINT,
    GAUSSIAN_PX,
    GUIDED_EPSILON,
    GUIDED_RADIUS_PX,
    WIENER_NOISE_TO_SIGNAL,
    WIENER_PX,
    measurable,
    wiener_transfer,
)
from cryotx_cli.micrographs.denoise import denoise as denoise_on_cpu

_TEMPLATE_PX, _SEARCH_PX, _STRENGTH = 7, 21, 10.0
_TILES, _LEVELS, _CLIP_LIMIT = 16, 256, 2.0
_CHUNK = 8192  # numbers that NumPy 1 sums pairwise; their sums are added one after the other
_LANES = 8  # floating-point numbers that OpenCV blurs at once, with fused multiply-add; the columns left over without
_ONE_AT_A_TIME = Lock()  # bounds the memory of a GPU, which one image keeps busy
_BAND_PX = 1 << 23  # pixels worked on at once: enough to keep a GPU busy, about 350 MB


def denoiser_on(device: torch.device) -> Callable[[NDArray[Any], DenoisingPipeline], NDArray[np.uint8]]:
    """Return what denoises fastest there: OpenCV on a CPU, else `denoise`; to be called from any thread."""
    if device.type == "cpu":
        return denoise_on_cpu

    def denoise_there(image: NDArray[Any], pipeline: DenoisingPipeline) -> NDArray[np.uint8]:
        with _ONE_AT_A_TIME:
            return denoise(image, pipeline, device)

    return denoise_there


def denoise(image: NDArray[Any], pipeline: DenoisingPipeline, device: torch.device) -> NDArray[np.uint8]:
    """Denoise a micrograph on a device; arguments, result and errors as in `cryotx_cli.micrographs.denoise.denoise`."""
    image = measurable(image)
    if pipeline == "original":
        pixels = torch.from_numpy(np.ascontiguousarray(image[::-1])).to(device)
        return np.ascontiguousarray(_denoise_as_recorded(pixels).cpu().numpy()[::-1])
    pixels = torch.from_numpy(image.astype(np.float32)).to(device)
    equalised = equalise(to_8_bit(wiener_filter(non_local_means(to_8_bit(standardise(pixels))))))
    smoothed = guided_filter(equalised, _over(equalised.float(), 255), 2 * GUIDED_RADIUS_PX + 1)
    return np.asarray(to_8_bit(smoothed).cpu().numpy(), np.uint8)


def _denoise_as_recorded(image: Tensor) -> Tensor:
    restored = wiener_filter(non_local_means(to_8_bit(standardise(image))), displacement_px=-(WIENER_PX // 2))
    return to_8_bit(guided_filter(equalise(to_8_bit(restored)), _over(restored.float(), 255), GUIDED_RADIUS_PX))


def standardise(image: Tensor) -> Tensor:
    """Blur with a Gaussian of 9 x 9 pixels, subtract the mean and divide by the standard deviation.

    Parameters
    ----------
    image
        (height, width) float32, int16 or uint16.

    Returns
    -------
    float32 (height, width) for a floating-point image, float64 for an integer one.

    Raises
    ------
    MicrographError
        The blurred image is constant.
    """
    blurred = _blur(image)
    values = blurred.flatten()
    total = _sum(values)
    mean = torch.tensor(np.float64(total) / values.numel(), dtype=values.dtype, device=values.device)
    # The mean inside of the deviation is divided in the precision of the pixels, as NumPy 1 does.
    centre = torch.tensor(total / total.dtype.type(values.numel()), device=values.device)
    variance = total.dtype.type(np.float64(_sum((values - centre).square_())) / values.numel())
    if variance == 0:
        raise MicrographError(f"cannot be denoised: it is constant once blurred ({float(values[0]):g})", CONSTANT_HINT)
    return _over(blurred - mean, np.sqrt(variance))


def to_8_bit(image: Tensor) -> Tensor:
    """Stretch an image to 0..255, truncating; uint8.

    Raises
    ------
    MicrographError
        The image is constant.
    """
    low, high = torch.aminmax(image)
    if low == high:
        raise MicrographError(f"cannot be denoised: every pixel is {float(low):g}", CONSTANT_HINT)
    return (image - low).div_(high - low).mul_(255).to(torch.uint8)


def non_local_means(image: Tensor) -> Tensor:
    """Average pixels whose 7 x 7 surroundings agree, within 21 x 21 pixels, with strength 10, in integers.

    A weight is a function of the squared difference of two surroundings, and the same for both pixels: half of the
    offsets of the window are enough.
    """
    weights = torch.from_numpy(_weights()).to(image.device)
    border = _SEARCH_PX // 2 + _TEMPLATE_PX // 2
    height, width = image.shape
    extended = _reflected(image, border, border)
    averaged = torch.empty_like(image)
    for rows in _bands(height, width):
        averaged[rows] = _averaged(extended[rows.start : rows.stop + 2 * border], weights)
    return averaged


def wiener_filter(image: Tensor, displacement_px: int = 0) -> Tensor:
    """Undo a blur by a 9 x 9 Gaussian kernel: conj(H) / (|H|^2 + K) with K = 30, on the image repeated periodically.

    Parameters
    ----------
    image
        8-bit image (height, width).
    displacement_px
        Move the result along x and y, around the edges.

    Returns
    -------
    float64 (height, width), the magnitudes.
    """
    height, width = image.shape
    transfer_y = torch.from_numpy(wiener_transfer(fft.fftfreq(height))).to(image.device)
    transfer_x = torch.from_numpy(wiener_transfer(fft.rfftfreq(width))).to(image.device)
    transfer = transfer_y[:, None] * transfer_x
    spectrum = torch.fft.rfft2(image.roll((displacement_px, displacement_px), (0, 1)).double())
    spectrum *= transfer / (transfer.square() + WIENER_NOISE_TO_SIGNAL)
    restored: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
    return restored.abs_()


def equalise(image: Tensor) -> Tensor:
    """Equalise the histogram in 16 x 16 tiles, each bin limited to twice the mean (Zuiderveld, 1994); uint8."""
    height, width = image.shape
    # Where one side does not divide, OpenCV extends the other one, too: by a whole tile's share if it does divide.
    uneven = height % _TILES or width % _TILES
    extended = _reflected(image, 0, _TILES - height % _TILES, _TILES - width % _TILES) if uneven else image
    tile_height, tile_width = extended.shape[0] // _TILES, extended.shape[1] // _TILES
    levels = _equalising_levels(extended, tile_height, tile_width).flatten()
    top, bottom, y_weight = _neighbouring_tiles(height, tile_height, image.device)
    left, right, x_weight = _neighbouring_tiles(width, tile_width, image.device)
    equalised = torch.empty_like(image)
    for rows in _bands(height, width):
        value = image[rows].int()
        upper, lower = (
            _between(levels, (y[rows, None] * _TILES + left) * _LEVELS + value, (right - left) * _LEVELS, x_weight)
            for y in (top, bottom)
        )
        down = y_weight[rows, None]
        equalised[rows] = (upper * (1 - down) + lower * down).round_().clamp_(0, 255).to(torch.uint8)
    return equalised


def guided_filter(image: Tensor, guide: Tensor, box_px: int) -> Tensor:
    """Smooth an image except where the guide has edges (He, Sun and Tang, 2010); epsilon is 0.1.

    Parameters
    ----------
    image
        8-bit image (height, width).
    guide
        float32 (height, width).
    box_px
        Side of the boxes that are averaged; an even one reaches one pixel farther to the left and up.

    Returns
    -------
    float32 (height, width), 0 to 1.
    """
    scaled = _over(image.float(), 255)
    mean_guide, mean_image = _box_mean(guide, box_px), _box_mean(scaled, box_px)
    slope = _box_mean(scaled.mul_(guide), box_px) - mean_guide * mean_image
    variance = _box_mean(guide * guide, box_px) - mean_guide * mean_guide
    slope /= variance.add_(torch.tensor(GUIDED_EPSILON, dtype=torch.float32, device=guide.device))
    offset = mean_image - slope * mean_guide
    return _box_mean(slope, box_px).mul_(guide).add_(_box_mean(offset, box_px))


# ---- blur and sums ---------------------------------------------------------------------------------------------------


def _blur(image: Tensor) -> Tensor:
    """`cv2.GaussianBlur`; float32 for a floating-point image, float64 that holds integers for an integer one."""
    taps = cv2.getGaussianKernel(GAUSSIAN_PX, 0, cv2.CV_64F).ravel().tolist()
    fixed_point = image.dtype == torch.uint16
    pixels = image.double() if fixed_point else image.float()
    height, width = image.shape
    fused = 0 if fixed_point else width // _LANES * _LANES
    reach = GAUSSIAN_PX // 2
    across = _reflection(width, reach, reach, image.device)
    along = _reflection(height, reach, reach, image.device)
    blurred = torch.empty_like(pixels)
    for rows in _bands(height, width):
        band = pixels[along[rows.start : rows.stop + 2 * reach]][:, across]
        if fused:
            blurred[rows, :fused] = _blur_fused(band[:, : fused + 2 * reach], taps)
        if fused < width:
            blurred[rows, fused:] = _blur_plain(band[:, fused:], taps)
    if fixed_point:  # the taps are multiples of 1/256: the sums are exact, and halves are rounded up
        return blurred.add_(0.5).floor_()
    return blurred if image.is_floating_point() else blurred.round_().double()


def _blur_plain(extended: Tensor, taps: list[float]) -> Tensor:
    """Blur rows from the first tap to the last, then columns from the middle outwards."""
    middle, width, height = len(taps) // 2, extended.shape[1] - len(taps) + 1, extended.shape[0] - len(taps) + 1
    along = extended[:, :width] * taps[0]
    for i in range(1, len(taps)):
        along += extended[:, i : i + width] * taps[i]
    blurred = along[middle : middle + height] * taps[middle]
    for i in range(1, middle + 1):
        pair = along[middle + i : middle + i + height] + along[middle - i : middle - i + height]
        blurred += pair.mul_(taps[middle + i])
    return blurred


def _blur_fused(extended: Tensor, taps: list[float]) -> Tensor:
    """Blur with a single rounding to float32 a product and sum; in double precision the product is exact."""
    middle, width, height = len(taps) // 2, extended.shape[1] - len(taps) + 1, extended.shape[0] - len(taps) + 1
    along = extended[:, :width] * taps[0]
    for i in range(1, len(taps)):
        along = (extended[:, i : i + width].double() * taps[i]).add_(along).float()
    blurred = along[middle : middle + height] * taps[middle]
    for i in range(1, middle + 1):
        pair = along[middle + i : middle + i + height] + along[middle - i : middle - i + height]
        blurred = (pair.double() * taps[middle + i]).add_(blurred).float()
    return blurred


def _sum(values: Tensor) -> np.floating[Any]:
    """Sum numbers in the order of NumPy 1: pairwise within 8192 of them, one after the other beyond."""
    whole = values.numel() // _CHUNK * _CHUNK
    # Pairwise: eight interleaved sums within 128 numbers, then neighbours two by two.
    groups = values[:whole].view(-1, 64, 16, 8)
    sums = groups[:, :, 0].clone()
    for i in range(1, 16):
        sums += groups[:, :, i]
    sums = sums.flatten(1)
    while sums.shape[1] > 1:
        sums = sums[:, 0::2] + sums[:, 1::2]
    parts = [sums[:, 0].cpu().numpy()]
    if whole < values.numel():
        parts.append(values[whole:].cpu().numpy().sum(keepdims=True))
    total: np.floating[Any] = np.add.accumulate(np.concatenate(parts))[-1]
    return total


# ---- non-local means -------------------------------------------------------------------------------------------------


def _weights() -> NDArray[np.int32]:
    """Fixed-point weights by the summed squared difference of two surroundings, divided by 64; the last one is 0.

    The sums of weights and of weighted pixels of a whole window fit into 31 bits. A surrounding has 49 pixels, and the
    next power of two is 64. Weights below 1/1000 are left out.
    """
    one = (2**31 - 1) // (_SEARCH_PX**2 * 255)
    step = 64 / _TEMPLATE_PX**2
    distances = np.arange(int(255**2 / step + 1)) * step
    weights = np.rint(one * np.exp(-distances / _STRENGTH**2))
    weights[weights < 0.001 * one] = 0
    used: NDArray[np.int32] = weights[: np.count_nonzero(weights) + 1].astype(np.int32)
    return used


def _averaged(extended: Tensor, weights: Tensor) -> Tensor:
    """Average the rows of a band that has the reach of search window and surroundings on every side; int64."""
    reach, half = _SEARCH_PX // 2, _TEMPLATE_PX // 2
    border = reach + half
    height, width = extended.shape[0] - 2 * border, extended.shape[1] - 2 * border
    real, integer = extended.float(), extended.int()
    inside = integer[border : border + height, border : border + width]
    total = torch.full_like(inside, int(weights[0]))
    estimate = inside * total
    for dy in range(reach + 1):
        for dx in range(-reach if dy else 1, reach + 1):
            # Weights of the pairs (p, p + offset) for all p of the band, and those p whose partner is in the band.
            left, right = max(dx, 0), max(-dx, 0)
            y, x = border - dy - half, border - left - half
            rows, columns = height + dy + 2 * half, width + left + right + 2 * half
            difference = real[y : y + rows, x : x + columns] - real[y + dy : y + dy + rows, x + dx : x + dx + columns]
            # At most 49 x 255^2 < 2^24: exact in float32.
            distance = _window_sums(difference.square_(), _TEMPLATE_PX)
            level = distance.mul_(1 / 64).clamp_(max=len(weights) - 1).int()
            weight = weights.index_select(0, level.flatten()).view(level.shape)
            for of_pair, sign in ((weight[dy:, left : left + width], 1), (weight[:height, right : right + width], -1)):
                y, x = border + sign * dy, border + sign * dx
                total += of_pair
                estimate.addcmul_(of_pair, integer[y : y + height, x : x + width])
    # Rounding takes the sum past 31 bits.
    return torch.div(estimate.long() + total // 2, total, rounding_mode="floor")


# ---- equalisation ----------------------------------------------------------------------------------------------------


def _equalising_levels(image: Tensor, tile_height: int, tile_width: int) -> Tensor:
    """Return the new grey level of each old one in each tile: (256 tiles, 256 levels) float32."""
    area = tile_height * tile_width
    tiles = image.view(_TILES, tile_height, _TILES, tile_width).transpose(1, 2).reshape(_TILES**2, area)
    counts = torch.zeros(_TILES**2, _LEVELS, dtype=torch.int32, device=image.device)
    for row in range(0, _TILES**2, _TILES):
        index = tiles[row : row + _TILES].long()
        counts[row : row + _TILES].scatter_add_(1, index, torch.ones_like(index, dtype=torch.int32))
    limit = max(int(_CLIP_LIMIT * area / _LEVELS), 1)
    excess = (counts - limit).clamp_(min=0).sum(1, keepdim=True, dtype=torch.int32)
    rest = excess % _LEVELS
    # What does not divide goes one by one to bins that are evenly apart.
    step = (_LEVELS // rest.clamp(min=1)).clamp_(min=1)
    bins = torch.arange(_LEVELS, dtype=torch.int32, device=image.device)
    extra = (bins % step == 0) & (bins // step < rest)
    counts = counts.clamp_(max=limit) + excess // _LEVELS + extra
    scale = torch.tensor(np.float32(_LEVELS - 1) / np.float32(area), device=image.device)
    return (counts.cumsum(1).float() * scale).round_().clamp_(0, 255)


def _neighbouring_tiles(length: int, tile: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row or column: the tiles whose centres lie before and after it, and the weight of the latter."""
    position = np.arange(length, dtype=np.float32) * (np.float32(1) / np.float32(tile)) - np.float32(0.5)
    before = np.floor(position)
    weight = torch.from_numpy(position - before).to(device)
    tiles = torch.from_numpy(before.astype(np.int32)).to(device)
    return tiles.clamp(min=0), (tiles + 1).clamp(max=_TILES - 1), weight


def _between(levels: Tensor, index: Tensor, step: Tensor, weight: Tensor) -> Tensor:
    """Interpolate between the levels at `index` and at `index + step`."""
    first, second = (levels.index_select(0, i.flatten()).view(i.shape) for i in (index, index + step))
    return (first * (1 - weight)).add_(second * weight)


# ---- windows ---------------------------------------------------------------------------------------------------------


def _box_mean(image: Tensor, side: int) -> Tensor:
    """`cv2.boxFilter`: sums in double precision, then one rounding to float32."""
    height, width = image.shape
    mean = torch.empty_like(image)
    before, after = side // 2, (side - 1) // 2
    across = _reflection(width, before, after, image.device)
    along = _reflection(height, before, after, image.device)
    for rows in _bands(height, width):
        band = image[along[rows.start : rows.stop + side - 1]][:, across]
        mean[rows] = _window_sums(band.double(), side).mul_(1 / side**2)
    return mean


def _window_sums(image: Tensor, side: int) -> Tensor:
    """Sum all windows of side x side pixels that lie inside of the image."""
    rows = F.avg_pool2d(image[None], (1, side), stride=1, divisor_override=1)
    return F.avg_pool2d(rows, (side, 1), stride=1, divisor_override=1)[0]


def _reflected(image: Tensor, before: int, below: int, right: int | None = None) -> Tensor:
    """Continue an image beyond its borders by its mirror image without the border pixel itself."""
    height, width = image.shape
    rows = _reflection(height, before, below, image.device)
    columns = _reflection(width, before, below if right is None else right, image.device)
    return image[rows][:, columns]


def _reflection(length: int, before: int, after: int, device: torch.device) -> Tensor:
    return torch.from_numpy(np.pad(np.arange(length), (before, after), mode="reflect")).to(device)


def _bands(height: int, width: int) -> Iterator[slice]:
    step = max(1, _BAND_PX // width)
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def _over(image: Tensor, divisor: float | np.floating[Any]) -> Tensor:
    # On a GPU torch multiplies by the reciprocal of a number, which is not the same, but divides by a tensor.
    return image / torch.tensor(divisor, dtype=image.dtype, device=image.device)
