"""Read coordinates whatever their format: files, lists of files, folders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cryotx_cli.coordinates.formats import table
from cryotx_cli.coordinates.formats.coords_suffix import is_coords_suffix
from cryotx_cli.coordinates.formats.csv import CRYOPPP_LABELS
from cryotx_cli.coordinates.formats.entry import CoordinateFormat, CoordinateIndex
from cryotx_cli.coordinates.formats.foreign_folders import (
    is_empty,
    is_empty_file_of_a_job,
    micrograph_of,
    without_lesser_copies,
)
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.events import Event, Tell, warn
from cryotx_cli.files.folders import visible_files
from cryotx_cli.files.text_file import is_there, require_file
from cryotx_cli.wording import counted, some_of

_ONE_A_MICROGRAPH = (".star", ".cbox", ".box", ".csv")


def read_particles(path: str | Path, tell: Tell = warn) -> dict[str, Particles]:
    """Read coordinates in any supported format.

    Parameters
    ----------
    path
        A file, told by its suffix, or by its content where the suffix says nothing; or a folder of such files, in it
        and below it. Of a folder that holds several kinds only one is read: STAR files, else crYOLO's, CryoSPARC's, box
        files, EMAN2's, CSV files, Topaz tables. Files without coordinates are passed over, as are those beside and
        below a list of RELION that the list does not name, and the copies in other formats beside crYOLO's CBOX folder.
    tell
        Takes what is odd about the files and does not keep them from being read; the same of many files once.

    Returns
    -------
    dict of str to Particles
        By micrograph name: the one in the file, else the file's path within the folder without its suffix and without
        what its format puts behind it: RELION's ``_autopick`` or ``_manualpick``, EMAN2's ``_info``. An empty file
        means that a micrograph has no particles. Coordinates are as in the file: nothing is flipped.

    Raises
    ------
    ParticleFileError
        If there is nothing to read, a file cannot be read, two files hold coordinates of the same micrograph, or it is
        a data set of CryoPPP, whose labels have to be turned: see `datasets.cryoppp.read_coordinates`.
    """
    path, remarks = Path(path), _Remarks()
    if is_there(path) and path.is_dir():
        found = _read_folder(path, remarks)
    else:
        require_file(path)
        found = _read_file(path, path.parent, remarks)
    remarks.pass_on(tell)
    return found


def format_of(path: Path) -> CoordinateFormat:
    """Tell the format of a coordinate file by its suffix, or by its content where the suffix says nothing.

    Raises
    ------
    ParticleFileError
        If it is none that can be read.
    """
    formats = table.readable_formats()
    by_suffix = formats.get(path.suffix.lower())
    if by_suffix:
        return by_suffix
    require_file(path)
    try:
        with path.open("rb") as file:
            beginning = file.read(4096)
    except OSError as error:
        raise ParticleFileError(f"{path}: cannot be read: {error.strerror or error}", "Check the path.") from error
    by_content = next((one for one in formats.values() if one.recognises and one.recognises(beginning)), None)
    if by_content is None:
        raise ParticleFileError(
            f"{path}: {path.suffix or 'a name without a suffix'} is not a coordinate format that cryotx reads",
            f"Files that can be read end in {', '.join(formats)}.",
        )
    return by_content


class _Remarks:
    """What there is to tell of files, each remark with all the files that it is about."""

    def __init__(self) -> None:
        self._files: dict[Event, list[Path]] = {}

    def of(self, file: Path) -> Tell:
        """Take remarks about one file."""
        return lambda event: self._files.setdefault(event, []).append(file)

    def pass_on(self, tell: Tell) -> None:
        for event, files in self._files.items():
            more = f" and {counted(len(files) - 1, 'more files')}" if len(files) > 1 else ""
            tell(replace(event, text=f"{files[0]}{more}: {event.text}"))


def _read_folder(folder: Path, remarks: _Remarks) -> dict[str, Particles]:
    formats = table.readable_formats()
    try:
        everything = without_lesser_copies(visible_files(folder))
    except OSError as error:
        raise ParticleFileError(
            f"{error.filename}: the folder cannot be read: {error.strerror}", "Check its rights."
        ) from error
    passed_over: list[NoCoordinatesError] = []
    without_picks: dict[str, Particles] = {}
    for suffix in formats:
        files = [file for file in everything if file.suffix.lower() == suffix]
        found = _read_kind(files, folder, passed_over, remarks)
        _require_no_data_set(folder, files)
        if any(map(len, found.values())):
            return found
        without_picks = without_picks or found
    if not without_picks:
        others = f"; passed over {some_of([error.message for error in passed_over])}" if passed_over else ""
        raise NoCoordinatesError(f"{folder}: no coordinate files in it{others}", f"Looked for {', '.join(formats)}.")
    return without_picks


def _require_no_data_set(folder: Path, files: Sequence[Path]) -> None:
    """Refuse labels of CryoPPP that are found by themselves: nobody has said that their y is as it stands."""
    for file in files:
        data_set = file.parent.parent.parent
        if file.parent == data_set / CRYOPPP_LABELS and file.parent != folder:
            raise ParticleFileError(
                f"{folder}: holds CryoPPP's labels ({file}), which count rows from the last one of an MRC file",
                f"Give the data set by itself, {data_set}, with its micrographs/.",
            )


def _read_kind(
    files: list[Path], folder: Path, passed_over: list[NoCoordinatesError], remarks: _Remarks
) -> dict[str, Particles]:
    """Read the files of one kind, lists first: what lies in the folder of a list and below it is the list's affair."""
    files = [file for file in files if not is_empty_file_of_a_job(file)]
    lists = [file for file in files if _index(file)]
    found: dict[str, Particles] = {}
    source: dict[str, Path] = {}
    covered: set[Path] = set()
    for file in lists + [file for file in files if file not in lists]:
        if not covered.isdisjoint(file.parents) and (file not in lists or is_coords_suffix(file)):
            continue
        try:
            here = _read_file(file, folder, remarks)
        except NoCoordinatesError as error:
            passed_over.append(error)
            continue
        for name, particles in here.items():
            if name in found and not _same(particles, found[name]):
                raise ParticleFileError(
                    f"{file} and {source[name]} both hold coordinates of {name}",
                    "Give one of the two files or folders.",
                )
            if name not in found:
                found[name], source[name] = particles, file
        covered |= {file.parent} if file in lists else set()
    return found


