"""Which image a micrograph is now: the one that the run has picked, or another one of its name."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

from cryotx_cli.errors import CryotxError
from cryotx_cli.review.subject import Subject
from cryotx_cli.runs.jobs import checksum_of, has_changed

_Stamp = tuple[str, int, int]  # path, size and time


class Images:
    """The files of micrographs, each looked at again when its size or time is another one.

    A file of the right size and another time than the run has noted may be a copy: only reading it tells, which takes a
    while for a large one, so it is done where somebody wants the micrograph, and once.
    """

    def __init__(self) -> None:
        self._checksums: dict[_Stamp, int | None] = {}

    def is_replaced(self, subject: Subject) -> bool:
        """Return whether a file is another one than the run has picked, as far as anybody knows."""
        return _is_replaced(subject, self._checksum)

    def is_known_as_replaced(self, subject: Subject) -> bool:
        """Return the same without reading the file: False where nobody has wanted it yet and only reading it tells."""
        return _is_replaced(subject, lambda path: self._checksums.get(_stamp(path), subject.row.checksum))

    def require_same(self, subject: Subject) -> None:
        """Refuse a file that is another one than the run has picked.

        Raises
        ------
        CryotxError
            It is.
        """
        if self.is_replaced(subject):
            raise CryotxError(other_image(subject))

    def _checksum(self, path: Path) -> int | None:
        stamp = _stamp(path)
        if stamp not in self._checksums:
            self._checksums[stamp] = checksum_of(path)
        return self._checksums[stamp]


def _is_replaced(subject: Subject, checksum: Callable[[Path], int | None]) -> bool:
    try:
        return bool(subject.row.key) and has_changed(subject.path, subject.row, checksum)
    except OSError:  # it is gone: opening it says so
        return False


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def other_image(subject: Subject) -> str:
    """Say that a micrograph is another file than the run has picked."""
    return (
        f"{subject.path}: another file than the run has picked: it is left out until cryotx pick, started again with "
        "the same settings, has picked it anew."
    )


def image_of(subject: Subject) -> str:
    """Return what tells the image of a micrograph from all others: a browser keeps tiles for a while."""
    try:
        modified = subject.path.stat().st_mtime_ns
    except OSError:
        modified = 0
    return f"{zlib.crc32(str(subject.path).encode()):08x}{modified:x}"
