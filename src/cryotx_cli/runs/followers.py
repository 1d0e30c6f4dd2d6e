"""Programs that follow a run of picking while it works: they hear of each result, and of how the work stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryotx_cli.runs.result import PickResult


@dataclass(frozen=True)
class Stage:
    """How the work stands.

    Parameters
    ----------
    kind
        ``waiting``: all that has become whole is picked, said again and again while it is so. ``overview``: a file
        that shows all micrographs has been written.
    micrographs
        How many micrographs a file shows that has been written.
    file
        That file: the merged STAR file, which comes with the other merged ones, or the report.
    """

    kind: Literal["waiting", "overview"]
    micrographs: int = 0
    file: Path | None = None


Follower = Callable[[PickResult | Stage], None]
"""Takes what happens, in the thread that does the work: it has to be quick, and must not raise."""


class Followers:
    """All that follow a run."""

    def __init__(self) -> None:
        self._followers: list[Follower] = []

    def add(self, follower: Follower) -> None:
        """Call `follower` with everything that happens from now on, in order."""
        self._followers.append(follower)

    def __call__(self, happening: PickResult | Stage) -> None:
        """Pass on what has happened."""
        for follower in self._followers:
            follower(happening)
