"""Weights with everything that picking needs: one safetensors file whose header holds the settings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cryotx_cli.config import CenterConfig
from cryotx_cli.errors import CheckpointError
from cryotx_cli.files.whole_file import whole_path

if TYPE_CHECKING:
    from cryotx_cli.detector.cryotransformer.network import DetrConfig

FORMAT = "cryotx 1"
_FILM = "film."
"""Beginning of the film finder's names in a file."""
_BUNDLED = ("default",)


@dataclass(frozen=True)
class Calibration:
    """Maps a detector's logit to the probability that the pick is right: linear between knots, both rising.

    The default is the logistic function itself.
    """

    logits: tuple[float, ...] = tuple(np.linspace(-8, 8, 65).tolist())
    probabilities: tuple[float, ...] = tuple((1 / (1 + np.exp(-np.linspace(-8, 8, 65)))).tolist())

    def __call__(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities, same shape."""
        return np.asarray(np.interp(logits, self.logits, self.probabilities), np.float64)


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


def checkpoint_path(name: str | Path) -> Path:
    """Return the file that a name of weights means: that of a bundled model, or the name itself."""
    if name in _BUNDLED:
        return Path(str(resources.files("cryotx_cli") / "weights" / f"{name}.safetensors"))
    return Path(name)


def load_checkpoint(name: str | Path) -> Checkpoint:
    """Read a `center` model: a bundled one by name (`default`) or a file that `cryotx train` wrote.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is not a cryotx checkpoint, or one of another model; names what was found.
    """
    checkpoint = read_checkpoint(name)
    if isinstance(checkpoint, DetrCheckpoint):
        raise CheckpointError(
            f"{name}: holds a cryotransformer model, not a center model", "Give --model cryotransformer with it."
        )
    return checkpoint


def read_checkpoint(name: str | Path) -> Checkpoint | DetrCheckpoint:
    """Read a model of either kind: a bundled one by name (`default`) or a file that `cryotx train` wrote.

    Raises
    ------
    CheckpointError
        If there is no such file or it is not a cryotx checkpoint; names what was found.
    """
    from safetensors import SafetensorError, safe_open

    path = checkpoint_path(name)
    if not path.is_file():
        raise CheckpointError(
            f"--weights {name}: no such file", f"Give a .safetensors file of cryotx, or one of: {', '.join(_BUNDLED)}."
        )
    hint = "Give a .safetensors file that `cryotx train` wrote, or `default`."
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointError(f"{path}: not a cryotx checkpoint (format {header.get('format')!r})", hint)
            weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        settings = json.loads(header["settings"])
        if settings.get("architecture", "center") == "cryotransformer":
            return _detr_checkpoint(weights, settings, str(name))
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings["model"].items()}
        model = CenterConfig(**values)
        calibration = _calibration(settings)
        use_decoder, training = settings["use_decoder"], settings["training"]
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a cryotx checkpoint ({error})", hint) from error
    film = {key.removeprefix(_FILM): weights.pop(key) for key in [*weights] if key.startswith(_FILM)}
    return Checkpoint(weights, model, calibration, use_decoder, film, training, str(name))


def _detr_checkpoint(weights: dict[str, Tensor], settings: dict[str, Any], name: str) -> DetrCheckpoint:
    from cryotx_cli.detector.cryotransformer.network import (
        DetrConfig,  # brings torchvision, which the default model does without
    )

    return DetrCheckpoint(
        weights,
        DetrConfig(**settings["model"]),
        DetrInput(**settings["input"]),
        _calibration(settings),
        training=settings["training"],
        name=name,
    )


def _calibration(settings: dict[str, Any]) -> Calibration:
    return Calibration(*(tuple(settings["calibration"][k]) for k in ("logits", "probabilities")))


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
    _write(half, settings, path)


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
    _write(checkpoint.weights, settings, path)


def _write(weights: dict[str, Tensor], settings: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save

    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    try:
        with whole_path(path) as unfinished:
            # The library's own files are readable by their owner alone.
            unfinished.write_bytes(save(tensors, metadata={"format": FORMAT, "settings": json.dumps(settings)}))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})", "Choose another folder.") from error
