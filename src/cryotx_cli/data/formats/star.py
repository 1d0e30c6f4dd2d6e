"""RELION STAR files: the merged particles, one micrograph's coordinates, the index of those, lists of micrographs.

Coordinates are pixels of the full-size micrograph with y down the rows as the MRC file stores them, which is RELION's
own convention and that of `Particles`: nothing is flipped or shifted.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.data.formats.star_blocks import block_with, contents, numbers, read_blocks
from cryotx_cli.data.formats.whole_file import whole_file
from cryotx_cli.data.particles import Particles
from cryotx_cli.errors import ParticleFileError

if TYPE_CHECKING:
    import pandas as pd

_COORDINATE_COLUMNS = (
    "_rlnCoordinateX",
    "_rlnCoordinateY",
    "_rlnAutopickFigureOfMerit",
    "_rlnClassNumber",
    "_rlnAnglePsi",
)
# Class and in-plane angle are unknown; RELION's own Laplacian-of-Gaussian picker writes 0 and 0.0 for both.
_ROW = "%.3f %.3f %.6f 0 0.000000\n"


def write_particles_star(path: str | Path, particles: Iterable[tuple[str, Particles]]) -> None:
    """Write the particles of many micrographs into one STAR file with the single block ``data_particles``.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    particles
        Pairs of micrograph name and particles. The name goes into ``_rlnMicrographName`` as it is.

    Raises
    ------
    ParticleFileError
        If the file cannot be written or a name cannot be expressed in a STAR file.
    """
    with whole_file(path) as file:
        file.write(_header("data_particles", ("_rlnMicrographName", *_COORDINATE_COLUMNS)))
        for name, of_micrograph in particles:
            # The doubled % survives the formatting of the row.
            file.writelines(_rows(of_micrograph, _quoted(name).replace("%", "%%") + " " + _ROW))
        file.write("\n")


def write_micrograph_star(path: str | Path, particles: Particles) -> None:
    """Write one micrograph's particles as RELION's own pickers do: a nameless block without micrograph names.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    with whole_file(path) as file:
        file.write(_header("data_", _COORDINATE_COLUMNS))
        file.writelines(_rows(particles, _ROW))
        file.write("\n")


def write_coordinate_index(path: str | Path, files: Iterable[tuple[str, str]]) -> None:
    """Write RELION's list of coordinate files, which its autopick job calls ``autopick.star``.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    files
        Pairs of micrograph name and coordinate file. RELION looks the name up letter by letter, and the file from its
        project folder.

    Raises
    ------
    ParticleFileError
        If the file cannot be written or a name cannot be expressed in a STAR file.
    """
    with whole_file(path) as file:
        file.write(_header("data_coordinate_files", ("_rlnMicrographName", "_rlnMicrographCoordinates")))
        file.writelines(f"{_quoted(name)} {_quoted(coordinates)}\n" for name, coordinates in files)
        file.write("\n")


def is_coordinate_index(path: Path) -> bool:
    """Tell whether a STAR file begins as RELION's list of coordinate files."""
    try:
        with path.open("rb") as file:
            return b"data_coordinate_files" in file.read(4096)
    except OSError:
        return False  # reading it will say why


def read_coordinate_index(path: str | Path) -> list[tuple[str, Path]]:
    """List the coordinate files that RELION's ``autopick.star`` names, with their micrographs' names.

    Returns
    -------
    list of (str, Path)
        The files are looked for from the working folder and from the folders above the list, as RELION writes their
        names relative to its project folder.

    Raises
    ------
    ParticleFileError
        If it is no such list, or one of the files is missing.
    """
    path = Path(path)
    blocks = read_blocks(path)
    table = block_with(blocks, "rlnMicrographName", "rlnMicrographCoordinates")
    if table is None:
        raise ParticleFileError(
            f"{path}: no table with _rlnMicrographName and _rlnMicrographCoordinates; it holds {contents(blocks)}"
        )
    folders = [Path(), *path.absolute().parents]
    listed = []
    for name, coordinates in zip(table["rlnMicrographName"], table["rlnMicrographCoordinates"], strict=True):
        file = _name(str(coordinates))
        found = next((folder / file for folder in folders if _is_file(folder / file)), None)
        if found is None:
            raise ParticleFileError(
                f"{path}: there is no {file}, which it names", "Start cryotx in the project folder of RELION."
            )
        listed.append((_name(str(name)), found))
    return listed


