"""The picker that the settings ask for. Importing this module does not import torch, loading a picker does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.config import PickConfig, device_names
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ConfigError, DeviceError
from cryotx_cli.micrographs.micrograph import Micrograph

if TYPE_CHECKING:
    from cryotx_cli.detector.device import ChosenDevice

_PUBLISHED_SUFFIXES = (".pth", ".pt")
_LEGACY_PERCENTILE = 25.0  # the original's own default
_DEGENERATE = (
    '{} was trained with "particle" and "no object" as one class: its scores cannot tell good picks from bad ones. '
    "Picks are therefore those of the original program (--selection legacy): a fixed share of the boxes, with scores "
    "that are not theirs. cryotx train --refit-head gives such weights true probabilities."
)


class ParticlePicker(Protocol):
    """What picking needs of `cryotx_cli.detector.center.picker.Picker`."""

    @property
    def device(self) -> object:
        """Where the network runs."""

    @property
    def fingerprint(self) -> str:
        """Text that differs between pickers that may pick differently: weights and input settings."""

    def prepare(self, micrograph: Micrograph, diameter: float) -> NDArray[np.float32]:
        """Bring a micrograph to the network's scale and grey levels."""

    def locate(self, prepared: NDArray[np.float32], micrograph: Micrograph) -> Particles:
        """Return every candidate with a calibrated probability, in the micrograph's own pixels."""

    def estimate_diameter(self, micrographs: Sequence[Micrograph]) -> float:
        """Return the particle diameter in Å that suits all these micrographs best."""


@dataclass(frozen=True, eq=False)
class LoadedPicker:
    """A picker with the settings that it turns out to need.

    Parameters
    ----------
    picker
        Ready to use.
    config
        The settings, changed where these weights allow nothing else.
    messages
        What the user should know about the weights.
    device_reason
        Why the network runs where it runs.
    """

    picker: ParticlePicker
    config: PickConfig
    messages: tuple[str, ...]
    device_reason: str


def load_picker(config: PickConfig) -> LoadedPicker:
    """Load ``config.weights`` on ``config.device``, the first one if there are several.

    Raises
    ------
    CheckpointError, DeviceError
        The weights cannot be used, or one of the devices is not there.
    ConfigError
        The settings do not fit the weights.
    """
    # Torch takes seconds to import: who brings a picker need not wait for it.
    from cryotx_cli.detector.checkpoint import Checkpoint, read_checkpoint

    chosen = _device(config)
    if Path(config.weights).suffix.lower() in _PUBLISHED_SUFFIXES:
        from cryotx_cli.detector.cryotransformer.published_checkpoint import read_published_checkpoint

        checkpoint = read_published_checkpoint(config.weights).as_detr_checkpoint()
    elif isinstance(own := read_checkpoint(config.weights), Checkpoint):
        from cryotx_cli.detector.center.picker import Picker

        if config.selection == "legacy":
            raise ConfigError(
                f"--selection legacy: {config.weights} is not a model of the original program",
                "Leave it out, or give weights of the original with --weights FILE.pth.",
            )
        if config.on_film:
            own = replace(own, film={})
        return LoadedPicker(Picker(own, chosen.device), config, (), chosen.reason)
    else:
        checkpoint = own
    from cryotx_cli.detector.cryotransformer.picker import DetrPicker

    messages: tuple[str, ...] = ()
    if config.selection == "auto" and checkpoint.degenerate_class_head:
        config = _with_legacy_selection(config)
        messages = (_DEGENERATE.format(config.weights),)
    percentile = _LEGACY_PERCENTILE if config.percentile is None else config.percentile
    legacy = percentile if config.selection == "legacy" else None
    picker = DetrPicker(checkpoint, chosen.device, legacy_percentile=legacy)
    return LoadedPicker(picker, config, messages, chosen.reason)


def _device(config: PickConfig) -> ChosenDevice:
    from cryotx_cli.detector.device import choose_device

    if config.scheduler is not None:
        # The device is that of the workers, and a machine that only starts a run need not have it.
        with suppress(DeviceError):
            return choose_device(config.device)
        return choose_device("auto")
    first, *_ = [choose_device(name) for name in device_names(config.device)]
    return first


def _with_legacy_selection(config: PickConfig) -> PickConfig:
    try:
        return replace(config, selection="legacy")
    except ValueError as error:
        raise ConfigError(
            f"{config.weights}: its class scores mean nothing, so picks cannot be chosen by probability ({error})",
            "Leave out --threshold and --expected-count, or refit the class head with cryotx train --refit-head.",
        ) from error
