"""What a user should know while a command works: one type from the work to the terminal, the log and the report."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Event:
    """Something worth a line.

    Attributes
    ----------
    text
        One sentence, or a few; says what to do where there is something to do.
    level
        ``note``: good to know. ``warning``: results may not be what was wanted.
    micrograph
        Name of the micrograph that it is about; None: the whole run.
    """

    text: str
    level: Literal["note", "warning"] = "note"
    micrograph: str | None = None

    def __str__(self) -> str:
        return self.text


Tell = Callable[[Event], None]
"""Takes what there is to know."""


def warn(event: Event) -> None:
    """Tell by a warning of Python: for callers that have not said whom to tell."""
    warnings.warn(event.text, stacklevel=3)


class Events:
    """All that was told so far, in order: iterate over it, or `listen` to hear the rest as it comes.

    Parameters
    ----------
    listeners
        Hear everything.
    """

    def __init__(self, *listeners: Tell) -> None:
        self._told: list[Event] = []
        self._listeners = list(listeners)

    def __iter__(self) -> Iterator[Event]:
        return iter(tuple(self._told))

    def __len__(self) -> int:
        return len(self._told)

    def tell(self, event: Event) -> None:
        """Add one, and pass it to everyone who listens."""
        self._told.append(event)
        for listener in self._listeners:
            listener(event)

    def listen(self, listener: Tell) -> None:
        """Call `listener` with everything that was told before, and with everything from now on."""
        for event in self:
            listener(event)
        self._listeners.append(listener)
