"""The STAR file of particles that Warp and WarpTools read: the columns of Warp's own picker, in a nameless block.

WarpTools looks for a table of optics wherever a block is called ``data_particles``, and refuses a file without one. It
finds a micrograph by the name of its file without folders and suffix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from cryotx_cli.coordinates.formats.entry import TableFormat
from cryotx_cli.coordinates.formats.star import star_names
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.files.whole_file import whole_file

_COLUMNS = ("rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "rlnAutopickFigureOfMerit")


def write_warp_star(path: str | Path, particles: Iterable[tuple[str, Particles]]) -> None:
    """Write the particles of many micrographs.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    particles
        Pairs of micrograph name and particles.

    Raises
    ------
    ParticleFileError
        If the file cannot be written, or Warp could not read a name or tell it from another one.
    """
    pairs = list(particles)
    names = warp_names([name for name, _ in pairs])
    with whole_file(path) as file:
        file.write("\ndata_\n\nloop_\n")
        file.writelines(f"_{column} #{number}\n" for number, column in enumerate(_COLUMNS, 1))
        for name, (_, here) in zip(names, pairs, strict=True):
            rows = zip(*here.centres.T.tolist(), here.scores.tolist(), strict=True)
            file.writelines(f"{x:.3f} {y:.3f} {name} {score:.6f}\n" for x, y, score in rows)
        file.write("\n")


def warp_names(names: Sequence[str]) -> list[str]:
    """Return the names of micrographs as Warp reads them, as they are.

    Raises
    ------
    ParticleFileError
        A name holds spaces, which part columns for Warp, or two of them are the same without folders and suffix.
    """
    first: dict[str, str] = {}
    for name, written in zip(names, star_names(names), strict=True):
        if written != name:
            raise ParticleFileError(f"Warp cannot read the name {name!r}", "Rename the micrograph or the folder.")
        other = first.setdefault(PurePosixPath(name).stem, name)
        if other != name:
            raise ParticleFileError(
                f"Warp cannot tell {other} and {name} apart: it compares names without folders and suffixes",
                "Write the micrographs of each folder apart.",
            )
    return list(names)


WARP = TableFormat(
    name="warp",
    suffix=".star",
    recognises=None,
    read=None,
    write=lambda path, particles, _: write_warp_star(path, particles),
    names=warp_names,
    in_run="warp/particles.star",
)
