"""How large particles are, and whether dark or bright: judged by a few micrographs before a run, checked after it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import DiameterEstimate, ParticlePicker
from cryotx_cli.detector.size_sweep import CLEARLY_BETTER, CONVINCING_F1, SizeSweep, sweep
from cryotx_cli.errors import MicrographError
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.micrographs.micrograph import Micrograph, MicrographFile, read_micrograph

SAMPLE = 10
"""How many micrographs an estimate is made from."""
_TOGETHER = 3  # micrographs in memory at once

_DISAGREE = 1.25
_CONFIDENT = 0.5
_SOME = 20  # picks whose sizes are worth a look
_ENOUGH = 100  # confident picks: a few are often contamination or ice


def estimate_diameter(
    files: Sequence[MicrographFile | Micrograph],
    pixel_size: float | None,
    picker: ParticlePicker,
    bright: bool | None = False,
) -> DiameterEstimate:
    """Estimate from micrographs spread over the whole set, the same ones whatever the order of the input.

    Parameters
    ----------
    files, pixel_size, picker
        Of the run.
    bright
        Whether particles are bright; None: bright ones are looked for where no dark ones convince.

    Raises
    ------
    MicrographError
        No micrograph can be read, or none shows particles.
    """
    if not picker.compares_with_noise:
        return _estimate_one_by_one(files, pixel_size, picker)
    found = _swept(files, pixel_size, picker, SAMPLE, bright=bool(bright))
    best = found.best()
    evidence = best.evidence if best else 0.0
    if bright is None and evidence < CONVINCING_F1:
        turned = _swept(files, pixel_size, picker, _TOGETHER, bright=True)
        best = turned.best()
        if best is not None and best.evidence >= max(CONVINCING_F1, evidence + CLEARLY_BETTER):
            return turned.estimate()
    return found.estimate()


def _swept(
    files: Sequence[MicrographFile | Micrograph],
    pixel_size: float | None,
    picker: ParticlePicker,
    count: int,
    bright: bool,
) -> SizeSweep:
    micrographs = (replace(one, image=-one.image) if bright else one for one in _sample(files, pixel_size, count))
    return sweep(picker, micrographs, min(count, len(files)))


def _estimate_one_by_one(
    files: Sequence[MicrographFile | Micrograph], pixel_size: float | None, picker: ParticlePicker
) -> DiameterEstimate:
    each: list[float] = []
    tried = 0
    for micrograph in _sample(files, pixel_size, SAMPLE):  # one at a time: ten may fill the memory
        tried += 1
        try:
            each.append(picker.estimate_diameter([micrograph]))
        except MicrographError:  # nothing on this one
            continue
    if each:
        return DiameterEstimate(float(np.median(each)), tuple(sorted(each)), tried)
    # What no micrograph shows alone a few may show together.
    return DiameterEstimate(picker.estimate_diameter(list(_sample(files, pixel_size, _TOGETHER))), (), tried)


def is_inverted(
    files: Sequence[MicrographFile | Micrograph], pixel_size: float | None, picker: ParticlePicker, diameter: float
) -> bool:
    """Whether particles are bright in these micrographs, judged by a few of them; no where the picker cannot tell.

    Raises
    ------
    MicrographError
        No micrograph can be read.
    """
    return picker.is_inverted(_sample(files, pixel_size, _TOGETHER), diameter)


def _sample(files: Sequence[MicrographFile | Micrograph], pixel_size: float | None, count: int) -> Iterator[Micrograph]:
    by_path = sorted(files, key=lambda file: str(file.source if isinstance(file, Micrograph) else file.path))
    step = max(1, len(by_path) // count)
    first_error: MicrographError | None = None
    read = 0
    for file in [file for offset in range(step) for file in by_path[offset::step]]:
        if read == count:
            return
        try:
            micrograph = file if isinstance(file, Micrograph) else read_micrograph(file, pixel_size)
        except MicrographError as error:
            first_error = first_error or error
            continue
        read += 1
        yield micrograph
    if not read and first_error is not None:
        raise MicrographError(f"no micrograph can be read; the first: {first_error.message}", first_error.hint)


def keep_estimate(path: Path, estimate: DiameterEstimate, key: str) -> None:
    """Write an estimate for the next run: with other micrographs it would be another one, and all picks with it."""
    with whole_file(path) as file:
        json.dump({"key": key, **asdict(estimate)}, file)


def kept_estimate(path: Path, key: str | None = None) -> DiameterEstimate | None:
    """Return what `keep_estimate` wrote, under `key` if one is given; None if there is nothing."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        count = stored.get("count")
        estimate = DiameterEstimate(
            float(stored["value"]),
            tuple(map(float, stored["each"])),
            int(stored["tried"]),
            None if count is None else float(count),
        )
        return estimate if key in (None, stored["key"]) and estimate.value > 0 else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class SizeCheck:
    """Collects the sizes of confident picks and compares them with the diameter that was given.

    The size that the network sees is drawn towards the given diameter: of particles 1.6 times as large as given it
    says 1.27 to 1.42 times, of those 1.6 times smaller 0.70 to 0.73 times. Hence the limit of 1.25 either way, which
    the four well labelled real sets keep with the right diameter (0.84 to 1.06) and break with those.
    """

    def __init__(self, diameter: float) -> None:
        self._diameter = diameter
        self._all: list[NDArray[np.float64]] = []
        self._confident: list[NDArray[np.float64]] = []

    def add(self, picks: Particles) -> None:
        """Take the picks of one more micrograph."""
        ratios = picks.diameters * picks.pixel_size / self._diameter
        known = np.isfinite(ratios)
        self._all.append(ratios[known])
        self._confident.append(ratios[known & (picks.scores > _CONFIDENT)])

    @property
    def ratio(self) -> float | None:
        """Median size of all picks, however sure, over the diameter that was given; None if there are too few."""
        return _median(self._all, _SOME)

    def warning(self) -> str | None:
        """Say that the diameter is wrong; None if it fits, or if there are too few picks to tell."""
        ratio = _median(self._confident, _ENOUGH)
        if ratio is None:
            return None
        if 1 / _DISAGREE <= ratio <= _DISAGREE:
            return None
        found, way = self._diameter * ratio, "larger" if ratio > 1 else "smaller"
        return (
            f"The particles found measure about {found:.0f} Å, not {self._diameter:.0f} Å, and may be {way} still: the "
            f"network expects what --diameter says. Try --diameter {found:.0f} or --diameter auto."
        )


def _median(parts: Sequence[NDArray[np.float64]], least: int) -> float | None:
    ratios = np.concatenate(parts) if parts else np.zeros(0)
    return float(np.median(ratios)) if len(ratios) >= least else None