def read_particles_star(path: str | Path) -> dict[str, Particles]:
    """Read the particles of a STAR file, grouped by micrograph.

    Parameters
    ----------
    path
        Merged or of one micrograph, of any RELION version.

    Returns
    -------
    dict of str to Particles
        By ``_rlnMicrographName``; by the stem of the file where it has no such column. Scores are
        ``_rlnAutopickFigureOfMerit`` (1 where missing); diameters are NaN; the pixel size is the optics table's
        ``_rlnMicrographPixelSize`` (NaN where missing: the pixel sizes of extracted particles and of movies say
        nothing certain about these coordinates).

    Raises
    ------
    ParticleFileError
        If there is no table of coordinates, or they are not numbers.
    """
    path = Path(path)
    blocks = read_blocks(path)
    table = block_with(blocks, "rlnCoordinateX", "rlnCoordinateY")
    if table is None:
        raise ParticleFileError(
            f"{path}: no table with _rlnCoordinateX and _rlnCoordinateY; it holds {contents(blocks)}",
            "Give a STAR file of particle coordinates, as RELION's autopick and cryotx pick write them.",
        )
    centres = np.column_stack([numbers(table, "rlnCoordinateX", path), numbers(table, "rlnCoordinateY", path)])
    has_scores = "rlnAutopickFigureOfMerit" in table
    scores = numbers(table, "rlnAutopickFigureOfMerit", path) if has_scores else np.ones(len(table))
    pixel_sizes = _pixel_sizes(blocks, table, path)
    everything = Particles(centres, scores, np.full(len(table), np.nan), np.nan)
    rows_of = {path.stem: np.arange(len(table))}
    if "rlnMicrographName" in table:
        groups = table.groupby("rlnMicrographName", sort=False, dropna=False).indices
        rows_of = {_name(str(key)): np.asarray(rows) for key, rows in groups.items()}
    found = {}
    for name, rows in rows_of.items():
        here = everything.select(rows)
        found[name] = Particles(
            here.centres, here.scores, here.diameters, pixel_sizes[rows[0]] if len(rows) else np.nan
        )
    return found


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
    blocks = read_blocks(path)
    table = block_with(blocks, "rlnMicrographName")
    if table is None or not len(table):
        movies = block_with(blocks, "rlnMicrographMovieName") is not None
        raise ParticleFileError(
            f"{path}: {'lists movies' if movies else 'no table with _rlnMicrographName'}; it holds {contents(blocks)}",
            "Give the STAR file of RELION's motion correction or CTF job, for example micrographs_ctf.star.",
        )
    sizes = _pixel_sizes(blocks, table, path)
    rows = zip(table["rlnMicrographName"], sizes, strict=True)
    listed: dict[str, float | None] = {}
    for name, size in rows:
        listed.setdefault(_name(str(name)), float(size) if np.isfinite(size) else None)
    return list(listed.items())


def read_defoci(path: str | Path) -> dict[str, float]:
    """Return the defocus in Å (``_rlnDefocusU``) of the micrographs in a STAR file, of those that have one."""
    import pandas as pd

    table = block_with(read_blocks(Path(path)), "rlnMicrographName", "rlnDefocusU")
    if table is None:
        return {}
    # A CTF fit that failed leaves nan or inf behind: that says nothing about the micrograph's own use.
    defoci = pd.to_numeric(table["rlnDefocusU"], errors="coerce").to_numpy(np.float64)
    pairs = zip(table["rlnMicrographName"], defoci, strict=True)
    return {_name(str(name)): float(defocus) for name, defocus in pairs if np.isfinite(defocus)}


def _header(block: str, columns: tuple[str, ...]) -> str:
    return f"\n{block}\n\nloop_\n" + "".join(f"{column} #{i}\n" for i, column in enumerate(columns, 1))


def _rows(particles: Particles, row: str) -> Iterable[str]:
    x, y = particles.centres.T.tolist()
    return map(row.__mod__, zip(x, y, particles.scores.tolist(), strict=True))


def _quoted(name: str) -> str:
    """Return a name as one STAR token: quoted where a reader would split it or take it for a keyword."""
    needs_quotes = name.startswith(("data_", "loop_", "_", "#", ";")) or any(c.isspace() or c == "#" for c in name)
    controls = any(ord(c) < 32 or ord(c) == 127 for c in name.replace("\t", " "))
    if not name or controls or '"' in name or (needs_quotes and "'" in name):
        raise ParticleFileError(
            f"the name {name!r} cannot be written into STAR: it is empty or holds quotes or control characters",
            "Rename the micrograph or the folder.",
        )
    return f'"{name}"' if needs_quotes else name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than a name may be, or with a zero byte
        return False


def _name(parsed: str) -> str:
    # starfile turns apostrophes into quotation marks before it parses; a name holds no quotation marks of its own.
    return parsed.replace('"', "'")


def _pixel_sizes(blocks: dict[str, Any], table: pd.DataFrame, path: Path) -> NDArray[np.float64]:
    """Å per pixel of the micrograph for each row of `table`; NaN where unknown."""
    sizes = np.full(len(table), np.nan)
    optics = block_with(blocks, "rlnOpticsGroup", "rlnMicrographPixelSize")
    if "rlnMicrographPixelSize" in table:
        sizes = numbers(table, "rlnMicrographPixelSize", path)
    elif optics is not None and "rlnOpticsGroup" in table:
        groups = numbers(optics, "rlnOpticsGroup", path)
        of_group = dict(zip(groups, numbers(optics, "rlnMicrographPixelSize", path), strict=True))
        sizes = np.array([of_group.get(group, np.nan) for group in numbers(table, "rlnOpticsGroup", path)])
    elif "rlnDetectorPixelSize" in table and "rlnMagnification" in table:
        # RELION 3.0: the detector's pixel in µm seen at that magnification.
        sizes = 1e4 * numbers(table, "rlnDetectorPixelSize", path) / numbers(table, "rlnMagnification", path)
    return np.where(sizes > 0, sizes, np.nan)
