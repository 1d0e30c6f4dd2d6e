"""Coordinate files of other programs: one module a format, the only place that knows foreign conventions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath

from cryotx_cli.config import CoordinateFormat, MicrographFormat
from cryotx_cli.coordinates.formats.box import read_box, write_box
from cryotx_cli.coordinates.formats.cbox import read_cbox, write_cbox
from cryotx_cli.coordinates.formats.cryosparc import read_cs
from cryotx_cli.coordinates.formats.csv import read_csv, write_csv
from cryotx_cli.coordinates.formats.eman import read_eman_info, write_eman_info
from cryotx_cli.coordinates.formats.star import (
    is_coordinate_index,
    read_coordinate_index,
    read_particles_star,
    write_micrograph_star,
)
from cryotx_cli.coordinates.formats.topaz import read_topaz
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.files.text_file import is_number, is_there, require_file
from cryotx_cli.micrographs.find import without_micrograph_suffix

FORMAT_OF_SUFFIX: dict[str, CoordinateFormat] = {
    ".star": "star",
    ".cbox": "cbox",
    ".cs": "cryosparc",
    ".box": "box",
    ".json": "eman",
    ".csv": "csv",
    ".txt": "topaz",
}
"""Of a folder with several kinds of files the first kind is read: the order of what a format keeps of the particles."""

FILE_ENDINGS: dict[MicrographFormat, str] = {
    "relion": "_autopick.star",
    "box": ".box",
    "cbox": ".cbox",
    "csv": ".csv",
    "eman": "_info.json",
}
"""What follows a micrograph's name in the names of files that hold the particles of one micrograph."""

_READ_ENDINGS = ("_autopick", "_manualpick", "_info")


def read_particles(path: str | Path) -> dict[str, Particles]:
    """Read coordinates in any supported format.

    Parameters
    ----------
    path
        A file, told by its suffix (`FORMAT_OF_SUFFIX`), or by its content where the suffix says nothing; or a folder
        of such files, in it and below it. Of a folder that holds several kinds only one is read: STAR files, else
        crYOLO's, CryoSPARC's, box files, EMAN2's, CSV files, Topaz tables.

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
    by_suffix = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if by_suffix:
        return by_suffix
    require_file(path)
    try:
        with path.open("rb") as file:
            beginning = file.read(4096)
    except OSError as error:
        raise ParticleFileError(f"{path}: cannot be read: {error.strerror or error}", "Check the path.") from error
    by_content = _format_of_content(beginning)
    if by_content is None:
        raise ParticleFileError(
            f"{path}: {path.suffix or 'a name without a suffix'} is not a coordinate format that cryotx reads",
            f"Files that can be read end in {', '.join(FORMAT_OF_SUFFIX)}.",
        )
    return by_content


def holds_boxes(path: Path) -> bool:
    """Whether picks come from EMAN box files, so that their diameters are sides of boxes.

    Parameters
    ----------
    path
        A file, or a folder in which no format with true diameters goes before.
    """
    if path.is_file():
        return format_of(path) == "box"
    kinds = {FORMAT_OF_SUFFIX.get(file.suffix.lower()) for file in path.rglob("*.*")}
    return "box" in kinds and not {"star", "cbox", "cryosparc"}.intersection(kinds)


def write_micrograph_file(
    path: Path, file_format: MicrographFormat, particles: Particles, box_px: int | None = None
) -> None:
    """Write the particles of one micrograph in a format that has one file for each.

    Parameters
    ----------
    path
        The file; it appears whole or not at all, its folder is made.
    file_format
        Which format.
    particles
        What to write.
    box_px
        Side of the boxes; box and cbox files need it.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    match file_format:
        case "relion":
            write_micrograph_star(path, particles)
        case "csv":
            write_csv(path, particles)
        case "eman":
            write_eman_info(path, particles)
        case "box" | "cbox":
            if box_px is None:
                raise ValueError(f"a {file_format} file needs the side of its boxes")
            (write_box if file_format == "box" else write_cbox)(path, particles, box_px)


