"""The journal of a review: every change as a line of JSON, on disk before it is answered, in the order of its number.

It is only ever added to. Undoing is a line of its own, so nothing that somebody has done is lost. A server that is
killed leaves at most a last line that is torn, or the first lines of changes that count only together; they were never
answered, and are cut off when the journal is opened again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryotx_cli.errors import CryotxError
from cryotx_cli.review.changes import flaw_of
from cryotx_cli.runs.folder import absolute_path, is_run

Entry = dict[str, Any]

JOURNAL = "journal.jsonl"
"""Its name in the folder of a review."""

_LEFT = "left"
"""Of a change that counts only together with those after it: how many these are."""

_FIRST = {"journal": "cryotx review", "version": 1}
_BEGINNING = b'{"journal": "cryotx review"'
_DAMAGED = "Restore it from a backup, or move it away to begin the review anew."


class ReviewEndedError(CryotxError):
    """Something is asked of a review that has gone on to another run."""


@dataclass(frozen=True)
class StoredJournal:
    """What lies in the file of a review.

    Parameters
    ----------
    run
        The folder of the run that is reviewed; None where there is none.
    entries
        All changes, in their order.
    torn
        How many bytes at its end are changes that were never finished.
    """

    run: Path | None
    entries: list[Entry]
    torn: int


def read_journal(path: Path) -> StoredJournal | None:
    """Read the journal of a review; None where there is nothing in it.

    Raises
    ------
    CryotxError
        It is another program's or damaged, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CryotxError(f"{path}: cannot be read: {error.strerror or error}", "Check its rights.") from error
    whole = content.rfind(b"\n") + 1
    lines = content[:whole].splitlines()
    if not lines and _BEGINNING.startswith(content[: len(_BEGINNING)]):
        return None  # killed while it was begun
    first = _parsed(lines[0]) if lines else None
    if first is None or first.get("journal") != _FIRST["journal"]:
        raise CryotxError(f"{path}: not a journal of cryotx review", _DAMAGED)
    if first.get("version") != _FIRST["version"]:
        raise CryotxError(f"{path}: written by another version of cryotx", "Update cryotx.")
    entries = []
    for number, line in enumerate(lines[1:], start=1):
        entry = _parsed(line)
        if entry is None or entry.get("seq") != number:
            raise CryotxError(f"{path}: damaged: line {number + 1} is not change {number}", _DAMAGED)
        if flaw := flaw_of(line):
            raise CryotxError(f"{path}: damaged: line {number + 1}: {flaw}", _DAMAGED)
        entries.append(entry)
    while entries and entries[-1].get(_LEFT):  # those that it counts with are not there
        whole -= len(lines[len(entries)]) + 1
        del entries[-1]
    run = first.get("run")
    return StoredJournal(path.parent / str(run) if run is not None else None, entries, len(content) - whole)


class Journal:
    """The file of a review, held by one process at a time.

    Parameters
    ----------
    path
        The file; it and its folder are made.
    run
        The run that is reviewed; None where there is none.

    Attributes
    ----------
    entries : list of dict
        All changes, in their order; the number `seq` of the first is 1.
    torn : int
        How many bytes of changes that were never finished were cut off.

    Raises
    ------
    CryotxError
        It is another program's or damaged, of another run, another process has it open, or it cannot be written.
    """

    def __init__(self, path: Path, run: Path | None = None) -> None:
        self.path = path
        self.torn = 0
        self.entries: list[Entry] = []
        self._together = False
        self._run = run
        self._first = {**_FIRST, "run": None if run is None else os.path.relpath(run, path.parent)}
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
        """Write a change to the disk, within `together` at its end, and return it with its number and time.

        Raises
        ------
        CryotxError
            It cannot be written; the journal is as it was.
        """
        self._require_open()
        entry = {"seq": self.last + 1, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **change}
        if not self._together:
            self._write([entry])
        self.entries.append(entry)
        return entry

    @contextmanager
    def together(self) -> Iterator[None]:
        """Have the disk take all changes that are appended within at once, all of them or none.

        Raises
        ------
        CryotxError
            They cannot be written; the journal is as it was.
        """
        self._require_open()
        last = self.last
        self._together = True
        try:
            yield
            several = self.entries[last:]
            left = range(len(several) - 1, 0, -1)
            self._write([*({**one, _LEFT: more} for one, more in zip(several, left, strict=False)), *several[-1:]])
        except BaseException:
            del self.entries[last:]
            raise
        finally:
            self._together = False

    def close(self) -> None:
        """Let other processes have it."""
        self._file.close()

    def _require_open(self) -> None:
        if self._file.closed:
            raise ReviewEndedError(f"{self.path}: this review has ended", "Load the page again.")

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
        stored = read_journal(self.path)
        if stored is None:
            os.truncate(self.path, 0)
            self._write([self._first])
            return
        self._require_same_run(stored.run)
        self.entries, self.torn = stored.entries, stored.torn
        if self.torn:
            os.truncate(self.path, self.path.stat().st_size - self.torn)

    def _require_same_run(self, other: Path | None) -> None:
        """Refuse the journal of another run; one that has been moved away may be this one."""
        if other is None and self._run is None:
            return
        if other is not None and self._run is not None:
            if not is_run(other) or os.path.realpath(other) == os.path.realpath(self._run):
                return
            if absolute_path(other) == absolute_path(self._run):  # through a link
                return
        owner = "micrographs that no run has picked" if other is None else absolute_path(other)
        raise CryotxError(f"{self.path}: the review of {owner}", "Give --out another folder.")

    def _write(self, lines: Sequence[Entry]) -> None:
        data = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
        with self._or_as_it_was(os.fstat(self._file.fileno()).st_size):
            written = self._file.write(data) if data else 0
            os.fsync(self._file.fileno())
            if written != len(data):
                raise OSError(0, "only a part could be written")

    @contextmanager
    def _or_as_it_was(self, size: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError):
                os.truncate(self.path, size)
            raise CryotxError(
                f"{self.path}: the change cannot be written: {error.strerror or error}", "Make room on the disk."
            ) from error


def _parsed(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None
