"""What other formats of numbers change in candidates and picks, beside float32 on the CPU."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.micrograph import Micrograph, read_micrograph
from cryotx_cli.runs.selection import ExpectedF1, choose
from discs import write_micrograph
from gpu_parts.number_formats import formats
from gpu_parts.timing import DIAMETER, say


def run(arguments: argparse.Namespace) -> None:
    checkpoint = load_checkpoint("default")
    on_cpu, there = Picker(checkpoint), Picker(checkpoint, arguments.device)
    say(
        f"{'beside float32 on the CPU':28}{'candidates':>11}{'unmatched':>10}{'score: max':>12}{'mean':>9}"
        f"{'centre':>11}{'picks':>8}{'lost':>6}{'new':>6}"
    )
    for name, group in micrographs(arguments):
        truth = [(image, diameter, *candidates(on_cpu, image, diameter)) for image, diameter in group]
        for kind, context in formats(arguments.device).items():
            with context():
                rows = [
                    compare(known, picks, *candidates(there, image, diameter), diameter / image.pixel_size)
                    for image, diameter, known, picks in truth
                ]
            count, unmatched, highest, mean, shift, picked, lost, new = np.array(rows).T
            say(
                f"{f'{name}, {kind}':28}{count.sum():11.0f}{unmatched.sum():10.0f}{highest.max():12.5f}"
                f"{mean.mean():9.5f}{shift.max():11.4f}{picked.sum():8.0f}{lost.sum():6.0f}{new.sum():6.0f}"
            )


def candidates(picker: Picker, micrograph: Micrograph, diameter: float) -> tuple[Particles, Particles]:
    """Return the candidates half a diameter apart, and the picks among them."""
    apart = picker.pick(micrograph, diameter).with_minimum_distance(diameter / 2 / micrograph.pixel_size)
    return apart, apart.select(choose(apart, ExpectedF1()))


def compare(
    known: Particles, known_picks: Particles, found: Particles, picks: Particles, diameter_px: float
) -> tuple[float, ...]:
    """Candidates, those without a partner, changes of score and centre in diameters, picks, picks lost, picks new."""
    ours, theirs = partners(known, found, 0.1 * diameter_px)
    scores = np.abs(known.scores[ours] - found.scores[theirs])
    shifts = np.hypot(*(known.centres[ours] - found.centres[theirs]).T)
    kept, _ = partners(known_picks, picks, 0.1 * diameter_px)
    unmatched = len(known) + len(found) - 2 * len(ours)
    return (
        len(known),
        unmatched,
        scores.max(initial=0),
        scores.mean() if len(scores) else 0.0,
        shifts.max(initial=0) / diameter_px,
        len(known_picks),
        len(known_picks) - len(kept),
        len(picks) - len(kept),
    )


def partners(first: Particles, second: Particles, reach: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of particles that are nearest to each other and within reach."""
    if not len(first) or not len(second):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    distance, there = cKDTree(second.centres).query(first.centres)
    _, back = cKDTree(first.centres).query(second.centres)
    mutual = (back[there] == np.arange(len(first))) & (distance <= reach)
    return np.flatnonzero(mutual), there[mutual]


def micrographs(arguments: argparse.Namespace) -> Iterator[tuple[str, list[tuple[Micrograph, float]]]]:
    """Yield groups of micrographs with the diameter of their particles in Å."""
    if arguments.real is None:
        with tempfile.TemporaryDirectory() as name:
            paths = [write_micrograph(Path(name) / f"{i}.mrc", arguments.size, DIAMETER, i) for i in range(4)]
            yield "discs", [(read_micrograph(path), DIAMETER) for path in paths]
        return
    for name, about in json.loads((arguments.real / "datasets.json").read_text()).items():
        paths = sorted((arguments.real / name).glob("micrographs/*"))[:4]
        if paths:
            read = [read_micrograph(path, about["pixel_size"]) for path in paths]
            yield name, [(one, about["diameter_px"] * about["pixel_size"]) for one in read]
