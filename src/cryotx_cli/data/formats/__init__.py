"""Coordinate files of other programs: one module a format, the only place that knows foreign conventions."""

from __future__ import annotations

from pathlib import Path

from cryotx_cli.data.formats.box import read_box
from cryotx_cli.data.formats.csv import read_csv
from cryotx_cli.data.formats.star import read_particles_star
from cryotx_cli.data.particles import Particles
from cryotx_cli.errors import ParticleFileError

# In a folder with several kinds of files the first kind is read: STAR keeps sub-pixel centres and scores.
COORDINATE_SUFFIXES = (".star", ".box", ".csv")


def read_particles(path: str | Path) -> dict[str, Particles]:
    """Read coordinates in any supported format.

    Parameters
    ----------
    path
        A STAR, EMAN box or CSV file, told apart by its suffix; or a folder of such files, one a micrograph, in it and
        below it. Of a folder that holds several kinds STAR files are read, else box files, else CSV files.

    Returns
    -------
    dict of str to Particles
        By micrograph name: the one in the file, else the file's path within the folder without its suffix and without
        RELION's ``_autopick`` or ``_manualpick``. Coordinates are as in the file: nothing is flipped.

    Raises
    ------
    ParticleFileError
        If there is nothing to read, a file cannot be read, or two files hold coordinates of the same micrograph.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise ParticleFileError(f"{path}: no such file or folder", "Check the path.")
    return _read_file(path, path.parent)


def _read_folder(folder: Path) -> dict[str, Particles]:
    files: list[Path] = []
    for suffix in COORDINATE_SUFFIXES:
        files = files or sorted(f for f in folder.rglob("*") if f.suffix.lower() == suffix and f.name[0] != ".")
    if not files:
        raise ParticleFileError(f"{folder}: no coordinate files in it", f"Looked for {', '.join(COORDINATE_SUFFIXES)}.")
    found: dict[str, Particles] = {}
    source: dict[str, Path] = {}
    for file in files:
        for name, particles in _read_file(file, folder).items():
            if name in found:
                raise ParticleFileError(
                    f"{file} and {source[name]} both hold coordinates of {name}",
                    "Give one of the two files or folders.",
                )
            found[name], source[name] = particles, file
    return found


def _read_file(file: Path, folder: Path) -> dict[str, Particles]:
    name = file.relative_to(folder).with_suffix("").as_posix()
    match file.suffix.lower():
        case ".star":
            found = read_particles_star(file)
            # Files of one micrograph do not name it inside.
            return {_micrograph_of(name): found[file.stem]} if list(found) == [file.stem] else found
        case ".box":
            return {_micrograph_of(name): read_box(file)}
        case ".csv":
            return {_micrograph_of(name): read_csv(file)}
        case suffix:
            raise ParticleFileError(
                f"{file}: {suffix or 'a name without a suffix'} is not a coordinate format that cryotx reads",
                f"Files that can be read end in {', '.join(COORDINATE_SUFFIXES)}.",
            )


def _micrograph_of(name: str) -> str:
    return name.removesuffix("_autopick").removesuffix("_manualpick")
