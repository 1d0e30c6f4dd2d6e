"""Folders of coordinate files as other programs leave them: what belongs to which micrograph, and what is no picks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from cryotx_cli.coordinates.formats import table

_CBOX = "CBOX"  # crYOLO's folder of .cbox files, beside which it writes the same boxes without sizes and scores
_CRYOLO_COPIES = re.compile(r"(EMAN|STAR|DISTR|COORDS|IMOD)(_\w+)?")
# RELION's own affairs, and its lists of files of picks.
_OF_A_JOB = re.compile(r"(job|summary|(job|default)_pipeline|autopick|manualpick)(_\w*)?\.star")
_EMPTY_LINE = re.compile(rb"\s*(#.*|data_\S*\s*|loop_\s*)?")
_MOST_EMPTY = 4096  # bytes; comments and block names of an empty STAR file take less


def without_lesser_copies(files: Sequence[Path]) -> list[Path]:
    """Leave out what crYOLO has written beside its CBOX folders, in formats that hold less."""
    beside = {file.parent.parent for file in files if file.parent.name == _CBOX and file.suffix.lower() == ".cbox"}
    return [file for file in files if not (beside and _is_cryolo_copy(file, beside))]


def is_empty_file_of_a_job(file: Path) -> bool:
    """Tell whether an empty file stands for a job of RELION rather than for a micrograph without particles."""
    return _OF_A_JOB.fullmatch(file.name) is not None and is_empty(file)


def is_empty(file: Path) -> bool:
    """Tell whether a file of coordinates is empty, as programs leave it for a micrograph on which they found nothing.

    A STAR file with names of blocks and without a single column is.
    """
    try:
        if file.stat().st_size > _MOST_EMPTY:
            return False
        lines = file.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError:
        return False  # reading it will say why
    return all(_EMPTY_LINE.fullmatch(line) for line in lines)


def micrograph_of(file: PurePath, suffix: str) -> str:
    """Return the name of the micrograph that a coordinate file of the format with this suffix is called after.

    Parameters
    ----------
    file
        Relative to the folder that the user named.
    suffix
        Of the format.
    """
    name = file.with_suffix("").name
    endings = [e for one in table.micrograph_formats() if one.suffix == suffix for e in one.endings if e]
    # One ending, and only one of this format: another may belong to the micrograph.
    ending = next((e for e in endings if name.endswith(e) and name != e), "")
    folder = file.parent.parent if suffix == ".cbox" and file.parent.name == _CBOX else file.parent
    return (folder / name.removesuffix(ending)).as_posix()


def _is_cryolo_copy(file: Path, beside: set[Path]) -> bool:
    return any(_CRYOLO_COPIES.fullmatch(folder.name) and folder.parent in beside for folder in file.parents)
