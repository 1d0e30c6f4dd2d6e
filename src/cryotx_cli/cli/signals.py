"""What a signal from a supervisor does: a queue, systemd or a person asks a command to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(KeyboardInterrupt):
    """A SIGTERM has come: to be taken as Ctrl-C is, so that what is being worked on is kept."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM do in this context what Ctrl-C does, as `Terminated`."""

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
