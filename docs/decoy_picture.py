"""Draw docs/images/decoy.jpg: a simulated micrograph beside a decoy of it, with what the network finds in both.

Usage: python docs/decoy_picture.py docs/images/decoy.jpg
"""

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.decoy import decoy_from, radial_spectrum
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.report.annotated_image import score_colours
from cryotx_cli.simulator.conditions import draw_conditions
from cryotx_cli.simulator.micrograph import simulate_micrograph
from cryotx_cli.simulator.structures import procedural_structure

SEED, SIDE, ZOOM, GAP = 11, 320, 2, 12
LOWEST = 0.1  # score of what gets a circle


def drawn(image: NDArray[np.float32], found: Particles) -> NDArray[np.uint8]:
    """Show an image as microscopists see it, with a circle in the colour of the score around each candidate."""
    smooth = cv2.GaussianBlur(image, (0, 0), 0.7)
    low, high = np.percentile(smooth, (0.5, 99.5))
    grey = np.clip((smooth - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    picture = cv2.cvtColor(cv2.resize(grey, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    radius = round(ZOOM * PIXELS_PER_DIAMETER / 2)
    for (x, y), colour in zip(found.centres, score_colours(found.scores).tolist(), strict=True):
        cv2.circle(picture, (round(ZOOM * x), round(ZOOM * y)), radius, colour, 2, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)


def main(path: Path) -> None:
    """Draw the picture and say how many candidates it shows."""
    rng = np.random.default_rng(SEED)
    structure, other = procedural_structure(rng), procedural_structure(rng)
    usual = draw_conditions(rng, 0.0)
    conditions = replace(usual, optics=replace(usual.optics, dose=40.0), ice_thickness=400.0, coverage=0.25, junk=0.0)
    pixel_size = structure.diameter / PIXELS_PER_DIAMETER
    made = simulate_micrograph(structure, other, conditions, (SIDE, SIDE), pixel_size, rng)
    micrograph = Micrograph(made.image, pixel_size, path)
    picker = Picker(load_checkpoint("default"))
    image = picker.prepare(micrograph, structure.diameter)
    spectrum = radial_spectrum(image)
    assert spectrum is not None
    halves = []
    for half in (image, decoy_from(spectrum, image.shape, SEED)):
        found = picker.locate(half, micrograph).particles.with_minimum_distance(PIXELS_PER_DIAMETER / 2)
        halves.append(drawn(half, found.above(LOWEST)))
        print(f"{np.sum(found.scores >= LOWEST)} candidates from {LOWEST:g} on, best {found.scores.max(initial=0):.2f}")
    white = np.full((len(halves[0]), GAP, 3), 255, np.uint8)
    cv2.imwrite(str(path), np.hstack([halves[0], white, halves[1]]), [cv2.IMWRITE_JPEG_QUALITY, 55])
    print(f"d' {made.detectability:.1f}, {len(made.centres)} particles; {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
