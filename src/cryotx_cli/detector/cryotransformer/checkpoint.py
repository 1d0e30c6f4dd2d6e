"""A trained `cryotransformer` model as a file of this program; `published_checkpoint` reads those of others."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from cryotx_cli.detector.calibration import Calibration
from cryotx_cli.detector.checkpoint import read_weights, understood, write_weights
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.errors import CheckpointError

# What may be replaced when weights start a new training: they depend on the classes and on the number of queries.
_REPLACEABLE = ("class_embed.weight", "class_embed.bias", "query_embed.weight")


@dataclass(frozen=True)
class DetrInput:
    """What a `cryotransformer` network was shown in training, and must be shown again.

    Attributes
    ----------
    pipeline
        Denoising: ``paper``, ``original``, or ``raw`` for none. ``original`` means more than pixels: that program turns
        the rows round, and its networks answer in its own frame of coordinates.
    short_side, long_side
        The shorter side is brought to `short_side` pixels, or less where the longer one would exceed `long_side`.
    """

    pipeline: Literal["paper", "original", "raw"] = "paper"
    short_side: int = 800
    long_side: int = 1333


@dataclass(frozen=True)
class DetrCheckpoint:
    """A trained `cryotransformer` model.

    Attributes
    ----------
    weights
        `state_dict` of ``Detr(model)``, float32.
    model
        Architecture.
    input
        How micrographs are prepared for it.
    calibration
        From the log-odds of class 0, "particle", to probabilities.
    degenerate_class_head
        "Particle" and "no object" were one class in its training: its class scores mean nothing.
    training
        How it was made, for people.
    name
        What the user calls it.
    """

    weights: dict[str, Tensor]
    model: DetrConfig
    input: DetrInput = field(default_factory=DetrInput)
    calibration: Calibration = field(default_factory=Calibration)
    degenerate_class_head: bool = False
    training: dict[str, Any] = field(default_factory=dict)
    name: str = "unnamed"

    def initialise(self, model: Detr) -> list[str]:
        """Start `model` from these weights, except where number of classes or of queries differ.

        Parameters
        ----------
        model
            A network of the same architecture.

        Returns
        -------
        list of str
            Names of the parameters of `model` that keep the values they had.

        Raises
        ------
        CheckpointError
            The architectures differ in more than classes and queries; the message names the first differences.
        """
        ours = model.state_dict()
        fitting = {name: tensor for name, tensor in self.weights.items() if same_shape(tensor, ours.get(name))}
        # Batch counters exist only where batch norm is real, and start at zero there.
        left = [name for name in ours if name not in fitting and not name.endswith("num_batches_tracked")]
        wrong = sorted({*left, *(name for name in self.weights if name not in fitting)} - {*_REPLACEABLE})
        if wrong:
            raise CheckpointError(
                f"{self.name}: the weights are of another architecture than the model to be trained "
                f"({len(wrong)} differences, first {', '.join(wrong[:3])})",
                f"The file holds a {described(self.model)}: choose the same settings.",
            )
        model.load_state_dict(fitting, strict=False)
        return left


def load_detr_checkpoint(name: str | Path) -> DetrCheckpoint:
    """Read a `cryotransformer` model that `cryotx train` wrote.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is not a cryotx checkpoint, or one of another model; names what was found.
    """
    weights, settings = read_weights(name, "cryotransformer")
    with understood(name):
        return DetrCheckpoint(
            weights,
            DetrConfig(**settings["model"]),
            DetrInput(**settings["input"]),
            Calibration.of(settings),
            training=settings["training"],
            name=str(name),
        )


def save_detr_checkpoint(checkpoint: DetrCheckpoint, path: Path) -> None:
    """Write a `cryotransformer` checkpoint in full precision, whole or not at all.

    Half precision has no room for the batch statistics of a ResNet, which span more than its range.

    Raises
    ------
    CheckpointError
        If it cannot be written.
    """
    settings = {
        "architecture": "cryotransformer",
        "model": asdict(checkpoint.model),
        "input": asdict(checkpoint.input),
        "calibration": asdict(checkpoint.calibration),
        "training": checkpoint.training,
    }
    write_weights(checkpoint.weights, settings, path)


def same_shape(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether both are there and equally large."""
    return a is not None and b is not None and a.shape == b.shape


def described(config: DetrConfig) -> str:
    """Return the size of a network in words."""
    return (
        f"{config.backbone} with {config.enc_layers}+{config.dec_layers} layers of width {config.hidden_dim}, "
        f"{config.num_queries} queries and {config.num_classes} classes"
    )
