"""The picker that the settings ask for. Importing this module does not import torch, loading a picker does."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryotx_cli.config import PickConfig, device_names
from cryotx_cli.detector.families import family_of
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.errors import DeviceError
from cryotx_cli.events import Event
from cryotx_cli.loading import uncollected

if TYPE_CHECKING:
    from cryotx_cli.detector.device import ChosenDevice


@dataclass(frozen=True, eq=False)
class LoadedPicker:
    """A picker with the settings that it turns out to need.

    Parameters
    ----------
    picker
        Ready to use.
    config
        The settings, changed where these weights allow nothing else.
    events
        What the user should know about the weights.
    device_reason
        Why the network runs where it runs.
    """

    picker: ParticlePicker
    config: PickConfig
    events: tuple[Event, ...]
    device_reason: str


def load_picker(config: PickConfig) -> LoadedPicker:
    """Load ``config.weights`` on ``config.device``, the first one if there are several.

    Raises
    ------
    CheckpointError, DeviceError
        The weights cannot be used, or one of the devices is not there or has not the numbers that are asked for.
    ConfigError
        The settings do not fit the weights.
    """
    chosen = _device(config)
    family = family_of(config.weights)
    weights = family.read(config.weights)
    fitting, events = family.fit(weights, config)
    return LoadedPicker(family.picker(weights, fitting, chosen.device), fitting, events, chosen.reason)


def _device(config: PickConfig) -> ChosenDevice:
    # Torch takes seconds to import: who brings a picker need not wait for it.
    with uncollected():
        from cryotx_cli.detector.device import choose_device, require_bfloat16

    if config.scheduler is not None:
        # The device is that of the workers, and a machine that only starts a run need not have it.
        with suppress(DeviceError):
            return choose_device(config.device)
        return choose_device("auto")
    chosen = [choose_device(name) for name in device_names(config.device)]
    if config.precision == "bfloat16":
        for one in chosen:
            require_bfloat16(one.device)
    return chosen[0]
