"""Text files of other programs, as they come: any line ends, with or without a byte order mark, any bytes in names."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cryotx_cli.errors import ParticleFileError


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file for reading; line ends come as they are, bytes that are not UTF-8 as surrogates.

    Raises
    ------
    ParticleFileError
        If it is no file, or cannot be read, or has two bytes a character.
    """
    require_file(path)
    try:
        with path.open("rb") as bytes_of_file:
            refuse_utf16(path, bytes_of_file.read(2))
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield file
    except OSError as error:
        raise ParticleFileError(f"{path}: cannot be read: {error.strerror or error}", "Check the path.") from error


def refuse_utf16(path: Path, beginning: bytes) -> None:
    """Refuse text of two bytes a character, as Excel's "Unicode text" and old PowerShells write it.

    Raises
    ------
    ParticleFileError
        If the file begins with the mark of such text.
    """
    if beginning[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise ParticleFileError(f"{path}: text in UTF-16, with two bytes a character", "Save it as UTF-8.")


def require_file(path: Path) -> None:
    """Refuse what is not there and what is no plain file: reading a pipe waits for its other end for ever.

    Raises
    ------
    ParticleFileError
        If there is no such file.
    """
    if not is_there(path):
        raise ParticleFileError(f"{str(path)[:300]}: no such file or folder", "Check the path.")
    if not path.is_file():
        raise ParticleFileError(f"{path}: a folder, a pipe or a device, not a file", "Save it as a file first.")


def is_there(path: Path) -> bool:
    """Tell whether there is something of this name; a name that no file can have is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than a name may be, or with a zero byte
        return False


def is_number(text: str | bytes) -> bool:
    """Tell whether a text is that of a number, finite or not."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def first_line(beginning: bytes) -> str:
    """Return the first line that is not blank of what a file begins with; empty where there is none."""
    lines = (line.strip() for line in beginning.decode("utf-8", "replace").splitlines())
    return next(filter(None, lines), "")
