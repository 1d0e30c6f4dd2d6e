"""A review under way: what pages are told, and what they change."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from threading import RLock
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError
from cryotx_cli.events import Event
from cryotx_cli.review.changes import Change, SetCut, TakeBack
from cryotx_cli.review.corrections import History, rows_of
from cryotx_cli.review.histories import Histories
from cryotx_cli.review.images import Images, image_of, other_image
from cryotx_cli.review.journal import Entry, Journal
from cryotx_cli.review.standing import Marked, Standing
from cryotx_cli.review.subject import Cut, Proposed, Subject, Subjects


class Session:
    """Subjects with their corrections; all of it may be called from several threads.

    Parameters
    ----------
    subjects
        The micrographs.
    journal
        Where changes are kept; those that are in it count.
    images
        What is known of the files of micrographs.

    Attributes
    ----------
    run : str
        Tells the review from those of other runs; stays the same when a server is started again.
    cut : Cut
        What chooses the picks of micrographs that are not done.
    version : int
        Becomes another one where the list of micrographs is another one.
    """

    def __init__(self, subjects: Subjects, journal: Journal, images: Images | None = None) -> None:
        self.subjects, self.cut, self.version = subjects, Cut(), 1
        self.run = sha256(os.path.realpath(journal.path.parent).encode()).hexdigest()[:16]
        self._journal = journal
        self._lock = RLock()
        self._histories = Histories()
        self._known: set[str] = set()
        self._pixel_sizes: dict[str, float] = {}
        self._images = images or Images()
        self._scores: dict[tuple[int, str, float | None], NDArray[np.float64]] = {}
        self._replay()

    @property
    def last(self) -> int:
        """Number of the last change."""
        return self._journal.last

    def subject(self, position: int) -> Subject:
        """Return a micrograph by its number.

        Raises
        ------
        CryotxError
            There is none.
        """
        found = next((one for one in self.subjects.all() if one.position == position), None)
        if found is None:
            raise CryotxError(f"there is no micrograph {position}")
        return found

    def history(self, subject: Subject) -> History:
        """Return the changes of a micrograph."""
        return self._histories.of(subject)

    def warnings(self) -> list[Event]:
        """Say which corrections of the journal do not count now, which micrographs are left out, and why."""
        subjects = self.subjects.all()
        found = self._histories.warnings(subjects, any(one.row.key for one in subjects))
        replaced = filter(self._images.is_known_as_replaced, subjects)
        return [*found, *(Event(other_image(one), "warning", one.name) for one in replaced)]

    def refresh(self) -> None:
        """Take in what a run has done meanwhile.

        Raises
        ------
        CryotxError
            It can no longer be read.
        """
        with self._lock:
            if self.subjects.refresh():
                self.version += 1
                self._scores.clear()
                self._pixel_sizes.clear()

    def standing(self) -> Standing:
        """Return all picks as they are now, with what a run has done meanwhile.

        Raises
        ------
        CryotxError
            Candidates are missing or damaged.
        """
        self.refresh()
        self._look_at(self.subjects.all())
        with self._lock:
            picked = [one for one in self.subjects.all() if one.row.error is None]
            subjects = [one for one in picked if not self._images.is_replaced(one)]
            picks = [(one, self.history(one).corrections.mark, self.picks(one)) for one in subjects]
            return Standing((self.last, self.version), picks)

    def picks(self, subject: Subject) -> Particles:
        """Return the corrected picks of a micrograph.

        Raises
        ------
        CryotxError
            Its candidates are missing or damaged.
        """
        with self._lock:
            return self._corrected(subject, self.subjects.proposed(subject, self.cut))

    def pixel_size(self, subject: Subject) -> float:
        """Return the Å per pixel of a micrograph.

        Raises
        ------
        CryotxError
            Nobody knows it.
        """
        if subject.name not in self._pixel_sizes:
            self._pixel_sizes[subject.name] = self.subjects.proposed(subject, self.cut).candidates.pixel_size
        return self._pixel_sizes[subject.name]

    def change(self, change: Change) -> dict[str, Any]:
        """Write a change to the journal; one that has been written already is answered again.

        Raises
        ------
        CryotxError
            It is of no micrograph of this review, or cannot be written.
        """
        (answer,) = self.change_all([change])
        assert answer is not None
        return answer

    def change_all(self, changes: Sequence[Change]) -> list[dict[str, Any] | None]:
        """Write several changes to the journal at once, all of them or none.

        Returns
        -------
        list
            An answer to each, which says how its micrograph stands after all of them; None where a later one is of the
            same micrograph.

        Raises
        ------
        CryotxError
            One of them is of no micrograph of this review, or they cannot be written.
        """
        with self._lock:
            try:
                with self._journal.together():
                    for one in changes:
                        self._take(one)
            except BaseException:
                self._replay()
                raise
            last = {_about(one): number for number, one in enumerate(changes)}
            return [self._answer(one) if last[_about(one)] == number else None for number, one in enumerate(changes)]

    @contextmanager
    def at_rest(self) -> Iterator[list[Marked]]:
        """Give what is marked, and let nobody change anything meanwhile.

        Raises
        ------
        CryotxError
            Candidates are missing or damaged.
        """
        self._look_at(self._marked())
        with self._lock:
            same = [one for one in self._marked() if not self._images.is_replaced(one)]
            yield [(one, self.history(one).corrections.mark, self.picks(one)) for one in same]

    def take_over(self, marked: Sequence[Marked]) -> None:
        """Mark micrographs as in another review of the same images: done with the picks that they have there, or bad.

        Raises
        ------
        CryotxError
            The marks cannot be written.
        """
        marks = {os.path.realpath(one.path): (mark, picks) for one, mark, picks in marked}
        with self._lock, self._journal.together():
            for subject in self.subjects.all():
                mark, picks = marks.get(os.path.realpath(subject.path), (None, None))
                if picks is None or self.history(subject).last:
                    continue
                entry = {"id": uuid4().hex, "kind": "mark", "micrograph": subject.name, "mark": mark}
                labels = {"labels": rows_of(picks)} if mark == "done" else {}
                self._apply(self._journal.append({**entry, **labels, **self._histories.stated(subject)}))

    def view(self, position: int, distance: float | None) -> dict[str, Any]:
        """Return all of a micrograph that a page shows, its candidates at least `distance` Å apart.

        Raises
        ------
        CryotxError
            There is no such micrograph, or its candidates are missing or damaged.
        """
        subject = self.subject(position)
        self._images.require_same(subject)  # outside the lock: reading a large file takes a while
        with self._lock:
            cut = self.cut if distance is None else replace(self.cut, distance=distance)
            found = self.subjects.proposed(subject, cut)
            classes = self.subjects.classes
            return {
                "seq": self.last,
                "position": position,
                "name": subject.name,
                "image": image_of(subject),
                "height": found.height,
                "width": found.width,
                "pixel_size": found.candidates.pixel_size,
                "diameter": found.diameter_px,
                "candidates": rows_of(found.candidates),
                "chosen": self._chosen_by_run(subject, found, cut),
                "classes": [] if classes is None else classes.numbers_of(subject.name, found.candidates),
                "film": [] if found.film is None else found.film.rows(),
                **self._state(subject),
            }

    def listing(self) -> dict[str, Any]:
        """Return what a page shows of all micrographs."""
        with self._lock:
            return {
                "seq": self.last,
                "version": self.version,
                "run": self.run,
                "title": self.subjects.title,
                "picked": bool(self.subjects.all() and any(one.row.key for one in self.subjects.all())),
                "diameter": self.subjects.diameter,
                "distance": self.subjects.distance,
                "rates": self.subjects.cuts_of_rates,
                "cut": vars(self.cut),
                "micrographs": [self._about(subject) for subject in self.subjects.all()],
            }

    def since(self, seq: int) -> dict[str, Any]:
        """Return which micrographs have changed after change number `seq`, and how they stand now."""
        with self._lock:
            self.refresh()
            names = {entry.get("micrograph") for entry in self._journal.entries[max(0, seq) :]}
            changed = [self._about(one) for one in self.subjects.all() if one.name in names] if names else []
            return {"seq": self.last, "version": self.version, "cut": vars(self.cut), "changed": changed}

    def counts(self, cut: Cut) -> list[int]:
        """Return how many picks each micrograph would have with another cut, before corrections; done ones stay."""
        return [self._known_count(subject, cut) for subject in self.subjects.all()]

    def count(self, subject: Subject) -> int:
        """Return how many picks a micrograph has now; those of one that cannot be read are none."""
        if not self.history(subject).undo:
            return self._known_count(subject, self.cut)
        try:
            return len(self.picks(subject))
        except CryotxError:
            return 0

    def _look_at(self, subjects: Iterable[Subject]) -> None:
        """Find out which files are other ones before the lock is taken: pages go on while large ones are read."""
        for one in subjects:
            self._images.is_replaced(one)

    def _marked(self) -> list[Subject]:
        return [one for one in self.subjects.all() if self.history(one).corrections.mark and one.row.error is None]

    def _known_count(self, subject: Subject, cut: Cut) -> int:
        try:
            return self._count(subject, cut)
        except CryotxError:  # its candidates are missing: opening it says so
            return 0

    def _count(self, subject: Subject, cut: Cut) -> int:
        if self.history(subject).corrections.labels is not None:
            return len(self.picks(subject))
        if subject.row.error is not None or not subject.row.candidates:
            return 0
        if cut.threshold is None and cut.distance is None:
            return subject.row.picks
        if cut.threshold is None:
            return self.subjects.proposed(subject, cut).chosen
        key = subject.position, subject.row.key, cut.distance
        with self._lock:
            if key not in self._scores:
                self._scores[key] = self.subjects.proposed(subject, cut).candidates.scores[::-1]
            scores = self._scores[key]
        return len(scores) - int(np.searchsorted(scores, cut.threshold))

    def _about(self, subject: Subject) -> dict[str, Any]:
        history, row = self.history(subject), subject.row
        return {
            "position": subject.position,
            "name": subject.name,
            "picks": self.count(subject),
            "defocus": row.defocus,
            "film": row.film_share,
            "error": row.error,
            "mark": history.corrections.mark,
            "changes": history.undo,
            "corrected": history.corrections.is_corrected,
            "last": history.last,
        }

    def _state(self, subject: Subject) -> dict[str, Any]:
        history = self.history(subject)
        return {"corrections": history.corrections.as_json(), "undo": history.undo, "redo": history.redo}

    def _chosen_by_run(self, subject: Subject, found: Proposed, cut: Cut) -> int:
        if cut.threshold is None:
            return found.chosen
        return self.subjects.proposed(subject, replace(cut, threshold=None)).chosen

    def _corrected(self, subject: Subject, found: Proposed) -> Particles:
        chosen = found.candidates.select(np.arange(len(found.candidates)) < found.chosen)
        return self.history(subject).corrections.picks(chosen, found.candidates, found.diameter_px)

    def _named(self, name: str) -> Subject:
        found = next((one for one in self.subjects.all() if one.name == name), None)
        if found is None:
            raise CryotxError(f"{name}: not a micrograph of this review")
        return found

    def _is_empty(self, change: Change, subject: Subject | None) -> bool:
        if not isinstance(change, TakeBack) or subject is None:
            return False
        history = self.history(subject)
        return not (history.undo if change.kind == "undo" else history.redo)

    def _take(self, change: Change) -> None:
        subject = None if isinstance(change, SetCut) else self._named(change.micrograph)
        if change.id in self._known or self._is_empty(change, subject):
            return
        entry = change.model_dump()
        if subject is not None and entry.get("mark") == "done":
            entry["labels"] = rows_of(self.picks(subject))
        if subject is not None:
            entry.update(self._histories.stated(subject))
        self._apply(self._journal.append(entry))

    def _answer(self, change: Change) -> dict[str, Any]:
        if isinstance(change, SetCut):
            return {"seq": self.last, "cut": vars(self.cut)}
        subject = self._named(change.micrograph)
        return {"seq": self.last, **self._state(subject), "picks": self.count(subject)}

    def _replay(self) -> None:
        """Work out anew what the changes of the journal add up to."""
        self._histories, self.cut = Histories(), Cut()
        self._known.clear()
        for entry in self._journal.entries:
            self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        self._known.add(str(entry.get("id")))
        if entry["kind"] == "cut":
            self.cut = Cut(entry["threshold"], entry["distance"])
        else:
            self._histories.add(entry)


def _about(change: Change) -> str | None:
    """Return the name of the micrograph that a change is of; None where it is of all."""
    return None if isinstance(change, SetCut) else change.micrograph
