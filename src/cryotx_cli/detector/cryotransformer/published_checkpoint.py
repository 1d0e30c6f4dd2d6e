"""Weights that other programs published: `.pth` files of the original CryoTransformer and of facebookresearch/detr.

Such a file is a pickle. It is read with a restricted unpickler that builds tensors, plain containers and an
``argparse.Namespace``, and refuses everything else unexecuted.
"""

import argparse
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint, DetrInput, described, same_shape
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.errors import CheckpointError

T = TypeVar("T")

# The number of residual blocks in the four stages, and whether the blocks are bottlenecks (He et al. 2015, table 1).
_RESNET_BLOCKS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}


@dataclass(frozen=True)
class PublishedCheckpoint:
    """Weights of another program and the network they belong to.

    Attributes
    ----------
    path
        The file.
    config
        The network: from the shapes of the weights, and from the recorded arguments what shapes do not show.
    weights
        Parameters and buffers under the names of `Detr`, on the CPU.
    epoch
        The epoch that was saved; None if the file does not say.
    arguments
        The recorded command line of the training program; empty if the file holds none.
    """

    path: Path
    config: DetrConfig
    weights: dict[str, Tensor]
    epoch: int | None
    arguments: dict[str, Any]

    @property
    def degenerate_class_head(self) -> bool:
        """Whether "particle" and "no object" were one class in training, so that the class scores mean nothing.

        The original labels particles with class 1 while its single-class network means "no object" by class 1. Nothing
        in the weights tells such a head from a sound one with two outputs; a `.pth` file with two is taken to be the
        original's, since this program saves its own sound single-class heads in another format.
        """
        return self.config.num_classes == 1

    def build(self) -> Detr:
        """Return the network with these weights, in evaluation mode, on the CPU."""
        model = Detr(self.config)
        model.load_state_dict(self.weights)
        return model.eval()

    def as_detr_checkpoint(self) -> DetrCheckpoint:
        """Return what picking needs: these weights, and the input that the original program gave them."""
        return DetrCheckpoint(
            self.weights,
            self.config,
            DetrInput("original"),
            degenerate_class_head=self.degenerate_class_head,
            name=str(self.path),
        )


def read_published_checkpoint(path: str | Path) -> PublishedCheckpoint:
    """Read a `.pth` file of the original CryoTransformer or of facebookresearch/detr.

    Parameters
    ----------
    path
        The file. If it records no arguments and its name contains ``dc5``, as the published dilated models do, the
        network is taken to be dilated: the weights do not show it.

    Returns
    -------
    PublishedCheckpoint
        Weights, network and what the file tells about its training.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, wants to execute code, or does not hold such a network.
    """
    path = Path(path)
    content = _unpickle(path)
    weights = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise CheckpointError(
            f"{path}: no network found in it: the weights should be a dictionary of tensors under the key 'model'",
            "Give a .pth file written by CryoTransformer or by facebookresearch/detr.",
        )
    recorded = content.get("args")
    arguments = dict(vars(recorded)) if isinstance(recorded, argparse.Namespace) else {}
    epoch = content.get("epoch")
    return PublishedCheckpoint(
        path=path,
        config=_infer_config(path, weights, arguments),
        weights={str(name): tensor for name, tensor in weights.items()},
        epoch=epoch if isinstance(epoch, int) else None,
        arguments=arguments,
    )


def _unpickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file of weights", "Check the path given to --weights.") from error
    except pickle.UnpicklingError as error:
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        if unsafe is None:
            raise _damaged(path, error) from error
        raise CheckpointError(
            f"{path}: refused, because the file wants to load {unsafe[1]} and could execute code",
            "Nothing of it was executed. Weights need tensors, numbers and text only: get the file from its authors.",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        f"{path}: not a readable file of PyTorch weights ({reason})", "Perhaps a download was cut off: fetch it again."
    )


def _infer_config(path: Path, weights: Mapping[str, Tensor], arguments: Mapping[str, Any]) -> DetrConfig:
    """Return the network that has exactly these `weights`; raise CheckpointError if there is none."""
    needed = ("class_embed.weight", "query_embed.weight", "transformer.encoder.layers.0.linear1.weight")
    missing = [name for name in needed if name not in weights or weights[name].dim() != 2]
    if missing:
        raise CheckpointError(
            f"{path}: the weights are not those of a DETR detector: {missing[0]} is missing",
            "Give detection weights; models for panoptic segmentation are not supported.",
        )
    queries, width = weights["query_embed.weight"].shape
    position: Literal["sine", "learned"] = "learned" if "backbone.1.row_embed.weight" in weights else "sine"
    dilated_name = not arguments and "dc5" in path.name.lower()
    config = DetrConfig(
        backbone=_infer_backbone(path, weights),
        dilation=_recorded(arguments, "dilation", dilated_name),
        position_embedding=position,
        hidden_dim=width,
        nheads=_recorded(arguments, "nheads", DetrConfig.nheads),
        enc_layers=_count(weights, r"transformer\.encoder\.layers\.(\d+)\."),
        dec_layers=_count(weights, r"transformer\.decoder\.layers\.(\d+)\."),
        dim_feedforward=weights["transformer.encoder.layers.0.linear1.weight"].shape[0],
        dropout=_recorded(arguments, "dropout", DetrConfig.dropout),
        pre_norm="transformer.encoder.norm.weight" in weights,
        num_queries=queries,
        num_classes=weights["class_embed.weight"].shape[0] - 1,
    )
    with torch.device("meta"):
        expected = Detr(config).state_dict()
    wrong = [name for name in {**expected, **weights} if not same_shape(expected.get(name), weights.get(name))]
    if wrong:
        raise CheckpointError(
            f"{path}: {len(wrong)} of its tensors do not fit a {described(config)}, first {wrong[0]}",
            "Give a .pth file written by CryoTransformer or by facebookresearch/detr.",
        )
    return config


def _recorded(arguments: Mapping[str, Any], name: str, default: T) -> T:
    """Return what the training program was told, if it is of the type it must be, else the program's default."""
    value = arguments.get(name)
    return value if isinstance(value, type(default)) else default


def _infer_backbone(path: Path, weights: Mapping[str, Tensor]) -> str:
    blocks = tuple(_count(weights, rf"backbone\.0\.body\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
    bottleneck = "backbone.0.body.layer1.0.conv3.weight" in weights
    if (blocks, bottleneck) not in _RESNET_BLOCKS:
        raise CheckpointError(
            f"{path}: its backbone has {blocks} blocks in its stages, as none of the known ResNets",
            "Known are ResNet-18, 34, 50, 101 and 152.",
        )
    return _RESNET_BLOCKS[blocks, bottleneck]


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return len({found[1] for name in weights if (found := re.match(pattern, name))})
