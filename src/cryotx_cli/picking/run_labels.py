"""The picks of a run as labels to learn from: those of classes that were kept, and against them those of the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.averages.choice import read_classes
from cryotx_cli.averages.standing import require_classes_of_picks
from cryotx_cli.config import AdaptConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.labelled import LabelSet, MicrographLabels
from cryotx_cli.errors import ConfigError
from cryotx_cli.micrographs.micrograph import MicrographFile
from cryotx_cli.runs.folder import is_run
from cryotx_cli.runs.jobs import has_changed
from cryotx_cli.runs.stored import StoredRun, read_run

_Places = Callable[[str], tuple[NDArray[np.float64], NDArray[np.float64]]]


def labels_of_run(config: AdaptConfig) -> LabelSet | None:
    """Return the labels of a run that is given as `config.data`; None where that is something else.

    With `config.keep_classes` the picks of these classes are labels, those of the other classes are no particles.
    Without it all picks are labels. What was taken out of the run with its class is no particle either. All diameters
    are the run's.

    Raises
    ------
    ConfigError
        Classes are to be kept, and there is no run or no such class, or they are those of other picks; or micrographs
        are given as well.
    CryotxError
        The run or its classes cannot be read.
    """
    if config.keep_classes is None and not (config.data.is_dir() and is_run(config.data)):
        return None  # the STAR file of a run is a file of coordinates like others
    if not is_run(config.data):
        raise ConfigError(
            f"--keep-classes {config.keep_classes}: {config.data} is no run of cryotx pick",
            "Give --data the folder of a run whose picks cryotx classes has averaged.",
        )
    if config.micrographs is not None:
        raise ConfigError(
            f"--micrographs {config.micrographs}: the run {config.data} knows its micrographs",
            "Leave out --micrographs, or give --data the STAR file of the run alone.",
        )
    run = read_run(config.data, to_read=True)
    return _label_set(run, _all_picks(run) if config.keep_classes is None else _in_classes(run, config.keep_classes))


def _all_picks(run: StoredRun) -> _Places:
    def places(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        stored = run.candidates(run.rows[name])
        picks = run.picks(run.rows[name], stored[1]).particles.centres if stored else np.zeros((0, 2))
        return picks, _dropped(run, name)

    return places


def _in_classes(run: StoredRun, keep: str) -> _Places:
    classes = read_classes(run.folder.path)
    require_classes_of_picks(run, classes)
    kept = [*{row.number for row in classes.rows} - classes.to_drop(None, keep)]

    def places(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        centres = classes.places.get(name, np.zeros((0, 2)))
        is_kept = np.isin(classes.numbers.get(name, np.zeros(0, np.int64)), kept)
        earlier = _dropped(run, name)
        # What was dropped with one of these classes is kept now if the class is.
        nothing = np.zeros(len(earlier))
        in_classes = classes.numbers_of(name, Particles(earlier, nothing, nothing, np.nan)) > 0
        return centres[is_kept], np.concatenate([centres[~is_kept], earlier[~in_classes]])

    return places


def _dropped(run: StoredRun, name: str) -> NDArray[np.float64]:
    return np.array(sorted(run.dropped.places.get(name, ())), np.float64).reshape(-1, 2)


def _label_set(run: StoredRun, places: _Places) -> LabelSet:
    found: list[MicrographLabels] = []
    gone: list[str] = []
    changed: list[str] = []
    unlabelled = 0
    for row in run.picked:
        labels, negatives = places(row.micrograph)
        stored = run.candidates(row)
        if stored is None or not len(labels) + len(negatives):
            unlabelled += 1
            continue
        try:
            if has_changed(run.folder.micrograph_of(row), row):
                changed.append(row.micrograph)
                continue
        except OSError:
            gone.append(row.micrograph)
            continue
        size = stored[1].particles.pixel_size
        file = MicrographFile(run.folder.micrograph_of(row), row.micrograph, size)
        of = [_particles(centres, run.settled.diameter, size) for centres in (labels, negatives)]
        found.append(MicrographLabels(file, *of))
    return LabelSet(tuple(found), unlabelled, tuple(gone), tuple(changed))


def _particles(centres: NDArray[np.float64], diameter: float, pixel_size: float) -> Particles:
    return Particles(centres, np.ones(len(centres)), np.full(len(centres), diameter / pixel_size), pixel_size)
