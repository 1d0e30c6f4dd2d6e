"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from cryotx_cli.errors import ConfigError, ParticleFileError


@contextmanager
def whole_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name; what is there takes the name `path` when the block ends without an error.

    The folder is made if it is missing. `runs.folder` knows the temporary names of killed processes by their form.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    # The temporary name lies in the same folder because a rename is atomic only within one file system.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        unfinished.replace(path)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def whole_file(path: str | Path) -> Iterator[TextIO]:
    """Open a text file for writing that takes its name only when the block ends without an error.

    The folder is made if it is missing. Names that are not UTF-8 survive (``surrogateescape``).

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    with (
        _unfinished(path) as unfinished,
        unfinished.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file,
    ):
        yield file


@contextmanager
def whole_binary_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file for writing that takes its name only when the block ends without an error.

    The folder is made if it is missing.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    with _unfinished(path) as unfinished, unfinished.open("wb") as file:
        yield file


def write_json(path: str | Path, content: Any) -> None:
    """Write what has a JSON form for people and programs: indented, whole or not at all.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    with whole_file(path) as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def require_own_file(path: Path, flag: str, beginning: str) -> None:
    """Refuse to replace a file that is there, unless it is one of its kind.

    Parameters
    ----------
    path
        The file to write.
    flag
        The flag that names it, for the message.
    beginning
        What all of its kind hold within their first few lines.

    Raises
    ------
    ConfigError
        There is a file, and it is not.
    """
    if not path.is_file():
        return
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        if beginning in file.read(4096):
            return
    raise ConfigError(
        f"{flag} {path}: there already, and not written by this command", f"Give {flag} another name, or remove it."
    )


@contextmanager
def _unfinished(path: str | Path) -> Iterator[Path]:
    try:
        with whole_path(path) as unfinished:
            yield unfinished
    except OSError as error:
        raise ParticleFileError(
            f"{path} cannot be written: {error.strerror or error}", "Choose a folder that you may write to."
        ) from error
