"""The default model: queries start at the peaks of a dense particle map, and a decoder corrects them.

A small convolutional network reaches strides 4, 8 and 16, one self-attention layer sees the whole image at stride 16,
and a dense head at stride 4 says for every cell whether a particle's centre lies in it, where, and how large it is
(CenterNet). The queries are the local maxima of that map (CenterFormer, TransFusion), so that their number follows the
image. Decoder layers of self-attention and deformable cross-attention (Deformable DETR) predict residuals of score,
position and radius; their heads start at zero, so that training begins exactly at the dense map.

Coordinates here are in pixels of the network's image, measured from its upper left corner: the centre of the first
pixel is (0.5, 0.5). `picker.py` converts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from cryotx_cli.config import CenterConfig
from cryotx_cli.detector.center.deformable import DeformableAttention, RowMap

STRIDE = 4
_NO_PARTICLE = -20.0  # logit of a padded query slot


class DenseMap(NamedTuple):
    """What the dense head says at stride 4; each (batch, height / 4, width / 4), `offset` with 2 channels first.

    `log_radius` is the logarithm of the radius over `CenterConfig.radius`. `junk` is a logit, used in training only.
    """

    heat: Tensor
    offset: Tensor
    log_radius: Tensor
    junk: Tensor


@dataclass(frozen=True)
class Queries:
    """Detections of one stage: `logits` (batch, n), `centres` (batch, n, 2) and `radii` (batch, n) in pixels.

    Rows with `valid` False only pad images with fewer peaks than others of the batch.
    """

    logits: Tensor
    centres: Tensor
    radii: Tensor
    valid: Tensor


class CenterOutput(NamedTuple):
    """The dense map, its peaks, and the peaks after each decoder layer."""

    dense: DenseMap
    peaks: Queries
    layers: list[Queries]

    @property
    def final(self) -> Queries:
        """Detections of the last stage there is."""
        return self.layers[-1] if self.layers else self.peaks


class CenterDETR(nn.Module):
    """Detector of round objects of about known size in a normalised, single-channel image.

    Parameters
    ----------
    config
        Widths and depths; stored in every checkpoint.
    """

    def __init__(self, config: CenterConfig) -> None:
        super().__init__()
        self.config = config
        stem, w4, w8, w16 = config.widths
        d, thin = config.hidden_dim, config.thin_dim
        self.stem = convolution(1, stem, kernel=5, stride=2)
        self.stage4 = _stage(stem, w4, config.depths[0])
        self.stage8 = _stage(w4, w8, config.depths[1])
        self.stage16 = _stage(w8, w16, config.depths[2])
        self.project16 = PointwiseConvolution(w16, d, 1)
        self.encoder = nn.ModuleList(EncoderLayer(d, config.heads) for _ in range(config.encoder_layers))
        self.lateral8, self.smooth8 = PointwiseConvolution(w8, d, 1), convolution(d, d)
        self.lateral4, self.narrow8, self.smooth4 = (
            PointwiseConvolution(w4, thin, 1),
            PointwiseConvolution(d, thin, 1),
            convolution(thin, thin),
        )
        self.dense_head = nn.Sequential(convolution(thin, thin), PointwiseConvolution(thin, 5, 1))
        self.query_content = nn.Linear(thin, d)
        self.query_score = nn.Linear(2, d)
        self.values = nn.ModuleList(
            [PointwiseConvolution(thin, d, 1), PointwiseConvolution(d, d, 1), PointwiseConvolution(d, d, 1)]
        )
        self.decoder = nn.ModuleList(DecoderLayer(d, config.heads) for _ in range(config.decoder_layers))
        self.score_heads = nn.ModuleList(nn.Linear(d, 1) for _ in range(config.decoder_layers))
        self.shape_heads = nn.ModuleList(
            nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, 3)) for _ in range(config.decoder_layers)
        )
        final = self.dense_head[1]
        assert isinstance(final, nn.Conv2d)
        assert final.bias is not None
        nn.init.constant_(final.bias[:1], -4.0)  # a cell in about fifty holds a centre
        for head in [*self.score_heads, *(heads[2] for heads in self.shape_heads)]:  # type: ignore[index]
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, images: Tensor, *, max_queries: int | None = None) -> CenterOutput:
        """Detect particles.

        Parameters
        ----------
        images
            (batch, 1, height, width) normalised images, sides divisible by 16.
        max_queries
            Most queries an image may have; default by its area.
        """
        thin, level8, level16 = self.features(images)
        dense = self.dense(thin)
        peaks, content = self._peaks(dense, thin, max_queries or query_limit(images.shape[-2:], self.config.radius))
        return CenterOutput(dense, peaks, self._decode(peaks, content, [thin, level8, level16]))

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the maps at strides 4 (thin_dim channels), 8 and 16 (hidden_dim channels)."""
        c4 = self.stage4(self.stem(images))
        c8 = self.stage8(c4)
        c16 = self.project16(self.stage16(c8))
        batch, d, height, width = c16.shape
        tokens = c16.flatten(2).transpose(1, 2)
        position = _grid_encoding(height, width, d, self._shift(c16.device) / 16)
        for layer in self.encoder:
            tokens = layer(tokens, position)
        level16 = tokens.transpose(1, 2).reshape(batch, d, height, width)
        level8 = self.smooth8(_plus_upsampled(self.lateral8(c8), level16))
        level4 = self.smooth4(_plus_upsampled(self.lateral4(c4), self.narrow8(level8)))
        return level4, level8, level16

    def dense(self, thin: Tensor) -> DenseMap:
        """Read the dense head."""
        maps = self.dense_head(thin).float()
        return DenseMap(maps[:, 0], maps[:, 1:3], maps[:, 3].clamp(-1.5, 1.5), maps[:, 4])

    def _shift(self, device: torch.device) -> Tensor:
        """Where the image's corner lies: anywhere in training, lest large images bring positions unseen in crops."""
        return torch.rand(2, device=device) * 1600 if self.training else torch.zeros(2, device=device)

    def _peaks(self, dense: DenseMap, thin: Tensor, limit: int) -> tuple[Queries, Tensor]:
        """Turn local maxima of the heat map into queries and their content, (batch, n, hidden_dim)."""
        heat = dense.heat
        width = heat.shape[-1]
        with torch.no_grad():
            highest = F.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]
            is_peak = (heat >= highest) & (heat > _logit(self.config.peak_floor))
            ranked = torch.where(is_peak, heat, torch.full_like(heat, -50.0)).flatten(1)
            count = max(1, min(limit, int(is_peak.flatten(1).sum(1).max())))
            index = ranked.topk(count, 1).indices
            valid = ranked.gather(1, index) > -40.0
        gather = index[..., None]
        cells = torch.stack([index % width, index // width], -1) + 0.5
        offset = dense.offset.flatten(2).transpose(1, 2).gather(1, gather.expand(-1, -1, 2)).detach()
        radii = self.config.radius * dense.log_radius.flatten(1).gather(1, index).detach().exp()
        logits = heat.flatten(1).gather(1, index).detach()
        logits = torch.where(valid, logits, torch.full_like(logits, _NO_PARTICLE))
        features = thin.flatten(2).transpose(1, 2).gather(1, gather.expand(-1, -1, thin.shape[1]))
        content = self.query_content(features) + self.query_score(
            torch.stack([logits.clamp_min(-8.0), logits.sigmoid()], -1).to(features.dtype)
        )
        return Queries(logits, (cells + offset) * STRIDE, radii, valid), content

    def _decode(self, peaks: Queries, content: Tensor, levels: list[Tensor]) -> list[Queries]:
        heads = self.config.heads
        values = [_values(project, level, heads) for project, level in zip(self.values, levels, strict=True)]
        size = content.new_tensor([levels[0].shape[-1] * STRIDE, levels[0].shape[-2] * STRIDE], dtype=torch.float32)
        centres, radii, logits, valid = peaks.centres, peaks.radii, peaks.logits, peaks.valid
        mask = None if bool(valid.all()) else valid[:, None, None, :]
        shift = self._shift(content.device)
        layers = []
        for layer, score, shape in zip(self.decoder, self.score_heads, self.shape_heads, strict=True):
            position = _point_encoding(centres + shift, content.shape[-1])
            content = layer(content, position, centres / size, radii[..., None] / size, values, mask)
            change = shape(content).float()
            logits = logits + score(content)[..., 0].float()
            logits = torch.where(valid, logits, torch.full_like(logits, _NO_PARTICLE))
            centres = centres + change[..., :2] * radii[..., None]
            radii = radii * change[..., 2].clamp(-1, 1).exp()
            layers.append(Queries(logits, centres, radii, valid))
            centres, radii = centres.detach(), radii.detach()
        return layers


class EncoderLayer(nn.Module):
    """Pre-norm self-attention over all tokens; positions enter queries and keys only."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query_key, self.value, self.out = nn.Linear(d, 2 * d), nn.Linear(d, d), nn.Linear(d, d)
        self.feed_forward = _feed_forward(d)

    def forward(self, tokens: Tensor, position: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (batch, n, d) and positions broadcastable to them; `mask` False hides keys."""
        tokens = tokens + self.attend(self.norm1(tokens), position, mask)
        return tokens + self.feed_forward(self.norm2(tokens))  # type: ignore[no-any-return]

    def attend(self, normed: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        """Multi-head attention of normalised tokens among themselves."""
        query, key = self.query_key(normed + position.to(normed.dtype)).chunk(2, -1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (query, key, self.value(normed)))
        if _for_inference(normed):  # worth copies
            q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class DecoderLayer(EncoderLayer):
    """Self-attention among queries, deformable attention to the feature maps, feed-forward; pre-norm."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__(d, heads)
        self.norm_cross = nn.LayerNorm(d)
        self.cross = DeformableAttention(d, heads)

    def forward(  # type: ignore[override]
        self,
        content: Tensor,
        position: Tensor,
        centres: Tensor,
        radii: Tensor,
        values: Sequence[Tensor | RowMap],
        mask: Tensor | None,
    ) -> Tensor:
        """Content and positions (batch, n, d); centres and radii (batch, n, 2) as shares of the image."""
        content = content + self.attend(self.norm1(content), position, mask)
        normed = self.norm_cross(content)
        content = content + self.cross(normed + position.to(normed.dtype), centres, radii, values)
        return content + self.feed_forward(self.norm2(content))  # type: ignore[no-any-return]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        change = self.second(self.first(x))
        # In place where nobody differentiates: writing new memory takes as long as a tenth of the convolutions.
        return F.silu(x + change) if torch.is_grad_enabled() else F.silu(change.add_(x), inplace=True)


def fold_batch_norms(model: nn.Module) -> None:
    """Fold every batch norm into the convolution before it: a model in evaluation mode then computes the same, faster.

    y = gamma (w * x + b - mean) / sqrt(var + eps) + beta is a convolution with other weights.
    """
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                convolution, norm = module[i], module[i + 1]
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    _fold(convolution, norm)
                    module[i + 1] = nn.Identity()


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    # In place: torch's own fusing of modules copies each of them, which takes as long as building the network.
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


def query_limit(shape: tuple[int, int] | torch.Size, radius: float) -> int:
    """Most queries for an image of (height, width): three discs' worth of its area, between 64 and 2500."""
    diameter = 2 * radius
    return int(min(max(1.5 * shape[0] * shape[1] / (0.5 * diameter**2), 64), 2500))


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm and SiLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU(inplace=True))


class PointwiseConvolution(nn.Conv2d):
    """A convolution of one pixel. On a processor nothing but a matrix product of what `torch.channels_last` stores."""

    def forward(self, x: Tensor) -> Tensor:
        """Do what `Conv2d` does."""
        if not _for_inference(x):
            return super().forward(x)
        # Conv2d writes all of it twice: channels first, and then last again.
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def _values(project: nn.Module, level: Tensor, heads: int) -> Tensor | RowMap:
    """Return what the decoder may look at: the projection of a map, or the map and what projects it."""
    if not _for_inference(level):
        return project(level).unflatten(1, (heads, -1))  # type: ignore[no-any-return]
    assert isinstance(project, PointwiseConvolution)
    assert project.bias is not None
    return RowMap.of(level, project.weight.flatten(1), project.bias, heads)


def _for_inference(x: Tensor) -> bool:
    """Whether a processor computes from this in single precision, and nobody differentiates it."""
    return x.device.type == "cpu" and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))


