"""Folders of the user, walked through once: without what is hidden, and without going round in circles of links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def visible_folders(top: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield `top` and the folders below it, links followed: the path, the names of folders and those of files in it.

    Hidden ones are left out, which editors, notebooks and Macs put beside files of the same name. What the caller takes
    out of the names of folders is not entered.

    Raises
    ------
    OSError
        If a folder cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise error

    seen: set[str] = set()
    for parent, folders, names in os.walk(top, onerror=unreadable, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link back to a folder above would never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield Path(parent), folders, [name for name in names if not name.startswith(".")]


def visible_files(top: Path) -> list[Path]:
    """Return the files in `top` and below it, in the order of their names.

    Raises
    ------
    OSError
        If a folder cannot be read.
    """
    return sorted(parent / name for parent, _, names in visible_folders(top) for name in names)
