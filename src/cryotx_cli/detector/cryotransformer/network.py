"""The paper's model: a ResNet, a transformer, and a fixed set of learned queries that each answer with one box.

CryoTransformer (Dhakal et al. 2024) after DETR (Carion et al. 2020). Parameters carry the names of both programs, so
that their published weights load.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cryotx_cli.detector.cryotransformer.backbone import Backbone
from cryotx_cli.detector.cryotransformer.position_encoding import position_encoding
from cryotx_cli.detector.cryotransformer.transformer import Transformer
from cryotx_cli.errors import ConfigError


@dataclass(frozen=True)
class DetrConfig:
    """Everything that fixes the shape of the network and the names of its parameters; the paper's values by default.

    Attributes
    ----------
    backbone
        ``resnet18``, ``34``, ``50``, ``101`` or ``152``.
    dilation
        Stride 16 instead of 32 in the last stage of the backbone.
    frozen_backbone
        Constant batch statistics and a stem that does not learn; False for training from scratch.
    position_embedding
        ``sine`` or ``learned``.
    hidden_dim, nheads, enc_layers, dec_layers, dim_feedforward, dropout, pre_norm
        Width, attention heads, depths, hidden width, dropout and order of norm in the transformer.
    num_queries
        Boxes the network can answer with.
    num_classes
        Classes of object; class ``num_classes`` of the output means "no object".
    """

    backbone: str = "resnet152"
    dilation: bool = False
    frozen_backbone: bool = True
    position_embedding: Literal["sine", "learned"] = "sine"
    hidden_dim: int = 256
    nheads: int = 8
    enc_layers: int = 6
    dec_layers: int = 6
    dim_feedforward: int = 2048
    dropout: float = 0.1
    pre_norm: bool = False
    num_queries: int = 600
    num_classes: int = 1


class DetrOutput(NamedTuple):
    """What every decoder layer answers; the last layer is the network's answer, the others serve auxiliary losses.

    Attributes
    ----------
    logits
        (layers, B, Q, num_classes + 1); the last class is "no object".
    boxes
        (layers, B, Q, 4): centre x, centre y, width, height as fractions of each image without its padding.
    """

    logits: Tensor
    boxes: Tensor


class BoxHead(nn.Module):
    """Three linear layers that turn what a query found into a box."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 4)])

    def forward(self, found: Tensor) -> Tensor:
        """Return boxes (..., 4) in 0..1 for vectors (..., width)."""
        first, second, last = self.layers
        boxes: Tensor = last(F.relu(second(F.relu(first(found))))).sigmoid()
        return boxes


class Detr(nn.Module):
    """Images in, a set of scored boxes out.

    Parameters
    ----------
    config
        The shape of the network.

    Raises
    ------
    ConfigError
        Settings that do not fit each other.
    """

    def __init__(self, config: DetrConfig) -> None:
        super().__init__()
        if config.hidden_dim % config.nheads:
            raise ConfigError(
                f"nheads: {config.nheads} heads do not divide a width of {config.hidden_dim}",
                "Choose hidden_dim as a multiple of nheads.",
            )
        self.config = config
        self.transformer = Transformer(
            config.hidden_dim,
            config.nheads,
            config.enc_layers,
            config.dec_layers,
            config.dim_feedforward,
            config.dropout,
            config.pre_norm,
        )
        self.class_embed = nn.Linear(config.hidden_dim, config.num_classes + 1)
        self.bbox_embed = BoxHead(config.hidden_dim)
        self.query_embed = nn.Embedding(config.num_queries, config.hidden_dim)
        backbone = Backbone(config.backbone, dilation=config.dilation, frozen=config.frozen_backbone)
        self.input_proj = nn.Conv2d(backbone.channels, config.hidden_dim, kernel_size=1)
        # A list and not attributes: the published names are backbone.0 and backbone.1.
        self.backbone = nn.ModuleList([backbone, position_encoding(config.position_embedding, config.hidden_dim)])

    def forward(self, images: Tensor, padding: Tensor | None = None) -> DetrOutput:
        """Answer with one box a query.

        Parameters
        ----------
        images
            (B, 3, H, W), normalised as the weights were trained.
        padding
            (B, H, W), True where there is no image; None if the images fill the batch.

        Returns
        -------
        DetrOutput
            Logits and boxes of every decoder layer, in float32 also under autocast: bfloat16 would place a box no
            finer than a thousandth of the image.
        """
        resnet, encode_positions = self.backbone
        cells: Tensor = self.input_proj(resnet(images))
        if padding is None:
            cell_padding = None
            positions = encode_positions(torch.zeros_like(cells[:, 0], dtype=torch.bool))
        else:
            cell_padding = F.interpolate(padding[:, None].float(), size=cells.shape[-2:])[:, 0].bool()
            positions = encode_positions(cell_padding)
        found, _ = self.transformer(
            cells.flatten(2).transpose(1, 2),
            positions.flatten(2).transpose(1, 2),
            self.query_embed.weight,
            None if cell_padding is None else cell_padding.flatten(1),
        )
        with torch.autocast(images.device.type, enabled=False):
            found = found.float()
            return DetrOutput(self.class_embed(found), self.bbox_embed(found))


def pad_to_batch(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put images of different sizes into one batch, each at the top left, zeros elsewhere.

    Parameters
    ----------
    images
        Each (3, height, width).

    Returns
    -------
    batch : torch.Tensor
        (B, 3, H, W) with the largest height and width.
    padding : torch.Tensor
        (B, H, W) bool, True where there is no image.
    """
    height, width = max(image.shape[1] for image in images), max(image.shape[2] for image in images)
    batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    padding = torch.ones(len(images), height, width, dtype=torch.bool, device=images[0].device)
    for row, image in enumerate(images):
        _, h, w = image.shape
        batch[row, :, :h, :w] = image
        padding[row, :h, :w] = False
    return batch, padding


def box_corners(boxes: Tensor) -> Tensor:
    """Return (..., 4) corners x0, y0, x1, y1 of boxes (..., 4) given as centre x, centre y, width, height."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - 0.5 * size, centre + 0.5 * size], dim=-1)
