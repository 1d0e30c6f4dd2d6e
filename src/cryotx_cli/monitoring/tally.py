"""What a run has come to while it works; of a micrograph that is picked again the latest result counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.result import PickResult


@dataclass
class Tally:
    """Counts of a run.

    Parameters
    ----------
    picked, skipped
        Micrographs.
    picks
        On those that are picked.
    expected_false
        How many of these are expected to be no particles; None where that is known of no micrograph.
    with_film
        How many micrographs show support film or large ice crystals.
    seconds
        Time spent on micrographs by this start, as often as they were picked.
    """

    picked: int = 0
    skipped: int = 0
    picks: int = 0
    expected_false: float | None = None
    with_film: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._rows: dict[Path, LedgerRow] = {}

    def add(self, result: PickResult) -> None:
        """Count a result, in place of the one that there was of its micrograph."""
        before = self._rows.get(result.file.path)
        if before is not None:
            self._count(before, -1)
        self._rows[result.file.path] = result.row
        self._count(result.row, 1)
        self.seconds += result.seconds

    def _count(self, row: LedgerRow, sign: int) -> None:
        if row.error is not None:
            self.skipped += sign
            return
        self.picked += sign
        self.picks += sign * row.picks
        self.with_film += sign * bool(row.film_share)
        if row.expected_false is not None:
            self.expected_false = (self.expected_false or 0.0) + sign * row.expected_false
