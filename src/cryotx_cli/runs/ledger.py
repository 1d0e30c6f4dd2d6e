"""The ledger of a run of picking: one line a micrograph, added as soon as it is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryotx_cli.coordinates.region import Rows
from cryotx_cli.files.json_lines import append_json_line, read_json_lines, write_json_lines

_KEYS = {"dropped_at_border": "edge", "dropped_beside_better": "distance"}  # of a ledger, where they differ
_FIELDS = {key: name for name, key in _KEYS.items()}


@dataclass(frozen=True)
class LedgerRow:
    """One line of ``ledger.jsonl``: what happened to one micrograph.

    Parameters
    ----------
    index
        Its place in the order of the input.
    micrograph
        Its name, as the user or a STAR file gave it.
    path
        The micrograph file.
    stem
        Path of its outputs within each of the folders, without suffix.
    key
        Fingerprint of everything that decides its picks; a run with another one starts it anew.
    read_seconds, prepare_seconds, pick_seconds, write_seconds
        Time to read it, to bring it to the network's scale, to run the network and choose, and to write its files;
        0 for what stored candidates have made unnecessary.
    seconds
        Their sum. Micrographs overlap: a run takes less than the sum of its rows.
    candidates, picks
        How many the network proposed, how many were kept.
    dropped_at_border, dropped_beside_better
        How many would have been picked but lay too close to the border, or to a better pick; ``edge`` and ``distance``
        in the file.
    error
        Why it was skipped; None for a complete one.
    defocus
        Å of underfocus from a micrographs STAR file; None where there is none.
    relion
        Path of its file in ``relion/`` without ``_autopick.star``; None in older ledgers: its stem.
    expected_false
        How many of the picks are expected to be no particles; None in a run without decoys.
    from_run
        The micrograph file relative to the folder of the run: both may be moved together.
    size, modified, checksum
        Bytes of the micrograph file, its time of modification in nanoseconds, and the CRC-32 of its content: a copy of
        it needs no picking. None of the checksum where it has not been read.
    film_share, film
        Which share of the micrograph shows support film or large ice crystals, and the polygons around them, points
        (x, y) in its px. None where none were looked for, as in older ledgers.
    ctf
        What is known of its contrast transfer, by the names in `Ctf`; None where that is not all of it.
    """

    index: int
    micrograph: str
    path: str
    stem: str
    key: str
    read_seconds: float = 0.0
    prepare_seconds: float = 0.0
    pick_seconds: float = 0.0
    write_seconds: float = 0.0
    seconds: float = 0.0
    candidates: int = 0
    picks: int = 0
    dropped_at_border: int = 0
    dropped_beside_better: int = 0
    error: str | None = None
    defocus: float | None = None
    relion: str | None = None
    expected_false: float | None = None
    from_run: str | None = None
    size: int = 0
    modified: int = 0
    checksum: int | None = None
    film_share: float | None = None
    film: Rows | None = None
    ctf: dict[str, float] | None = None


class Ledger:
    """The file ``ledger.jsonl`` of a run; its text is its path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> dict[str, LedgerRow]:
        """Return the last row of each micrograph by its name; what a stopped run wrote half is left out."""
        rows = {}
        for line in read_json_lines(self.path):
            with suppress(TypeError):  # a line of another version
                row = LedgerRow(**{_FIELDS.get(key, key): value for key, value in line.items()})
                rows[row.micrograph] = row
        return rows

    def start(self, rows: Iterable[LedgerRow]) -> None:
        """Begin it with the rows that stay valid, whole or not at all."""
        write_json_lines(self.path, map(_line, rows))

    def append(self, row: LedgerRow) -> None:
        """Add the row of a micrograph that is done."""
        append_json_line(self.path, _line(row))


def stated_false(rows: Sequence[LedgerRow]) -> str:
    """Say how many of the picks of these micrographs are expected to be false; nothing in a run without decoys."""
    known = [row for row in rows if row.expected_false is not None]
    picks, false = sum(row.picks for row in known), sum(row.expected_false or 0.0 for row in known)
    if not picks:
        return ""
    return f"False discovery rate: {false / picks:.1%} expected, {false:.0f} of {picks} picks, by comparison with noise"


def with_film(rows: Sequence[LedgerRow]) -> int | None:
    """Return how many of these micrographs show support film or large ice crystals; None where nobody looked."""
    known = [row.film_share for row in rows if row.film_share is not None]
    return sum(share > 0 for share in known) if known else None


def _line(row: LedgerRow) -> dict[str, Any]:
    return {_KEYS.get(name, name): value for name, value in asdict(row).items()}
