"""Standard output and error that never end a command: closed, on a full disk, or of letters that they do not know."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field

_OUT, _ERR = 1, 2


class _Tolerant(io.FileIO):
    """Writes to a descriptor, and forgets what cannot be written."""

    error: OSError | None = None

    def write(self, data: object) -> int:
        if self.error is None:
            try:
                return super().write(data)  # type: ignore[arg-type]
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes  # type: ignore[arg-type]


@dataclass
class Streams:
    """What became of standard output; made before a command begins.

    Parameters
    ----------
    was_closed
        Whether the process was started without one.
    """

    was_closed: bool
    _raw: _Tolerant | None = field(default=None, repr=False)

    def complaint(self) -> str:
        """Say why what was to stand on standard output does not stand there; nothing where it does."""
        if self.was_closed:
            return "Standard output is closed: what would stand there is left out."
        with suppress(ValueError, OSError):
            sys.stdout.flush()
        if self._raw is None or self._raw.error is None or self._raw.error.errno == errno.EPIPE:
            return ""
        reason = self._raw.error.strerror or self._raw.error
        return f"Standard output cannot be written ({reason}): what would stand there is left out."

    @property
    def lost(self) -> bool:
        """Whether something that somebody waits for could not be written."""
        with suppress(ValueError, OSError):
            sys.stdout.flush()
        return self._raw is not None and self._raw.error is not None


def steady_streams() -> Streams:
    """Replace ``sys.stdout`` and ``sys.stderr`` by streams that can be written to whatever happens.

    Names of files that are not text come out as the bytes that they are; letters that a terminal does not know, as
    question marks.
    """
    closed = [number for number in range(3) if not _is_open(number)]
    for _ in closed:
        # Else the next file that is opened would take the number, and what libraries print would end up in it.
        os.open(os.devnull, os.O_RDWR)
    codecs.register_error("cryotx", _as_bytes_or_question_mark)
    out, sys.stdout = _stream(_OUT, sys.stdout)
    _, sys.stderr = _stream(_ERR, sys.stderr)
    return Streams(_OUT in closed, out)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _stream(number: int, now: object) -> tuple[_Tolerant, io.TextIOWrapper]:
    encoding = getattr(now, "encoding", None) or "utf-8"
    raw = _Tolerant(number, "w", closefd=False)
    # Lines appear at once on a terminal, and of what is said about the run everywhere.
    at_once = number == _ERR or raw.isatty()
    return raw, io.TextIOWrapper(io.BufferedWriter(raw), encoding, "cryotx", line_buffering=at_once)


def _as_bytes_or_question_mark(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = ord(error.object[error.start])
    # Python keeps a byte of a name that is no text as a letter of this range.
    return (bytes([letter - 0xDC00]) if 0xDC80 <= letter <= 0xDCFF else b"?"), error.start + 1
