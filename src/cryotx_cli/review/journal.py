"""The journal of a review: every change as a line of JSON, on disk before it is answered, in the order of its number.

It is only ever added to. Undoing is a line of its own, so nothing that somebody has done is lost. A server that is
killed leaves at most a last line that is torn; it was never answered, and is cut off when the journal is opened again.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryotx_cli.errors import CryotxError

Entry = dict[str, Any]

_FIRST = {"journal": "cryotx review", "version": 1}
_DAMAGED = "Restore it from a backup, or move it away to begin the review anew."


class Journal:
    """The file of a review, held by one process at a time.

    Parameters
    ----------
    path
        The file; it and its folder are made.

    Attributes
    ----------
    entries : list of dict
        All changes, in their order; the number `seq` of the first is 1.
    torn : int
        How many bytes of a line that was never finished were cut off.

    Raises
    ------
    CryotxError
        It is another program's or damaged, another process has it open, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = 0
        self.entries: list[Entry] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise CryotxError(
                f"{path}: cannot be written: {error.strerror or error}", "Get the right to write there."
            ) from error
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise

    @property
    def last(self) -> int:
        """Number of the last change; 0 where there is none."""
        return len(self.entries)

    def append(self, change: Entry) -> Entry:
        """Write a change to the disk and return it with its number and time.

        Raises
        ------
        CryotxError
            It cannot be written; the journal is as it was.
        """
        entry = {"seq": self.last + 1, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **change}
        self._write(entry)
        self.entries.append(entry)
        return entry

    def close(self) -> None:
        """Let other processes have it."""
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CryotxError(
                f"{self.path}: another cryotx review has it open", "Use its page, or stop it with Ctrl-C first."
            ) from error
        except OSError:  # a file system without locks
            pass

    def _read(self) -> None:
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise CryotxError(f"{self.path}: cannot be read: {error.strerror or error}", "Check its rights.") from error
        whole = content.rfind(b"\n") + 1
        lines = content[:whole].splitlines()
        first = _parsed(lines[0]) if lines else None
        if first is not None and first.get("version") not in (None, _FIRST["version"]):
            raise CryotxError(f"{self.path}: written by another version of cryotx", "Update cryotx.")
        if lines and (first is None or first.get("journal") != _FIRST["journal"]):
            raise CryotxError(f"{self.path}: not a journal of cryotx review", _DAMAGED)
        for number, line in enumerate(lines[1:], start=1):
            entry = _parsed(line)
            if entry is None or entry.get("seq") != number:
                raise CryotxError(f"{self.path}: damaged: line {number + 1} is not change {number}", _DAMAGED)
            self.entries.append(entry)
        if len(content) > whole:
            self.torn = len(content) - whole
            os.truncate(self.path, whole)
        if not lines:
            self._write(_FIRST)

    def _write(self, line: Entry) -> None:
        before = os.fstat(self._file.fileno()).st_size
        data = (json.dumps(line) + "\n").encode()
        try:
            written = self._file.write(data)
            os.fsync(self._file.fileno())
            if written != len(data):
                raise OSError(0, "only a part could be written")
        except OSError as error:
            with suppress(OSError):
                os.truncate(self.path, before)
            raise CryotxError(
                f"{self.path}: the change cannot be written: {error.strerror or error}", "Make room on the disk."
            ) from error


def _parsed(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None
