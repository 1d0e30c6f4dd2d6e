"""Attention to a few points around each query, on maps of several strides (Deformable DETR, Zhu et al. 2021).

Two ways to the same numbers. Maps are sampled as grids, which any device differentiates; or, for inference on a
processor, what a head sees of a map is the weighted sum of a few rows of a table. That takes one pass, and nothing is
written but the sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class RowMap:
    """A feature map as a table of rows, for inference on a processor.

    A sum of projected rows is the projection of their sum. So of rows that are short nothing is projected but sums;
    long ones are projected first, and then each head reads only its own part of them.

    Parameters
    ----------
    table
        (batch * height * width, channels) float32, or (batch * height * width * heads, d / heads) with nothing left to
        project.
    height, width
        Of the map.
    weight, bias
        What is left to project sums with, (heads, channels, d / heads) and (heads, 1, d / heads).
    """

    table: Tensor
    height: int
    width: int
    weight: Tensor | None = None
    bias: Tensor | None = None

    @classmethod
    def of(cls, level: Tensor, weight: Tensor, bias: Tensor, heads: int) -> RowMap:
        """Make one of a map (batch, channels, height, width) and its projection, (d, channels) and (d,)."""
        d, channels = weight.shape
        height, width = level.shape[-2:]
        rows = level.permute(0, 2, 3, 1).reshape(-1, channels)
        if channels > d // 2:
            return cls(F.linear(rows, weight, bias).view(-1, d // heads), height, width)
        by_head = weight.view(heads, -1, channels).transpose(1, 2)
        return cls(rows, height, width, by_head, bias.view(heads, 1, -1))

    def attended(self, x: Tensor, y: Tensor, weights: Tensor, image: Tensor) -> Tensor:
        """Sum up the values at places, with their weights; nothing is outside the map.

        Parameters
        ----------
        x, y
            Shares of the map, (heads, points, n).
        weights
            (heads, points, n).
        image
            Which image of the batch each of the n queries looks at, (n,) int32.

        Returns
        -------
        Tensor
            (heads, n, d / heads).
        """
        heads, _, n = x.shape
        columns, across = _pair(x * self.width - 0.5, self.width)
        rows, down = _pair(y * self.height - 0.5, self.height)
        starts = [(row + image * self.height) * self.width for row in rows]
        index = _by_query([start + column for start in starts for column in columns])
        share = _by_query([one * weights * other for one in down for other in across])
        if self.weight is None:
            index = index * heads + torch.arange(heads, dtype=index.dtype)[:, None, None]
        sums = F.embedding_bag(
            index.flatten(0, 1), self.table, mode="sum", per_sample_weights=share.flatten(0, 1)
        ).view(heads, n, -1)
        if self.weight is None or self.bias is None:
            return sums
        return torch.baddbmm(self.bias * share.sum(-1, keepdim=True), sums, self.weight)


class DeformableAttention(nn.Module):
    """Attention to a few points around each query, placed in units of its radius, on three feature maps."""

    def __init__(self, d: int, heads: int, levels: int = 3, points: int = 4) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = nn.Linear(d, heads * levels * points * 2)
        self.weights = nn.Linear(d, heads * levels * points)
        self.out = nn.Linear(d, d)
        # Each head starts out looking in a direction of its own, its points a quarter radius apart.
        angles = torch.arange(heads) * (2 * math.pi / heads)
        rays = torch.stack([angles.cos(), angles.sin()], -1).view(heads, 1, 1, 2)
        steps = (torch.arange(points) + 1.0).view(1, 1, points, 1) / points
        nn.init.zeros_(self.offsets.weight)
        with torch.no_grad():
            self.offsets.bias.copy_((rays * steps).expand(heads, levels, points, 2).flatten())

    def forward(self, query: Tensor, centres: Tensor, radii: Tensor, values: Sequence[Tensor | RowMap]) -> Tensor:
        """Attend to one map a level.

        Parameters
        ----------
        query
            (batch, n, d).
        centres, radii
            (batch, n, 2), as shares of the image.
        values
            (batch, heads, d / heads, h, w) each, or tables of all of them.
        """
        batch, n, _ = query.shape
        tables = [value for value in values if isinstance(value, RowMap)]
        if tables:
            return self._from_tables(query, centres, radii, tables)
        offsets = self.offsets(query).float().view(batch, n, self.heads, self.levels, self.points, 2)
        weights = self.weights(query).view(batch, n, self.heads, self.levels * self.points).softmax(-1)
        places = centres[:, :, None, None, None] + offsets * radii[:, :, None, None, None]
        places = (2 * places - 1).permute(0, 2, 3, 1, 4, 5)  # batch, heads, levels, n, points, 2
        sampled = [
            F.grid_sample(value.flatten(0, 1), places[:, :, level].flatten(0, 1).to(value.dtype), align_corners=False)
            for level, value in enumerate(value for value in values if isinstance(value, Tensor))
        ]
        mixed = torch.cat(sampled, -1) * weights.transpose(1, 2).flatten(0, 1)[:, None].to(sampled[0].dtype)
        return self.out(mixed.sum(-1).view(batch, -1, n).transpose(1, 2))  # type: ignore[no-any-return]

    def _from_tables(self, query: Tensor, centres: Tensor, radii: Tensor, tables: Sequence[RowMap]) -> Tensor:
        """Do the same with the queries of all images side by side: long rows of numbers are what a processor likes."""
        batch, n, d = query.shape
        query, (x0, y0), (rx, ry) = query.flatten(0, 1), centres.flatten(0, 1).T, radii.flatten(0, 1).T
        shape = (self.heads, self.levels, self.points)
        x, y = self.offsets(query).T.reshape(*shape, 2, -1).unbind(3)
        weights = self.weights(query).T.reshape(self.heads, self.levels * self.points, -1).softmax(1).view(*shape, -1)
        image = torch.arange(batch, dtype=torch.int32).repeat_interleave(n)
        places = zip((x0 + x * rx).unbind(1), (y0 + y * ry).unbind(1), weights.unbind(1), strict=True)
        parts = [table.attended(*seen, image) for table, seen in zip(tables, places, strict=True)]
        summed = torch.stack(parts).sum(0).transpose(0, 1).reshape(batch, n, d)
        return self.out(summed)  # type: ignore[no-any-return]


def _pair(x: Tensor, count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the cells before and behind a place between the centres of cells, and the share of each; 0 outside."""
    first = x.floor()
    beyond = x - first
    shares = [(1 - beyond) * _is_inside(first, 0, count), beyond * _is_inside(first, -1, count - 1)]
    before = first.int()  # what is no number becomes some number here, which is then limited
    return [before.clamp(0, count - 1), (before + 1).clamp(0, count - 1)], shares


def _is_inside(x: Tensor, low: int, high: int) -> Tensor:
    return (x >= low) & (x < high)


def _by_query(corners: list[Tensor]) -> Tensor:
    """Bring 4 x (heads, points, n) into one (heads, n, 4 points)."""
    return torch.cat(corners, 1).transpose(1, 2).contiguous()
