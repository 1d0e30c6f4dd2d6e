"""Runs: candidates of their micrographs beside those of decoys, and what each cut scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryotx_cli.coordinates.agreement import Counts, match
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.decoy import decoy_from, noise_seed, radial_spectrum
from cryotx_cli.runs.expected_f1 import automatic_cut
from cryotx_cli.runs.false_discovery import FalseDiscovery, false_discovery
from scoring import Scene

Scores = NDArray[np.float64]
_RUN = 6


@dataclass(frozen=True, eq=False)
class Judged:
    """Candidates of one micrograph, at most one a particle.

    Attributes
    ----------
    scores, hits
        (n,) of each candidate that can be right or wrong: probability, and whether it is a particle.
    others
        Scores of those that can be neither.
    wanted
        How many particles there are to find.
    """

    scores: Scores
    hits: NDArray[np.bool_]
    others: Scores
    wanted: int

    area = 1.0  # of a micrograph: all of a simulated run are of one size

    @property
    def all_scores(self) -> Scores:
        """Those that a run looks at, which knows no truth."""
        return np.concatenate([self.scores, self.others])

    def at(self, cut: float) -> Counts:
        """Count picks and hits of a cut."""
        kept = self.scores >= cut
        return Counts(int(kept.sum()), self.wanted, int((kept & self.hits).sum()))

    def alone(self) -> Counts:
        """Count those of a micrograph that has a cut of its own, as with ``--decoys 0``."""
        return self.at(automatic_cut(self.all_scores))


Run = tuple[list[Judged], FalseDiscovery]


def judge(found: Particles, scene: Scene) -> Judged:
    """Pair candidates and particles one to one within half a diameter."""
    radius = scene.diameter / 2 / scene.micrograph.pixel_size
    partner = match(found.centres, scene.centres, radius)
    hits = partner >= 0
    counts = ~hits | ~scene.ignored[partner] if len(scene.centres) else ~hits
    if scene.ignored.any() and len(found):
        distance, _ = cKDTree(scene.centres[scene.ignored]).query(found.centres)
        counts &= hits | (distance > radius)
    return Judged(found.scores[counts], hits[counts], found.scores[~counts], int((~scene.ignored).sum()))


def look(picker: Picker, scene: Scene) -> tuple[Judged, Scores]:
    """Return the candidates of a simulated micrograph and the scores of those of a decoy of it."""
    prepared = picker.prepare(scene.micrograph, scene.diameter)
    radius = scene.diameter / 2 / scene.micrograph.pixel_size

    def located(image: NDArray[np.float32]) -> Particles:
        return picker.locate(image, scene.micrograph).particles.with_minimum_distance(radius)

    spectrum = radial_spectrum(prepared)
    assert spectrum is not None
    noise = decoy_from(spectrum, prepared.shape, noise_seed(scene.micrograph.image))
    return judge(located(prepared), scene), located(noise).scores


def runs_of(picker: Picker, scene: Callable[[int], Scene], count: int, kept: Path | None) -> Iterator[Run]:
    """Take each six simulated micrographs for a run, each compared with one decoy.

    Parameters
    ----------
    picker, scene, count
        What looks at the scenes 0, 1 ... count - 1, and what makes them.
    kept
        Start of the names of files that hold what an earlier call has found, and will hold what this one finds.
    """
    for start in range(0, count, _RUN):
        numbers = range(start, min(start + _RUN, count))
        run = [_looked(picker, scene, number, kept) for number in numbers]
        yield (
            [judged for judged, _ in run],
            false_discovery([one.all_scores for one, _ in run], [noise for _, noise in run], 1.0),
        )


def _looked(picker: Picker, scene: Callable[[int], Scene], number: int, kept: Path | None) -> tuple[Judged, Scores]:
    file = None if kept is None else kept.with_name(f"{kept.name}-{picker.fingerprint[:8]}-{number:03d}.npz")
    if file is None or not file.exists():
        one, noise = look(picker, scene(number))
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, scores=one.scores, hits=one.hits, others=one.others, wanted=one.wanted, noise=noise)
        return one, noise
    with np.load(file) as found:
        return Judged(found["scores"], found["hits"], found["others"], int(found["wanted"])), found["noise"]


def best_cut(run: Sequence[Judged]) -> Counts:
    """Count what the one cut gives that has the highest F1, which nobody knows who has no labels."""
    scores, hits = (np.concatenate([getattr(one, name) for one in run]) for name in ("scores", "hits"))
    wanted, right = sum(one.wanted for one in run), np.cumsum(hits[np.argsort(-scores, kind="stable")])
    picks = int(np.argmax(2 * right / (np.arange(1, len(right) + 1) + wanted))) + 1 if len(right) else 0
    return Counts(picks, wanted, int(right[picks - 1]) if picks else 0)
