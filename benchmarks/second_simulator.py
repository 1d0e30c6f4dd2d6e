"""A simulator of another construction than the one the default model learned from, and how well it picks there.

Usage: python benchmarks/second_simulator.py [--structures DIR] [--micrographs 24] [--size 1536] [--weights NAME|FILE]
       python benchmarks/second_simulator.py --out DIR    (also writes a CryoPPP tree)

What a model loses from its own simulator to this one says how much it leans on the ways of the former. Here:

particles   voxel maps, turned in three dimensions and summed along the beam; no beads
specimen    water and film are single scatterers counted in each pixel; soup and broken particles are pieces of maps
optics      a strong, absorbing phase object |F^-1{F[exp(i sigma V - a)] exp(i chi) E}|^2, source and energy spread
camera      Poisson counts of electrons, then the modulation transfer of the camera, 2-4 Å per pixel
dirt        faceted crystals, fractal clouds, and film around holes with a ragged rim
placement   random points that push each other apart

Particles under dirt, on film or cut by the border are neither right nor wrong to pick. d' is the signal-to-noise ratio
of the matched filter for a typical particle against a field without particles.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import fft, ndimage

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import write_labels
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.micrographs.micrograph import Micrograph, write_micrograph
from machine import describe_machine
from scoring import COLUMNS, Judged, Scene, judge, summary
from second_microscope import detectability, draw_microscope, expose, record, transfer
from second_specimen import (
    ICE_MEAN_FREE_PATH,
    WATER_DENSITY,
    WATER_POTENTIAL,
    VoxelMap,
    broken,
    dirt,
    paste,
    place,
    projections,
    scatterers,
    soup,
    voxel_maps,
)


@dataclass(frozen=True, eq=False)
class Field:
    """One simulated micrograph with its scene and the circumstances that the table is grouped by."""

    scene: Scene
    name: str
    defocus: float  # µm
    coverage: float  # share of the area under particle discs
    junk: float  # share of the area under film or dirt
    detectability: float  # d'


def simulate(maps: list[VoxelMap], number: int, size: int, seed: int) -> Field:
    """Simulate one micrograph; it depends on the maps, the size, the seed and its number alone."""
    rng = np.random.default_rng([seed, number])
    # Small particles are the hard ones, and large ones the most of those whose maps are at hand.
    likely = np.array([one.diameter**-2.0 for one in maps])
    solid, other = (maps[i] for i in rng.choice(len(maps), 2, p=likely / likely.sum()))
    pixel_size = float(np.clip(solid.diameter / 48, 2.0, 4.0))
    scope, severity = draw_microscope(rng), float(rng.choice([0.0, 0.5, 1.5]))
    margin = int(0.6 * solid.diameter / pixel_size)
    side = int(fft.next_fast_len(size + 2 * margin))
    margin, diameter = (side - size) // 2, solid.diameter / pixel_size
    views = projections(solid, pixel_size, int(np.clip(2e7 / diameter**3, 10, 40)), rng)
    liked = rng.permutation(len(views))[: int(rng.choice([3, len(views)]))]
    covered = float(rng.choice([rng.uniform(0, 0.15), rng.uniform(0.15, 0.4), rng.uniform(0.4, 0.75)]))
    centres = place(side, diameter, int(covered * (side + 2 * diameter) ** 2 / (math.pi / 4 * diameter**2)), rng)

    particles = np.zeros((side, side), np.float32)
    for x, y in centres:
        view = np.rot90(views[rng.choice(liked)], int(rng.integers(4)))
        paste(particles, view * np.float32(rng.uniform(0.8, 1.1)), x, y)
    potential, cover, loss = dirt(side, solid.diameter, pixel_size, severity, rng)
    potential += soup(other, side, pixel_size, rng)
    potential += broken(solid, len(centres), side, pixel_size, rng)
    thickness = math.exp(rng.uniform(math.log(250), math.log(1200)))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    slab = thickness * (1 + rng.uniform(0, 0.6) * (x**2 + y**2) / 2 + rng.uniform(-0.2, 0.2) * x)
    # Water is far from a gas: over distances beyond a molecule it fluctuates that much less.
    water = scatterers(
        slab * WATER_DENSITY * pixel_size**2 * math.exp(rng.uniform(math.log(0.07), math.log(0.6))),
        WATER_POTENTIAL,
        pixel_size,
        rng,
    )
    potential += ndimage.gaussian_filter(water, rng.uniform(2, 5) / pixel_size)
    loss = loss + (slab / (2 * ICE_MEAN_FREE_PATH)).astype(np.float32)

    lens = transfer(scope, side, pixel_size)
    image = record(expose(potential + particles, loss, scope, lens, pixel_size), scope, rng)
    empty = record(expose(potential, loss, scope, lens, pixel_size), scope, rng)
    inner = (slice(margin, margin + size), slice(margin, margin + size))
    at = centres - margin
    inside = ((at >= 0) & (at < size)).all(1)
    near = ((at > -diameter / 4) & (at < size + diameter / 4)).all(1)
    hidden = cover[tuple(np.clip(centres, 0, side - 1).T[::-1])]
    source = Path(f"{number + 1:03d} {solid.name}")
    scene = Scene(
        Micrograph(np.ascontiguousarray(image[inner]), pixel_size, source),
        at[near].astype(float),
        (hidden | ~inside)[near],
        solid.diameter,
    )
    area = math.pi / 4 * diameter**2 * inside.sum() / size**2
    strength = detectability(views, empty, scope, lens, pixel_size)
    return Field(scene, solid.name, scope.defocus / 1e4, float(area), float(cover[inner].mean()), strength)


def write(out: Path, number: int, field: Field) -> None:
    """Write a micrograph and its labels as a data set of its own: each has another particle."""
    dataset, scene = out / f"second{number + 1:03d}", field.scene
    path = dataset / "micrographs" / f"{dataset.name}.mrc"
    wanted = scene.centres[~scene.ignored]
    pixel_size = scene.micrograph.pixel_size
    diameters = np.full(len(wanted), scene.diameter / pixel_size)
    write_labels(
        dataset, path, Particles(wanted, np.ones(len(wanted)), diameters, pixel_size), len(scene.micrograph.image)
    )
    write_micrograph(path, scene.micrograph.image, pixel_size)


GROUPS: dict[str, Callable[[Field], bool]] = {
    "all": lambda field: True,
    "d' below 6": lambda field: field.detectability < 6,
    "d' 6 to 12": lambda field: 6 <= field.detectability < 12,
    "d' from 12": lambda field: field.detectability >= 12,
    "defocus below 1.2 µm": lambda field: field.defocus < 1.2,
    "defocus 1.2 to 2.2 µm": lambda field: 1.2 <= field.defocus < 2.2,
    "defocus from 2.2 µm": lambda field: field.defocus >= 2.2,
    "coverage below 0.15": lambda field: field.coverage < 0.15,
    "coverage 0.15 to 0.4": lambda field: 0.15 <= field.coverage < 0.4,
    "coverage from 0.4": lambda field: field.coverage >= 0.4,
    "dirt below 1 %": lambda field: field.junk < 0.01,
    "dirt 1 to 10 %": lambda field: 0.01 <= field.junk < 0.1,
    "dirt from 10 %": lambda field: field.junk >= 0.1,
    "invented particles": lambda field: field.name == "invented",
}


def rows(judged: list[tuple[Field, Judged]]) -> Iterator[str]:
    yield f"| {'micrographs':22} | {'n':>3} | {'particles':>9} | " + " | ".join(f"{c:>5}" for c in COLUMNS) + " |"
    yield "|---" * (3 + len(COLUMNS)) + "|"
    for label, belongs in GROUPS.items():
        group = [one for field, one in judged if belongs(field)]
        if group:
            numbers = " | ".join(f"{value:5.3f}" for value in summary(group).values())
            yield f"| {label:22} | {len(group):3d} | {sum(one.wanted for one in group):9d} | {numbers} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--structures", type=Path, help="folder of .pdb.gz and .mrc.gz files; none: invented maps alone"
    )
    parser.add_argument("--micrographs", type=int, default=24)
    parser.add_argument("--size", type=int, default=1536, help="side in px of 2 to 4 Å, 48 to a diameter")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="also write the micrographs as a CryoPPP tree")
    args = parser.parse_args()
    print(describe_machine("torch", "numpy", "scipy"))
    maps = voxel_maps(args.structures, np.random.default_rng([args.seed]))
    print(f"{len(maps)} maps, {sum(one.name == 'invented' for one in maps)} of them invented; weights {args.weights}")
    picker = Picker(load_checkpoint(args.weights), resolve_device(args.device))
    judged = []
    for number in range(args.micrographs):
        field = simulate(maps, number, args.size, args.seed)
        if args.out:
            write(args.out, number, field)
        one = judge(picker, field.scene)
        judged.append((field, one))
        print(
            f"{field.scene.micrograph.source!s:20} D {field.scene.diameter:4.0f} Å  defocus {field.defocus:.2f} µm  "
            f"coverage {field.coverage:.2f}  dirt {field.junk:.2f}  d' {field.detectability:5.1f}  "
            f"{one.wanted:4d} particles  F1 {summary([one])['F1']:.3f}",
            flush=True,
        )
    print("\n" + "\n".join(rows(judged)))


if __name__ == "__main__":
    main()
