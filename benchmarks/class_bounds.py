"""What could be dropped by any rule that knows scores and fits only: the truth chooses the bound.

    python benchmarks/class_bounds.py --runs 7 [--first 0]

For the runs of class_scenes.py, as in `classes.py --simulated`: which share of what is no particle lies below the bound
under which 2 % of the particles lie, by the score of the detector, by how a pick fits averages that were made without
it, and by the best of several sums of both. No rule that does not know the truth does better; most do worse.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from class_scenes import HIDDEN, KINDS, picks_with_truth
from cryotx_cli.averages import classes as averages
from cryotx_cli.averages.classes import number_of_classes, sorted_into_classes
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from machine import describe_machine

_LOST, _WEIGHTS = 0.02, (0.0, 0.03, 0.1, 0.2, 0.4, 0.8, 3.0)

Values = NDArray[np.float64]


def fits_of(images: NDArray[np.float16], whole: NDArray[np.bool_], scores: Values, rings: int, seed: int) -> Values:
    """Return how crops fit averages of the half that they are not in, as the leftovers are told by."""
    found: list[Values] = []

    def all_of_them(_: Values) -> NDArray[np.bool_]:
        return np.ones(len(scores), bool)

    def keeps(fits: Values, *_: object) -> NDArray[np.bool_]:
        found.append(fits)
        return np.zeros(len(scores), bool)

    number = min(number_of_classes(int(whole.sum())), int(whole.sum()) // 10)
    with patch.object(averages, "asked_for", all_of_them), patch.object(averages, "leftovers", keeps):
        sorted_into_classes(images, whole, rings, number, seed, torch.device("cpu"), scores, whole)
    return found[0] if found else np.zeros(len(scores))  # no class is more than noise: fits tell nothing


def below(values: Values, real: NDArray[np.bool_]) -> int:
    """Return how many that are no particles lie below the bound that costs 2 % of the particles."""
    return int(np.count_nonzero(values[~real] < np.quantile(values[real], _LOST)))


def main() -> None:
    """Print a row for each run and for all of a kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(describe_machine("torch", "numpy"))
    picker = Picker(load_checkpoint("default"))
    print("\n| runs of | no particles | below by score | by fit | by both |\n|---|---|---|---|---|")
    for kind in KINDS:
        counts = np.zeros(4, int)
        for number in range(args.first, args.first + args.runs):
            run = picks_with_truth(picker, kind, number)
            some = run.kinds != HIDDEN
            scores, real = run.scores[some], run.kinds[some] >= 0
            fits = fits_of(run.images[some], run.whole[some], scores, run.rings, number)
            logit = np.log(scores / np.maximum(1 - scores, 1e-6))
            both: Callable[[float], int] = lambda by: below(logit + by * fits, real)  # noqa: B023, E731
            counts += (~real).sum(), below(logit, real), below(fits, real), max(map(both, _WEIGHTS))
        print(f"| {kind} | {counts[0]} | " + " | ".join(f"{n / counts[0]:.2f}" for n in counts[1:]) + " |", flush=True)


if __name__ == "__main__":
    main()
