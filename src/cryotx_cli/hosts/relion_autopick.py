"""The folder of a job as RELION's own picker leaves it, made of the run of ``cryotx pick`` that lies in it.

::

    External/job004/
        Movies/m1_autopick.star        coordinates; a link into cryotx/relion/, which `cryotx threshold` writes anew
        autopick.star                  which coordinates belong to which micrograph: RELION 4 and later
        coords_suffix_autopick.star    the same for RELION 3.1, which looks for the files themselves
        cryotx.star, cryotx/           the run
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cryotx_cli.coordinates.formats.star import read_coordinate_index, write_coordinate_index
from cryotx_cli.errors import CryotxError
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.micrographs.names import relion_stem
from cryotx_cli.runs.folder import absolute_path

INDEX, SUFFIX = "autopick.star", "coords_suffix_autopick.star"
_TREE, _PREFIX = "relion", "coords_suffix"


def in_project(path: Path) -> str:
    """Return a path as RELION has to read it: relative to its project, the working folder, where it lies in that."""
    path = absolute_path(path)
    project = absolute_path(Path())
    return (path.relative_to(project) if path.is_relative_to(project) else path).as_posix()


def lay_out(folder: Path, run: Path, micrographs: Path) -> int:
    """Make the folder of a job look as RELION's own picker would leave it.

    Parameters
    ----------
    folder
        That of the job.
    run
        That of the run of ``cryotx pick`` in it.
    micrographs
        STAR file of the micrographs.

    Returns
    -------
    int
        How many micrographs have coordinates.

    Raises
    ------
    CryotxError
        The folder cannot be written, or has something else where coordinates belong.
    """
    tree = run / _TREE
    _link(folder, tree)
    listed = read_coordinate_index(tree / INDEX) if (tree / INDEX).is_file() else []
    root = absolute_path(tree)
    files = [(name, in_project(folder / absolute_path(file).relative_to(root))) for name, file in listed]
    write_coordinate_index(folder / INDEX, files)
    with whole_file(folder / SUFFIX) as file:
        file.write(f"{in_project(micrographs)}\n")
    return len(files)


def misplaced(folder: Path) -> list[str]:
    """Return the micrographs whose coordinates RELION 3.1 does not find, though the list of a job names them.

    It looks where its own picker would put them, and that would be one place for two micrographs of these names.
    """
    listed = read_coordinate_index(folder / INDEX)
    return [name for name, file in listed if file != folder / f"{relion_stem(name)}{SUFFIX.removeprefix(_PREFIX)}"]


def _link(folder: Path, tree: Path) -> None:
    """Link to each folder and file of coordinates; remove links of an earlier run that lead nowhere."""
    inner = Path(tree.relative_to(folder))
    with suppress(FileNotFoundError):
        for entry in folder.iterdir():
            if entry.is_symlink() and not entry.exists() and entry.readlink().parent == inner:
                entry.unlink(missing_ok=True)
    names = sorted(entry.name for entry in tree.iterdir() if entry.name != INDEX) if tree.is_dir() else []
    for name in names:
        link = folder / name
        if link.is_symlink() and link.readlink() == inner / name:
            continue
        if link.is_symlink() or link.exists():
            raise CryotxError(
                f"{link}: is in the way of the coordinates, which RELION looks for there",
                "Start a new job, or remove what is there.",
            )
        try:
            link.symlink_to(inner / name)
        except OSError as error:
            raise CryotxError(
                f"{link}: cannot be linked to {inner / name} ({error.strerror})",
                "RELION needs a file system with links, and the right to write in the folder of its job.",
            ) from error
