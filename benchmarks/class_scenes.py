"""Simulated micrographs for classes.py: what every particle is and how it is turned is known, and so is all dirt.

Three kinds: one protein; two proteins of different size; one protein among ice, film and aggregates. A protein lies in
a few views of known shares, each turned in the plane at random and tilted by some six degrees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryotx_cli.averages.crops import Frame, crops_of
from cryotx_cli.coordinates.agreement import match
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.runs.selection import ExpectedF1, choose
from cryotx_cli.simulator import specimen
from cryotx_cli.simulator.conditions import Conditions, draw_conditions
from cryotx_cli.simulator.contamination import contaminate
from cryotx_cli.simulator.micrograph import _background, _detectability, _expose, simulate_micrograph
from cryotx_cli.simulator.structures import Structure, procedural_structure

KINDS = ("one protein", "two proteins", "dirt")
NOTHING, AGGREGATE, DIRT, HIDDEN = -1, -2, -3, -4
"""What a pick is that is none of the views: noise, an aggregate, ice or film or a lump, or a particle under one."""
_SEED, _SIDE, _MICROGRAPHS, _FINE = 8_000_009, 1152, 4, 48  # px a diameter: finer than a crop
_TILT = 0.1  # rad
_SHARES = ((0.5, 0.3, 0.12, 0.08), (0.6, 0.25, 0.1, 0.05), (0.7, 0.2, 0.06, 0.04), (0.35, 0.3, 0.2, 0.15))
_LOWEST = 0.05


@dataclass(frozen=True, eq=False)
class PicksWithTruth:
    """The candidates of the network on the micrographs of one run, as crops.

    Parameters
    ----------
    images, whole
        As `cryotx_cli.averages.crops` cuts them.
    scores
        (n,) of the network.
    kept
        (n,) which of them it would keep by itself.
    kinds
        (n,) view from 0, or one of the numbers above.
    micrographs, places
        (n,) number of each one's micrograph, and (n, 2) its centre there in diameters.
    proteins
        (views,) number of the protein that each view is of.
    rings
        That crops hold.
    detectability
        d' of the matched filter.
    """

    images: NDArray[np.float16]
    whole: NDArray[np.bool_]
    scores: NDArray[np.float64]
    kept: NDArray[np.bool_]
    kinds: NDArray[np.int64]
    micrographs: NDArray[np.int64]
    places: NDArray[np.float64]
    proteins: NDArray[np.int64]
    rings: int
    detectability: float


@dataclass(frozen=True, eq=False)
class _Field:
    micrograph: Micrograph
    centres: NDArray[np.float64]
    kinds: NDArray[np.int64]
    junk: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Views:
    """Draws rotations of a few views; stands for the simulator's own."""

    bases: NDArray[np.float64]
    shares: tuple[float, ...]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Views:
        shares = _SHARES[rng.integers(len(_SHARES))]
        return cls(np.stack([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in shares]), shares)

    def rotations(self, views: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
        tilt = np.zeros((len(views), 3, 3))
        tilt[:, [2, 0, 1], [1, 2, 0]] = rng.normal(0, _TILT, (len(views), 3))
        tilt, _ = np.linalg.qr(tilt - tilt.transpose(0, 2, 1) + np.eye(3))
        angle, spin = rng.uniform(0, 2 * math.pi, len(views)), np.zeros((len(views), 3, 3))
        spin[:, 0, 0], spin[:, 0, 1] = np.cos(angle), -np.sin(angle)
        spin[:, 1, 0], spin[:, 1, 1], spin[:, 2, 2] = np.sin(angle), np.cos(angle), 1
        return np.asarray(spin @ tilt @ self.bases[views], np.float32)


def picks_with_truth(picker: Picker, kind: str, number: int, micrographs: int = _MICROGRAPHS) -> PicksWithTruth:
    """Simulate a run of one kind, and let the network pick it."""
    rng = np.random.default_rng([_SEED, KINDS.index(kind), number])
    structure = procedural_structure(rng)
    other = procedural_structure(rng)
    other = other.scaled(structure.diameter * rng.uniform(0.65, 0.85) / other.diameter)
    proteins = [(structure, _Views.drawn(rng))] + ([(other, _Views.drawn(rng))] if kind == KINDS[1] else [])
    pixel_size = structure.diameter / _FINE
    conditions, strength = _conditions(structure, kind, pixel_size, rng)
    frame, parts = Frame(structure.diameter), []
    for one in _fields(proteins, conditions, kind, pixel_size, micrographs, rng):
        found = picker.pick(one.micrograph, structure.diameter)
        found = found.with_minimum_distance(_FINE / 2).above(_LOWEST)
        cut = crops_of(one.micrograph, found.centres, frame)
        parts.append((cut.images.astype(np.float16), cut.whole, found, _kinds(found, one)))
    return PicksWithTruth(
        np.concatenate([images for images, *_ in parts]),
        np.concatenate([whole for _, whole, *_ in parts]),
        np.concatenate([found.scores for *_, found, _ in parts]),
        np.concatenate([_own(found) for *_, found, _ in parts]),
        np.concatenate([kinds for *_, kinds in parts]),
        np.repeat(np.arange(len(parts)), [len(kinds) for *_, kinds in parts]),
        np.concatenate([found.centres for *_, found, _ in parts]) / _FINE,
        np.repeat(np.arange(len(proteins)), [len(views.shares) for _, views in proteins]),
        frame.rings(pixel_size),
        strength,
    )


def two_proteins(
    number: int, count: int
) -> tuple[float, float, Iterator[tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]]]:
    """Return the diameter of a protein in Å, Å per pixel, and micrographs of it and of another about as large.

    Each has its image, the centres of all particles in px, and which of them are of the first protein.
    """
    rng = np.random.default_rng([_SEED, 98, number])
    structure, other = procedural_structure(rng), procedural_structure(rng)
    other = other.scaled(structure.diameter * rng.uniform(0.9, 1.1) / other.diameter)
    proteins = [(structure, _Views.drawn(rng)), (other, _Views.drawn(rng))]
    pixel_size = structure.diameter / _FINE
    conditions, _ = _conditions(structure, KINDS[1], pixel_size, rng)
    fields = _fields(proteins, conditions, KINDS[1], pixel_size, count, rng)
    first = len(proteins[0][1].shares)
    return structure.diameter, pixel_size, ((one.micrograph.image, one.centres, one.kinds < first) for one in fields)


