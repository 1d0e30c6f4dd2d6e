"""Lines that go to a file, a pipe or standard output while a run works; nothing that happens there may stop the run."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cryotx_cli.errors import ConfigError, CryotxError

STANDARD_OUTPUT = "-"
_PATIENCE = 5.0  # seconds that a reader may keep the run waiting once
_LOCK_PATIENCE = 1.0
_PIECE = 4096  # as many bytes fit where poll says that there is room; POSIX's PIPE_BUF is less nowhere that we run


class _Place(Protocol):
    """Where lines go."""

    def write(self, line: bytes) -> None:
        """Write a whole line, or nothing, or raise OSError."""

    def close(self) -> None:
        """Let go of it."""


class Lines:
    """Writes whole lines to one place, and says once why lines are missing there.

    Parameters
    ----------
    to
        A file, to which lines are added; a named pipe or a device; or ``-``, standard output.
    flag
        The flag that names it, for messages.
    beginning
        What a file holds within its first few lines that may be added to; any other file is somebody's data.
    say
        Takes a sentence where lines cannot be written.

    Attributes
    ----------
    lost : int
        How many lines could not be written.

    Raises
    ------
    ConfigError
        It is a folder, or a file that was not written by this.
    CryotxError
        It cannot be opened.
    """

    def __init__(self, to: str, flag: str, beginning: str, say: Callable[[str], None]) -> None:
        self.lost = 0
        self._name, self._say, self._complained = f"{flag} {to}", say, False
        try:
            self._place = _standard_output() if to == STANDARD_OUTPUT else _opened(Path(to), self._name, beginning)
        except OSError as error:
            raise CryotxError(
                f"{self._name}: cannot be written ({error.strerror or error})", "Name a file that you may write to."
            ) from error

    def write(self, line: str) -> None:
        """Write a line, or count it as lost."""
        try:
            self._place.write(f"{line}\n".encode())
        except OSError as error:
            self.lost += 1
            if not self._complained:
                self._complained = True
                reason = "nobody reads it any more" if error.errno == errno.EPIPE else error.strerror or str(error)
                self._say(f"{self._name}: {reason}. Lines that cannot be written there are left out; the run goes on.")

    def close(self) -> None:
        """Let go of the place; nothing more is written."""
        self._place.close()


class _File:
    """A regular file, opened for each line: it may be moved away meanwhile, and others may write to it, too."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(self._open())

    def write(self, line: bytes) -> None:
        file = self._open()
        try:
            locked, size = _lock(file), os.fstat(file).st_size
            # Whoever wrote last may have been killed, or the disk full, in the middle of a line.
            broken = size > 0 and os.pread(file, 1, size - 1) != b"\n"
            content = b"\n" * broken + line
            written = os.write(file, content)
            if written < len(content):
                if locked:  # or another one may have added a line behind this part
                    os.ftruncate(file, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)

    def close(self) -> None:
        pass

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)


class _Pipe:
    """A pipe, a terminal or a device, which its reader may close, or leave full."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._patience = descriptor, _PATIENCE
        self._broken = False  # whether a part of a line was left there
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, line: bytes) -> None:
        if self._broken:
            line = b"\n" + line
        left = memoryview(line)
        while left:
            # A write would wait for ever for a reader that has stopped to read.
            if not self._poll.poll(1000 * self._patience):
                self._patience = 0.0  # it had its time; lines are written again as soon as there is room
                raise OSError(errno.EAGAIN, "its reader does not read")
            written = os.write(self._descriptor, left[:_PIECE])
            self._broken = bytes(left[written - 1 : written]) != b"\n"
            left = left[written:]
        self._patience = _PATIENCE

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)


def _standard_output() -> _Place:
    return _Pipe(os.dup(1))


def _opened(path: Path, name: str, beginning: str) -> _Place:
    if path.is_dir():
        raise ConfigError(f"{name}: is a folder", "Name a file in it.")
    kind = path.stat().st_mode if path.exists() else stat.S_IFREG
    if stat.S_ISFIFO(kind):
        # Opened to write alone it would wait for a reader. As it is, the first 64 kB wait for one.
        return _Pipe(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    if not stat.S_ISREG(kind):
        return _Pipe(os.open(path, os.O_WRONLY | os.O_NOCTTY))
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.read(4096)
        if head and beginning not in head:
            raise ConfigError(f"{name}: there already, and not written by this command", "Give it another name.")
    return _File(path)


def _lock(file: int) -> bool:
    """Keep others of this kind from writing to a file until it is closed; not all file systems can do so."""
    end = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        except OSError:
            return False
