"""Read coordinates whatever their format: files, lists of files, folders."""

from __future__ import annotations

from pathlib import Path

from cryotx_cli.coordinates.formats import table
from cryotx_cli.coordinates.formats.entry import CoordinateFormat, CoordinateIndex, MicrographFormat, TableFormat
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.files.text_file import is_there, require_file


def read_particles(path: str | Path) -> dict[str, Particles]:
    """Read coordinates in any supported format.

    Parameters
    ----------
    path
        A file, told by its suffix, or by its content where the suffix says nothing; or a folder of such files, in it
        and below it. Of a folder that holds several kinds only one is read: STAR files, else crYOLO's, CryoSPARC's, box
        files, EMAN2's, CSV files, Topaz tables.

    Returns
    -------
    dict of str to Particles
        By micrograph name: the one in the file, else the file's path within the folder without its suffix and without
        RELION's ``_autopick`` or ``_manualpick`` or EMAN2's ``_info``. Coordinates are as in the file: nothing is
        flipped.

    Raises
    ------
    ParticleFileError
        If there is nothing to read, a file cannot be read, or two files hold coordinates of the same micrograph.
    """
    path = Path(path)
    if is_there(path) and path.is_dir():
        return _read_folder(path)
    require_file(path)
    return _read_file(path, path.parent)


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


def _read_folder(folder: Path) -> dict[str, Particles]:
    files: list[Path] = []
    formats = table.readable_formats()
    for suffix in formats:
        named = (f for f in folder.rglob("*") if f.suffix.lower() == suffix and f.name[0] != ".")
        files = files or sorted(f for f in named if not f.is_dir())
    if not files:
        raise ParticleFileError(f"{folder}: no coordinate files in it", f"Looked for {', '.join(formats)}.")
    # Files that a list names belong to the list, which has their micrographs' names.
    indices = [(index, file) for file in files if (index := _index(file))]
    listed = {coordinates.resolve() for index, file in indices for _, coordinates in index.read(file)}
    found: dict[str, Particles] = {}
    source: dict[str, Path] = {}
    for file in (file for file in files if file.resolve() not in listed):
        for name, particles in _read_file(file, folder).items():
            if name in found:
                raise ParticleFileError(
                    f"{file} and {source[name]} both hold coordinates of {name}",
                    "Give one of the two files or folders.",
                )
            found[name], source[name] = particles, file
    return found


def _index(file: Path) -> CoordinateIndex | None:
    """Return how a file is read that lists other files; None for one that holds coordinates itself."""
    index = format_of(file).index
    return index if index and index.recognises(file) else None


def _read_file(file: Path, folder: Path) -> dict[str, Particles]:
    if index := _index(file):
        return _read_listed(file, index)
    name = _micrograph_of(file.relative_to(folder).with_suffix("").as_posix())
    one = format_of(file)
    if isinstance(one, TableFormat):
        return {inner or name: particles for inner, particles in one.read(file).items()}
    assert isinstance(one, MicrographFormat)
    assert one.read is not None
    return {name: one.read(file)}


def _read_listed(file: Path, index: CoordinateIndex) -> dict[str, Particles]:
    found: dict[str, Particles] = {}
    for name, listed in index.read(file):
        if index.recognises(listed):
            raise ParticleFileError(f"{file}: names {listed}, which is such a list itself")
        here = _read_file(listed, listed.parent)
        if len(here) != 1 or name in found:
            raise ParticleFileError(f"{file}: {listed} does not hold the coordinates of {name} alone")
        found[name] = next(iter(here.values()))
    return found


def _micrograph_of(name: str) -> str:
    for one in table.micrograph_formats():
        for ending in one.endings:
            name = name.removesuffix(ending)
    return name
