"""CryoSPARC's exposures of the micrographs that a run picks, which its .cs file is made for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.cryosparc import OTHER_EXPOSURES, exposures_of, grid_of_exposure
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.grid import on_grid
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import MicrographError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.exposures import EXPOSURE_SUFFIXES
from cryotx_cli.micrographs.find import Inputs, listed
from cryotx_cli.micrographs.micrograph import MicrographFile, read_header

_COMPARED = 3
"""Micrographs whose headers are read to see whether CryoSPARC has them in other pixels."""


def with_exposures_of(inputs: Inputs, config: PickConfig) -> PickConfig:
    """Return settings whose exposures are those among the inputs, unless they name others or several are there."""
    given = [Path(one) for one in listed(inputs) if Path(one).suffix.lower() in EXPOSURE_SUFFIXES]
    return replace(config, exposures=given[0]) if len(given) == 1 and not (config.exposures or config.watch) else config


def exposures_of_run(files: Sequence[MicrographFile], config: PickConfig, tell: Tell) -> Mapping[str, Exposure]:
    """Return the exposures by the names of micrographs; none where the settings name no file of them.

    Raises
    ------
    ParticleFileError
        If they do not fit: of none of the micrographs, or other images than these.
    """
    if config.exposures is None:
        return {}
    exposures = exposures_of(config.exposures, [file.name for file in files], tell)
    without = [file.name for file in files if file.name not in exposures]
    if without:
        examples = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
        tell(Event(f"{len(without)} not among the exposures, left out of particles.cs: {examples}", "warning"))
    for file in [file for file in files if file.name in exposures][:_COMPARED]:
        if told := _rescaled(file, exposures[file.name], config):
            tell(Event(f"Picks in particles.cs are {told}."))
            break
    return exposures


def _rescaled(file: MicrographFile, exposure: Exposure, config: PickConfig) -> str:
    """Tell what picks on a micrograph need to become fractions of its exposure; nothing where they need nothing."""
    try:
        header = read_header(file.path)
    except MicrographError:
        return ""  # picking will say why
    none = Particles.empty(config.pixel_size or file.pixel_size or header.pixel_size or math.nan)
    there = replace(none, shape=(header.height, header.width))
    return on_grid(file.name, there, grid_of_exposure(exposure), "the exposure", OTHER_EXPOSURES)[1]
