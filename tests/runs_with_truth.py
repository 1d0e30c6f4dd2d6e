"""A run of five micrographs whose truth is known, and its report."""

import base64
from dataclasses import replace

import mrcfile
import numpy as np

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.csv import write_csv
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.workflows.evaluate import evaluate, evaluation_report
from cryotx_cli.workflows.pick import start_pick
from quick_picker import PickerWithoutNetwork
from report_in_browser import Page

DIAMETER = 24.0  # px; 2 Å each
SHAPE = (400, 560)
NAMES = ["m0", "m1", "m2", "m3", "m4"]


def true_centres(i):
    grid = np.array([[x, y] for x in range(50, 540, 60) for y in range(50, 380, 60)], float)
    return grid + np.random.default_rng(i).uniform(-8, 8, grid.shape)


class StubPicker(PickerWithoutNetwork):
    """Finds most of the particles and as much else, known by the brightness of the micrograph."""

    fingerprint = "stub"

    def locate(self, prepared, micrograph):
        i = round(float(np.median(prepared)) / 100)
        rng, true = np.random.default_rng(100 + i), true_centres(i)
        near = true[rng.random(len(true)) < 0.9]
        points = np.vstack([near + rng.normal(0, 4, near.shape), rng.uniform(0, SHAPE[::-1], (50, 2))])
        scores = np.concatenate([rng.beta(5, 2, len(near)), rng.beta(2, 5, 50)])
        if i == 4:
            points, scores = points[:3], np.full(3, 0.01)  # a micrograph without a pick
        return Located(Particles(points, scores, np.full(len(points), DIAMETER), micrograph.pixel_size))


def pick(data, out, **settings):
    settings = {"diameter": DIAMETER * 2, "images": False, **settings}
    list(start_pick([data / "mics"], out, replace(PickConfig(), **settings), StubPicker()))


def reported(out, picks, truth, **more):
    """Write a report; return its page, the evaluation and the messages."""
    result = evaluate(picks, truth)
    report = evaluation_report(result, out, picks, truth, **more)
    names = list(report)
    assert len(names) == len(report)
    return Page(out), result, [event.text for event in report.events]


def hits_at_cuts(page):
    return np.frombuffer(base64.b64decode(page.data["truth"]["hits_at_cuts"]), "<u2").reshape(-1, 101)


def other_picks(i, scores=None):
    """Return what another program might have picked there."""
    rng, points = np.random.default_rng(i), true_centres(i)[10:] + 3
    points = np.vstack([points, rng.uniform(0, SHAPE[0], (9, 2))])
    return Particles(points, rng.random(len(points)) if scores is None else scores(rng, len(points)), points[:, 0], 2.0)


def write_run(folder):
    """Write five micrographs of dark discs, their truth, and a run that picked them."""
    (folder / "mics").mkdir()
    rows, columns = np.indices(SHAPE)
    for i, name in enumerate(NAMES):
        image = np.random.default_rng(i).normal(100 * i, 4, SHAPE)
        for x, y in true_centres(i):
            image[np.hypot(columns - x, rows - y) < DIAMETER / 2] -= 12
        with mrcfile.new(folder / f"mics/{name}.mrc") as mrc:
            mrc.set_data(image.astype(np.float32))
            mrc.voxel_size = 2.0
        truth = Particles(true_centres(i), np.ones(54), np.full(54, DIAMETER), 2.0)
        write_csv(folder / f"truth/{name}.csv", truth)
    pick(folder, folder / "p.star", threshold=0.5)
