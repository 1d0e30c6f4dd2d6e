"""RELION STAR files: the merged particles, one micrograph's coordinates, the index of those, lists of micrographs.

Coordinates are pixels of the full-size micrograph with y down the rows as the MRC file stores them, which is RELION's
own convention and that of `Particles`: nothing is flipped or shifted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path

from cryotx_cli.coordinates.formats.cbox import is_cbox
from cryotx_cli.coordinates.formats.coords_suffix import is_coords_suffix, read_coords_suffix
from cryotx_cli.coordinates.formats.entry import CoordinateIndex, MicrographFormat, TableFormat
from cryotx_cli.coordinates.formats.star_particles import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.events import Tell
from cryotx_cli.files.star_blocks import contents, read_tables, tables_with
from cryotx_cli.files.text_file import is_there
from cryotx_cli.files.whole_file import whole_file

_COORDINATE_COLUMNS = (
    "_rlnCoordinateX",
    "_rlnCoordinateY",
    "_rlnAutopickFigureOfMerit",
    "_rlnClassNumber",
    "_rlnAnglePsi",
)
# Class and in-plane angle are unknown; RELION's own Laplacian-of-Gaussian picker writes 0 and 0.0 for both.
_ROW = "%.3f %.3f %.6f 0 0.000000\n"


def write_particles_star(path: str | Path, particles: Iterable[tuple[str, Particles]], comment: str = "") -> None:
    """Write the particles of many micrographs into one STAR file with the single block ``data_particles``.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    particles
        Pairs of micrograph name and particles. The name goes into ``_rlnMicrographName`` as it is.
    comment
        One line for people above the block, which programs pass over.

    Raises
    ------
    ParticleFileError
        If the file cannot be written or a name cannot be expressed in a STAR file.
    """
    with whole_file(path) as file:
        if comment:
            file.write(f"# {comment}\n")
        file.write(_header("data_particles", ("_rlnMicrographName", *_COORDINATE_COLUMNS)))
        for name, of_micrograph in particles:
            # The doubled % survives the formatting of the row.
            file.writelines(_rows(of_micrograph, _quoted(name).replace("%", "%%") + " " + _ROW))
        file.write("\n")


def is_particles_star_of_ours(path: Path) -> bool:
    """Whether a file begins as those of `write_particles_star` do, whose columns no other program writes."""
    header = _header("data_particles", ("_rlnMicrographName", *_COORDINATE_COLUMNS)).split()
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = (line for line in islice(file, 1 + len(header)) if not line.startswith("#"))
            return " ".join(lines).split()[: len(header)] == header
    except OSError:
        return False


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


def star_names(names: Sequence[str]) -> list[str]:
    """Return the names of micrographs as a STAR file holds them, in quotes where they need them.

    Raises
    ------
    ParticleFileError
        If it cannot hold one of them.
    """
    return [_quoted(name) for name in names]


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
    """Tell whether a STAR file begins as RELION's list of coordinate files, or is called like RELION 3's."""
    if is_coords_suffix(path):
        return True
    try:
        with path.open("rb") as file:
            return any(line.split()[:1] == [b"data_coordinate_files"] for line in file.read(4096).splitlines())
    except OSError:
        return False  # reading it will say why


def read_coordinate_index(path: str | Path) -> list[tuple[str, Path]]:
    """List the coordinate files that RELION's ``autopick.star`` names, with their micrographs' names.

    Returns
    -------
    list of (str, Path)
        The files are looked for from the working folder and from the folders above the list, as RELION writes their
        names relative to its project folder, and at last in the folder of the list, which may have been copied.

    Raises
    ------
    ParticleFileError
        If it is no such list, or one of the files is missing.
    """
    path = Path(path)
    if is_coords_suffix(path):
        return read_coords_suffix(path)
    tables = read_tables(path)
    lists = tables_with(tables, "rlnMicrographName", "rlnMicrographCoordinates")
    if not lists:
        raise ParticleFileError(
            f"{path}: no table with _rlnMicrographName and _rlnMicrographCoordinates; it holds {contents(tables)}"
        )
    folders = [Path(), *path.absolute().parents]
    listed = []
    columns = [[table.texts(f"rlnMicrograph{what}") for table in lists] for what in ("Name", "Coordinates")]
    for name, file in zip(*map(chain.from_iterable, columns), strict=True):
        parts = Path(file).parts
        inner = (path.parent.joinpath(*parts[i:]) for i in range(1, len(parts)))
        places = chain((folder / file for folder in folders), inner)
        found = next((at for at in places if is_there(at) and not at.is_dir()), None)
        if found is None:
            raise ParticleFileError(
                f"{path}: there is no {file[:300]}, which it names", "Start cryotx in the project folder of RELION."
            )
        listed.append((name, found))
    return listed


def _header(block: str, columns: tuple[str, ...]) -> str:
    return f"\n{block}\n\nloop_\n" + "".join(f"{column} #{i}\n" for i, column in enumerate(columns, 1))


def _rows(particles: Particles, row: str) -> Iterable[str]:
    x, y = particles.centres.T.tolist()
    return map(row.__mod__, zip(x, y, particles.scores.tolist(), strict=True))


def _quoted(name: str) -> str:
    """Return a name as one STAR token: quoted where a reader would split it or take it for a keyword."""
    needs_quotes = name.startswith(("data_", "loop_", "_", "#", ";", "'")) or any(c.isspace() or c == "#" for c in name)
    controls = any(ord(c) < 32 or ord(c) == 127 for c in name.replace("\t", " "))
    if not name or controls or '"' in name or (needs_quotes and "'" in name[1:]):
        raise ParticleFileError(
            f"the name {name!r} cannot be written into STAR: it is empty or holds quotes or control characters",
            "Rename the micrograph or the folder.",
        )
    return f'"{name}"' if needs_quotes else name


def _recognises(beginning: bytes) -> bool:
    return not is_cbox(beginning) and any(line.startswith(b"data_") for line in beginning.splitlines())


def _read_star(path: Path, tell: Tell) -> dict[str, Particles]:
    found = read_particles_star(path, tell)
    return {"": found[path.stem]} if list(found) == [path.stem] else found


_INDEX = CoordinateIndex("autopick.star", is_coordinate_index, read_coordinate_index, write_coordinate_index)

STAR = TableFormat(
    name="star",
    suffix=".star",
    recognises=_recognises,
    read=_read_star,
    write=lambda path, particles, _: write_particles_star(path, particles),
    names=star_names,
    index=_INDEX,
)
RELION = MicrographFormat(
    name="relion",
    suffix=".star",
    recognises=None,
    read=None,
    write=lambda path, particles, _: write_micrograph_star(path, particles),
    endings=("_autopick", "_manualpick"),
    index=_INDEX,
    in_run="relion",
)
