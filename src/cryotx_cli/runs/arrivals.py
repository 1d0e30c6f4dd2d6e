"""Micrographs that appear while a run is under way: which of them are whole by now.

Folders are listed again and again: notices of the operating system do not cross a network file system, which is where
microscopes write.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryotx_cli.errors import CryotxError, MicrographError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.find import Inputs, listed
from cryotx_cli.micrographs.micrograph import PICTURE_SUFFIXES, MicrographFile, find_micrographs, require_whole

LOOK_SECONDS = 2.0
IDLE_SECONDS = 0.2
"""Pause between two questions whether something is due."""

STILL_SECONDS = 5.0
"""How long a file must stand still; clients of NFS may see an old size for three seconds."""

PATIENCE_SECONDS = 60.0
"""A file that has stood still this long is handed over although it is not whole: reading it says why."""

_LOOK_SHARE = 0.1  # of the time goes into listing, at most


@dataclass
class _Seen:
    """A micrograph and how it was when it was last looked at; `signature` is None where there is no file."""

    file: MicrographFile
    signature: tuple[int, int] | None
    since: float
    handed_over: tuple[int, int] | None = None
    whole: bool | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether there is something that has not been handed over; a file that was and is gone is not waited for."""
        return self.handed_over is None or (self.signature is not None and self.signature != self.handed_over)


class Arrivals:
    """Looks for micrographs that are new, or new once more because somebody has replaced them.

    Parameters
    ----------
    inputs
        Files, folders, globs and micrographs STAR files, as `find_micrographs` takes them. A STAR file may grow, and a
        glob may match nothing yet.
    tell
        Takes what is left out, when it is first.

    Raises
    ------
    MicrographError
        An input does not exist.
    """

    def __init__(self, inputs: Inputs, tell: Tell = lambda _: None) -> None:
        inputs = listed(inputs)
        for given in inputs:
            if not Path(given).exists() and not glob.has_magic(str(given)):
                raise MicrographError(f"{given}: no such file or folder", "Make the folder first, or check the path.")
        self.folders = [Path(given) for given in inputs if Path(given).is_dir()]
        self._inputs, self._tell = inputs, tell
        self._told: set[tuple[str, str]] = set()  # by the input, and how the sentence begins
        self._lists: dict[str, tuple[object, list[MicrographFile]]] = {}
        self._seen: dict[str, _Seen] = {}  # by real path
        self._listing: list[_Seen] = []
        self._next_look = -float("inf")
        self._last_look = self._last_change = time.monotonic()
        self.look()

    @property
    def files(self) -> list[MicrographFile]:
        """Everything that the inputs name, whole or not, in their order."""
        return [seen.file for seen in self._listing]

    @property
    def waiting(self) -> int:
        """How many micrographs are named or there, but not handed over."""
        return sum(seen.is_waiting for seen in self._listing)

    def is_silent(self, seconds: float | None) -> bool:
        """Whether nothing has come or changed for so long, at the last look; never for None."""
        # What has just come has to stand still before it is handed over: less than that is no silence.
        return seconds is not None and self._last_look - self._last_change >= max(seconds, STILL_SECONDS)

    def look(self) -> list[MicrographFile]:
        """Return the micrographs that have become whole; none if the last look was a moment ago."""
        now = time.monotonic()
        if now < self._next_look:
            return []
        listed = self._listed()
        # Files that are no longer listed are remembered: they may come back unchanged.
        self._seen |= {key: self._look_at(file, self._seen.get(key), now) for key, file in listed.items()}
        self._listing = [self._seen[key] for key in listed]
        ready = [seen for seen in self._listing if self._is_ready(seen, now)]
        for seen in ready:
            seen.handed_over = seen.signature
        if ready:
            self._last_change = now
        self._last_look = now
        self._next_look = now + max(LOOK_SECONDS, (time.monotonic() - now) / _LOOK_SHARE)
        return [seen.file for seen in ready]

    def first(self, count: int, silence: float | None, stop: Path) -> list[MicrographFile]:
        """Wait for so many micrographs to become whole; `look` hands them over once more.

        Parameters
        ----------
        count
            How many.
        silence
            Be content with fewer after so many seconds without a new one; None to wait on.
        stop
            Be content with fewer as soon as this file appears.

        Raises
        ------
        MicrographError
            None has come.
        """
        found: list[MicrographFile] = []
        while len(found) < count and not stop.exists() and not self.is_silent(silence):
            ready = self.look()
            found += ready
            if not ready:
                time.sleep(IDLE_SECONDS)
        if not found:
            raise MicrographError("no micrograph has arrived", "Give the diameter, then none is waited for.")
        for file in found:
            self._seen[os.path.realpath(file.path)].handed_over = None
        self._last_change = time.monotonic()
        self._next_look = -float("inf")
        return found[:count]

    def take(self, file: MicrographFile) -> None:
        """Note that a micrograph needs no handing over: an earlier run has finished it."""
        seen = self._seen[os.path.realpath(file.path)]
        seen.handed_over = seen.signature

    def incomplete(self) -> Iterator[tuple[MicrographFile, MicrographError]]:
        """Yield the micrographs that are not whole even now, each with what is wrong with it."""
        for seen in self._listing:
            if seen.is_waiting and not seen.whole:
                try:
                    require_whole(seen.file.path)
                except MicrographError as error:
                    yield seen.file, error

    def _listed(self) -> dict[str, MicrographFile]:
        found: dict[str, MicrographFile] = {}
        for given in map(str, self._inputs):
            for file in self._list(given):
                found.setdefault(os.path.realpath(file.path), file)
        return found

    def _list(self, given: str) -> list[MicrographFile]:
        """List one input; a STAR file that is being written, or what cannot be read now, counts as it was before."""
        signature = _signature(Path(given))
        before, files = self._lists.get(given, (signature, []))
        # The last line of a file that grows may be cut short: it is believed once it has stood still.
        if signature == before or not given.lower().endswith(".star"):
            with suppress(CryotxError):  # nothing there yet
                # Another version of what has been picked, better or not, would be picked once more.
                picked = [seen.file.name for seen in self._seen.values() if seen.handed_over is not None]
                files = find_micrographs([given], lambda event: self._tell_once(given, event), picked)
        if Path(given).is_dir():
            # Previews come before their micrographs, which would tell that they are previews.
            files = [file for file in files if not file.name.lower().endswith(PICTURE_SUFFIXES)]
        self._lists[given] = signature, files
        return files

    def _tell_once(self, given: str, event: Event) -> None:
        # What is left out becomes more with every look.
        beginning = "".join(c for c in event.text if not c.isdecimal())[:20]
        if (given, beginning) not in self._told:
            self._told.add((given, beginning))
            self._tell(event)

    def _look_at(self, file: MicrographFile, before: _Seen | None, now: float) -> _Seen:
        signature = _signature(file.path)
        if before is not None and before.signature == signature:
            before.file = file
            return before
        self._last_change = now
        return _Seen(file, signature, now, before.handed_over if before else None)

    def _is_ready(self, seen: _Seen, now: float) -> bool:
        stood_still = now - seen.since
        if seen.signature is None or not seen.is_waiting or stood_still < STILL_SECONDS:
            return False
        if seen.whole is None:
            seen.whole = _is_whole(seen.file.path)
        return seen.whole or stood_still >= PATIENCE_SECONDS


def _is_whole(path: Path) -> bool:
    try:
        require_whole(path)
    except MicrographError:
        return False
    return True


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