def _own(found: Particles) -> NDArray[np.bool_]:
    return choose(found, ExpectedF1())


def _conditions(
    structure: Structure, kind: str, pixel_size: float, rng: np.random.Generator
) -> tuple[Conditions, float]:
    """Draw a good day with a d' of 10 to 30; shot noise is most of the noise."""
    drawn = replace(draw_conditions(rng, 0.3), artefacts=0.0, fragments=0.0, junk=0.0, film=0.0)
    drawn = replace(drawn, coverage=rng.uniform(0.12, 0.35), optics=replace(drawn.optics, drift=0.0, phase_shift=0.0))
    if kind == KINDS[2]:
        drawn = replace(drawn, junk=2.0)
    wanted = math.exp(rng.uniform(math.log(10), math.log(30)))
    for _ in range(5):
        potential = torch.zeros(384, 384)
        ratio = _expose(
            potential, potential, torch.ones(384, 384), structure, drawn, pixel_size, torch.Generator().manual_seed(1)
        )[1]
        strength = _detectability(structure, ratio, (384, 384), pixel_size, rng)
        dose = float(np.clip(drawn.optics.dose * (wanted / strength) ** 2, 0.3, 80))
        drawn = replace(drawn, optics=replace(drawn.optics, dose=dose))
    return drawn, strength


