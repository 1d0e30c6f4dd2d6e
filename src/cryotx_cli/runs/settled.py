"""What a run of picking has decided before its first micrograph: nothing is left to find out, nothing is ``auto``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cryotx_cli.config import PickConfig, load_config, save_config
from cryotx_cli.coordinates.formats.box import box_side_px
from cryotx_cli.errors import ConfigError
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.runs.false_discovery import FalseDiscovery, OwnCuts
from cryotx_cli.runs.folder import fingerprint
from cryotx_cli.runs.selection import ExpectedF1, RunCut, Selection


@dataclass(frozen=True)
class Settled:
    """Settings of a run of picking as they turned out to be. Made here and nowhere else.

    Parameters
    ----------
    diameter
        Of the particles in Å.
    contrast
        Whether particles are dark or bright in these micrographs.
    selection
        What decides which candidates become picks.
    config
        Everything else that was asked for. It repeats the run: its diameter and contrast are those above.
    """

    diameter: float
    contrast: Literal["dark", "bright"]
    selection: Selection
    config: PickConfig

    @property
    def formats(self) -> tuple[str, ...]:
        """Formats to write beside the merged STAR file."""
        return tuple(one for one in self.config.formats if one != "box" or self.config.boxes)

    def box_px(self, pixel_size: float) -> int:
        """Return the side of the boxes around particles in micrographs of this pixel size, in their pixels."""
        return self.config.box or box_side_px(self.diameter / pixel_size)

    @property
    def by_probability(self) -> bool:
        """Whether picks are chosen by their probability, and not as the original program does."""
        return self.config.selection != "legacy"

    @property
    def averages(self) -> bool:
        """Whether the picks are averaged in classes, which the report shows."""
        return self.config.report and not self.config.no_classes

    def picks_key(self, candidates_key: str) -> str:
        """Return the fingerprint of the picks among candidates that have this one."""
        return fingerprint(candidates_key, repr(self.selection))

    def with_dark_particles(self, micrograph: Micrograph) -> Micrograph:
        """Return a micrograph as detectors know it, turned to its negative if particles are bright in it."""
        return micrograph if self.contrast == "dark" else micrograph.negative()

    @property
    def cut_by_run(self) -> bool:
        """Whether the settings leave the threshold to what the decoys of the run say."""
        return self.by_probability and isinstance(self.selection.rule, ExpectedF1 | OwnCuts | RunCut)

    def own_cuts(self, found: FalseDiscovery) -> OwnCuts:
        """Return the automatic rule that follows from decoys, as these settings have it."""
        return found.own_cuts.with_unsure if self.config.unsure == "keep" else found.own_cuts

    def with_cut(self, found: FalseDiscovery | None) -> Settled:
        """Return these settings with the thresholds that decoys give, if it is left to them and there are any."""
        if found is None or not self.cut_by_run:
            return self
        rate = self.config.fdr
        rule = self.own_cuts(found) if rate is None else RunCut(found.cut_at(rate), rate)
        return replace(self, selection=replace(self.selection, rule=rule))

    def save(self, path: Path) -> None:
        """Write the settings so that ``cryotx pick --config`` repeats the run.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        save_config(self.config, path)

    def changed(self, **changes: object) -> Settled:
        """Return these settings with some of those of ``cryotx pick`` set to other values, the picks' own included."""
        return _settled(replace(self.config, **changes), self.diameter, self.contrast)  # type: ignore[arg-type]


def settle(config: PickConfig, estimate: Callable[[], float], is_bright: Callable[[float], bool]) -> Settled:
    """Decide what the settings of ``cryotx pick`` leave open.

    Parameters
    ----------
    config
        As the user gave them, fitted to the weights.
    estimate
        Returns the diameter in Å; called where the settings have none.
    is_bright
        Tells from the diameter whether particles are bright; called where the settings do not say.
    """
    diameter = estimate() if config.diameter == "auto" else config.diameter
    contrast = config.contrast
    if contrast == "auto":
        contrast = "bright" if is_bright(diameter) else "dark"
    return _settled(config, diameter, contrast)


def known_to_be_bright(contrast: str) -> bool | None:
    """Whether the settings say that particles are bright; None where they leave it open."""
    return {"dark": False, "bright": True}.get(contrast)


def read_settled(path: Path) -> Settled:
    """Return what `Settled.save` wrote.

    Raises
    ------
    ConfigError
        The settings cannot be read, or are not those of a run.
    """
    config = load_config(PickConfig, path)

    def estimate() -> float:
        raise ConfigError(f"{path}: says diameter = auto, not the one of the run", "Run cryotx pick once more.")

    return settle(config, estimate, is_bright=lambda _: False)  # before contrast was a setting, all was taken for dark


def _settled(config: PickConfig, diameter: float, contrast: Literal["dark", "bright"]) -> Settled:
    # How long a run waits, and who works for it, decide nothing about its picks, and do not go with every setting of
    # cryotx threshold.
    config = replace(config, diameter=diameter, contrast=contrast, watch=False, stop_after=None, scheduler=None)
    return Settled(diameter, contrast, Selection.of(config, diameter), config)
