"""The network that a run of the paper's model starts with: of ImageNet, of other weights, or of nothing."""

from __future__ import annotations

from dataclasses import replace

from cryotx_cli.config import CryotransformerTrainConfig
from cryotx_cli.detector.cryotransformer.backbone import load_imagenet_weights
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.detector.families import CRYOTRANSFORMER
from cryotx_cli.errors import CheckpointError


def initial_network(config: CryotransformerTrainConfig, network: DetrConfig | None = None) -> Detr:
    """Build the network that a run starts with, as ``config.init`` says; see `train_detr`.

    Raises
    ------
    CheckpointError
        If the weights cannot be had, or are of another architecture than ``config.backbone``.
    """
    network = network or DetrConfig(backbone=config.backbone or "resnet152")
    if config.init == "scratch":
        return Detr(replace(network, frozen_backbone=False))
    if config.init == "imagenet":
        model = Detr(network)
        load_imagenet_weights(model.backbone[0], network.backbone)  # type: ignore[arg-type]
        return model
    model = _network_of_file(config.init)
    if config.backbone not in (None, model.config.backbone):
        raise CheckpointError(
            f"--backbone {config.backbone}: the weights in {config.init} are those of {model.config.backbone}",
            "Leave out --backbone or --init.",
        )
    return model


def _network_of_file(path: str) -> Detr:
    weights = CRYOTRANSFORMER.read(path)
    model = Detr(replace(weights.model, num_classes=1))
    weights.initialise(model)
    if weights.degenerate_class_head:
        model.class_embed.reset_parameters()
    return model
