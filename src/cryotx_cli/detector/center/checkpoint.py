"""A trained `center` model as a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cryotx_cli.config import CenterConfig
from cryotx_cli.detector.calibration import Calibration
from cryotx_cli.detector.checkpoint import read_weights, understood, write_weights

ADAPTED = "fine_tuned_steps"
"""In the training of weights that were adapted: how many steps that took."""

_FILM = "film."
"""Beginning of the film finder's names in a file."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained `center` model.

    Attributes
    ----------
    weights
        `state_dict` of `CenterDETR(model)`, float32.
    model
        Architecture and, with it, the scale of inputs (24 px per particle diameter).
    calibration
        From logits to probabilities.
    use_decoder
        False: detections are read off the dense map.
    film
        `state_dict` of the `FilmFinder` that goes with it; empty: picks may lie on support film.
    training
        How it was made, for people.
    name
        What the user calls it.
    """

    weights: dict[str, Tensor]
    model: CenterConfig = field(default_factory=CenterConfig)
    calibration: Calibration = field(default_factory=Calibration)
    use_decoder: bool = True
    film: dict[str, Tensor] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    name: str = "unnamed"

    @property
    def is_adapted(self) -> bool:
        """Whether its probabilities were set by labels of the micrographs that it is for."""
        return ADAPTED in self.training


def load_checkpoint(name: str | Path) -> Checkpoint:
    """Read a `center` model: a bundled one by name (`default`) or a file that `cryotx train` wrote.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is not a cryotx checkpoint, or one of another model; names what was found.
    """
    weights, settings = read_weights(name, "center")
    film = {key.removeprefix(_FILM): weights.pop(key) for key in [*weights] if key.startswith(_FILM)}
    with understood(name):
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings["model"].items()}
        return Checkpoint(
            weights,
            CenterConfig(**values),
            Calibration.of(settings),
            settings["use_decoder"],
            film,
            settings["training"],
            str(name),
        )


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint in half precision, whole or not at all.

    Raises
    ------
    CheckpointError
        If it cannot be written.
    """
    settings = {
        "model": asdict(checkpoint.model),
        "calibration": asdict(checkpoint.calibration),
        "use_decoder": checkpoint.use_decoder,
        "training": checkpoint.training,
    }
    weights = checkpoint.weights | {_FILM + name: value for name, value in checkpoint.film.items()}
    half = {k: (v.half() if v.is_floating_point() else v) for k, v in weights.items()}
    write_weights(half, settings, path)
