"""Training runs in miniature, one for each way of training: four steps, a few seconds.

``python short_runs.py WAY FOLDER`` takes them in a process of its own, saves a state after the second step alone, and
kills itself after the third.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from cryotx_cli.config import (
    AdaptConfig,
    CenterTrainConfig,
    CryotransformerConfig,
    CryotransformerTrainConfig,
    FilmTrainConfig,
    load_train_config,
)
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.coco import image_file, labelled_image, write_coco
from cryotx_cli.datasets.cryoppp import write_labels
from cryotx_cli.detector.cryotransformer.network import DetrConfig
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.simulator.structures import Structure
from cryotx_cli.training import run
from cryotx_cli.training.center import adapt_data, data, film
from cryotx_cli.training.center import train as center
from cryotx_cli.training.center.data import simulated_crop
from cryotx_cli.training.cryotransformer.train import train_detr
from cryotx_cli.training.progress import StepReport
from cryotx_cli.workflows.train import train

Start = Callable[..., Iterator[StepReport]]

_COMMON = {"batch_size": 2, "seed": 5, "device": "cpu"}
_SIMULATED = {**_COMMON, "steps": 4, "workers": 0, "procedural_structures": 2, "validate_every": 4}
_TINY = DetrConfig(
    backbone="resnet18", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=1, dim_feedforward=16, num_queries=8
)
_SMALL_IMAGES = CryotransformerConfig(flip=False, crop=False, short_sides=(64, 64), long_side=64)


def blob(rng: np.random.Generator) -> Structure:
    """A structure that is quickly made."""
    points = rng.normal(0, rng.uniform(20, 50), (300, 3))
    return Structure.from_beads(points, np.full(300, 3000.0), "blob", rng)


def small_crop(structures, rng, size=256, *arguments):
    return simulated_crop(structures, rng, 64, *arguments)


def shrink(put: Callable[[object, str, object], None]) -> None:
    """Make every way of training quick; `put` is what `setattr` is, or that of ``monkeypatch``."""
    put(data, "procedural_structure", blob)
    put(adapt_data, "procedural_structure", blob)
    for module in (center, data, adapt_data):
        put(module, "simulated_crop", small_crop)
    for name, value in {"_VALIDATION_CROPS": 2, "_CALIBRATION_CROPS": 16, "_NORM_BATCHES": 2}.items():
        put(center, name, value)
    put(adapt_data, "_SIMULATED_CROPS", 3)
    put(film, "_SIDES", (128, 160))
    put(film, "_VALIDATION", 4)
    put(run, "LOG_EVERY", 1)


def disc_micrograph(seed: int, side: int = 200, diameter: float = 24.0, pixel_size: float = 5.0):
    """Noise with nine dark discs, and where they are."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (side, side)).astype(np.float32)
    y, x = np.mgrid[:side, :side]
    grid = np.array([0.2, 0.5, 0.8]) * side
    centres = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2) + rng.uniform(-4, 4, (9, 2))
    for cx, cy in centres:
        image -= 2.0 * ((x - cx) ** 2 + (y - cy) ** 2 < (diameter / 2) ** 2)
    return image, Particles(centres, np.ones(9), np.full(9, diameter), pixel_size)


def write_labelled_tree(folder: Path) -> Path:
    """CryoPPP tree of two labelled micrographs."""
    for number in range(2):
        image, particles = disc_micrograph(number)
        path = folder / "lab" / "micrographs" / f"m{number}.mrc"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_micrograph(path, image, particles.pixel_size)
        write_labels(folder / "lab", path, particles, len(image))
    return folder


def write_coco_folder(folder: Path) -> Path:
    """COCO folder of four images to learn from and two to judge by."""
    for split, count in (("train", 4), ("val", 2)):
        images = []
        for number in range(count):
            image, particles = disc_micrograph(number + 10 * (split == "val"), side=96, diameter=12.0)
            path = image_file(folder, split, f"1/m{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), (150 + 25 * image).clip(0, 255).astype(np.uint8))
            images.append(labelled_image(f"1/m{number}.png", (96, 96), particles, "1"))
        write_coco(folder, split, images, denoised=True)
    return folder


def _center(folder: Path) -> Start:
    return partial(_run, CenterTrainConfig(**_SIMULATED))


def _film(folder: Path) -> Start:
    return partial(_run, FilmTrainConfig(**_SIMULATED))


def _adapting(folder: Path) -> Start:
    tree = write_labelled_tree(folder / "tree")
    return partial(_run, AdaptConfig(data=tree, steps=4, procedural_structures=2, validate_every=4, **_COMMON))


def _cryotransformer(folder: Path) -> Start:
    config = CryotransformerTrainConfig(
        data=write_coco_folder(folder / "coco"),
        init="scratch",
        epochs=2,
        workers=0,
        cryotransformer=_SMALL_IMAGES,
        **_COMMON,
    )
    return lambda out, **changes: train_detr(out, replace(config, **changes), _TINY)


def _run(config, out: Path, **changes: object) -> Iterator[StepReport]:
    return train(out, replace(config, **changes))


def repeated(settings: Path, out: Path) -> Iterator[StepReport]:
    """Start the run anew whose settings are in a file."""
    config = load_train_config(settings)
    if isinstance(config, CryotransformerTrainConfig):
        return train_detr(out, config, _TINY)
    return train(out, config)


WAYS = {"center": _center, "adapting": _adapting, "film": _film, "cryotransformer": _cryotransformer}
"""What gives, for a folder of data, the function that starts the run in another folder."""


def interrupted(start: Start, out: Path, put: Callable[[object, str, object], None]) -> list[StepReport]:
    """Take three steps, of which the first two are saved and all three are logged; then drop the run."""
    put(run.Stopwatch, "wants_saving", True)
    reports = start(out)
    taken = list(islice(reports, 2))
    put(run.Stopwatch, "wants_saving", False)
    taken.append(next(reports))
    return taken


if __name__ == "__main__":
    torch.set_num_threads(1)
    shrink(setattr)
    interrupted(WAYS[sys.argv[1]](Path(sys.argv[2])), Path(sys.argv[2]) / "run", setattr)
    os.kill(os.getpid(), signal.SIGKILL)
