"""Convolutions of 3 x 3 in fewer multiplications, for inference on a processor (Winograd; Lavin and Gray 2016).

A convolution of polynomials is a product of their values at enough points. Tiles of 4 x 4 outputs come from 6 x 6
inputs whose values at 6 x 6 points are multiplied by those of the kernel: 36 products instead of 144. It pays where
there are so many channels that the products take longer than going to the points and back.
"""

from __future__ import annotations

import math
import threading

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEWEST_CHANNELS = 96
"""With 48, going to the points and back takes as long as the products save."""
_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""And infinity. With 0, 1, -1, 2 and -2, as in the literature, errors of rounding are four times as large."""
_TILE = len(_POINTS) - 1  # outputs along a side
_SIDE = _TILE + 2
_AT_ONCE = 1 << 19  # numbers of a block of tiles, at the points: few enough to stay in the processor's cache


def speed_up(model: nn.Module) -> None:
    """Let each convolution of 3 x 3 between many channels, in a sequence, compute the same in fewer multiplications."""
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            for i, layer in enumerate(module):
                if isinstance(layer, nn.Conv2d) and pays(layer):
                    module[i] = WinogradConvolution(layer)


def pays(layer: nn.Conv2d) -> bool:
    """Whether `WinogradConvolution` takes less time than this."""
    shape = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and min(layer.weight.shape[:2]) >= FEWEST_CHANNELS


class WinogradConvolution(nn.Module):
    """What `Conv2d` of 3 x 3 with a padding of 1 computes, but for some 1e-5 of its standard deviation.

    Parameters
    ----------
    layer
        Its weights are copied; they learn no more.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        inputs, kernel, outputs = _transforms()
        self._there, self._back, self._kernel_there = (
            torch.kron(one, one).float() for one in (inputs, outputs, kernel)
        )
        # By row and column, then input and output. At the points they would take four times the memory.
        self._weight = layer.weight.detach().permute(2, 3, 1, 0).reshape(9, -1)
        self._channels = layer.out_channels
        self._bias = layer.weight.new_zeros(1) if layer.bias is None else layer.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width), stored as `torch.channels_last`, which the result is, too."""
        batch, _, height, width = x.shape
        result = x.new_empty(batch, height, width, self._channels)
        for image, out in zip(x.permute(0, 2, 3, 1), result, strict=True):
            self._convolve(image, out)
        return result.permute(0, 3, 1, 2)

    def _convolve(self, image: Tensor, out: Tensor) -> None:
        """Convolve (height, width, channels) by blocks of rows of tiles."""
        height, width, channels = image.shape
        down, across = math.ceil(height / _TILE), math.ceil(width / _TILE)
        padded = _padded(image, down * _TILE + 2, across * _TILE + 2)
        tiles = padded.unfold(0, _SIDE, _TILE).unfold(1, _SIDE, _TILE).permute(3, 4, 0, 1, 2)
        blocks = math.ceil(down * across * _SIDE**2 * max(channels, out.shape[2]) / _AT_ONCE)
        rows = math.ceil(down / blocks)
        size = _SIDE**2 * rows * across * max(channels, out.shape[2])
        *memory, kernel = _memory(size, size, _SIDE**2 * self._weight.shape[1])
        kernel = torch.mm(self._kernel_there, self._weight, out=kernel.view(_SIDE**2, -1)).view(_SIDE**2, channels, -1)
        for first in range(0, down, rows):
            block = tiles[:, :, first : first + rows]
            self._block(block, kernel, out[first * _TILE : (first + rows) * _TILE], memory)

    def _block(self, tiles: Tensor, kernel: Tensor, out: Tensor, memory: list[Tensor]) -> None:
        """Convolve rows of tiles, (6, 6, rows, across, channels), to (4 rows, 4 across, channels) or less."""
        (rows, across, inputs), outputs = tiles.shape[2:], out.shape[2]
        count = rows * across
        here, there = memory
        pixels, at_points = (one[: _SIDE**2 * count * inputs].view(_SIDE**2, -1) for one in memory)
        pixels.view(tiles.shape).copy_(tiles)
        torch.mm(self._there, pixels, out=at_points)
        products = here[: _SIDE**2 * count * outputs].view(_SIDE**2, count, outputs)
        torch.bmm(at_points.view(_SIDE**2, count, inputs), kernel, out=products)
        values, found = (one[: _TILE**2 * count * outputs] for one in (there, here))
        torch.mm(self._back, products.view(_SIDE**2, -1), out=values.view(_TILE**2, -1))
        found.view(rows, _TILE, across, _TILE, outputs).copy_(
            values.view(_TILE, _TILE, rows, across, outputs).permute(2, 0, 3, 1, 4)
        )
        torch.add(found.view(rows * _TILE, -1, outputs)[: len(out), : out.shape[1]], self._bias, out=out)


def _padded(image: Tensor, height: int, width: int) -> Tensor:
    """Put an image into zeros, one pixel from the upper left corner. `F.pad` writes all of them before the image."""
    padded = image.new_empty(height, width, image.shape[2])
    bottom, right = image.shape[0] + 1, image.shape[1] + 1
    for border in (padded[:1], padded[bottom:], padded[1:bottom, :1], padded[1:bottom, right:]):
        border.zero_()
    padded[1:bottom, 1:right] = image
    return padded


class _Memory(threading.local):
    """Of each thread, for what one block takes: memory that is new with every block costs as much as its products."""

    numbers = torch.empty(0)


def _memory(*sizes: int) -> tuple[Tensor, ...]:
    """Return parts of this thread's memory, of so many numbers each."""
    if len(_of_thread.numbers) < sum(sizes):
        with torch.inference_mode(False):  # else it could not be written to outside of that mode
            _of_thread.numbers = torch.empty(sum(sizes))
    return torch.split(_of_thread.numbers[: sum(sizes)], list(sizes))


_of_thread = _Memory()


def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Return what brings 6 inputs and 3 weights to the points, and products there to 4 outputs (Toom and Cook)."""
    points = torch.tensor(_POINTS, dtype=torch.float64)
    apart = points[:, None] - points
    scale = (apart + torch.eye(len(points))).prod(1)
    powers = points[:, None] ** torch.arange(_TILE)
    infinity = torch.eye(_SIDE, dtype=torch.float64)[-1:]
    kernel = torch.cat([powers[:, :3] / scale[:, None], infinity[:, -3:]])
    outputs = torch.cat([powers, infinity[:, -_TILE:]]).T
    others = [points[torch.arange(len(points)) != i] for i in range(len(points))]
    inputs = torch.stack([*(F.pad(_coefficients(roots), (0, 1)) for roots in others), _coefficients(points)])
    return inputs, kernel, outputs


def _coefficients(roots: Tensor) -> Tensor:
    """Coefficients, lowest first, of the polynomial with these roots."""
    found = torch.ones(1, dtype=torch.float64)
    for root in roots:
        found = F.pad(found, (1, 0)) - root * F.pad(found, (0, 1))
    return found