def output_stems(names: Sequence[str]) -> list[Path]:
    """Return relative paths without suffixes for files that belong to these micrographs, in their order.

    The folders that all names have in common are left out, the others stay, so that two files with one stem do not
    meet; two of one stem in one folder (``a.mrc``, ``a.tif``) keep their suffixes. Whatever the names say, absolute or
    with ``..``, the paths lead to nowhere outside the folder that they are joined to.

    Raises
    ------
    ParticleFileError
        If a name cannot be that of a file, or two names lead to the same path.
    """
    inner = [_harmless_parts(name) for name in names]
    levels = zip(*(parts[:-1] for parts in inner), strict=False)
    shared = sum(1 for _ in takewhile(lambda folders: len(set(folders)) == 1, levels))
    below = [Path(*parts[shared:]) for parts in inner]
    stems = [path.with_name(without_micrograph_suffix(path.name) or path.name) for path in below]
    users = Counter(stems)
    stems = [stem if users[stem] == 1 else path for stem, path in zip(stems, below, strict=True)]
    taken: dict[Path, str] = {}
    for stem, name in zip(stems, names, strict=True):
        if stem in taken:
            raise ParticleFileError(f"the files of {taken[stem]} and {name} would have the same name {stem}")
        taken[stem] = name
    return stems


def _harmless_parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in PurePosixPath(name).parts if part not in ("/", "//", "..", "."))
    # 255 bytes is what file systems allow; the file gets an ending and, while it is written, a temporary one.
    if not parts or any("\0" in part or len(part.encode(errors="replace")) > 200 for part in parts):
        raise ParticleFileError(f"the micrograph name {name[:80]!r} cannot be that of a file", "Rename the micrograph.")
    return parts


def _read_folder(folder: Path) -> dict[str, Particles]:
    files: list[Path] = []
    for suffix in FORMAT_OF_SUFFIX:
        named = (f for f in folder.rglob("*") if f.suffix.lower() == suffix and f.name[0] != ".")
        files = files or sorted(f for f in named if not f.is_dir())
    if not files:
        raise ParticleFileError(f"{folder}: no coordinate files in it", f"Looked for {', '.join(FORMAT_OF_SUFFIX)}.")
    # Files that a list names belong to the list, which has their micrographs' names.
    indices = [file for file in files if file.suffix.lower() == ".star" and is_coordinate_index(file)]
    listed = {coordinates.resolve() for index in indices for _, coordinates in read_coordinate_index(index)}
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


def _read_file(file: Path, folder: Path) -> dict[str, Particles]:
    name = _micrograph_of(file.relative_to(folder).with_suffix("").as_posix())
    match format_of(file):
        case "star" | "relion":
            if is_coordinate_index(file):
                return _read_listed(file)
            found = read_particles_star(file)
            # Files of one micrograph do not name it inside.
            return {name: found[file.stem]} if list(found) == [file.stem] else found
        case "box":
            return {name: read_box(file)}
        case "cbox":
            return {name: read_cbox(file)}
        case "csv":
            return {name: read_csv(file)}
        case "eman":
            return {name: read_eman_info(file)}
        case "topaz":
            return read_topaz(file)
        case "cryosparc":
            return read_cs(file)


def _read_listed(index: Path) -> dict[str, Particles]:
    found: dict[str, Particles] = {}
    for name, file in read_coordinate_index(index):
        if is_coordinate_index(file):
            raise ParticleFileError(f"{index}: names {file}, which is such a list itself")
        here = _read_file(file, file.parent)
        if len(here) != 1 or name in found:
            raise ParticleFileError(f"{index}: {file} does not hold the coordinates of {name} alone")
        found[name] = next(iter(here.values()))
    return found


def _micrograph_of(name: str) -> str:
    for ending in _READ_ENDINGS:
        name = name.removesuffix(ending)
    return name


def _format_of_content(beginning: bytes) -> CoordinateFormat | None:
    if beginning.startswith((b"\x93NUMPY", b"\x95CSDAT")):
        return "cryosparc"
    lines = [line for line in beginning.decode("utf-8", "replace").splitlines() if line.strip()]
    first = lines[0].strip() if lines else ""
    if any(line.startswith("data_cryolo") for line in lines):
        return "cbox"
    if any(line.startswith("data_") for line in lines):
        return "star"
    if first.startswith("{"):
        return "eman"
    if first.startswith("image_name\t"):
        return "topaz"
    if "," in first:
        return "csv"
    return "box" if len(first.split()) >= 4 and all(map(is_number, first.split()[:4])) else None
