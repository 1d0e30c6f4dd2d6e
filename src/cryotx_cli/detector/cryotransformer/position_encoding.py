"""Where a cell of the feature map lies in the image, as a vector the attention can use."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from cryotx_cli.errors import ConfigError

LEARNED_CELLS = 50  # rows and columns the learned table of the published models holds


class SinePositionEncoding(nn.Module):
    """Sines and cosines of the position, normalised to the part of the image that is not padding.

    Half of the channels encode y, the other half x. Channel pairs hold sine and cosine at wavelengths in geometric
    progression from 2 pi to 20000 pi (Vaswani et al. 2017, section 3.5; Parmar et al. 2018 for two dimensions).
    """

    def __init__(self, channels: int, temperature: float = 10000.0) -> None:
        super().__init__()
        self.channels = channels
        self.temperature = temperature

    def forward(self, padding: Tensor) -> Tensor:
        """Return the encoding (B, channels, h, w) for a padding mask (B, h, w), True where there is no image."""
        image = (~padding).to(torch.float32)
        y, x = image.cumsum(1), image.cumsum(2)
        tiny = 1e-6  # an image whose last row or column is padding throughout
        y = 2 * math.pi * y / (y[:, -1:, :] + tiny)
        x = 2 * math.pi * x / (x[:, :, -1:] + tiny)
        return torch.cat([self._waves(y), self._waves(x)], dim=3).permute(0, 3, 1, 2)

    def _waves(self, angle: Tensor) -> Tensor:
        half = self.channels // 2
        pair = torch.arange(0, half, 2, dtype=torch.float32, device=angle.device)
        phase = angle[..., None] / self.temperature ** (pair / half)
        return torch.stack([phase.sin(), phase.cos()], dim=-1).flatten(-2)


class LearnedPositionEncoding(nn.Module):
    """A learned vector for every row and one for every column, at most `LEARNED_CELLS` of each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.row_embed = nn.Embedding(LEARNED_CELLS, channels // 2)
        self.col_embed = nn.Embedding(LEARNED_CELLS, channels // 2)
        nn.init.uniform_(self.row_embed.weight)
        nn.init.uniform_(self.col_embed.weight)

    def forward(self, padding: Tensor) -> Tensor:
        """Return the encoding (B, channels, h, w) for a padding mask (B, h, w), of which only the shape counts.

        Raises
        ------
        ConfigError
            The feature map has more rows or columns than were learned.
        """
        batch, h, w = padding.shape
        if max(h, w) > LEARNED_CELLS:
            raise ConfigError(
                f"position_embedding: learned positions cover {LEARNED_CELLS} x {LEARNED_CELLS} cells, "
                f"this image has {h} x {w}",
                "Use sine positions, or no dilation.",
            )
        columns = self.col_embed.weight[:w].expand(h, w, -1)
        rows = self.row_embed.weight[:h, None].expand(h, w, -1)
        return torch.cat([columns, rows], dim=2).permute(2, 0, 1).expand(batch, -1, h, w)


def position_encoding(kind: Literal["sine", "learned"], channels: int) -> nn.Module:
    """Return the module that turns a padding mask into positions.

    Parameters
    ----------
    kind
        ``sine`` or ``learned``.
    channels
        Length of a position vector: the width of the transformer, a multiple of 4.

    Returns
    -------
    torch.nn.Module
        Maps a padding mask (B, h, w) to an encoding (B, channels, h, w).

    Raises
    ------
    ConfigError
        Another `kind`, or a width that cannot be split into sine and cosine of x and y.
    """
    if channels % 4:
        raise ConfigError(f"hidden_dim: {channels} is not a multiple of 4", "Use 256, as the paper does.")
    if kind == "sine":
        return SinePositionEncoding(channels)
    if kind == "learned":
        return LearnedPositionEncoding(channels)
    raise ConfigError(f"position_embedding: {kind!r} is not known", "Use sine or learned.")
