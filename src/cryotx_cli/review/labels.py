"""What a review teaches: the picks of micrographs that are done, and against them all other candidates on these."""

from __future__ import annotations

import numpy as np

from cryotx_cli.config import AdaptConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.labelled import LabelSet, MicrographLabels
from cryotx_cli.errors import ConfigError
from cryotx_cli.events import Tell, warn
from cryotx_cli.micrographs.micrograph import MicrographFile
from cryotx_cli.review.corrections import Corrections
from cryotx_cli.review.histories import Histories
from cryotx_cli.review.journal import JOURNAL, Entry, read_journal
from cryotx_cli.review.of_run import RunSubjects
from cryotx_cli.review.subject import Cut, Proposed, Subject
from cryotx_cli.runs.jobs import has_changed


def labels_of_review(config: AdaptConfig, tell: Tell = warn) -> LabelSet | None:
    """Return the labels of a review that is given as `config.data`; None where that is something else.

    The labels of a micrograph that is marked as done are complete: what the run has proposed there and is no pick now
    is no particle. Micrographs that are not done count for nothing, nor do corrections of a file that has changed.

    Raises
    ------
    ConfigError
        The review has no run, or other settings do not go with it.
    CryotxError
        The journal or the run cannot be read.
    """
    folder = config.data
    stored = read_journal(folder / JOURNAL) if (folder / JOURNAL).is_file() else None
    if stored is None:
        return None
    if stored.run is None:
        raise ConfigError(
            f"--data {folder}: a review of micrographs that no run has picked, which does not know their folder",
            f"Give --data {folder / 'labels.star'} and --micrographs.",
        )
    for name in ("micrographs", "keep_classes"):
        if getattr(config, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag}: does not go with {folder}, which is a review", f"Leave out {flag}.")
    return _label_set(RunSubjects(stored.run), stored.entries, tell)


def _label_set(subjects: RunSubjects, entries: list[Entry], tell: Tell) -> LabelSet:
    histories = Histories(entries)
    for event in histories.warnings(subjects.all()):
        tell(event)
    found: list[MicrographLabels] = []
    gone: list[str] = []
    changed: list[str] = []
    unlabelled = 0
    for subject in subjects.all():
        history = histories.of(subject)
        if histories.is_outdated(subject):
            changed.append(subject.name)
            continue
        if history.corrections.mark != "done" or subject.row.error is not None:
            unlabelled += 1
            continue
        try:
            if has_changed(subject.path, subject.row):
                changed.append(subject.name)
                continue
        except OSError:
            gone.append(subject.name)
            continue
        found.append(_labelled(subject, history.corrections, subjects.proposed(subject, Cut())))
    return LabelSet(tuple(found), unlabelled, tuple(gone), tuple(changed))


def _labelled(subject: Subject, corrections: Corrections, proposed: Proposed) -> MicrographLabels:
    candidates = proposed.candidates
    labels = corrections.picks(candidates.select([]), candidates, proposed.diameter_px)
    places = set(map(tuple, labels.centres.tolist()))
    others = candidates.select(
        np.array([place not in places for place in map(tuple, candidates.centres.tolist())], bool)
    )
    file = MicrographFile(subject.path, subject.name, candidates.pixel_size)
    of = [_of_diameter(one, proposed.diameter_px) for one in (labels, others)]
    return MicrographLabels(file, *of)


def _of_diameter(particles: Particles, diameter_px: float) -> Particles:
    count = len(particles)
    return Particles(particles.centres, np.ones(count), np.full(count, diameter_px), particles.pixel_size)
