"""Which image a micrograph is now: the one that the run has picked, or another one of its name."""

from __future__ import annotations

import zlib

from cryotx_cli.errors import CryotxError
from cryotx_cli.review.subject import Subject
from cryotx_cli.runs.jobs import has_changed


class Images:
    """The files of micrographs, each looked at again when its size or time is another one."""

    def __init__(self) -> None:
        self._replaced: dict[tuple[str, str, int, int], bool] = {}

    def is_replaced(self, subject: Subject) -> bool:
        """Return whether a file is another one than the run has picked, as far as anybody knows."""
        try:
            status = subject.path.stat()
            now = str(subject.path), subject.row.key, status.st_size, status.st_mtime_ns
            if now not in self._replaced:  # reading a large file for its checksum takes a while
                self._replaced[now] = bool(subject.row.key) and has_changed(subject.path, subject.row)
        except OSError:  # it is gone: opening it says so
            return False
        return self._replaced[now]

    def require_same(self, subject: Subject) -> None:
        """Refuse a file that is another one than the run has picked.

        Raises
        ------
        CryotxError
            It is.
        """
        if self.is_replaced(subject):
            raise CryotxError(other_image(subject))


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
