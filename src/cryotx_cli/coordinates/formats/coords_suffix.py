"""RELION 3's ``coords_suffix_autopick.star``: a line of text that stands for the coordinate files of a job.

Its name gives what follows the micrographs' names, ``_autopick.star``, and the line the STAR file of the micrographs.
The files lie beside it in the folders of the micrographs, without those of the job that made them.
"""

from __future__ import annotations

from pathlib import Path

from cryotx_cli.errors import CryotxError, NoCoordinatesError, ParticleFileError
from cryotx_cli.files.folders import visible_files
from cryotx_cli.files.text_file import is_there, open_text
from cryotx_cli.micrographs.find import read_micrographs_star
from cryotx_cli.micrographs.names import relion_stem

_PREFIX = "coords_suffix"


def is_coords_suffix(path: Path) -> bool:
    """Tell whether a file is called as RELION 3 calls what stands for the coordinate files of a job."""
    return path.name.startswith(f"{_PREFIX}_") and path.suffix == ".star"


def read_coords_suffix(path: Path) -> list[tuple[str, Path]]:
    """List the coordinate files that RELION 3 finds by this one, with their micrographs' names.

    Returns
    -------
    list of (str, Path)
        The names are those of the STAR file of the micrographs where that is found, else those of the coordinate files
        without what follows.

    Raises
    ------
    NoCoordinatesError
        If there are no such files.
    ParticleFileError
        If it cannot be read.
    """
    ending = path.name.removeprefix(_PREFIX)
    found = _of_micrographs(path, ending) or _below(path, ending)
    if not found:
        raise NoCoordinatesError(
            f"{path}: stands for files that end in {ending} below {path.parent}, and there are none",
            "Give the folder of the coordinate files.",
        )
    return found


def _of_micrographs(path: Path, ending: str) -> list[tuple[str, Path]]:
    with open_text(path) as file:
        listed = file.readline(4096).strip()
    micrographs = next((at for folder in (Path(), *path.absolute().parents) if _is_file(at := folder / listed)), None)
    if not listed or micrographs is None:
        return []
    try:
        names = [name for name, _ in read_micrographs_star(micrographs)]
    except CryotxError:  # another file of that name
        return []
    pairs = ((name, path.parent / f"{relion_stem(name)}{ending}") for name in names)
    return [(name, file) for name, file in pairs if _is_file(file)]


def _below(path: Path, ending: str) -> list[tuple[str, Path]]:
    try:
        files = [
            file for file in visible_files(path.parent) if file.name.endswith(ending) and not is_coords_suffix(file)
        ]
    except OSError as error:
        raise ParticleFileError(
            f"{path.parent}: cannot be read: {error.strerror or error}", "Check its rights."
        ) from error
    return [(file.relative_to(path.parent).as_posix().removesuffix(ending), file) for file in files]


def _is_file(path: Path) -> bool:
    return is_there(path) and path.is_file()
