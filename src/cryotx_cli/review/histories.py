"""The corrections of all micrographs: those that were made on the file that each of them is now.

A name may stand for another image tomorrow. So the journal says, with the first change of a micrograph and with the
first one after its file has become another, which file was corrected. Changes made on another one stay in the journal
and count for nothing, until the file is back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryotx_cli.events import Event
from cryotx_cli.review.corrections import History
from cryotx_cli.review.journal import Entry
from cryotx_cli.review.subject import Subject
from cryotx_cli.runs.jobs import checksum_of
from cryotx_cli.wording import counted, some_of

OF = "of"
"""Of a change: the file that it was made on, where that is another one than that of the change before it."""

_Made = tuple[int, int, int | None]  # size, time and checksum, as in a ledger


@dataclass(frozen=True)
class _Told:
    entry: Entry
    of: _Made | None  # None in a journal that knows no files


class Histories:
    """The changes of each micrograph that count.

    Parameters
    ----------
    entries
        All changes of a journal, in their order.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._told: dict[str, list[_Told]] = {}
        self._counted: dict[str, tuple[_Made, History, bool]] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take one more change into account; one of all micrographs is none of these."""
        if "micrograph" not in entry:
            return
        name = entry["micrograph"]
        told = self._told.setdefault(name, [])
        known = told[-1].of if told else None
        if OF in entry:
            if known is None:  # what was done before the journal knew files was done on this one
                told[:] = [_Told(one.entry, _made(entry)) for one in told]
            known = _made(entry)
        told.append(_Told(entry, known))
        counted = self._counted.get(name)
        if counted is not None and not counted[2] and OF not in entry:
            # On the same file as the one before: what all add up to need not be worked out anew.
            counted[1].apply(entry)
        else:
            self._counted.pop(name, None)

    def of(self, subject: Subject) -> History:
        """Return the changes of a micrograph that were made on the file that it is now."""
        return self._of(subject)[1]

    def is_outdated(self, subject: Subject) -> bool:
        """Return whether the last change of a micrograph was made on another file than it is now."""
        return self._of(subject)[2]

    def stated(self, subject: Subject) -> Entry:
        """Return what the next change of a micrograph has to say of its file; nothing where that is known."""
        told = self._told.get(subject.name)
        if told and told[-1].of is not None and not self.is_outdated(subject):
            return {}
        row = subject.row
        if not row.size:  # of a ledger that knows no sizes, or of a file that is gone
            return {}
        checksum = row.checksum if row.key else checksum_of(subject.path)
        return {OF: {"size": row.size, "modified": row.modified, "checksum": checksum}}

    def warnings(self, subjects: Sequence[Subject], of_run: bool = True) -> list[Event]:
        """Say which changes are left out: those of files that have changed, and of micrographs that are gone.

        Parameters
        ----------
        subjects
            All micrographs.
        of_run
            They are those of a run; without one, a review may begin with some of its micrographs.
        """
        found = [_has_changed(one.name) for one in subjects if self.is_outdated(one)]
        names = {one.name for one in subjects}
        gone = [name for name, told in self._told.items() if name not in names and _is_done(told)]
        if gone and of_run:
            text = f"Left out: labels of {counted(len(gone), 'micrographs')} that this run no longer has"
            found.append(Event(f"{text}: {some_of(gone)}. The journal keeps them.", "warning"))
        return found

    def _of(self, subject: Subject) -> tuple[_Made, History, bool]:
        row = subject.row
        now = row.size, row.modified, row.checksum
        counted = self._counted.get(subject.name)
        if counted is None or counted[0] != now:
            history, told = History(), self._told.get(subject.name, [])
            same = {of: of is None or _is_same(of, subject) for of in {one.of for one in told}}
            for one in told:
                if same[one.of]:
                    history.apply(one.entry)
            counted = self._counted[subject.name] = now, history, bool(told) and not same[told[-1].of]
        return counted


def _has_changed(name: str) -> Event:
    """Say that the corrections of a micrograph do not count, for they were made on another file."""
    text = f"{name}: has changed since it was corrected: its corrections are left out. The journal keeps them."
    return Event(text, "warning", name)


def _is_done(told: Sequence[_Told]) -> bool:
    history = History()
    for one in told:
        history.apply(one.entry)
    return history.corrections.mark == "done"


def _is_same(of: _Made, subject: Subject) -> bool:
    """Return whether a micrograph is still the file that was corrected; as for a run, a copy of it is the same."""
    row, (size, modified, checksum) = subject.row, of
    if 0 in (size, row.size):  # a ledger that knows no sizes
        return True
    if size != row.size:
        return False
    now = row.checksum
    if not row.key:  # without a run, a file of the same time need not be read
        if modified == row.modified:
            return True
        now = checksum_of(subject.path)
    return modified == row.modified if None in (checksum, now) else checksum == now


def _made(entry: Entry) -> _Made:
    of = entry[OF]
    return of["size"], of["modified"], of["checksum"]
