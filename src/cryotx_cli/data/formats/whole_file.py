"""Text files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from cryotx_cli.errors import ParticleFileError


@contextmanager
def whole_file(path: str | Path) -> Iterator[TextIO]:
    """Open a text file for writing that takes its name only when the block ends without an error.

    The folder is made if it is missing. Names that are not UTF-8 survive (``surrogateescape``).

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    path = Path(path)
    # The temporary name lies in the same folder because a rename is atomic only within one file system.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            yield file
        unfinished.replace(path)
    except OSError as error:
        raise ParticleFileError(
            f"{path} cannot be written: {error.strerror or error}", "Choose a folder that you may write to."
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
