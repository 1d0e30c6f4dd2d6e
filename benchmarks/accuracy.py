"""Accuracy of the default model on labelled micrographs, as `cryotx pick` runs it.

Usage: python benchmarks/accuracy.py FOLDER [--sets NAME ...] [--weights NAME|FILE] [--full]
       python benchmarks/accuracy.py --simulated N [--weights NAME|FILE]

FOLDER holds data sets in the CryoPPP layout and datasets.json, which gives for each of them `pixel_size` (Å),
`diameter_px` and `edge_unlabelled_px` (the border that the labellers left out). Picks and labels are matched one to
one within half a diameter, nearest pairs first, and counted over the whole set. `own` is what the command keeps by
itself, `best` the highest F1 over all cuts of the score. With --full also: the diameter estimated, 25 % too small and
25 % too large, the dense map without decoder, and random points.

With --simulated, N micrographs of the training's own simulator instead, of structures that no training seed draws, 640
px of network scale wide and with all marks of cameras and software: what is missing on real data beyond the difficulty
of the task itself. `dup` is the share of detections above the cut that lie within half a diameter of a better one,
before the minimum distance removes them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.agreement import average_precision, match
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import find_labelled_micrographs
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.detector.diameter_estimate import estimate_diameter
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER
from cryotx_cli.micrographs.micrograph import Micrograph, find_micrographs, read_micrograph
from cryotx_cli.runs.selection import ExpectedF1, choose
from cryotx_cli.simulator.camera import develop
from cryotx_cli.simulator.conditions import draw_conditions
from cryotx_cli.simulator.micrograph import simulate_micrograph
from cryotx_cli.simulator.structures import Structure, procedural_structure
from cryotx_cli.training.center.calibration import expected_calibration_error
from machine import describe_machine
from scoring import COLUMNS, Scene, judge, summary

HELD_OUT_SEED, _SIMULATED_SIDE = 7_000_003, 640


@dataclass(frozen=True)
class Labelled:
    """One micrograph with its labels inside the labelled area, all in px."""

    micrograph: Micrograph
    truth: np.ndarray
    edge: float

    def labelled_area(self, points: np.ndarray) -> NDArray[np.bool_]:
        size = np.array(self.micrograph.image.shape[::-1])
        inside: NDArray[np.bool_] = np.all((points >= self.edge) & (points <= size - self.edge), axis=1)
        return inside


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
    scores, hits = [], []
    sizes: list[float] = []
    total = sum(len(one.truth) for one in data)
    for one in data:
        found = candidates(picker, one, diameter)
        kept = found.select(choose(found, ExpectedF1()))
        kept = kept.select(one.labelled_area(kept.centres))
        own_hits += int((match(kept.centres, one.truth, radius_px) >= 0).sum())
        own_picks += len(kept)
        sizes.extend(kept.diameters.tolist())
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


def simulated_scenes(count: int) -> Iterator[Scene]:
    """Whole micrographs as the calibration's crops are drawn: diameters of 24 network px, times or by up to 1.25."""
    for number in range(count):
        yield simulated_scene(number)


def simulated_scene(number: int, clean: bool = False) -> Scene:
    """Return one of them; a clean one has nothing but particles and noise."""
    rng = np.random.default_rng([HELD_OUT_SEED, 1_000_000 + number])
    structures = simulated_structures()
    structure, distractor = (structures[i] for i in rng.integers(len(structures), size=2))
    diameter = structure.diameter / 1.25 ** rng.uniform(-1, 1)  # what the user says
    pixel_size = diameter / PIXELS_PER_DIAMETER
    shape = (_SIMULATED_SIDE, _SIMULATED_SIDE)
    conditions = draw_conditions(rng)
    if clean:
        conditions = replace(conditions, soup=0.0, fragments=0.0, junk=0.0, film=0.0, artefacts=0.0)
    made = simulate_micrograph(structure, distractor, conditions, shape, pixel_size, rng)
    image = np.ascontiguousarray(develop(made.image, rng), np.float32)
    return Scene(Micrograph(image, pixel_size, Path(f"simulated {number}")), made.centres, made.ignored, diameter)


@cache
def simulated_structures() -> list[Structure]:
    rng = np.random.default_rng(HELD_OUT_SEED)
    return [procedural_structure(rng) for _ in range(40)]


def report_simulated(picker: Picker, count: int) -> None:
    judged = [judge(picker, scene) for scene in simulated_scenes(count)]
    print(f"{'simulated':>10}{'particles':>11}" + "".join(f"{name:>7}" for name in COLUMNS))
    numbers = "".join(f"{value:7.3f}" for value in summary(judged).values())
    print(f"{len(judged):10d}{sum(one.wanted for one in judged):11d}{numbers}")


def chance(data: list[Labelled], radius_px: float) -> tuple[float, float, float]:
    """Precision, recall and F1 of random points, 1.3 times as many as labels and at least 1.6 radii apart."""
    rng = np.random.default_rng(0)
    hits = picks = total = 0
    for one in data:
        upper = np.array(one.micrograph.image.shape[::-1]) - one.edge
        points: list[np.ndarray] = []
        for point in rng.uniform(one.edge, upper, (30_000, 2)):
            if len(points) == round(1.3 * len(one.truth)):
                break
            if not points or np.linalg.norm(np.array(points) - point, axis=1).min() > 1.6 * radius_px:
                points.append(point)
        hits += int((match(np.array(points), one.truth, radius_px) >= 0).sum())
        picks, total = picks + len(points), total + len(one.truth)
    return hits / picks, hits / total, 2 * hits / (picks + total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--simulated", type=int, metavar="N", help="score N simulated micrographs instead")
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    if (args.folder is None) == (args.simulated is None):
        parser.error("give either FOLDER or --simulated N")
    print(describe_machine("torch", "numpy"))
    checkpoint, device = load_checkpoint(args.weights), resolve_device(args.device)
    picker = Picker(checkpoint, device)
    if args.simulated is not None:
        report_simulated(picker, args.simulated)
        return
    dense = Picker(replace(checkpoint, use_decoder=not checkpoint.use_decoder), device)
    other = "dense map only" if checkpoint.use_decoder else "with decoder"
    print(f"{'set':8}{'diameter':>16}" + "".join(f"{n:>7}" for n in ("P", "R", "F1", "best", "AP", "ECE", "size")))
    for name, info in json.loads((args.folder / "datasets.json").read_text()).items():
        if (args.sets and name not in args.sets) or not (args.folder / name).is_dir():
            continue
        data = read_set(args.folder / name, info)
        known, radius = info["diameter_px"] * info["pixel_size"], info["diameter_px"] / 2
        runs = [(picker, f"{known:.0f} Å", known)]
        if args.full:
            files = find_micrographs([one.micrograph.source for one in data])
            auto = estimate_diameter(files, info["pixel_size"], picker).value
            runs += [(picker, f"auto {auto:.0f} Å", auto), (picker, "-25 %", 0.75 * known)]
            runs += [(picker, "+25 %", 1.25 * known), (dense, other, known)]
        for which, label, diameter in runs:
            numbers = measure(which, data, diameter, radius)
            print(f"{name:8}{label:>16}" + "".join(f"{v:7.3f}" for v in numbers.values()), flush=True)
        if args.full:
            print(f"{name:8}{'random points':>16}" + "".join(f"{v:7.3f}" for v in chance(data, radius)), flush=True)


if __name__ == "__main__":
    main()
