"""Every family of detectors, one entry each. Importing this module does not import torch, reading weights does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cryotx_cli.config import PickConfig
from cryotx_cli.detector.checkpoint import read_architecture
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.errors import CheckpointError, ConfigError
from cryotx_cli.events import Event

if TYPE_CHECKING:
    import torch

    from cryotx_cli.detector.center.checkpoint import Checkpoint
    from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint

W = TypeVar("W")
"""Weights of a family, as they are read from a file."""


@dataclass(frozen=True)
class Family(Generic[W]):
    """A kind of detector: all that the rest of the program has to know of it.

    Parameters
    ----------
    name
        As ``--model`` and the files of its weights spell it.
    foreign_suffixes
        How files of other programs end that hold such weights; files of this program say it in their header.
    read
        Reads weights, given their name or file; raises `CheckpointError`.
    fit
        Returns the settings as these weights need them, and what the user should know about it; raises `ConfigError`
        where settings and weights exclude each other.
    picker
        Makes what picks with these weights, by settings that fit, on a device; raises `CheckpointError`.
    training
        The package that trains it, by name: training stands above detectors, which know nothing else of it.
    """

    name: str
    foreign_suffixes: tuple[str, ...]
    read: Callable[[str | Path], W]
    fit: Callable[[W, PickConfig], tuple[PickConfig, tuple[Event, ...]]]
    picker: Callable[[W, PickConfig, torch.device], ParticlePicker]
    training: str


def family_of(weights: str | Path) -> Family[Any]:
    """Return the family that weights belong to, by the ending of the file or by its header.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is of no family that is known.
    """
    suffix = Path(weights).suffix.lower()
    for family in FAMILIES:
        if suffix in family.foreign_suffixes:
            return family
    architecture = read_architecture(weights)
    for family in FAMILIES:
        if architecture == family.name:
            return family
    raise CheckpointError(
        f"{weights}: holds a model of the kind {architecture!r}, which this version of cryotx does not know",
        "Install a newer cryotx, or give other weights.",
    )


# ---- center ----------------------------------------------------------------------------------------------------------


def _read_center(name: str | Path) -> Checkpoint:
    from cryotx_cli.detector.center.checkpoint import load_checkpoint

    return load_checkpoint(name)


def _fit_center(weights: Checkpoint, config: PickConfig) -> tuple[PickConfig, tuple[Event, ...]]:
    if config.selection == "legacy":
        raise ConfigError(
            f"--selection legacy: {weights.name} is not a model of the original program",
            "Leave it out, or give weights of the original with --weights FILE.pth.",
        )
    if config.unsure == "auto" and weights.is_adapted:
        config = replace(config, unsure="keep")  # they know which likeness people left out: the labels have said so
    return config, ()


def _center_picker(weights: Checkpoint, config: PickConfig, device: torch.device) -> ParticlePicker:
    from cryotx_cli.detector.center.picker import Picker

    return Picker(replace(weights, film={}) if config.on_film else weights, device, config.precision)


CENTER = Family("center", (), _read_center, _fit_center, _center_picker, "cryotx_cli.training.center")
"""The default model."""

# ---- cryotransformer -------------------------------------------------------------------------------------------------

_PUBLISHED = (".pth", ".pt")
_LEGACY_PERCENTILE = 25.0  # the original's own default
_DEGENERATE = (
    '{} was trained with "particle" and "no object" as one class: its scores cannot tell good picks from bad ones. '
    "Picks are therefore those of the original program (--selection legacy): a fixed share of the boxes, with scores "
    "that are not theirs. cryotx train --refit-head gives such weights true probabilities."
)


def _read_cryotransformer(name: str | Path) -> DetrCheckpoint:
    if Path(name).suffix.lower() in _PUBLISHED:
        from cryotx_cli.detector.cryotransformer.published_checkpoint import read_published_checkpoint

        return read_published_checkpoint(name).as_detr_checkpoint()
    from cryotx_cli.detector.cryotransformer.checkpoint import load_detr_checkpoint

    return load_detr_checkpoint(name)


def _fit_cryotransformer(weights: DetrCheckpoint, config: PickConfig) -> tuple[PickConfig, tuple[Event, ...]]:
    if config.precision != "float32":
        raise ConfigError(
            f"--precision {config.precision}: {weights.name} is a model of the CryoTransformer paper, which runs in "
            "float32 alone",
            "Leave it out.",
        )
    if config.selection != "auto" or not weights.degenerate_class_head:
        return config, ()
    try:
        config = replace(config, selection="legacy")
    except ValueError as error:
        raise ConfigError(
            f"{weights.name}: its class scores mean nothing, so picks cannot be chosen by probability ({error})",
            "Leave out --threshold and --expected-count, or refit the class head with cryotx train --refit-head.",
        ) from error
    return config, (Event(_DEGENERATE.format(weights.name), "warning"),)


def _cryotransformer_picker(weights: DetrCheckpoint, config: PickConfig, device: torch.device) -> ParticlePicker:
    from cryotx_cli.detector.cryotransformer.picker import DetrPicker

    percentile = _LEGACY_PERCENTILE if config.percentile is None else config.percentile
    return DetrPicker(weights, device, legacy_percentile=percentile if config.selection == "legacy" else None)


CRYOTRANSFORMER = Family(
    "cryotransformer",
    _PUBLISHED,
    _read_cryotransformer,
    _fit_cryotransformer,
    _cryotransformer_picker,
    "cryotx_cli.training.cryotransformer",
)
"""The model of the paper, of this program or as published."""

# ---- all of them -----------------------------------------------------------------------------------------------------

FAMILIES: tuple[Family[Any], ...] = (CENTER, CRYOTRANSFORMER)
