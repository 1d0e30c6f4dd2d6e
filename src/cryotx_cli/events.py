"""What a user should know while a command works: one type from the work to the terminal, the log and the report."""

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
