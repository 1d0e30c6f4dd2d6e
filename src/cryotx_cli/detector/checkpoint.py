"""Weights with everything that picking needs: one safetensors file whose header holds the settings."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cryotx_cli.config import CenterConfig
from cryotx_cli.errors import CheckpointError

FORMAT = "cryotx 1"
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
    training
        How it was made, for people.
    name
        What the user calls it.
    """

    weights: dict[str, Tensor]
    model: CenterConfig = field(default_factory=CenterConfig)
    calibration: Calibration = field(default_factory=Calibration)
    use_decoder: bool = True
    training: dict[str, Any] = field(default_factory=dict)
    name: str = "unnamed"


def load_checkpoint(name: str | Path) -> Checkpoint:
    """Read a bundled model by name (`default`) or a file that `cryotx train` wrote.

    Raises
    ------
    CheckpointError
        If there is no such file or it is not a cryotx checkpoint; names what was found.
    """
    from safetensors import SafetensorError, safe_open

    path = (
        Path(str(resources.files("cryotx_cli") / "weights" / f"{name}.safetensors")) if name in _BUNDLED else Path(name)
    )
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
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings["model"].items()}
        model = CenterConfig(**values)
        calibration = Calibration(*(tuple(settings["calibration"][k]) for k in ("logits", "probabilities")))
        use_decoder, training = settings["use_decoder"], settings["training"]
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a cryotx checkpoint ({error})", hint) from error
    return Checkpoint(weights, model, calibration, use_decoder, training, str(name))


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint in half precision, whole or not at all.

    Raises
    ------
    CheckpointError
        If it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    settings = {
        "model": asdict(checkpoint.model),
        "calibration": asdict(checkpoint.calibration),
        "use_decoder": checkpoint.use_decoder,
        "training": checkpoint.training,
    }
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in checkpoint.weights.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(half, temporary, metadata={"format": FORMAT, "settings": json.dumps(settings)})
        temporary.replace(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be written ({error})", "Choose another folder.") from error
    finally:
        temporary.unlink(missing_ok=True)
