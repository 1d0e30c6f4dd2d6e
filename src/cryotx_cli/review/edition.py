"""The corrected picks as files: an edition of its own beside the run, whose own picks stay as they are.

::

    review/
        journal.jsonl   every change, see `cryotx_cli.review.journal`
        particles.star  the corrected picks of all micrographs that are not marked as bad
        particles/      the same in other formats, a file a micrograph
        labels.star     the picks of those that are marked as done: their labels are complete
        micrographs.csv how each micrograph was marked, and how many picks it has
        edition.json    whose files in particles/ are of an edition: only these are ever removed
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.star import write_particles_star
from cryotx_cli.coordinates.formats.table import require_names
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.review.session import Session
from cryotx_cli.review.subject import Subject
from cryotx_cli.runs.folder import PickFolder, remove_picks, write_coordinates
from cryotx_cli.runs.ledger import LedgerRow

_PLACES = "edition.json"

_Place = tuple[str, str | None]  # of the files of a micrograph, and of that in relion/


@dataclass(frozen=True)
class Written:
    """What was written.

    Parameters
    ----------
    star
        The merged STAR file.
    micrographs, picks
        Micrographs in it, those without a pick included, and picks.
    done, bad
        How many are marked so.
    moment
        Number of the last change that is in it, and version of the list of micrographs.
    """

    star: Path
    micrographs: int
    picks: int
    done: int
    bad: int
    moment: tuple[int, int]


def write_edition(
    session: Session, folder: Path, formats: tuple[str, ...], exposures: Mapping[str, Exposure] | None = None
) -> Written:
    """Write the corrected picks in all formats, each file whole or not at all.

    Parameters
    ----------
    session
        The review.
    folder
        That of the review.
    formats
        Formats to write beside the merged STAR file.
    exposures
        CryoSPARC's exposures by micrograph name.

    Raises
    ------
    CryotxError
        Candidates are missing or damaged, or a file cannot be written.
    """
    standing = session.standing()
    marks = {one.name: mark for one, mark, _ in standing.picks}
    picks = [(one, particles) for one, _, particles in standing.picks]
    good = [(one, particles) for one, particles in picks if marks[one.name] != "bad"]
    require_names([one.name for one, _ in good], formats)
    into = PickFolder(folder / "particles.star")
    places = [(one.row.stem, one.row.relion) for one, _ in picks]
    _remove_others(into, folder / _PLACES, places)
    for one, particles in picks:
        outputs = into.outputs(one.row.stem, one.row.relion)
        remove_picks(outputs)
        if marks[one.name] != "bad":
            write_coordinates(outputs, particles, formats, session.subjects.box_px(particles.pixel_size))
    into.write_merged([(_row(one, len(found)), found) for one, found in good], formats, exposures or {})
    labelled = [(one.name, particles) for one, particles in good if marks[one.name] == "done"]
    _write_labels(folder / "labels.star", labelled)
    _write_marks(folder / "micrographs.csv", [(one, marks[one.name], len(particles)) for one, particles in picks])
    total = sum(len(particles) for _, particles in good)
    bad = sum(mark == "bad" for mark in marks.values())
    return Written(into.star, len(good), total, len(labelled), bad, standing.moment)


def _row(subject: Subject, picks: int) -> LedgerRow:
    """Return where a micrograph lies; what the run expects of its own picks does not hold for these."""
    return replace(subject.row, path=str(subject.path), from_run=None, expected_false=None, picks=picks)


def _remove_others(into: PickFolder, known: Path, places: list[_Place]) -> None:
    """Remove what an earlier edition has written of micrographs that are none of these; note whose files are there."""
    earlier = _read_places(known)
    # A kill before the last line leaves a note of too many, never one of too few.
    _write_places(known, [*places, *(place for place in earlier if place not in places)])
    kept = {path for place in places for path in into.outputs(*place).coordinates.values()}
    for place in earlier:
        for path in into.outputs(*place).coordinates.values():
            if path not in kept:
                path.unlink(missing_ok=True)
    _write_places(known, places)


def _read_places(path: Path) -> list[_Place]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["places"]
        return [(str(stem), None if relion is None else str(relion)) for stem, relion in found]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CryotxError(
            f"{path}: damaged, so nobody knows which files are of an earlier edition",
            f"Remove it together with {path.parent / 'particles'}.",
        ) from error


def _write_places(path: Path, places: list[_Place]) -> None:
    with whole_file(path) as file:
        json.dump({"places": places}, file)


def _write_labels(path: Path, labelled: list[tuple[str, Particles]]) -> None:
    if labelled:
        write_particles_star(path, labelled)
    else:
        path.unlink(missing_ok=True)


def _write_marks(path: Path, rows: list[tuple[Subject, str | None, int]]) -> None:
    with whole_file(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["micrograph", "mark", "picks"])
        table.writerows([one.name, mark or "", picks] for one, mark, picks in rows)
