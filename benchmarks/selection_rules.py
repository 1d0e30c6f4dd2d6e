"""What each part of `--threshold auto` is worth: F1 with and without it, on real and on simulated micrographs.

    python benchmarks/selection_rules.py FOLDER [--structures DIR] [--simulated 48] [--weights default]

FOLDER is that of accuracy.py. `simulated` are whole micrographs as accuracy.py --simulated draws them, `second` the 24
of second_simulator.py (which --structures is for). Each row leaves one part out: the cut of the highest expected F1
alone; without the rule that a micrograph of guesses keeps only what convinces alone; without the rule that picks far
less sure than their fellows go; nothing left out; and that with picks on support film, too. F1 of the command's own
choice over all micrographs of a set, and for the simulated ones also the mean over micrographs.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from accuracy import measure, read_set, simulated_scenes
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.runs import selection
from machine import describe_machine
from scoring import Scene, judge, summary
from second_simulator import simulate
from second_specimen import voxel_maps

_GUESSES, _FELLOWS = {"_MOSTLY_WRONG": -1.0}, {"_ODDS": np.inf}
ROWS = {
    "highest expected F1 alone": _GUESSES | _FELLOWS,
    "guesses are kept": _GUESSES,
    "unlike their fellows are kept": _FELLOWS,
    "as it is": {},
}
ON_FILM = "as it is, with picks on film"


def scored(picker: Picker, scenes: list[Scene]) -> str:
    judged = [judge(picker, scene) for scene in scenes]
    each = [summary([one])["F1"] for one in judged if one.wanted or one.own_picks]
    return f"{summary(judged)['F1']:.3f} / {np.mean(each):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--structures", type=Path)
    parser.add_argument("--simulated", type=int, default=48, metavar="N")
    parser.add_argument("--weights", default="default")
    args = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    checkpoint = load_checkpoint(args.weights)
    careful, careless = Picker(checkpoint), Picker(replace(checkpoint, film={}))
    infos = json.loads((args.folder / "datasets.json").read_text())
    maps = voxel_maps(args.structures, np.random.default_rng([1]))
    scenes = {
        "simulated": list(simulated_scenes(args.simulated)),
        "second": [simulate(maps, number, 1536, 1).scene for number in range(24)],
    }
    print(f"{'':32}" + "".join(f"{name:>8}" for name in infos) + "".join(f"{name:>16}" for name in scenes))
    for name, changed in (ROWS | {ON_FILM: {}}).items():
        picker = careless if name == ON_FILM else careful
        with patch.dict(vars(selection), changed):
            cells = []
            for set_name, info in infos.items():
                data = read_set(args.folder / set_name, info)
                numbers = measure(picker, data, info["diameter_px"] * info["pixel_size"], info["diameter_px"] / 2)
                cells.append(f"{numbers['F1']:8.3f}")
            cells += [f"{scored(picker, found):>16}" for found in scenes.values()]
        print(f"{name:32}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