def _stage(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs, stride=2), *[_Residual(outputs) for _ in range(depth)])


def _feed_forward(d: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))


def _plus_upsampled(fine: Tensor, coarse: Tensor) -> Tensor:
    """Return a map plus one of half its height and width, each cell of which counts for four; may change the first."""
    if torch.is_grad_enabled():
        return fine + F.interpolate(coarse, size=fine.shape[-2:], mode="nearest")
    height, width = coarse.shape[-2:]
    cells = fine.unflatten(3, (width, 2)).unflatten(2, (height, 2))  # type: ignore[no-untyped-call]
    cells.add_(coarse[:, :, :, None, :, None])
    return fine


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _point_encoding(points: Tensor, d: int) -> Tensor:
    """Sine encoding of positions (..., 2) in pixels; (..., d)."""
    rates = torch.exp(torch.arange(d // 4, device=points.device) * (-math.log(1e4) / (d // 4)))
    x, y = points[..., :1] * rates, points[..., 1:] * rates
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], -1)


def _grid_encoding(height: int, width: int, d: int, corner: Tensor) -> Tensor:
    """Sine encoding of a grid's cells, counted in cells and not in shares of the image; (1, height * width, d)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=corner.device, dtype=torch.float32),
        torch.arange(width, device=corner.device, dtype=torch.float32),
        indexing="ij",
    )
    return _point_encoding(torch.stack([x, y], -1).flatten(0, 1) + corner, d)[None]