def _fields(
    proteins: list[tuple[Structure, _Views]],
    conditions: Conditions,
    kind: str,
    pixel_size: float,
    count: int,
    rng: np.random.Generator,
) -> Iterator[_Field]:
    for number in range(count):
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        shape = (_SIDE, _SIDE)
        potential = torch.zeros(shape)
        # Film on every second one.
        here = replace(conditions, film=1.0 if kind == KINDS[2] and number % 2 else 0.0)
        dirt = contaminate(shape, proteins[0][0], here, pixel_size, rng, noise)
        phase, junk = dirt.phase, dirt.junk
        centres, kinds = _particles(potential, proteins, conditions.coverage, pixel_size, rng)
        if kind == KINDS[2]:
            balls, clump = torch.zeros(shape), rng.random(2) * _SIDE
            specimen.ice_balls(balls, junk, int(rng.integers(4, 12)), _FINE * 0.25, _FINE * 0.8, pixel_size, rng)
            # An ice ball's potential acts as that of protein does.
            potential += balls
            clump = clump + rng.normal(size=(int(rng.integers(10, 25)), 2)) * _FINE * 1.4
            structure, views = proteins[0]
            _project(potential, structure, clump, views.rotations(rng.integers(4, size=len(clump)), rng), pixel_size)
            near = cKDTree(clump).query(centres)[0] < 0.7 * _FINE if len(centres) else np.zeros(0, bool)
            centres = np.concatenate([centres, clump])
            kinds = np.concatenate([np.where(near, AGGREGATE, kinds), np.full(len(clump), AGGREGATE)])
        background = _background(shape, conditions, rng) * dirt.transmission
        image, _ = _expose(potential, phase, background, proteins[0][0], here, pixel_size, noise)
        at = centres.round().astype(int).clip(0, _SIDE - 1)
        hidden = junk.numpy()[at[:, 1], at[:, 0]] > 0.5
        kinds = np.where(hidden & (kinds >= 0), HIDDEN, kinds)
        source = Path(f"{number}.mrc")
        micrograph = Micrograph(np.ascontiguousarray(image.numpy(), np.float32), pixel_size, source)
        yield _Field(micrograph, centres, kinds, junk.numpy())


def _particles(
    potential: torch.Tensor,
    proteins: list[tuple[Structure, _Views]],
    coverage: float,
    pixel_size: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    height, width = potential.shape
    centres = specimen.place_particles(height, width, _FINE, coverage, rng, margin=0.0)
    which = rng.integers(len(proteins), size=len(centres))
    kinds, first = np.zeros(len(centres), np.int64), 0
    for number, (structure, views) in enumerate(proteins):
        own = np.flatnonzero(which == number)
        seen = rng.choice(len(views.shares), len(own), p=views.shares)
        _project(potential, structure, centres[own], views.rotations(seen, rng), pixel_size)
        kinds[own] = first + seen
        first += len(views.shares)
    return centres, kinds


def _project(
    potential: torch.Tensor,
    structure: Structure,
    centres: NDArray[np.float64],
    rotations: NDArray[np.float32],
    pixel_size: float,
) -> None:
    with patch.object(specimen, "random_rotations", lambda *_: rotations):
        specimen.project(potential, structure, centres, pixel_size, np.random.default_rng(len(centres)))


def _kinds(found: Particles, field: _Field) -> NDArray[np.int64]:
    """Return what each pick is: the particle that it is nearest to within half a diameter, or dirt, or nothing."""
    partner = match(found.centres, field.centres, _FINE / 2)
    at = found.centres.round().astype(int).clip(0, _SIDE - 1)
    reach = int(0.25 * _FINE)
    dirty = np.array(
        [field.junk[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].max() > 0.5 for x, y in at],
        bool,
    )
    kinds = np.where(dirty, DIRT, NOTHING)
    return np.asarray(np.where(partner >= 0, field.kinds[partner], kinds), np.int64)


def empty_micrographs(number: int) -> tuple[float, Iterator[Micrograph]]:
    """Return a diameter in Å, and micrographs of ice without particles in which it is looked for."""
    rng = np.random.default_rng([_SEED, 99, number])
    structure = procedural_structure(rng)
    pixel_size = structure.diameter / _FINE

    def made() -> Iterator[Micrograph]:
        conditions = replace(draw_conditions(rng, 0.3), artefacts=0.0, fragments=0.0, junk=0.0, film=0.0, coverage=0.0)
        for one in range(_MICROGRAPHS):
            scene = simulate_micrograph(structure, structure, conditions, (_SIDE, _SIDE), pixel_size, rng)
            yield Micrograph(scene.image, pixel_size, Path(f"{one}.mrc"))

    return structure.diameter, made()
