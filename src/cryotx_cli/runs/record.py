"""What has become of each micrograph of a run so far: in memory, and in the ledger for the next run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError, MicrographError
from cryotx_cli.runs.dropped import Dropped, read_dropped
from cryotx_cli.runs.folder import PickFolder, remove_picks
from cryotx_cli.runs.followers import Followers
from cryotx_cli.runs.jobs import PickJob, PickJobs, earlier_row
from cryotx_cli.runs.ledger import LedgerRow, with_film
from cryotx_cli.runs.result import PickResult, PickSummary
from cryotx_cli.runs.settled import Settled


class RunRecord:
    """Results by the micrograph's place in the input; a micrograph that is picked again has the latest one.

    Parameters
    ----------
    folder
        Whose ledger is kept.
    followers
        Hear of each result.

    Attributes
    ----------
    first_error : CryotxError, OSError or None
        Why the first of the skipped micrographs was skipped.
    """

    def __init__(self, folder: PickFolder, followers: Followers) -> None:
        self.first_error: CryotxError | OSError | None = None
        self._folder, self._followers = folder, followers
        self._entries: dict[int, PickResult] = {}

    def __contains__(self, job: PickJob) -> bool:
        return job.index in self._entries

    def take_up(self, jobs: Sequence[PickJob], plan: PickJobs, restart: bool) -> int:
        """Keep the micrographs that an earlier run finished with the same settings; begin the ledger with them.

        Returns
        -------
        int
            How many it did with other settings or weights, or whose files have changed: they are picked anew. Those
            of which only classes were dropped are none of them.
        """
        rows = self._folder.ledger.read()
        places = {job.file.name: job.row().relion for job in jobs}
        # Before anything is written, which may be in these places.
        self._folder.remove_from_relion(
            row for name, row in rows.items() if name in places and places[name] != (row.relion or row.stem)
        )
        rows = {} if restart else rows
        changed, dropped = 0, self._dropped()
        for job in jobs:
            row = rows.get(job.file.name)
            if row is None or row.error is not None:
                continue
            particles = plan.finished_earlier(job) if row.key == job.picks_key else None
            if particles is not None:
                row = earlier_row(job, row)
                self._keep(job, PickResult(job.file, particles, None, 0.0, row, resumed=True))
            changed += row.key not in (job.picks_key, dropped.picks_key(row.micrograph, job.picks_key))
        self._folder.dropped.unlink(missing_ok=True)  # what cryotx threshold has dropped is picked anew
        self._folder.ledger.start(result.row for result in self._entries.values())
        return changed

    def _dropped(self) -> Dropped:
        try:
            return read_dropped(self._folder.dropped)
        except CryotxError:  # all picks come back, whatever it said
            return Dropped({})

    def done(self, job: PickJob, row: LedgerRow, particles: Particles) -> PickResult:
        """Note a micrograph whose files are written; it is skipped if the ledger has no room for it."""
        try:
            self._folder.ledger.append(row)
        except (CryotxError, OSError) as error:
            return self.skip(job, error)
        return self._keep(job, PickResult(job.file, particles, None, row.seconds, row))

    def skip(self, job: PickJob, error: CryotxError | OSError) -> PickResult:
        """Note a micrograph that cannot be picked, and remove what there is of it."""
        reason = error.message if isinstance(error, CryotxError) else f"{job.file.path}: {error.strerror or error}"
        self.first_error = self.first_error or error
        row = replace(job.row(), error=reason)
        with suppress(OSError):  # the disk may be full: the reason is shown all the same
            remove_picks(job.outputs)
            self._folder.ledger.append(row)
        return self._keep(job, PickResult(job.file, None, reason, 0.0, row))

    def _keep(self, job: PickJob, result: PickResult) -> PickResult:
        self._entries[job.index] = result
        self._followers(result)
        return result

    @property
    def results(self) -> list[PickResult]:
        """All results, in the order in which they became known."""
        return [*self._entries.values()]

    @property
    def paths(self) -> set[Path]:
        """The files of all micrographs that have a result."""
        return {result.file.path for result in self._entries.values()}

    @property
    def picked(self) -> list[tuple[PickResult, LedgerRow, Particles]]:
        """The micrographs that were not skipped, in the order of the input, with their picks."""
        entries = (self._entries[index] for index in sorted(self._entries))
        return [(result, result.row, result.particles) for result in entries if result.particles is not None]

    def require_picked(self, total: int) -> None:
        """Check that there are picks, or nothing has gone wrong.

        Parameters
        ----------
        total
            How many micrographs there are.

        Raises
        ------
        MicrographError
            Not one of them could be picked.
        """
        error = self.first_error
        if error is None or self.picked:
            return
        reason = error.message if isinstance(error, CryotxError) else str(error)
        count = f"none of the {total} micrographs could be picked; the first: " if total > 1 else ""
        raise MicrographError(count + reason, error.hint if isinstance(error, CryotxError) else "")

    def order_ledger(self) -> None:
        """Bring the ledger into the order of the input, if it is not."""
        if list(self._entries) != sorted(self._entries):
            with suppress(CryotxError):  # as it is, it holds the same lines
                self._folder.ledger.start(self._entries[index].row for index in sorted(self._entries))

    def summary(self, seconds: float, left: int, settled: Settled) -> PickSummary:
        """Sum up what the run has done in so many seconds."""
        picked = self.picked
        skipped = [self._entries[index] for index in sorted(self._entries)]
        return PickSummary(
            micrographs=len(picked),
            particles=sum(row.picks for _, row, _ in picked),
            resumed=sum(result.resumed for result, _, _ in picked),
            expected_false=_sum([row.expected_false for _, row, _ in picked]),
            dropped_at_border=sum(row.dropped_at_border for _, row, _ in picked),
            dropped_beside_better=sum(row.dropped_beside_better for _, row, _ in picked),
            film=with_film([row for _, row, _ in picked]),
            skipped=tuple(result for result in skipped if result.error is not None),
            left=left,
            seconds=seconds,
            box=max((settled.box_px(particles.pixel_size) for _, _, particles in picked), default=None),
            star=self._folder.star,
            folder=self._folder.path,
            report=self._folder.report if settled.config.report and picked else None,
        )


def _sum(counts: Sequence[float | None]) -> float | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
