"""What the picks of a run say of it as a whole: the same words in the terminal and in the report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryotx_cli.events import Event
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.settled import Settled

_DIAGNOSIS = "diagnosis.json"


def keep_diagnosis(folder: Path, texts: Sequence[str], key: str) -> None:
    """Write what a look at the micrographs of a run has shown, for its report and for the same run again."""
    with whole_file(folder / _DIAGNOSIS) as file:
        json.dump({"key": key, "texts": list(texts)}, file)


def kept_diagnosis(folder: Path, key: str | None = None) -> list[str] | None:
    """Return what `keep_diagnosis` wrote, under this key if one is given; None if there is nothing."""
    try:
        stored = json.loads((folder / _DIAGNOSIS).read_text(encoding="utf-8"))
        return [str(text) for text in stored["texts"]] if key in (None, stored["key"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def drop_diagnosis(folder: Path) -> None:
    """Remove what `keep_diagnosis` wrote: the run goes on, or is as it should be."""
    (folder / _DIAGNOSIS).unlink(missing_ok=True)


def verdict(
    picked: Sequence[LedgerRow], found: FalseDiscovery | None, settled: Settled, folder: Path
) -> Iterator[Event]:
    """Say what the automatic threshold makes of micrographs that show little, and how sure the rest is.

    Parameters
    ----------
    picked
        The micrographs that were not skipped.
    found
        What comparing with noise has shown; None if nothing was compared.
    settled
        Settings that the picks were made with.
    folder
        That of the run, as the user would type it.
    """
    told = kept_diagnosis(folder) or []
    picks = sum(row.picks for row in picked)
    for text in told:
        yield Event(text, "warning")
    empty = sum(row.candidates > 0 and not row.picks for row in picked)
    if not told and found is not None and found.is_noise and not picks and settled.cut_by_run:
        yield Event(
            "There are no more candidates than in noise of the same spectrum: nothing was found that differs from it. "
            "Are --diameter and --pixel-size right, and is there something to see in the pictures?",
            "warning",
        )
    elif empty and settled.cut_by_run:
        yield Event(f"{empty} of {len(picked)} micrographs show nothing that convinces and got no picks.")
    false = sum(row.expected_false or 0.0 for row in picked)
    if picks and false > picks / 2:
        yield Event(
            f"More of the picks are expected to be false than right ({false:.0f} of {picks}). cryotx threshold "
            f"{folder} --fdr 0.2 keeps those of which a fifth is.",
            "warning",
        )
