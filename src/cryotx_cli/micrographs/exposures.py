"""Micrographs that a .cs file of CryoSPARC lists as exposures."""

from __future__ import annotations

from pathlib import Path

from cryotx_cli.errors import ParticleFileError
from cryotx_cli.events import Tell
from cryotx_cli.files.cs_table import read_cs_table

EXPOSURE_SUFFIXES = (".cs", ".csg")


def list_exposures(path: Path, tell: Tell) -> list[tuple[str, float | None, float | None]]:
    """List the micrographs of exposures, each once, in the order of the file.

    Returns
    -------
    list of (str, float or None, float or None)
        ``micrograph_blob/path``, relative to the CryoSPARC project; Å per pixel; Å of underfocus along the first axis
        (``ctf/df1_A``). None where the file does not say.

    Raises
    ------
    ParticleFileError
        If it cannot be read, or lists no micrographs.
    """
    table = read_cs_table(path, ("micrograph_blob/path", "micrograph_blob/psize_A"), "exposures", tell)
    sizes, defoci = table.optional_numbers("micrograph_blob/psize_A"), table.optional_numbers("ctf/df1_A")
    listed: dict[str, tuple[float | None, float | None]] = {}
    for name, size, defocus in zip(table.texts("micrograph_blob/path"), sizes.tolist(), defoci.tolist(), strict=True):
        # NaN is not greater than anything.
        listed.setdefault(name, (size if 0 < size < float("inf") else None, defocus if defocus > 0 else None))
    if not listed:
        raise ParticleFileError(f"{path}: lists no exposures", "Give the exposures of a job that has some.")
    return [(name, *values) for name, values in listed.items()]
