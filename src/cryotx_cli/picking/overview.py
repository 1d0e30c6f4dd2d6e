"""The files that show all micrographs of a run: the merged ones and the report."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from threading import Thread
from typing import TYPE_CHECKING

from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.errors import CryotxError
from cryotx_cli.events import Event, Tell
from cryotx_cli.runs.folder import PickFolder
from cryotx_cli.runs.followers import Followers, Stage
from cryotx_cli.runs.record import RunRecord
from cryotx_cli.runs.refreshed import Refreshed
from cryotx_cli.runs.result import ClassCounts
from cryotx_cli.runs.settled import Settled
from cryotx_cli.runs.stored import StoredRun

if TYPE_CHECKING:
    from cryotx_cli.averages.of_run import ClassesMade
    from cryotx_cli.picking.class_averages import ClassAverages

# Between two writings while a run goes on, and the share of its time that averages take at most.
_MERGE_SECONDS, _REPORT_SECONDS, _AVERAGE_SECONDS, _AVERAGE_SHARE = 5.0, 60.0, 120.0, 0.1


class Overview:
    """Writes them from what the run has done so far, in the order of the input.

    Parameters
    ----------
    folder, settled, record
        Those of the run.
    exposures
        CryoSPARC's, by micrograph name.
    tell
        Hears of files that cannot be written now, while the run goes on.
    followers
        Hear of files that have been written.

    Attributes
    ----------
    settled : Settled
        The settings that the picks are made with now.
    """

    def __init__(
        self,
        folder: PickFolder,
        settled: Settled,
        record: RunRecord,
        exposures: Mapping[str, Exposure],
        tell: Tell,
        followers: Followers,
    ) -> None:
        self.settled = settled
        self._folder, self._record, self._exposures = folder, record, exposures
        self._tell, self._followers = tell, followers
        self._told: Event | None = None
        self._merged = Refreshed(self._write_merged, _MERGE_SECONDS)
        self._report = Refreshed(self._write_report, _REPORT_SECONDS)
        self._classes = Refreshed(self._average, _AVERAGE_SECONDS, _AVERAGE_SHARE)
        self._loads: Thread | None = None

    def changed(self) -> None:
        """Note that there is something new to show."""
        if self._loads is None and self.settled.averages:
            # With SciPy and the page, a third of a second of imports: while the network runs they keep nobody waiting.
            self._loads = Thread(target=_load_what_averages_take)  # no daemon: a process must not end within an import
            self._loads.start()
        self._merged.is_stale = self._report.is_stale = self._classes.is_stale = True

    def refresh(self) -> None:
        """Bring the files up to date, not too often."""
        for part in (self._merged, self._report, self._classes):
            try:
                part.if_due()
            except (CryotxError, OSError) as error:  # there may be room again later; the end of the run is strict
                self._tell(Event(error.message if isinstance(error, CryotxError) else str(error), "warning"))

    def write(self) -> None:
        """Write the files as they are to stay.

        Raises
        ------
        CryotxError, OSError
            One cannot be written.
        """
        self._record.order_ledger()
        self._write_merged()
        self._write_report()

    def average(self) -> None:
        """Average the picks of a run that is written, and show them in the report.

        Raises
        ------
        CryotxError, OSError
            The report cannot be written; what goes wrong with averages is told.
        """
        if self.settled.averages and self._record.picked and self._averages.finish(self._run()):
            self._write_report()

    @property
    def classes(self) -> str | None:
        """What the picks average to, in words; None where they were not averaged."""
        return None if self._made is None else self._made.in_words

    @property
    def class_counts(self) -> ClassCounts | None:
        """The same in numbers."""
        return None if self._made is None else self._made.in_numbers

    @property
    def _made(self) -> ClassesMade | None:
        # A run that averages nothing does not load what averaging takes, nor does any before it has picked.
        return self._averages.made if "_averages" in vars(self) else None

    @cached_property
    def _averages(self) -> ClassAverages:
        from cryotx_cli.picking.class_averages import ClassAverages

        return ClassAverages(self.settled.config, self._exposures, self._tell)

    def _average(self) -> None:
        if self.settled.averages and self._averages.refresh(self._run()):
            self._report.is_stale = True

    def _run(self) -> StoredRun:
        return StoredRun(self._folder, self.settled)

    def _tell_of_page(self, event: Event) -> None:
        # The report is written again and again; and averages that a run makes anew are not worth a warning.
        if event != self._told and not self.settled.averages:
            self._told = event
            self._tell(event)

    def _write_merged(self) -> None:
        picks = [(row, particles) for _, row, particles in self._record.picked]
        if picks:
            self._folder.write_merged(picks, self.settled.formats, self._exposures)
            self._followers(Stage("overview", len(picks), self._folder.star))

    def _write_report(self) -> None:
        if not self.settled.config.report:
            self._folder.report.unlink(missing_ok=True)  # one of an earlier run would not show these picks
        elif self._record.picked:
            from cryotx_cli.picking.page import write_page

            write_page(self._run(), self._tell_of_page)
            self._followers(Stage("overview", len(self._record.picked), self._folder.report))


def _load_what_averages_take() -> None:
    with suppress(Exception):  # what is wrong with them is told where they are made
        import cryotx_cli.picking.class_averages
        import cryotx_cli.picking.page  # noqa: F401
