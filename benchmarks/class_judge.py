"""What a judge that has learned from simulated runs would drop in others: scores, fits and surroundings together.

    python benchmarks/class_judge.py --runs 10 [--first 1000]

For the runs of class_scenes.py, from a first number that no other script uses. Of each pick ten numbers are known:
score and rank in its run, how it fits averages that were made without it and how that compares with sure picks, how far
it stands out, what its class is, and how many picks lie around it. A small network learns from four fifths of the runs
which picks are particles, and judges the rest, five times over. The least likely picks of a run go, as many as together
promise 2 % of its particles; unlike the bounds of class_bounds.py no truth of the run is used. Beside it the same by
the scores alone.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from class_scenes import HIDDEN, KINDS, PicksWithTruth, picks_with_truth
from cryotx_cli.averages import classes as averages
from cryotx_cli.averages.classes import FEWEST, number_of_classes, sorted_into_classes
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from machine import describe_machine

Values = NDArray[np.float64]

_PROMISED, _RARE, _FOLDS = 0.02, 0.03, 5
_SURE, _FEW_SURE = 0.8, 20
_HIDDEN_UNITS, _STEPS, _DECAY = 24, 600, 3e-3
_AROUND = 1.5  # diameters
_FAR = 8.0  # deviations: measurements beyond are as good as these


@dataclass(frozen=True, eq=False)
class Run:
    """Picks of one run as the judge sees them (n, measurements), and the truth."""

    kind: str
    known: Values
    scores: Values
    views: NDArray[np.int64]


def measured(run: PicksWithTruth, kind: str, seed: int) -> Run | None:
    """Average the picks of a run and measure each; None where they are too few."""
    some = run.kinds != HIDDEN
    images, whole, scores = run.images[some], run.whole[some], run.scores[some]
    if whole.sum() < FEWEST:
        return None
    found: dict[str, Values] = {}

    def keeps(fits: Values, _: Values, out: Values, numbers: Values, agrees: Values) -> NDArray[np.bool_]:
        found.update(fits=fits, out=out, numbers=numbers, agrees=agrees)
        return np.zeros(len(fits), bool)

    number = min(number_of_classes(int(whole.sum())), int(whole.sum()) // 10)
    everything = np.ones(len(scores), bool)
    with (
        patch.object(averages, "asked_for", lambda _: everything),
        patch.object(averages, "leftovers", keeps),
        patch.object(averages, "_IN_CLASSES", -1.0),
    ):
        sorted_into_classes(images, whole, run.rings, number, seed, torch.device("cpu"), scores, whole)
    sure = scores > min(_SURE, np.sort(scores)[-min(len(scores), _FEW_SURE)])
    sure = sure if sure.any() else everything
    numbers, fits = found["numbers"].astype(int), found["fits"]
    counts = np.bincount(numbers)
    # Of the class without the pick itself, or its own score would count twice.
    others = (np.bincount(numbers, scores)[numbers] - scores) / np.maximum(1, counts[numbers] - 1)
    around = _around(run.micrographs[some], run.places[some], scores)
    columns = [
        _logit(scores),
        scores.argsort().argsort() / len(scores),
        fits / 3,
        _beside(fits, sure),
        np.full(len(fits), np.median(fits[sure]) / 3),
        found["out"],
        _logit(others),
        found["agrees"][numbers].astype(float),
        around,
        _beside(around, sure),
    ]
    return Run(kind, np.clip(np.stack(columns, 1), -_FAR, _FAR), scores, run.kinds[some])


def _logit(probabilities: Values) -> Values:
    certain = np.clip(probabilities, 1e-3, 1 - 1e-3)
    return np.asarray(np.log(certain / (1 - certain)))


def _beside(values: Values, sure: NDArray[np.bool_]) -> Values:
    """Return values in deviations of those of sure picks."""
    middle = np.median(values[sure])
    return np.asarray((values - middle) / (1.4826 * np.median(np.abs(values[sure] - middle)) + 0.1))


def _around(micrographs: NDArray[np.int64], places: Values, scores: Values) -> Values:
    """Return the sum of the scores of the picks around each one."""
    summed = np.zeros(len(scores))
    for number in np.unique(micrographs):
        own = np.flatnonzero(micrographs == number)
        near = cKDTree(places[own]).query_ball_point(places[own], _AROUND)
        summed[own] = [scores[own[others]].sum() for others in near] - scores[own]
    return summed


def learned(runs: list[Run], judged: list[Run]) -> list[Values]:
    """Return the probabilities that picks of some runs are particles, learned from others."""
    torch.manual_seed(1)
    known = torch.from_numpy(np.concatenate([run.known for run in runs])).float()
    particle = torch.from_numpy(np.concatenate([run.views >= 0 for run in runs])).float()
    mean, spread = known.mean(0), known.std(0) + 1e-3
    network = torch.nn.Sequential(
        torch.nn.Linear(known.shape[1], _HIDDEN_UNITS), torch.nn.Tanh(), torch.nn.Linear(_HIDDEN_UNITS, 1)
    )
    steps = torch.optim.AdamW(network.parameters(), lr=0.02, weight_decay=_DECAY)
    for _ in range(_STEPS):
        steps.zero_grad()
        logits = network((known - mean) / spread)[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(logits, particle).backward()  # type: ignore[no-untyped-call]
        steps.step()
    with torch.no_grad():
        return [
            network((torch.from_numpy(run.known).float() - mean) / spread)[:, 0].sigmoid().double().numpy()
            for run in judged
        ]


def least_likely(probabilities: Values) -> NDArray[np.bool_]:
    """Return which picks go: the least likely that together promise so little."""
    order = np.argsort(probabilities, kind="stable")
    gone = np.zeros(len(order), bool)
    gone[order] = np.cumsum(probabilities[order]) <= _PROMISED * probabilities.sum()
    return gone


def row(name: str, runs: list[Run], gone: list[NDArray[np.bool_]]) -> str:
    """Return a row of the table of runs of one kind."""
    counts = np.array(
        [
            [(run.views < 0).sum(), (run.views[out] < 0).sum(), (run.views >= 0).sum(), (run.views[out] >= 0).sum()]
            for run, out in zip(runs, gone, strict=True)
        ]
    )
    rarest = 1.0
    for run, gone_ in zip(runs, gone, strict=True):
        views = np.bincount(run.views[run.views >= 0])
        left = np.bincount(run.views[(run.views >= 0) & ~gone_], minlength=len(views))
        often = views >= _RARE * max(1, views.sum())
        rarest = min([rarest, *(left[often] / views[often]).tolist()])
    junk, dropped, particles, lost = counts.sum(0).tolist()
    worst = float((counts[:, 3] / np.maximum(1, counts[:, 2])).max())
    return f"| {name} | {junk} | {dropped / junk:.2f} | {lost / particles:.3f} | {worst:.3f} | {rarest:.2f} |"


def main() -> None:
    """Print two rows for each kind: by the judge, and by scores alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--first", type=int, default=1000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(describe_machine("torch", "numpy"), flush=True)
    picker = Picker(load_checkpoint("default"))
    made = (
        measured(picks_with_truth(picker, kind, number), kind, number)
        for number in range(args.first, args.first + args.runs)
        for kind in KINDS
    )
    runs = [run for run in made if run is not None]
    fold = np.random.default_rng(1).permutation(len(runs)) % _FOLDS
    likely: dict[int, Values] = {}
    for number in range(_FOLDS):
        own = np.flatnonzero(fold == number).tolist()
        others = [runs[i] for i in np.flatnonzero(fold != number)]
        likely.update(zip(own, learned(others, [runs[i] for i in own]), strict=True))
    print("\n| runs of | no particles | of these dropped | particles lost | in the worst run | rarest view keeps |")
    print("|---|---|---|---|---|---|")
    for kind in KINDS:
        some = [i for i, run in enumerate(runs) if run.kind == kind]
        chosen = [runs[i] for i in some]
        print(row(f"{len(some)} of {kind}, judge", chosen, [least_likely(likely[i]) for i in some]))
        print(row(f"{len(some)} of {kind}, scores", chosen, [least_likely(run.scores) for run in chosen]))


if __name__ == "__main__":
    main()
