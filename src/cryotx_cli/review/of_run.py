"""The micrographs of a run of picking, finished or under way, as a review sees them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cryotx_cli.errors import CryotxError
from cryotx_cli.review.class_gallery import ClassGallery
from cryotx_cli.review.subject import Cut, Proposed, Subject
from cryotx_cli.runs.stored import StoredRun, read_run

_RATES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


class RunSubjects:
    """What a run has picked; `refresh` takes in what it picks while it goes on.

    Parameters
    ----------
    run
        Its merged STAR file, or the folder beside it.

    Attributes
    ----------
    classes : ClassGallery or None
        What its picks average to.

    Raises
    ------
    ConfigError
        Its settings cannot be read.
    CryotxError
        There is no such run.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._stored = read_run(run, to_read=True)
        self._positions: dict[str, int] = {}
        self._subjects: list[Subject] = []
        self._seen = self._signature()
        self.classes: ClassGallery | None = ClassGallery(self._stored.folder.path)
        self._list()

    @property
    def folder(self) -> Path:
        """That of the run."""
        return self._stored.folder.path

    @property
    def title(self) -> str:
        """Name of the merged STAR file."""
        return self._stored.folder.star.name

    @property
    def diameter(self) -> float:
        """Of a particle in Å, as the run has settled it."""
        return self._stored.settled.diameter

    @property
    def distance(self) -> float:
        """Smallest distance between its picks in Å."""
        return self._stored.settled.selection.min_distance

    @property
    def formats(self) -> tuple[str, ...]:
        """Those that the run writes."""
        return self._stored.settled.formats

    @property
    def weights(self) -> str:
        """Those that it has picked with."""
        return self._stored.settled.config.weights

    @property
    def cuts_of_rates(self) -> list[tuple[float, float]]:
        """Shares of false picks, and the threshold of each as its decoys say."""
        found = self._stored.false_among_kept
        cuts = [] if found is None else [(rate, found.cut_at(rate)) for rate in _RATES]
        return [(rate, cut) for rate, cut in cuts if math.isfinite(cut)]

    def all(self) -> Sequence[Subject]:
        """Return its micrographs, skipped ones included, in the order of the input."""
        return self._subjects

    def box_px(self, pixel_size: float) -> int:
        """Return the side of its boxes in pixels of micrographs of this pixel size."""
        return self._stored.settled.box_px(pixel_size)

    def proposed(self, subject: Subject, cut: Cut) -> Proposed:
        """Return what a threshold chooses among on a micrograph, and how many the run or `cut` choose.

        Raises
        ------
        CryotxError
            The micrograph was skipped, or its candidates are missing or damaged.
        """
        if subject.row.error is not None:
            raise CryotxError(subject.row.error)
        run = self._stored if cut.distance is None else self._at_distance(cut.distance)
        found = run.available(subject.row)
        if found is None:
            raise CryotxError(
                f"{run.folder.outputs(subject.row.stem).candidates}: missing or damaged",
                "Start cryotx pick again with the same settings: it picks what is missing.",
            )
        available, candidates = found
        if cut.threshold is None:
            chosen = len(run.picks(subject.row, candidates).particles)
        else:
            chosen = int((available.scores >= cut.threshold).sum())
        diameter = run.settled.diameter / available.pixel_size
        return Proposed(available, chosen, candidates.height, candidates.width, diameter, candidates.film)

    def refresh(self) -> bool:
        """Read ledger and settings again if they have changed."""
        seen = self._signature()
        if seen == self._seen:
            return False
        self._stored, self._seen = read_run(self._run, to_read=True), seen
        self._list()
        return True

    def _at_distance(self, distance: float) -> StoredRun:
        settled = self._stored.settled
        settled = replace(settled, selection=replace(settled.selection, min_distance=distance))
        return StoredRun(self._stored.folder, settled, self._stored.dropped)

    def _list(self) -> None:
        subjects = []
        for name, row in self._stored.rows.items():
            position = self._positions.setdefault(name, len(self._positions))
            subjects.append(Subject(position, self._stored.folder.micrograph_of(row), row))
        self._subjects = subjects

    def _signature(self) -> tuple[tuple[int, int], ...]:
        folder = self._stored.folder
        found = []
        for path in (folder.ledger.path, folder.config, folder.dropped):
            try:
                status = os.stat(path)  # noqa: PTH116
                found.append((status.st_size, status.st_mtime_ns))
            except OSError:
                found.append((0, 0))
        return tuple(found)
