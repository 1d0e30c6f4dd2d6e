"""Files of weights: safetensors whose header holds, beside the weights, everything that picking needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryotx_cli.config import AdaptConfig, CryotransformerTrainConfig, load_train_config
from cryotx_cli.errors import CheckpointError, CryotxError
from cryotx_cli.files.whole_file import whole_path

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "cryotx 1"
_FIRST = "center"  # the architecture of files that name none
_BUNDLED = ("default",)


def weights_digest(settings: Any, weights: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256, in hexadecimal, of settings that have a JSON form and of named weights in their order."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for name, value in weights:
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def checkpoint_path(name: str | Path) -> Path:
    """Return the file that a name of weights means: of a bundled model, of a folder of a run of training, or itself."""
    if name in _BUNDLED:
        return Path(str(resources.files("cryotx_cli") / "weights" / f"{name}.safetensors"))
    return _weights_of_run(Path(name)) if Path(name).is_dir() else Path(name)


def _weights_of_run(folder: Path) -> Path:
    """Return the weights of a run that are ready to pick with: only of labels are the best ones calibrated, too."""
    try:
        learns_labels = isinstance(load_train_config(folder / "config.toml"), AdaptConfig | CryotransformerTrainConfig)
    except CryotxError:
        learns_labels = True
    paths = [folder / "best.safetensors", folder / "last.safetensors"][:: 1 if learns_labels else -1]
    return next((path for path in paths if path.exists()), paths[0])


def read_architecture(name: str | Path) -> str:
    """Return which family of detectors the weights of this name say that they belong to.

    Raises
    ------
    CheckpointError
        If there is no such file or it is not a cryotx checkpoint; names what was found.
    """
    with understood(name), _opened(name) as file:
        return str(_settings(file).get("architecture", _FIRST))


def read_weights(name: str | Path, architecture: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights of a file, as float32, and the settings in its header.

    Parameters
    ----------
    architecture
        The family of detectors that is wanted.

    Raises
    ------
    CheckpointError
        If there is no such file, it is not a cryotx checkpoint, or one of another family; names what was found.
    """
    with understood(name), _opened(name) as file:
        settings = _settings(file)
        if (found := settings.get("architecture", _FIRST)) != architecture:
            raise CheckpointError(
                f"{name}: holds a {found} model, not a {architecture} model",
                f"Give --model {found} with it, or weights of {architecture}.",
            )
        return {key: file.get_tensor(key).float() for key in file.keys()}, settings  # noqa: SIM118


@contextmanager
def understood(name: str | Path) -> Iterator[None]:
    """Report what goes wrong in this block as a file that is no checkpoint: its header lacks something, for example.

    Raises
    ------
    CheckpointError
        Instead of what was raised.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise _no_checkpoint(checkpoint_path(name), str(error)) from error


@contextmanager
def _opened(name: str | Path) -> Iterator[Any]:
    from safetensors import safe_open

    path = checkpoint_path(name)
    if not path.is_file():
        raise CheckpointError(
            f"--weights {name}: no such file", f"Give a .safetensors file of cryotx, or one of: {', '.join(_BUNDLED)}."
        )
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        if header.get("format") != FORMAT:
            raise _no_checkpoint(path, f"format {header.get('format')!r}")
        yield file


def _settings(file: Any) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(file.metadata()["settings"])
    return settings


def _no_checkpoint(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: not a cryotx checkpoint ({reason})",
        "Give a .safetensors file that `cryotx train` wrote, or `default`.",
    )


def write_weights(weights: Mapping[str, Tensor], settings: Mapping[str, Any], path: Path) -> None:
    """Write weights with the settings that belong to them, whole or not at all.

    Raises
    ------
    CheckpointError
        If they cannot be written.
    """
    from safetensors.torch import save

    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    try:
        with whole_path(path) as unfinished:
            # The library's own files are readable by their owner alone.
            unfinished.write_bytes(save(tensors, metadata={"format": FORMAT, "settings": json.dumps(settings)}))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})", "Choose another folder.") from error
