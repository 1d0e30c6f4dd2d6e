"""Accuracy of the default model on labelled micrographs, as `cryotx pick` runs it.

Usage: python benchmarks/accuracy.py FOLDER [--sets NAME ...] [--weights NAME|FILE] [--full]

FOLDER holds data sets in the CryoPPP layout and datasets.json, which gives for each of them `pixel_size` (Å),
`diameter_px` and `edge_unlabelled_px` (the border that the labellers left out). Picks and labels are matched one to
one within half a diameter, nearest pairs first, and counted over the whole set. `own` is what the command keeps by
itself, `best` the highest F1 over all cuts of the score. With --full also: the diameter estimated, 25 % too small and
25 % too large, the dense map without decoder, calibration error and duplicates.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cryotx_cli.data.cryoppp import find_labelled_micrographs
from cryotx_cli.data.metrics import average_precision, match
from cryotx_cli.data.micrograph import Micrograph, read_micrograph
from cryotx_cli.data.particles import Particles
from cryotx_cli.data.selection import ExpectedF1, choose
from cryotx_cli.detector.checkpoint import load_checkpoint
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.detector.picker import Picker
from cryotx_cli.training.calibration import expected_calibration_error
from machine import describe_machine


@dataclass(frozen=True)
class Labelled:
    """One micrograph with its labels inside the labelled area, all in px."""

    micrograph: Micrograph
    truth: np.ndarray
    edge: float

    def labelled_area(self, points: np.ndarray) -> np.ndarray:
        size = np.array(self.micrograph.image.shape[::-1])
        return ((points >= self.edge) & (points <= size - self.edge)).all(1)


def read_set(folder: Path, info: dict[str, float]) -> list[Labelled]:
    found = []
    for labelled in find_labelled_micrographs(folder):
        if labelled.labels is None:
            continue
        micrograph = read_micrograph(labelled.file, info["pixel_size"])
        one = Labelled(micrograph, labelled.read_particles().centres, info["edge_unlabelled_px"])
        found.append(replace(one, truth=one.truth[one.labelled_area(one.truth)]))
    return found


def candidates(picker: Picker, one: Labelled, diameter: float) -> Particles:
    found = picker.pick(one.micrograph, diameter)
    return found.with_minimum_distance(0.5 * diameter / one.micrograph.pixel_size)


def measure(picker: Picker, data: list[Labelled], diameter: float, radius_px: float) -> dict[str, float]:
    own_hits = own_picks = 0
    scores, hits, sizes = [], [], []
    total = sum(len(one.truth) for one in data)
    for one in data:
        found = candidates(picker, one, diameter)
        kept = found.select(choose(found, ExpectedF1()))
        kept = kept.select(one.labelled_area(kept.centres))
        own_hits += int((match(kept.centres, one.truth, radius_px) >= 0).sum())
        own_picks += len(kept)
        sizes.extend(kept.diameters)
        inside = found.select(one.labelled_area(found.centres)).above(0.02)
        scores.append(inside.scores)
        hits.append(match(inside.centres, one.truth, radius_px) >= 0)
    score, hit = np.concatenate(scores), np.concatenate(hits)
    right = np.cumsum(hit[np.argsort(-score, kind="stable")])
    best = (2 * right / (np.arange(1, len(right) + 1) + total)).max(initial=0.0)
    return {
        "P": own_hits / max(own_picks, 1),
        "R": own_hits / max(total, 1),
        "F1": 2 * own_hits / max(own_picks + total, 1),
        "best": float(best),
        "AP": average_precision(score, hit, total),
        "ECE": expected_calibration_error(score, hit) if len(score) else 0.0,
        "size": float(np.median(sizes)) / (2 * radius_px) if sizes else float("nan"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    picker = Picker(load_checkpoint(args.weights), resolve_device(args.device))
    dense = Picker(replace(picker.checkpoint, use_decoder=not picker.checkpoint.use_decoder), picker.device)
    other = "dense map only" if picker.checkpoint.use_decoder else "with decoder"
    print(f"{'set':8}{'diameter':>16}" + "".join(f"{n:>7}" for n in ("P", "R", "F1", "best", "AP", "ECE", "size")))
    for name, info in json.loads((args.folder / "datasets.json").read_text()).items():
        if (args.sets and name not in args.sets) or not (args.folder / name).is_dir():
            continue
        data = read_set(args.folder / name, info)
        known, radius = info["diameter_px"] * info["pixel_size"], info["diameter_px"] / 2
        runs = [(picker, f"{known:.0f} Å", known)]
        if args.full:
            auto = picker.estimate_diameter([one.micrograph for one in data[:5]])
            runs += [(picker, f"auto {auto:.0f} Å", auto), (picker, "-25 %", 0.75 * known)]
            runs += [(picker, "+25 %", 1.25 * known), (dense, other, known)]
        for which, label, diameter in runs:
            numbers = measure(which, data, diameter, radius)
            print(f"{name:8}{label:>16}" + "".join(f"{v:7.3f}" for v in numbers.values()), flush=True)


if __name__ == "__main__":
    main()
