"""What the inputs of a run say against each other: told before the first micrograph is picked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from cryotx_cli.config import PickConfig, idle_unsure
from cryotx_cli.coordinates.grid import SAME_PIXEL_SIZE
from cryotx_cli.errors import CryotxError, MicrographError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.find import MicrographFile
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER
from cryotx_cli.micrographs.micrograph import pixel_size_of, read_header
from cryotx_cli.micrographs.names import MRC_SUFFIXES, PICTURE_SUFFIXES, TIFF_SUFFIXES, micrograph_suffix
from cryotx_cli.micrographs.picture import is_coloured
from cryotx_cli.micrographs.tiff import has_channels
from cryotx_cli.wording import counted, some_of

_HEADERS = 200  # to read at most, spread over the run: a list of thousands on a network disk takes minutes
_PICTURES = 3
_SMALL = PIXELS_PER_DIAMETER / 2  # px: narrower ones are enlarged to more than four times the micrograph's area


def tell_of_contradictions(files: Sequence[MicrographFile], config: PickConfig, tell: Tell) -> None:
    """Say where pixel sizes of settings, lists and headers differ, what does nothing, and which pictures have colours.

    Parameters
    ----------
    files
        The micrographs of the run.
    config
        What the user asked for.
    tell
        Hears one line for each contradiction.
    """
    step = max(1, len(files) // _HEADERS)
    sizes = Counter(one for file in files[::step] for one in _differing(file, config.pixel_size))
    for (stated_by, stated, other, differs), count in sizes.items():
        tell(
            Event(
                f"{stated_by} says {stated:g} Å per pixel, {other} of {counted(count, 'micrographs')} "
                f"{differs:g} Å: {stated:g} Å is used, and diameter, distances and boxes follow from it.",
                "warning",
            )
        )
    if (idle := idle_unsure(config)) is not None:
        tell(Event(f"{idle}.", "warning"))
    suffixes = PICTURE_SUFFIXES + TIFF_SUFFIXES
    pictures = (file for file in files if micrograph_suffix(file.path) in suffixes)
    coloured = [str(file.path) for file in islice(pictures, _PICTURES) if _is_coloured(file.path)]
    if coloured:
        tell(
            Event(
                f"Pictures in colour: {some_of(coloured)}. Their brightness is picked from; micrographs are grey, so "
                "look whether something is drawn on them.",
                "warning",
            )
        )


def require_pixel_size(files: Sequence[MicrographFile], config: PickConfig) -> None:
    """Check that the pixel size of some micrograph is known: else all fail, after all that is done before the first.

    Raises
    ------
    MicrographError
        None of them has one.
    """
    if config.pixel_size is not None:
        return
    first_error: MicrographError | None = None
    for file in files[:: max(1, len(files) // _HEADERS)]:
        try:
            is_mrc = micrograph_suffix(file.path) in MRC_SUFFIXES
            in_header = read_header(file.path).pixel_size if is_mrc and not file.pixel_size else None
        except CryotxError:  # picking it will say why
            return
        try:
            pixel_size_of(file, in_header, None)
            return
        except MicrographError as error:
            first_error = first_error or error
    if first_error is not None:
        raise first_error


def tell_of_tiny_particles(files: Sequence[MicrographFile], config: PickConfig, tell: Tell) -> None:
    """Say that particles would be a few pixels wide: with a decimal point in the wrong place a run takes hours."""
    if isinstance(config.diameter, str) or not files:
        return
    size = config.pixel_size or files[0].pixel_size or _in_header(files[0])
    width = config.diameter / size if size else _SMALL
    if width < _SMALL:
        tell(
            Event(
                f"A particle of {config.diameter:g} Å is only {width:.1f} px wide at {size:g} Å per pixel: is "
                f"--pixel-size right, and --diameter? Micrographs are enlarged {PIXELS_PER_DIAMETER / width:.1f} "
                "times, which takes long.",
                "warning",
            )
        )


def _is_coloured(path: Path) -> bool:
    may_be = micrograph_suffix(path) in PICTURE_SUFFIXES or has_channels(path)
    return may_be and is_coloured(path)


def _differing(file: MicrographFile, asked: float | None) -> list[tuple[str, float, str, float]]:
    """Return whose pixel size counts, which it is, who else states one and which, rounded so that equal ones are."""
    stated = [("--pixel-size", asked), ("The STAR or .cs file", file.pixel_size), ("the headers", _in_header(file))]
    (by, used), *others = [(who, size) for who, size in stated if size] or [("", 0.0)]
    names = {"The STAR or .cs file": "the STAR or .cs file"}
    return [
        (by, float(f"{used:.4g}"), names.get(who, who), float(f"{size:.4g}"))
        for who, size in others
        if abs(used / size - 1) > SAME_PIXEL_SIZE
    ]


def _in_header(file: MicrographFile) -> float | None:
    if micrograph_suffix(file.path) not in MRC_SUFFIXES:
        return None
    try:
        return read_header(file.path).pixel_size
    except CryotxError:  # picking it will say why
        return None
