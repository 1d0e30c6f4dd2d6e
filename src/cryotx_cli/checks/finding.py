"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["pass", "skip", "warn", "fail"]

MAX_EXAMPLES = 5
"""What a finding names, at most."""


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Parameters
    ----------
    check
        Which one, in a word or two.
    level
        pass; skip: not checked, the summary says why; warn; fail: the import would go wrong.
    summary
        How many and what, one line.
    examples
        Up to five.
    advice
        What to do; empty where there is nothing to do.
    """

    check: str
    level: Level
    summary: str
    examples: tuple[str, ...] = ()
    advice: str = ""
