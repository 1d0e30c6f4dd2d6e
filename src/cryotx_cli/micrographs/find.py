"""Micrograph files before they are read: what folders, patterns and RELION's micrographs STAR files name."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import MicrographError, ParticleFileError
from cryotx_cli.files.folders import visible_folders
from cryotx_cli.files.star_blocks import Table, contents, read_tables, table_for, table_with, tables_with
from cryotx_cli.files.text_file import is_there
from cryotx_cli.micrographs.names import (
    MICROGRAPH_SUFFIXES,
    PICTURE_SUFFIXES,
    micrograph_suffix,
    without_micrograph_suffix,
)

Inputs = str | Path | Sequence[str | Path]
"""Files, folders, glob patterns and micrographs STAR files; one alone need not be in a list."""


@dataclass(frozen=True)
class MicrographFile:
    """What a folder, a pattern or a STAR file names, before it is read.

    Parameters
    ----------
    path
        The file.
    name
        The micrograph as the user or the STAR file named it; RELION compares it letter by letter.
    pixel_size
        Å per pixel from the STAR file's optics table; None where there is none.
    defocus
        Å of underfocus from the STAR file; None where it has none.
    """

    path: Path
    name: str
    pixel_size: float | None = None
    defocus: float | None = None


def listed(inputs: Inputs) -> list[str | Path]:
    """Return inputs as a list; a single one, which as a text is a sequence of letters, becomes its only item."""
    return [inputs] if isinstance(inputs, str | Path) else list(inputs)


def find_micrographs(inputs: Inputs) -> list[MicrographFile]:
    """List the micrographs that files, folders, glob patterns and RELION micrographs STAR files name.

    Parameters
    ----------
    inputs
        One or several. A folder stands for every file with a known suffix in it and below it, hidden ones left out, in
        natural order (``m2`` before ``m10``). A PNG or JPG beside an MRC or TIFF file of the same stem is a preview of
        it and left out. A file that is named itself is listed whatever its suffix.

    Returns
    -------
    list of MicrographFile
        In the order of `inputs`, each file once.

    Raises
    ------
    MicrographError
        If an input does not exist, or nothing is found; the message says what was looked for.
    """
    found: dict[str, MicrographFile] = {}
    inputs = listed(inputs)
    for given in inputs:
        for file in _expand(given):
            found.setdefault(os.path.realpath(file.path), file)
    if not found:
        looked_in = ", ".join(str(given) for given in inputs) or "nothing"
        raise MicrographError(
            f"no micrographs found in {looked_in}",
            f"Looked for files that end in {', '.join(MICROGRAPH_SUFFIXES)}, in folders and all folders below them.",
        )
    return list(found.values())


def read_micrographs_star(path: str | Path) -> list[tuple[str, float | None]]:
    """List the micrographs of a RELION micrographs STAR file, each once, in the order of the file.

    Returns
    -------
    list of (str, float or None)
        ``_rlnMicrographName`` exactly as written, and the Å per pixel of its optics group (RELION 3.1 and later) or
        of its own detector pixel size and magnification (RELION 3.0); None where the file does not say.

    Raises
    ------
    ParticleFileError
        If it lists no micrographs.
    """
    path = Path(path)
    tables = read_tables(path)
    lists = _micrograph_lists(tables)
    if not any(map(len, lists)):
        movies = table_with(tables, "rlnMicrographMovieName") is not None
        raise ParticleFileError(
            f"{path}: {'lists movies' if movies else 'no table with _rlnMicrographName'}; it holds {contents(tables)}",
            "Give the STAR file of RELION's motion correction or CTF job, for example micrographs_ctf.star.",
        )
    listed: dict[str, float | None] = {}
    for table in lists:
        for name, size in zip(table.texts("rlnMicrographName"), pixel_sizes(tables, table).tolist(), strict=True):
            listed.setdefault(name, size if np.isfinite(size) else None)
    return list(listed.items())


def read_defoci(path: str | Path) -> dict[str, float]:
    """Return the defocus in Å (``_rlnDefocusU``) of the micrographs in a STAR file, of those that have one."""
    defoci: dict[str, float] = {}
    for table in _micrograph_lists(read_tables(Path(path))):
        if "rlnDefocusU" in table:
            defocus = table.optional_numbers("rlnDefocusU")[:, 0]  # not known where a CTF fit has failed
            pairs = zip(table.texts("rlnMicrographName"), defocus.tolist(), strict=True)
            defoci |= {name: value for name, value in pairs if np.isfinite(value)}
    return defoci


def _micrograph_lists(tables: Sequence[Table]) -> list[Table]:
    """Return the tables of micrographs; those of particles only name them where there is no other."""
    lists = tables_with(tables, "rlnMicrographName")
    return [table for table in lists if table.block == "micrographs"] or lists


def pixel_sizes(tables: Sequence[Table], table: Table, column: str = "rlnMicrographPixelSize") -> NDArray[np.float64]:
    """Å per pixel for each row of `table`, of micrographs or of what `column` of the optics is about; NaN: unknown."""
    sizes = np.full(len(table), np.nan)
    optics = table_for(tables, table, "rlnOpticsGroup", column)
    if column in table:
        sizes = table.optional_numbers(column)[:, 0]
    elif optics is not None and "rlnOpticsGroup" in table:
        of_group = dict(optics.optional_numbers("rlnOpticsGroup", column).tolist())
        groups = table.optional_numbers("rlnOpticsGroup")[:, 0]
        sizes = np.fromiter((of_group.get(group, np.nan) for group in groups.tolist()), np.float64, len(groups))
    elif column == "rlnMicrographPixelSize" and "rlnDetectorPixelSize" in table and "rlnMagnification" in table:
        # RELION 3.0: the detector's pixel in µm seen at that magnification.
        detector, magnification = table.optional_numbers("rlnDetectorPixelSize", "rlnMagnification").T
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            sizes = 1e4 * detector / magnification
    return np.where((sizes > 0) & np.isfinite(sizes), sizes, np.nan)


def _natural(text: str) -> list[tuple[int, int, str]]:
    # Digits compare as numbers; the text itself breaks the tie between 01 and 1, so that the order is total.
    parts = re.split(r"(\d+)", text)
    return [(1, int(p), p) if p.isdecimal() and p.isascii() else (0, 0, p) for p in parts]


def _expand(given: str | Path) -> Iterator[MicrographFile]:
    path = Path(given)
    there = is_there(path)
    if there and path.is_dir():
        yield from _in_folder(path)
    elif there and path.suffix.lower() == ".star":
        yield from _in_star(path)
    elif there:
        yield MicrographFile(path, str(path))
    else:
        # Path.glob refuses absolute patterns.
        matches = sorted(glob.glob(str(given), recursive=True), key=_natural)  # noqa: PTH207
        if not matches:
            raise MicrographError(
                f"{given}: no such file or folder, and no file matches it as a pattern", "Check the path."
            )
        wants_star = path.suffix.lower() == ".star"  # a pattern such as job*/* means micrographs, not lists of them
        for match in matches:
            if wants_star or Path(match).is_dir() or micrograph_suffix(Path(match)):
                yield from _expand(match)


def _in_folder(folder: Path) -> Iterator[MicrographFile]:
    paths: list[Path] = []
    try:
        for parent, folders, names in visible_folders(folder):
            folders.sort(key=_natural)
            paths += _without_previews([parent / name for name in names])
    except OSError as error:
        raise MicrographError(
            f"{error.filename}: the folder cannot be read: {error.strerror}", "Check its rights."
        ) from error
    for path in sorted(paths, key=lambda path: _natural(str(path))):
        yield MicrographFile(path, str(path))


def _without_previews(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the micrographs of one folder, without the PNG and JPG pictures of its MRC and TIFF files."""
    micrographs = [(path, micrograph_suffix(path)) for path in paths if micrograph_suffix(path)]
    originals = {without_micrograph_suffix(path.name) for path, kind in micrographs if kind not in PICTURE_SUFFIXES}
    for path, kind in micrographs:
        if kind not in PICTURE_SUFFIXES or without_micrograph_suffix(path.name) not in originals:
            yield path


def _in_star(star: Path) -> Iterator[MicrographFile]:
    listed, defoci = read_micrographs_star(star), read_defoci(star)
    for name, pixel_size in listed:
        if "\0" in name:
            raise MicrographError(f"{star}: names {name[:80]!r}, which no file can be called", "Check the STAR file.")
        yield MicrographFile(_resolve(name, star), name, pixel_size, defoci.get(name))


def _resolve(name: str, star: Path) -> Path:
    # RELION writes names relative to its project folder, in which Micrographs STAR files lie a few folders deep.
    folders = [Path(), *star.absolute().parents]
    return next((folder / name for folder in folders if is_there(folder / name)), Path(name))
