"""Topaz's coordinate tables: tab-separated ``image_name x_coord y_coord [score]``, all micrographs in one file.

``image_name`` is the micrograph's file name without folders and without its suffix; coordinates are centres in pixels,
y down the stored rows (``topaz/utils/files.py``). Scores stand as they are: those of Topaz itself are log-likelihood
ratios, not probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cryotx_cli.coordinates.formats.entry import TableFormat
from cryotx_cli.coordinates.formats.separated import read_separated
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.events import Tell, warn
from cryotx_cli.files.text_file import first_line, open_text
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.micrographs.names import file_name, without_micrograph_suffix

_EXAMPLE = "Give a table as topaz extract writes it, with tabs between the columns."


def topaz_names(names: Sequence[str]) -> list[str]:
    """Return the name that Topaz gives each of these micrographs, in their order.

    Raises
    ------
    ParticleFileError
        If two of them get the same name, or one has tabs, quotes or line breaks.
    """
    users: dict[str, str] = {}
    for name in names:
        stem = without_micrograph_suffix(file_name(name))
        if not stem.strip() or not stem.isprintable() or '"' in stem:
            raise ParticleFileError(
                f"the micrograph name {name!r} cannot be written for Topaz: it is empty or holds quotes or tabs",
                "Rename the micrograph.",
            )
        if stem in users:
            raise ParticleFileError(
                f"Topaz has one name for {users[stem]} and {name}: it leaves out folders and suffixes",
                "Write the Topaz files of each folder apart.",
            )
        users[stem] = name
    return list(users)


def write_topaz(path: str | Path, particles: Iterable[tuple[str, Particles]]) -> None:
    """Write the particles of many micrographs, given as pairs of micrograph name and particles.

    Raises
    ------
    ParticleFileError
        If the file cannot be written, or Topaz could not tell two of the micrographs apart.
    """
    pairs = list(particles)
    stems = topaz_names([name for name, _ in pairs])
    with whole_file(path) as file:
        file.write("image_name\tx_coord\ty_coord\tscore\n")
        for stem, (_, here) in zip(stems, pairs, strict=True):
            rows = zip(*here.centres.T.tolist(), here.scores.tolist(), strict=True)
            file.writelines(f"{stem}\t{x:.3f}\t{y:.3f}\t{score:.6f}\n" for x, y, score in rows)


def read_topaz(path: str | Path, tell: Tell = warn) -> dict[str, Particles]:
    """Read a table of coordinates; `tell` takes what was odd.

    Returns
    -------
    dict of str to Particles
        By ``image_name``. Scores are 1 where the table has none; diameters and pixel sizes are NaN.

    Raises
    ------
    ParticleFileError
        If the columns are missing, or a coordinate is not a finite number, or the table is that of a tomogram.
    """
    path = Path(path)
    with open_text(path) as file:
        header = next((line for line in iter(lambda: file.readline(10_000), "") if line.strip()), "").strip()
    if not {"image_name", "x_coord", "y_coord"} <= {cell.strip() for cell in header.split("\t")}:
        raise NoCoordinatesError(
            f"{path}: its first line is {header[:60]!r}, not the columns image_name, x_coord and y_coord", _EXAMPLE
        )
    found = read_separated(path, ("\t",), _EXAMPLE, tell)
    return {name: particles for name, particles in found.items() if name}


TOPAZ = TableFormat(
    name="topaz",
    suffix=".txt",
    recognises=lambda beginning: first_line(beginning).startswith("image_name\t"),
    read=read_topaz,
    write=lambda path, particles, _: write_topaz(path, particles),
    names=topaz_names,
    in_run="topaz/particles.txt",
)
