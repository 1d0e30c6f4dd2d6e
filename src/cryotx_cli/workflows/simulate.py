"""`cryotx simulate`: a CryoPPP tree of simulated micrographs with their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryotx_cli.config import SimulateConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import write_labels
from cryotx_cli.errors import DatasetError
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.simulator.conditions import draw_conditions
from cryotx_cli.simulator.micrograph import simulate_micrograph
from cryotx_cli.simulator.structures import Structure, procedural_structure, read_structures


@dataclass(frozen=True)
class SimulatedFile:
    """One written micrograph: its file, how many particles are labelled in it, and their diameter in Å."""

    path: Path
    labels: int
    diameter: float


def simulate(out: Path, config: SimulateConfig) -> Iterator[SimulatedFile]:
    """Write `config.proteins` data sets of `config.micrographs` each; yield each micrograph when it is done.

    A data set is a folder `out/simNN` in the CryoPPP layout with float32 MRC files. Particles that nobody could be
    asked to pick (cut by the border, hidden by contamination, in an aggregate, below the noise) have no label. The same
    seed gives the same bytes.

    Raises
    ------
    DatasetError
        If `out` holds files already, or the folder of structures cannot be used.
    MicrographError
        If a file cannot be written.
    """
    if out.is_dir() and any(out.iterdir()):
        raise DatasetError(f"{out}: not empty", "Choose a new folder: simulated and other files are never mixed.")
    bank = _structures(config)
    for protein in range(config.proteins):
        dataset = out / f"sim{protein + 1:02d}"
        for number in range(config.micrographs):
            yield _write_one(dataset, bank[2 * protein], bank[2 * protein + 1], number, protein, config)


def _structures(config: SimulateConfig) -> list[Structure]:
    """Particle and impurity of each data set, in turns."""
    rng = np.random.default_rng([config.seed, 0])
    if config.structures is None:
        return [procedural_structure(rng) for _ in range(2 * config.proteins)]
    read = read_structures(config.structures, rng)
    order = rng.permutation(len(read))
    particles = [read[order[i % len(read)]] for i in range(config.proteins)]
    return [s for particle in particles for s in (particle, procedural_structure(rng))]


def _write_one(
    dataset: Path, structure: Structure, impurity: Structure, number: int, protein: int, config: SimulateConfig
) -> SimulatedFile:
    rng = np.random.default_rng([config.seed, 1 + protein, number])
    conditions = draw_conditions(rng, config.severity)
    shape = (config.size, config.size)
    micrograph = simulate_micrograph(structure, impurity, conditions, shape, config.pixel_size, rng)
    path = dataset / "micrographs" / f"{dataset.name}_{number + 1:04d}.mrc"
    wanted = ~micrograph.ignored
    truth = Particles(
        centres=micrograph.centres[wanted],
        scores=np.ones(int(wanted.sum())),
        diameters=2 * micrograph.radii[wanted],
        pixel_size=config.pixel_size,
    )
    write_labels(dataset, path, truth, config.size)
    write_micrograph(path, micrograph.image, config.pixel_size)
    return SimulatedFile(path, len(truth), structure.diameter)
