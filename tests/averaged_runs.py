"""Finished runs whose picks are in classes at random: what follows from classes, without averaging."""

import zlib

import mrcfile
import numpy as np

from cryotx_cli.averages.output import Assigned, ClassRow, write_classes
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.entry import Alignments
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.pick import start_pick
from quick_picker import PickerWithoutNetwork

CLASSES = 4


class InNoise(PickerWithoutNetwork):
    """Random candidates, with better scores in micrographs than in noise, which has no brightness."""

    fingerprint = "stub"
    compares_with_noise = True

    def locate(self, prepared, micrograph):
        rng = np.random.default_rng(zlib.crc32(prepared.tobytes()))
        height, width = prepared.shape
        scores = rng.uniform(0, 1, 80) ** (40 if abs(np.median(prepared)) < 5 else 1)
        centres = rng.uniform((0, 0), (width, height), (80, 2))
        return Located(Particles(centres, scores, np.full(80, 10.0), micrograph.pixel_size))


def average(folder, count=CLASSES):
    """Put classes at random beside a run, the last one noise of a low score."""
    run = read_run(folder)
    rng = np.random.default_rng(4)
    picks = []
    for row in run.picked:
        particles = run.picks(row, run.candidates(row)[1]).particles
        nothing = np.zeros(len(particles))
        numbers = rng.integers(1, count + 1, len(particles))
        picks.append(Assigned(row.micrograph, particles, Alignments(numbers, nothing, np.zeros((len(particles), 2)))))
    rows = [
        ClassRow(number, 10, 0.25, 0.02 if number == count else 0.9, None if number == count else 20.0 - number, 0.5)
        for number in range(1, count + 1)
    ]
    images = rng.normal(0, 1, (count, 64, 64))
    write_classes(folder, "classes/classes.mrcs", images, 2.5, rows, picks, {}, {})


def picked_and_averaged(folder):
    """Pick three micrographs of noise into ``p`` of a folder, and put classes beside the picks."""
    (folder / "mics").mkdir()
    for i in range(3):
        with mrcfile.new(folder / f"mics/m{i}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(i).normal(50, 1, (256, 320)).astype(np.float32))
            mrc.voxel_size = 2.0
    pick(folder)
    average(folder / "p")


def pick(folder):
    """Pick the micrographs of a folder into ``p``, and leave classes alone."""
    config = PickConfig(diameter=20.0, threshold=0.4, images=False, no_classes=True)
    list(start_pick([folder / "mics"], folder / "p.star", config, InNoise()))
