"""The convolutional backbone: a ResNet up to its last stage."""

from collections import OrderedDict
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from cryotx_cli.errors import CheckpointError, ConfigError

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


class Backbone(nn.Module):
    """ResNet without its classifier; parameters are named ``body.*`` as in published checkpoints.

    Parameters
    ----------
    name
        One of `RESNETS`.
    dilation
        Replace the stride of the last stage by a dilation ("DC5"): the feature map has stride 16 instead of 32.
    frozen
        Batch statistics are constants, and the stem and the first stage do not learn, as the published models were
        trained from ImageNet weights. Without it batch norm is real, everything learns and convolutions start from
        Xavier's distribution: training from scratch.

    Attributes
    ----------
    channels
        Channels of the feature map: 512 for ResNet-18 and 34, else 2048.
    stride
        Image pixels a cell of the feature map: 32, or 16 with `dilation`.

    Raises
    ------
    ConfigError
        An unknown `name`, or `dilation` with a ResNet whose blocks cannot be dilated.
    """

    def __init__(self, name: str, *, dilation: bool = False, frozen: bool = True) -> None:
        super().__init__()
        if name not in RESNETS:
            raise ConfigError(
                f"backbone: {name!r} is not a ResNet of this program", f"Choose one of {', '.join(RESNETS)}."
            )
        if dilation and name in ("resnet18", "resnet34"):
            raise ConfigError(
                f"dilation: the blocks of {name} cannot be dilated",
                "Use resnet50, resnet101 or resnet152 with dilation, or switch dilation off.",
            )
        resnet = getattr(torchvision.models, name)(
            weights=None,
            replace_stride_with_dilation=[False, False, dilation],
            norm_layer=torchvision.ops.FrozenBatchNorm2d if frozen else nn.BatchNorm2d,
        )
        self.channels: int = resnet.fc.in_features
        self.stride = 16 if dilation else 32
        self.body = nn.Sequential(
            OrderedDict((child, layer) for child, layer in resnet.named_children() if child not in ("avgpool", "fc"))
        )
        if frozen:
            for child in ("conv1", "layer1"):
                self.body.get_submodule(child).requires_grad_(False)
        else:
            for module in self.body.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.xavier_uniform_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, channels, H / stride, W / stride), rounded up, of images (B, 3, H, W)."""
        features: Tensor = self.body(images)
        return features


def load_imagenet_weights(backbone: Backbone, name: str) -> None:
    """Start `backbone` from torchvision's ImageNet weights (version 1, which the published models started from).

    The file is downloaded once into the cache of `torch.hub` (``TORCH_HOME``).

    Parameters
    ----------
    backbone
        The network to load into.
    name
        The ResNet it was built as.

    Raises
    ------
    CheckpointError
        The weights are neither in the cache nor to be had from the network.
    """
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        imagenet = weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"ImageNet weights of {name}: download of {weights.url} failed ({error})",
            f"Put the file into {torch.hub.get_dir()}/checkpoints, or start with --init scratch or --init FILE.",
        ) from error
    ours = backbone.body.state_dict()
    # Batch counters exist only where batch norm is real; the classifier exists only in `imagenet`.
    backbone.body.load_state_dict({key: imagenet[key] for key in ours if key in imagenet}, strict=False)
