"""Pick particles without writing anything: what a notebook or another program calls."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

from numpy.typing import NDArray

from cryotx_cli.config import PickConfig, Precision, device_names, load_config
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.diameter_estimate import SizeCheck, estimate_diameter, is_inverted
from cryotx_cli.detector.load_picker import load_picker
from cryotx_cli.errors import ConfigError
from cryotx_cli.micrographs.find import MicrographFile, find_micrographs
from cryotx_cli.micrographs.micrograph import Micrograph, read_micrograph
from cryotx_cli.picking.micrograph_work import MicrographWork
from cryotx_cli.picking.survey import survey
from cryotx_cli.runs.candidates import Candidates
from cryotx_cli.runs.settled import known_to_be_bright, settle

Image = NDArray[Any] | Micrograph
"""A micrograph in memory: (height, width) pixels, alone or with their pixel size."""
One = TypeVar("One", bound=str | Path | Image)


class Settings(TypedDict, total=False):
    """The settings of `pick`, for type checkers."""

    pixel_size: float | None
    diameter: float | Literal["auto"]
    contrast: Literal["auto", "dark", "bright"]
    weights: str | Path
    on_film: bool
    threshold: float | Literal["auto"]
    unsure: Literal["auto", "drop", "keep"]
    fdr: float | None
    percentile: float | None
    expected_count: int | None
    max_per_micrograph: int | None
    selection: Literal["auto", "probability", "legacy"]
    min_distance: float | None
    edge: float
    decoys: int
    device: str
    precision: Precision


@overload
def pick(micrographs: Image, **settings: Unpack[Settings]) -> Particles: ...
@overload
def pick(micrographs: str | Path, **settings: Unpack[Settings]) -> Particles | dict[str, Particles]: ...
@overload
def pick(micrographs: list[One] | tuple[One, ...], **settings: Unpack[Settings]) -> list[Particles]: ...
def pick(
    micrographs: One | list[One] | tuple[One, ...],
    *,
    pixel_size: float | None = None,
    diameter: float | Literal["auto"] = "auto",
    contrast: Literal["auto", "dark", "bright"] = "auto",
    weights: str | Path = "default",
    on_film: bool = False,
    threshold: float | Literal["auto"] = "auto",
    unsure: Literal["auto", "drop", "keep"] = "auto",
    fdr: float | None = None,
    percentile: float | None = None,
    expected_count: int | None = None,
    max_per_micrograph: int | None = None,
    selection: Literal["auto", "probability", "legacy"] = "auto",
    min_distance: float | None = None,
    edge: float = 0.0,
    decoys: int = 10,
    device: str = "auto",
    precision: Precision = "float32",
) -> Particles | list[Particles] | dict[str, Particles]:
    """Find the particles in one micrograph or in several, as ``cryotx pick`` does, and write nothing.

    Parameters
    ----------
    micrographs
        An image: an array (height, width) of real numbers, row 0 the first row that an MRC file stores, or a
        `Micrograph`. Or a path to a file. Or a list of those. Or one path to a folder, a glob or a RELION micrographs
        STAR file.
    pixel_size
        Å per pixel; an array needs it, a file where it does not know, and it replaces that of a file or `Micrograph`.
    diameter
        Particle diameter in Å; ``"auto"`` estimates one for all.
    contrast
        Particles are dark, as recorded, or bright, as after an inversion.
    weights
        Name of a bundled model, or a file of weights.
    on_film
        Pick on support film and in large ice crystals, too.
    threshold
        Smallest score that a pick may have, 0 to 1, or ``"auto"``.
    unsure
        With `threshold` ``"auto"``, picks far less sure than their fellows; ``"auto"``: keep those of adapted weights.
    fdr
        Instead of `threshold`: keep as many as give this share of false picks over all these micrographs, 0 to 1.
    percentile
        Instead of `threshold`: drop this percentage of each image's candidates that are not improbable.
    expected_count
        Instead of `threshold`: keep this many best candidates of each micrograph.
    max_per_micrograph
        Keep at most this many of the picks of each micrograph, the best ones.
    selection
        ``"legacy"``: as the original program, for its weights.
    min_distance
        Smallest distance between picks in Å; None: half a diameter.
    edge
        Drop picks closer than this to the image border, in Å.
    decoys
        Compare so many micrographs with noise, from which the automatic threshold follows; 0: none.
    device
        Where the network runs: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:INDEX"``.
    precision
        Numbers that the network computes with: ``"bfloat16"`` is faster where there are instructions for it, and less
        exact.

    Returns
    -------
    Particles
        For one image or one file: the picks in its pixels, best first.
    list of Particles
        For a list: one for each item, in its order.
    dict of str to Particles
        For a folder, a glob or a STAR file: by micrograph, named as ``cryotx pick`` names it.

    Warns
    -----
    UserWarning
        Something about weights, contrast or diameter that the picks may suffer from.

    Raises
    ------
    ConfigError
        A setting cannot be used, or an array comes without its pixel size.
    MicrographError
        A micrograph is not there, cannot be read or cannot be picked. For many micrographs of which some may be damaged
        ``cryotx pick`` serves better: it goes on.
    CheckpointError, DeviceError
        The model cannot be loaded.

    Examples
    --------
    >>> import cryotx_cli as cryotx
    >>> particles = cryotx.pick(image, pixel_size=1.5, diameter=120)
    >>> particles.centres, particles.scores
    """
    given = {
        "pixel_size": pixel_size,
        "diameter": diameter,
        "contrast": contrast,
        "weights": str(weights),
        "on_film": on_film,
        "threshold": threshold,
        "unsure": unsure,
        "fdr": fdr,
        "percentile": percentile,
        "expected_count": expected_count,
        "max_per_micrograph": max_per_micrograph,
        "selection": selection,
        "min_distance": min_distance,
        "edge": edge,
        "decoys": decoys,
        "device": device,
        "precision": precision,
    }
    config = load_config(PickConfig, overrides=given)
    if len(device_names(config.device)) > 1:
        raise ConfigError(
            f"device = {device}: this works on one", "cryotx pick shares micrographs between several devices."
        )
    if isinstance(micrographs, str | Path) and not _is_one_file(micrographs):
        files = find_micrographs(micrographs, lambda event: _warn(event.text))
        return dict(zip([file.name for file in files], _pick(files, config), strict=True))
    if isinstance(micrographs, list | tuple):
        return _pick([_one(item, pixel_size) for item in micrographs], config)
    (particles,) = _pick([_one(micrographs, pixel_size)], config)
    return particles


def _pick(micrographs: Sequence[MicrographFile | Micrograph], config: PickConfig) -> list[Particles]:
    if not micrographs:
        return []
    loaded = load_picker(config)
    for event in loaded.events:
        _warn(event.text)

    bright = False

    known = known_to_be_bright(config.contrast)

    def estimate() -> float:
        return estimate_diameter(micrographs, config.pixel_size, loaded.picker, known).value

    def is_bright(diameter: float) -> bool:
        nonlocal bright
        bright = is_inverted(micrographs, config.pixel_size, loaded.picker, diameter)
        return bright

    settled = settle(loaded.config, estimate, is_bright)
    if bright:
        _warn('Particles seem to be bright in these micrographs and are picked as such; contrast="dark" if not.')
    subjects = [_Subject(one, f"{number:09}", config) for number, one in enumerate(micrographs)]
    settled = settled.with_cut(survey(subjects, settled, loaded.picker, lambda _: None).found)
    work, sizes = MicrographWork(settled, loaded.picker), SizeCheck(settled.diameter)
    found: list[Particles] = []
    for subject in subjects:  # files are read one at a time: all of them may fill the memory
        candidates = subject.candidates
        if candidates is None:
            candidates, events = work.find(subject.read())
            for event in events:
                _warn(event.text)
        particles = settled.selection.choose(candidates).particles
        sizes.add(particles)
        found.append(particles)
    given = isinstance(config.diameter, float)  # one that is estimated fits
    if given and loaded.picker.scales_to_diameter and (warning := sizes.warning()):
        _warn(warning)
    return found


class _Subject:
    """A micrograph with its candidates in memory."""

    def __init__(self, micrograph: MicrographFile | Micrograph, number: str, config: PickConfig) -> None:
        self._micrograph, self._pixel_size = micrograph, config.pixel_size
        self.name = number if isinstance(micrograph, Micrograph) else micrograph.name
        self.key = number  # nothing of it is kept
        self.defocus = None if isinstance(micrograph, Micrograph) else micrograph.defocus
        self.candidates: Candidates | None = None
        self.decoys: Candidates | None = None

    def read(self) -> Micrograph:
        if isinstance(self._micrograph, Micrograph):
            return self._micrograph
        return read_micrograph(self._micrograph, self._pixel_size)

    def keep(self, candidates: Candidates | None, decoys: Candidates | None) -> None:
        self.candidates = self.candidates if candidates is None else candidates
        self.decoys = self.decoys if decoys is None else decoys

    def forget_decoys(self) -> None:
        self.decoys = None


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)  # shown at the line that called `pick`


def _is_one_file(given: str | Path) -> bool:
    return Path(given).is_file() and Path(given).suffix.lower() != ".star"


def _one(given: Any, pixel_size: float | None) -> MicrographFile | Micrograph:
    if isinstance(given, str | Path):
        if _is_one_file(given):
            return MicrographFile(Path(given), str(given))
        (*_, last) = find_micrographs(given)  # says so if nothing is there
        raise ConfigError(f"{given}: in a list stands for one micrograph, not for {last.name}", "Give it alone.")
    if isinstance(given, Micrograph):
        return given if pixel_size is None else replace(given, pixel_size=float(pixel_size))
    if pixel_size is None:
        raise ConfigError(
            "pixel_size: an array does not know its own", "Give it in Å per pixel: pick(image, pixel_size=1.06)."
        )
    return Micrograph.of(given, float(pixel_size))
