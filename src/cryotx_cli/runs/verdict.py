"""What the picks of a run say of it as a whole: the same words in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cryotx_cli.events import Event
from cryotx_cli.runs.commands import choose_again
from cryotx_cli.runs.diagnosis import kept_diagnosis
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.settled import Settled
from cryotx_cli.wording import counted


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
    told = kept_diagnosis(folder)
    if told is not None:
        yield Event(told.text, "warning")
    picks = sum(row.picks for row in picked)
    empty = sum(row.candidates > 0 and not row.picks for row in picked)
    if told is None and found is not None and found.is_noise and not picks and settled.cut_by_run:
        yield Event(
            "There are no more candidates than in noise of the same spectrum. What the eye may see there does not look "
            "like particles to the network. Are --diameter and --pixel-size right, and is there something to see in "
            "the pictures?",
            "warning",
        )
    elif found is not None and picks and settled.cut_by_run and not found.own_cuts.convincing:
        if told is None or told.fault not in ("faint", "noise"):  # which say it, too
            yield Event(beside_noise(picked), "warning")
    elif empty and settled.cut_by_run:
        yield Event(f"{_of(empty, picked)} nothing that convinces and got no picks.")
    false = sum(row.expected_false or 0.0 for row in picked)
    if picks and false > picks / 2 and (told is None or told.fault != "faint"):  # which says it with the same command
        yield Event(
            f"More of the picks are expected to be false than right ({false:.0f} of {picks}). "
            f"{choose_again(folder, '--fdr 0.2')} keeps those of which a fifth is.",
            "warning",
        )


def beside_noise(picked: Sequence[LedgerRow]) -> str:
    """Say what became of the micrographs of a run whose best candidates would be wrong more often than right."""
    picks, empty = sum(row.picks for row in picked), sum(not row.picks for row in picked)
    few = f"{counted(picks, 'picks')} differ from it, but few of them convince: faint particles or dirt. Look at them."
    return (
        f"{_of(empty, picked)} no more than noise of the same spectrum. In the others "
        if empty
        else "There is little more than noise of the same spectrum: "
    ) + few


def _of(some: int, picked: Sequence[LedgerRow]) -> str:
    return f"{some} of {counted(len(picked), 'micrographs')} {'shows' if some == 1 else 'show'}"
