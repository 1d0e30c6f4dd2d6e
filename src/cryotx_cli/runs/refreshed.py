"""Files that are written again and again while a run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

_SHARE = 0.05  # of the time goes into writing, at most


class Refreshed:
    """Something that shows a whole run and is brought up to date while it goes on, at a small share of the time.

    Parameters
    ----------
    write
        Writes it.
    seconds
        Shortest time from one writing to the next.
    share
        Of the time that writing may take.

    Attributes
    ----------
    is_stale : bool
        Whether there is something new to write.
    """

    def __init__(self, write: Callable[[], None], seconds: float, share: float = _SHARE) -> None:
        self.is_stale = False
        self._write, self._seconds, self._share = write, seconds, share
        self._due = time.monotonic() + seconds

    def if_due(self) -> None:
        """Write it if there is something new and the last time is long enough ago."""
        started = time.monotonic()
        if not self.is_stale or started < self._due:
            return
        try:
            self._write()
            self.is_stale = False
        finally:
            ended = time.monotonic()
            # With a thousand micrographs writing takes seconds: the pauses grow with it.
            self._due = ended + max(self._seconds, (ended - started) / self._share)