def _same(one: Particles, other: Particles) -> bool:
    """Tell whether two files have the same places, in any order."""
    a, b = (here.centres[np.lexsort(here.centres.T)] for here in (one, other))
    return np.array_equal(a, b)


def _index(file: Path) -> CoordinateIndex | None:
    """Return how a file is read that lists other files; None for one that holds coordinates itself."""
    index = format_of(file).index
    return index if index and index.recognises(file) else None


def _read_file(file: Path, folder: Path, remarks: _Remarks) -> dict[str, Particles]:
    if index := _index(file):
        return _read_listed(file, index, remarks)
    one = format_of(file)
    name = micrograph_of(file.relative_to(folder), one.suffix)
    if one.suffix in _ONE_A_MICROGRAPH and is_empty(file):
        return {name: Particles.empty(math.nan)}
    assert one.read is not None
    return {inner or name: particles for inner, particles in one.read(file, remarks.of(file)).items()}


def _read_listed(file: Path, index: CoordinateIndex, remarks: _Remarks) -> dict[str, Particles]:
    found: dict[str, Particles] = {}
    for name, listed in index.read(file):
        if index.recognises(listed):
            raise ParticleFileError(f"{file}: names {listed}, which is such a list itself")
        try:
            here = _read_file(listed, listed.parent, remarks)
        except ParticleFileError as error:
            raise type(error)(f"{file}: of those that it names, {error.message}", error.hint) from error
        if len(here) != 1 or name in found:
            raise ParticleFileError(f"{file}: {listed} does not hold the coordinates of {name} alone")
        found[name] = next(iter(here.values()))
    return found
