"""A run of ``cryotx pick`` read back from its folder: for the report, for choosing anew, for judging its picks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError
from cryotx_cli.micrographs.names import pair_names
from cryotx_cli.runs.candidates import Candidates, read_stored_candidates
from cryotx_cli.runs.dropped import Dropped, read_dropped
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.folder import PickFolder, decoy_key, is_run
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.seen_elsewhere import kept_seen_elsewhere
from cryotx_cli.runs.selection import Picks
from cryotx_cli.runs.settled import Settled, read_settled


@dataclass(frozen=True)
class StoredRun:
    """What a run has left so far; it need not be finished.

    Parameters
    ----------
    folder
        Where it lies.
    settled
        Settings that the picks in its ledger were made with.
    dropped
        Picks that were taken out with their classes.
    """

    folder: PickFolder
    settled: Settled
    dropped: Dropped = field(default=Dropped({}))

    @cached_property
    def rows(self) -> dict[str, LedgerRow]:
        """What became of each micrograph, by its name, in the order of the input; read once."""
        return dict(sorted(self.folder.ledger.read().items(), key=lambda item: item[1].index))

    @property
    def picked(self) -> list[LedgerRow]:
        """The micrographs that have picks, or none for want of particles."""
        return [row for row in self.rows.values() if row.error is None]

    @property
    def skipped(self) -> list[LedgerRow]:
        """Those that could not be picked."""
        return [row for row in self.rows.values() if row.error is not None]

    def candidates(self, row: LedgerRow) -> tuple[str, Candidates] | None:
        """Return everything the network proposed on a micrograph, with its fingerprint.

        None where the micrograph was skipped, or where the file is missing or damaged.
        """
        return None if row.error is not None else read_stored_candidates(self.folder.outputs(row.stem).candidates)

    def available(self, row: LedgerRow) -> tuple[Particles, Candidates] | None:
        """Return what a threshold chooses among on a micrograph, best first, and everything that was proposed."""
        stored = self.candidates(row)
        return None if stored is None else (self.choosable(row, stored[1]), stored[1])

    def choosable(self, row: LedgerRow, candidates: Candidates) -> Particles:
        """Return what a threshold chooses among the candidates of a micrograph, best first."""
        return self.dropped.kept(row.micrograph, self.settled.selection.available(candidates))

    def picks(self, row: LedgerRow, candidates: Candidates) -> Picks:
        """Return the picks among the candidates of a micrograph, without those that were dropped with their class."""
        picks = self.settled.selection.choose(candidates)
        return replace(picks, particles=self.dropped.kept(row.micrograph, picks.particles))

    def out_with_classes(self, row: LedgerRow, candidates: Candidates) -> int:
        """Return how many picks of a micrograph are out with the classes that were dropped."""
        if not self.dropped.places.get(row.micrograph):
            return 0
        chosen = self.settled.selection.choose(candidates).particles
        return len(chosen) - len(self.dropped.kept(row.micrograph, chosen))

    def picks_key(self, row: LedgerRow, candidates_key: str) -> str:
        """Return the fingerprint of these picks among candidates that have this one."""
        return self.dropped.picks_key(row.micrograph, self.settled.picks_key(candidates_key))

    @cached_property
    def false_discovery(self) -> FalseDiscovery | None:
        """What decoys say of this run; None where it has none."""
        pairs = [(real, decoy) for _, real, decoy in self._with_decoys()]
        if not pairs or not self.settled.config.decoys:
            return None
        found, elsewhere = self.settled.selection.compared(pairs), kept_seen_elsewhere(self.folder.path)
        return found if elsewhere is None else replace(found, elsewhere=elsewhere.noise)

    @property
    def false_among_kept(self) -> FalseDiscovery | None:
        """The same of the candidates that are left without what was dropped, among which a rate chooses."""
        found = self.false_discovery
        if found is None or not any(self.dropped.places.values()):
            return found
        everything = replace(self.settled.selection, max_picks=None)
        left = [
            self.dropped.kept(row.micrograph, everything.available(candidates)).scores
            for row, candidates, _ in self._with_decoys()
        ]
        return replace(found, candidates=np.sort(np.concatenate(left)))

    def _with_decoys(self) -> Iterator[tuple[LedgerRow, Candidates, Candidates]]:
        """Yield the micrographs that have decoys, with their candidates and those of the decoy."""
        for row in self.picked:
            decoy = read_stored_candidates(self.folder.outputs(row.stem).decoy)
            stored = None if decoy is None else self.candidates(row)
            if decoy is not None and stored is not None and decoy[0] == decoy_key(stored[0]):
                yield row, stored[1], decoy[1]


def read_run(run: Path, to_read: bool = False) -> StoredRun:
    """Open a run, named by its merged STAR file or by the folder beside it.

    Parameters
    ----------
    run
        The file or the folder.
    to_read
        Only read what is there; the folder need not be writable.

    Raises
    ------
    ConfigError
        Its settings cannot be read.
    CryotxError
        There is no such run, or its folder cannot be written.
    """
    folder = PickFolder.of_run(run, to_read)
    return cut_by_decoys(folder, read_settled(folder.config), read_dropped(folder.dropped))


def cut_by_decoys(folder: PickFolder, settled: Settled, dropped: Dropped) -> StoredRun:
    """Return a run with the threshold that its decoys give, if the settings leave it to them.

    A rate of false picks is one of those that are left, so it is met without what was dropped.
    """
    run = StoredRun(folder, settled, dropped)
    found = run.false_discovery if settled.config.fdr is None else run.false_among_kept
    return StoredRun(folder, settled.with_cut(found), dropped)


def run_of_picks(picks: Path) -> StoredRun | None:
    """Return the run that left these picks, to read; None where they are none of ``cryotx pick``.

    Raises
    ------
    ConfigError
        Its settings cannot be read.
    """
    return read_run(picks, to_read=True) if is_run(picks) else None


def not_in_run(picks: Path, names: Sequence[str]) -> list[str]:
    """Return those of some micrographs that the run which left these picks has not picked.

    None where that cannot be told: the picks are of no run, or of one whose settings or ledger cannot be read.
    """
    try:
        run = run_of_picks(picks) if names else None
        rows = {} if run is None else run.rows
    except CryotxError:
        return []
    partners = pair_names(rows, names)
    return [name for name in names if run and (name not in partners or rows[partners[name]].error is not None)]


def file_of_picks(picks: Path) -> Path:
    """Return the merged STAR file where the folder of a run is given, or one that holds a run and no other coordinates.

    Any other path stays as it is.
    """
    if not picks.is_dir():
        return picks
    if is_run(picks):
        star = picks.with_name(f"{picks.name}.star")
        return star if star.is_file() else picks
    stars, folders = [*picks.glob("*.star")], [path for path in picks.glob("*") if path.is_dir()]
    return stars[0] if len(stars) == 1 and is_run(stars[0]) and folders == [stars[0].with_suffix("")] else picks
