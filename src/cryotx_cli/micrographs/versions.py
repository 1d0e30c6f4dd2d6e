"""Versions of one micrograph in one folder, dose-weighted or not, with power spectra and previews: which to take."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryotx_cli.micrographs.names import (
    MRC_SUFFIXES,
    PICTURE_SUFFIXES,
    bare_name,
    file_name,
    image_suffix,
    micrograph_suffix,
    name_of_origin,
    name_without_picker,
)

# What is made of a micrograph and is none, or another image of the same field.
_MADE_OF = re.compile(
    r"[_-](PS|pow(er)?|fft|ctf|diag|background|bg|mask|thumb(nail)?|segmentation|EVN|ODD|even|odd|bin\d+|denoised)$",
    re.I,
)
# The best first; what motion correction and movie programs put at the end of a name, DWS being the sum of fewer frames.
_RANKS = (
    re.compile(r"[_-](DW|dose_?weighted)$", re.I),
    re.compile(r"[_-]DWS$", re.I),
    re.compile(r"$^"),  # no ending: RELION's dose-weighted micrograph, or that of the microscope
    re.compile(
        r"(?<!rigid)[_-](aligned|motion_?corr(ected)?|corr(ected)?|SumCorr|DriftCorr|sum|avg|average|ali|mic)$", re.I
    ),
    re.compile(r"[_-]rigid_aligned$", re.I),
    re.compile(r"[_-]no_?DW$", re.I),
)
_PLAIN, _OTHER, _NO_MICROGRAPH, _PICTURE = 2, len(_RANKS), len(_RANKS) + 1, len(_RANKS) + 2


@dataclass(frozen=True)
class Versions:
    """Which files of many are taken.

    Parameters
    ----------
    taken
        In the order of the input.
    left_out
        By the files that are other versions of one that is taken: that one.
    """

    taken: list[Path]
    left_out: dict[Path, Path]


def choose_versions(files: Sequence[Path], named: Iterable[str] = ()) -> Versions:
    """Choose one of the versions of each micrograph.

    Parameters
    ----------
    files
        Images, movies and previews, in any folders. Versions lie in one folder, and their names agree without what
        motion correction, pickers and pictures of a micrograph are called; a picture is one of every file that begins
        with its name.
    named
        Names of micrographs that are asked for: a version that one of them names is taken instead of the best.
    """
    named = list(named)
    wanted, wanted_files = {name_without_picker(name) for name in named}, {file_name(name) for name in named}
    best: dict[Path, Path] = {}
    readable = [file for file in files if micrograph_suffix(file)]
    for group in versions_of(readable).values():
        called = [file for file in group if file.name in wanted_files] if wanted else []
        called = called or [file for file in group if wanted and name_without_picker(file.name) in wanted]
        first = min(called or group, key=_rank)
        best |= {file: file if file in called else first for file in group}
    best |= _previews(readable, files, best)
    return Versions(
        [file for file in readable if best[file] == file],
        {file: best.get(taken, taken) for file, taken in best.items() if taken != file},
    )


def versions_of(files: Iterable[Path]) -> dict[tuple[Path, str], list[Path]]:
    """Group files that are versions of one micrograph, by their folder and what their names have in common."""
    groups: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        groups.setdefault((file.parent, _origin(file.name)), []).append(file)
    return groups


def _previews(readable: Sequence[Path], files: Iterable[Path], best: Mapping[Path, Path]) -> dict[Path, Path]:
    """Return the pictures that begin the names of other files beside them, each with one of those."""
    pictures = {file for file in readable if micrograph_suffix(file) in PICTURE_SUFFIXES}
    begun: dict[tuple[Path, str], Path] = {}
    for file in files if pictures else ():
        if file not in pictures and image_suffix(file.name):
            for end in re.finditer(r"[_.-]|$", bare_name(file.name)):
                begun.setdefault((file.parent, bare_name(file.name)[: end.start()]), best.get(file, file))
    keys = ((picture, (picture.parent, bare_name(picture.name))) for picture in pictures)
    return {picture: begun[key] for picture, key in keys if key in begun}


def _origin(name: str) -> str:
    return name_of_origin(_MADE_OF.sub("", bare_name(name)) or name)


def _rank(file: Path) -> tuple[int, int, int, str]:
    """Return what sorts the best version first: kind, format, length of the name."""
    name, suffix = bare_name(file.name), micrograph_suffix(file)
    if suffix in PICTURE_SUFFIXES:
        kind = _PICTURE
    elif _MADE_OF.search(name):
        kind = _NO_MICROGRAPH
    elif name == _origin(name):
        kind = _PLAIN
    else:
        kind = next((i for i, ending in enumerate(_RANKS) if ending.search(name)), _OTHER)
    formats: Collection[str] = (MRC_SUFFIXES[0], *MRC_SUFFIXES[2:4])
    return kind, suffix not in formats, len(file.name), file.name
