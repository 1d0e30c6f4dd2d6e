"""Runs for reports to show, of candidates at random places."""

from pathlib import Path

import numpy as np

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.report.class_average import ReportClass, ReportClasses
from cryotx_cli.report.model import ReportMicrograph, ReportRun
from cryotx_cli.runs.false_discovery import false_discovery
from cryotx_cli.runs.settled import settle

CONFIG = PickConfig(diameter=120.0, threshold=0.5)
HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">&amp;.mrc'


def settled(config):
    return settle(config, estimate=lambda: 0.0, is_bright=lambda diameter: False)


def run_of(config=CONFIG, folder="particles", **more):
    return ReportRun(Path(f"{folder}.star"), Path(folder), settled(config), **more)


def compared(micrographs):
    """What decoys say of them if noise gives as many candidates, but of low scores."""
    real = [one.candidates.scores for one in micrographs if one.candidates is not None]
    return false_discovery(real, [0.4 * scores for scores in real], 1.0)


def particles(count, seed=0, width=4000, height=3000):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.uniform(0, 1, count - count // 4), rng.integers(0, 101, count // 4) / 100])
    centres = rng.uniform((-0.5, -0.5), (width - 0.5, height - 0.5), (count, 2))
    return Particles(centres, scores, rng.uniform(60, 100, count), 1.5)


def micrograph(name, count=80, seed=0, threshold=0.5, **more):
    found = particles(count, seed)
    picks = int(np.count_nonzero(found.scores >= threshold))
    return ReportMicrograph(name, found, 3000, 4000, picks, **more)


def said(i):
    return (f"{30 - 3 * i} Å", "agrees") if i else ("noise", "noise")


def classes_of(names, images=5, dropped=(), seed=0):
    """Classes of candidates at random: 1 is noise, and what auto would drop; most candidates are in one."""
    rng = np.random.default_rng(seed)
    averages = rng.normal(0, 1, (images, 64, 64))
    rows = [
        ReportClass(i + 1, average, 0.5 + 0.05 * i, 30.0 - 3 * i if i else None, *said(i), suggested=i == 0)
        for i, average in enumerate(averages)
    ]

    def numbers_of(name, candidates):
        draw = np.random.default_rng([seed, names.index(name)])
        return draw.integers(0, images + 1, len(candidates))

    return ReportClasses(tuple(rows), 3.0, numbers_of, frozenset(dropped))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
