"""The empty files by which RELION and a job talk: how the job has ended, and that it is to stop.

RELION looks for ``RELION_JOB_EXIT_SUCCESS``, ``_FAILURE`` or ``_ABORTED`` in the folder of the job and takes a job
without one of them for running. Who presses *Abort* makes ``RELION_JOB_ABORT_NOW`` there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SUCCESS, FAILURE, ABORTED = (f"RELION_JOB_EXIT_{how}" for how in ("SUCCESS", "FAILURE", "ABORTED"))
ABORT = "RELION_JOB_ABORT_NOW"
_SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def marked(folder: Path) -> Iterator[None]:
    """Mark in the folder of a job how the block has ended.

    While it runs, there is no mark. Where there is no folder, or none that may be written, nobody is told.

    Raises
    ------
    KeyboardInterrupt
        In the block, as soon as RELION or a signal tells the job to stop; it is marked as aborted then.
    """
    for mark in (SUCCESS, FAILURE, ABORTED):
        with suppress(OSError):
            (folder / mark).unlink(missing_ok=True)
    try:
        with failure_marked(folder), _stopped_on_request(folder):
            yield
    except KeyboardInterrupt:
        _make(folder / ABORTED)
        with suppress(OSError):  # RELION removes it before it continues a job; whoever does so by hand may forget
            (folder / ABORT).unlink(missing_ok=True)
        raise
    _make(folder / SUCCESS)


@contextmanager
def failure_marked(folder: Path) -> Iterator[None]:
    """Mark in the folder of a job that it has failed if the block ends with an error."""
    try:
        yield
    except Exception as reason:
        if getattr(reason, "exit_code", 1):  # whoever asks for help ends the program, too
            _make(folder / FAILURE)
        raise


@contextmanager
def _stopped_on_request(folder: Path) -> Iterator[None]:
    """Interrupt the block when RELION wants the job to stop, or somebody ends it by a signal."""
    if threading.current_thread() is not threading.main_thread():  # only that one hears signals
        yield
        return
    # RELION starts its jobs in the background of a shell, where they would not hear SIGINT.
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(folder / ABORT, over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(request: Path, over: threading.Event) -> None:
    while not over.is_set():
        if request.exists():
            os.kill(os.getpid(), signal.SIGTERM)
            return
        over.wait(_SECONDS_BETWEEN_LOOKS)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _make(mark: Path) -> None:
    with suppress(OSError):
        mark.touch()
