"""What each part of `--threshold auto` is worth: F1 with and without it, on real and on simulated micrographs.

    python benchmarks/selection_rules.py FOLDER ... [--structures DIR] [--simulated 48] [--second 24] [--kept DIR]
        [--weights default] [--on-film]

Each FOLDER is one as that of accuracy.py, whose sets are runs of `cryotx pick`. `simulated` are whole micrographs as
accuracy.py --simulated draws them, `second` the 24 of second_simulator.py (which --structures is for), in runs of six.
A run that is cut as if it were one micrograph is cut at the highest expected F1 of the scores alone; with what noise
explains taken away; with the rule that picks far less sure than their fellows go; with both. Then each micrograph has a
cut of its own: from what the run knows of its noise, as it is; and alone, as with --decoys 0. F1 over all micrographs
of a set, and for the simulated ones also the mean over micrographs. What the network finds is kept in DIR, so that a
second call with the same weights takes seconds; decoys.py can share it.

The last table is for the two numbers that were chosen on real sets, those of the rule about fellows: what they would be
had they been chosen, for the highest mean F1, on all the other real sets, and F1 of the set that was left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from accuracy import Labelled, read_set, simulated_scene
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.agreement import Counts, match
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.runs import false_discovery
from cryotx_cli.runs.expected_f1 import automatic_cut
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.pick import start_pick
from machine import describe_machine
from run_cuts import Judged, runs_of
from scoring import Scene
from second_simulator import simulate
from second_specimen import voxel_maps

# The odds of the median over those of the least pick, and the largest median: tried for a set that is left out.
_ODDS, _SURE = (5.0, 7.0, 10.0, 14.0, 20.0, 40.0), (0.98, 0.99, 0.995, 0.998, 0.999)


@dataclass(frozen=True, eq=False)
class Labels:
    """Candidates and labels of a real micrograph."""

    found: Particles
    labelled: Labelled
    radius_px: float

    @property
    def all_scores(self) -> np.ndarray:
        return self.found.scores

    @property
    def area(self) -> float:
        return self.found.area

    def at(self, cut: float) -> Counts:
        kept = self.found.above(cut)
        kept = kept.select(self.labelled.labelled_area(kept.centres))
        hits = int((match(kept.centres, self.labelled.truth, self.radius_px) >= 0).sum())
        return Counts(len(kept), len(self.labelled.truth), hits)


Micrographs = Sequence[Labels] | Sequence[Judged]
Run = tuple[Micrographs, FalseDiscovery]
Rule = Callable[[FalseDiscovery, Labels | Judged], float]


def of_run(noise: bool, fellows: bool) -> Rule:
    def cut(found: FalseDiscovery, one: Labels | Judged) -> float:
        nothing = np.zeros_like(found.noise)
        # A new one: it keeps what the micrographs share, which depends on the rules.
        found = replace(found) if noise else replace(found, noise=nothing, tail=nothing)
        with patch.dict(vars(false_discovery), {} if fellows else {"_FELLOWS": np.inf}):
            return found.automatic_cut()

    return cut


def own(found: FalseDiscovery, one: Labels | Judged) -> float:
    return found.own_cuts.cut(one.all_scores, one.area)


def own_with(**numbers: float) -> Rule:
    """Cut with other numbers than those of `cryotx_cli.runs.false_discovery`."""

    def cut(found: FalseDiscovery, one: Labels | Judged) -> float:
        with patch.dict(vars(false_discovery), numbers):
            return own(replace(found), one)  # a new one, which has settled nothing yet

    return cut


RULES: dict[str, Rule] = {
    "highest expected F1 of the scores": of_run(noise=False, fellows=False),
    "with noise taken away": of_run(noise=True, fellows=False),
    "with fellows": of_run(noise=False, fellows=True),
    "with both": of_run(noise=True, fellows=True),
    "with both, each micrograph its own, no particles but candidates": own_with(_PARTICLES=1.0),
    "with both, each micrograph its own, as it is": own,
    "each micrograph alone": lambda found, one: automatic_cut(one.all_scores),
}


def real(
    picker: Picker, folder: Path, info: dict[str, float], kept: Path | None
) -> tuple[list[Labels], FalseDiscovery]:
    data = read_set(folder, info)
    config = PickConfig(
        diameter=info["diameter_px"] * info["pixel_size"],
        pixel_size=info["pixel_size"],
        contrast="dark",
        images=False,
        report=False,
    )
    with TemporaryDirectory() as temporary:
        out = (kept or Path(temporary)) / f"{folder.name}.star"
        list(start_pick([one.micrograph.source for one in data], out, config, picker))
        run = read_run(out)
        found = {Path(row.path): run.available(row) for row in run.picked}
        decoys = run.false_discovery
    assert decoys is not None
    labels = []
    for one in data:
        available = found[Path(one.micrograph.source)]
        assert available is not None
        labels.append(Labels(available[0], one, info["diameter_px"] / 2))
    return labels, decoys


def scored(runs: Sequence[Run], rule: Rule, mean: bool) -> str:
    each = [one.at(rule(found, one)) for micrographs, found in runs for one in micrographs]
    everything = f"{sum(each, Counts()).f1:.3f}"
    return f"{everything} / {np.mean([one.f1 for one in each if one.truth or one.picks]):.3f}" if mean else everything


def left_out(runs: dict[str, Run]) -> None:
    """Print what each set would have, had it been left out when the rule about fellows got its numbers."""
    choices = list(product(_ODDS, _SURE))
    rules = [own_with(_ODDS=odds, _SURE=sure) for odds, sure in choices]
    f1 = {name: [float(scored([run], rule, mean=False)) for rule in rules] for name, run in runs.items()}
    print("\n| left out | odds | sure | F1 with them | F1 as it is |\n|---" + "|---" * 4 + "|")
    for name, run in runs.items():
        best = int(np.argmax(np.mean([each for other, each in f1.items() if other != name], axis=0)))
        odds, sure = choices[best]
        print(f"| {name} | {odds:g} | {sure:g} | {f1[name][best]:.3f} | {scored([run], own, mean=False)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--structures", type=Path)
    parser.add_argument("--simulated", type=int, default=48, metavar="N")
    parser.add_argument("--second", type=int, default=24, metavar="N")
    parser.add_argument("--kept", type=Path, metavar="DIR")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--on-film", action="store_true", help="with picks on support film, too")
    args = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    checkpoint = load_checkpoint(args.weights)
    picker = Picker(replace(checkpoint, film={}) if args.on_film else checkpoint)
    maps = voxel_maps(args.structures, np.random.default_rng([1]))
    runs: dict[str, list[Run]] = {}
    for folder in args.folders:
        for name, info in json.loads((folder / "datasets.json").read_text()).items():
            runs[name] = [real(picker, folder / name, info, args.kept)]
    drawn: dict[str, tuple[Callable[[int], Scene], int]] = {
        "simulated": (simulated_scene, args.simulated),
        "second": (lambda number: simulate(maps, number, 1536, 1).scene, args.second),
    }
    for name, (scene, count) in drawn.items():
        if count:
            runs[name] = list(runs_of(picker, scene, count, args.kept and args.kept / name))
    print(f"\n| | {' | '.join(runs)} |\n|---" + "|---" * len(runs) + "|")
    for name, rule in RULES.items():
        cells = [scored(ones, rule, mean=which in drawn) for which, ones in runs.items()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    left_out({name: ones[0] for name, ones in runs.items() if name not in drawn})


if __name__ == "__main__":
    main()
