"""Picks where nobody wants any: on support film, and on a micrograph without particles.

    python benchmarks/unwanted.py FOLDER [--empty MICROGRAPH] [--simulated N] [--weights default ...]

FOLDER is that of accuracy.py. Four of its micrographs of EMPIAR-10017 show the film around the hole; the edge of the
hole is a circle through three points that were read off the pictures, and film is what lies at least a particle's
radius outside it. MICROGRAPH is one without particles, picked at hundreds of diameters, for a few more Å can turn
guesses into picks; where its header does not know, a pixel is taken to have 6 Å. Picks are those that the command keeps
by itself, and below that with --on-film. `taken for film` are labels of each set where the film finder sees film: of a
set without film there should be none. With --simulated, for each of several widths of N micrographs with and N without
film of the training's simulator, of structures that no training seed draws: shares of particles taken for film where
there is none, and of cells of film and of ice taken for film where film covers 0.02 to 0.6.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree

from accuracy import HELD_OUT_SEED, Labelled, candidates, read_set
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.film import CELL, FilmFinder, film_at, film_probability
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, normalise
from cryotx_cli.micrographs.micrograph import read_header, read_micrograph
from cryotx_cli.runs.selection import ExpectedF1, choose
from cryotx_cli.simulator.camera import develop
from cryotx_cli.simulator.conditions import draw_conditions
from cryotx_cli.simulator.micrograph import simulate_micrograph
from cryotx_cli.simulator.structures import procedural_structure
from machine import describe_machine

SET, DIAMETER_PX, PIXEL_SIZE, EDGE_PX = "10017", 108, 1.77, 131
EDGES = {  # three points on the edge of the hole, px of a picture that is 310 px wide
    "Falcon_2012_06_12-14_33_35_0": ((252, 305), (280, 262), (305, 215)),
    "Falcon_2012_06_12-15_30_21_0": ((2, 160), (70, 70), (250, 12)),
    "Falcon_2012_06_12-15_53_09_0": ((218, 305), (255, 275), (303, 235)),
    "Falcon_2012_06_12-16_59_12_0": ((25, 15), (4, 90), (22, 298)),
}
PICTURE = 310
DIAMETERS = range(60, 1501, 6)  # Å
FEW = 5
SIDES = (96, 160, 256, 384, 512, 768)  # network px, 24 a diameter


def on_film(points: np.ndarray, name: str, width: int) -> np.ndarray:
    """Tell which of (n, 2) points in px lie on the film of a micrograph; (n,) bool."""
    edge = np.array(EDGES[name], float) * width / PICTURE
    # The centre has the same distance to all three: 2 (b - a) . c = b² - a², for two of the pairs.
    centre = np.linalg.solve(2 * (edge[1:] - edge[0]), (edge[1:] ** 2).sum(1) - (edge[0] ** 2).sum())
    radius = np.linalg.norm(edge[0] - centre)
    return np.asarray(np.linalg.norm(points - centre, axis=1) > radius + DIAMETER_PX / 2)


def kept(found: Particles) -> Particles:
    return found.select(choose(found, ExpectedF1()))


def picks_on_film(picker: Picker, film: dict[str, Labelled]) -> str:
    counts, labelled = [], 0
    for name, one in film.items():
        centres = kept(candidates(picker, one, DIAMETER_PX * PIXEL_SIZE)).centres
        centres = centres[on_film(centres, name, one.micrograph.image.shape[1])]
        counts.append(len(centres))
        labelled += int((cKDTree(one.truth).query(centres)[0] <= DIAMETER_PX / 2).sum()) if len(centres) else 0
    return f"picks {counts}, {sum(counts)} in all, {labelled} of them on a label"


def labels_taken_for_film(picker: Picker, folder: Path) -> str:
    if picker.film_finder is None:
        return "none"
    parts = []
    for name, info in json.loads((folder / "datasets.json").read_text()).items():
        labels = taken = 0
        for one in read_set(folder / name, info):
            prepared = picker.prepare(one.micrograph, info["diameter_px"] * info["pixel_size"])
            scale = np.array(prepared.shape[::-1]) / np.array(one.micrograph.image.shape[::-1])
            film = film_probability(picker.film_finder, prepared)
            taken += int((film_at(film, (one.truth + 0.5) * scale) > 0).sum())
            labels += len(one.truth)
        parts.append(f"{taken} of {labels} ({name})")
    return ", ".join(parts)


def film_on_simulations(finder: FilmFinder, count: int) -> None:
    rng = np.random.default_rng(HELD_OUT_SEED)
    structures = [procedural_structure(rng) for _ in range(40)]
    print(f"  {'simulated':>12}{'particles lost':>16}{'film found':>12}{'ice lost':>10}")
    for side in SIDES:
        lost, found, ice = [], [], []
        for number in range(2 * count):
            rng = np.random.default_rng([HELD_OUT_SEED, 7, side, number])
            structure, other = (structures[i] for i in rng.integers(len(structures), size=2))
            conditions = replace(draw_conditions(rng), film=float(number % 2))
            pixel_size = structure.diameter / PIXELS_PER_DIAMETER
            scene = simulate_micrograph(structure, other, conditions, (side, side), pixel_size, rng)
            seen = film_probability(finder, normalise(develop(scene.image, rng)))
            film = F.avg_pool2d(torch.from_numpy(scene.film)[None], CELL)[0].numpy()
            if number % 2 == 0:
                lost += (film_at(seen, scene.centres[~scene.ignored] + 0.5) > 0).tolist()
            elif 0.02 < (film > 0.5).mean() < 0.6:
                found += (seen[film > 0.5] > 0).tolist()
                ice += (seen[film < 0.05] > 0).tolist()
        shares = [f"{np.mean(one):.4f}" if one else "-" for one in (lost, found, ice)]
        print(f"  {side:9} px{shares[0]:>16}{shares[1]:>12}{shares[2]:>10}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--empty", type=Path)
    parser.add_argument("--simulated", type=int, default=0, metavar="N")
    parser.add_argument("--weights", nargs="+", default=["default"])
    args = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    data = read_set(args.folder / SET, {"pixel_size": PIXEL_SIZE, "edge_unlabelled_px": EDGE_PX})
    film = {one.micrograph.source.stem: one for one in data if one.micrograph.source.stem in EDGES}
    labels = [int(on_film(one.truth, name, one.micrograph.image.shape[1]).sum()) for name, one in film.items()]
    print(f"on the film of {len(film)} micrographs: labels {labels}, {sum(labels)} in all")
    for weights in args.weights:
        checkpoint = load_checkpoint(weights)
        picker = Picker(checkpoint)
        for name, one in ((weights, picker), ("  with --on-film", Picker(replace(checkpoint, film={})))):
            print(f"{name}: {picks_on_film(one, film)}", flush=True)
        print(f"  labels taken for film: {labels_taken_for_film(picker, args.folder)}", flush=True)
        if args.simulated and picker.film_finder is not None:
            film_on_simulations(picker.film_finder, args.simulated)
        if args.empty is not None:
            known = read_header(args.empty).pixel_size
            micrograph = read_micrograph(args.empty, None if known else 6.0)
            counts = {}
            for diameter in DIAMETERS:
                found = picker.pick(micrograph, diameter).with_minimum_distance(diameter / 2 / micrograph.pixel_size)
                counts[diameter] = len(kept(found))
            many = [diameter for diameter, count in counts.items() if count >= FEW]
            most = max(count for count in counts.values() if count < FEW)
            where = (
                f"up to {max(counts.values())} at {len(many)} of {len(counts)} diameters, {many[0]} to {many[-1]} Å,"
                if many
                else "nowhere"
            )
            print(f"  without particles: {where} {FEW} or more, else at most {most}", flush=True)


if __name__ == "__main__":
    main()
