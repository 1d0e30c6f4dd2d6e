"""What each ingredient of the simulator is worth: short trainings without it, scored on real micrographs.

Usage: python benchmarks/simulator_ablation.py FOLDER --structures DIR [--steps N] [--rows NAME ...] [--out DIR]

FOLDER as for accuracy.py. Every row trains the default architecture from scratch for the same number of steps on the
simulator with one ingredient taken out, and prints the best F1 and the AP for each set. The trainings are short, so the
rows tell which ingredients matter and not what the full recipe reaches; differences below 0.02 are chance. A row whose
weights lie in --out already is only scored.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from accuracy import measure, read_set
from cryotx_cli.config import CenterTrainConfig
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.simulator.conditions import Conditions, draw_conditions
from cryotx_cli.simulator.structures import Structure
from cryotx_cli.training.center import data as training_data
from cryotx_cli.training.center import train as center_training
from machine import describe_machine

_CROP = training_data.simulated_crop
_DATA = "cryotx_cli.training.center.data"


def _with(**changed: Any) -> Callable[..., Conditions]:
    return lambda rng, severity=1.0: replace(draw_conditions(rng, severity), **changed)


def _good_microscopy(rng: np.random.Generator, severity: float = 1.0) -> Conditions:
    return replace(draw_conditions(rng, severity), optics=draw_conditions(rng, 0.0).optics, dqe=0.8)


def _one_scale(
    structures: list[Structure], rng: np.random.Generator, size: int, _: float, *severity: float
) -> training_data.Crop:
    return _CROP(structures, rng, size, 1.0, *severity)


ROWS: dict[str, dict[str, object]] = {
    "everything": {},
    "no processing marks (smoothing, colour, tones)": {f"{_DATA}.develop": lambda image, rng: image},
    "particles always 24 px": {f"{_DATA}.simulated_crop": _one_scale},
    "no dissolved protein, no fragments": {f"{_DATA}.draw_conditions": _with(soup=0.0, fragments=0.0)},
    "no contamination, film, clutter, foreign protein": {
        f"{_DATA}.draw_conditions": _with(junk=0.0, film=0.0, artefacts=0.0)
    },
    "procedural structures only": {},
    "20 structures instead of hundreds": {},
    "a third of the area covered, always": {f"{_DATA}.draw_conditions": _with(coverage=0.33)},
    "good defocus, dose and camera only": {f"{_DATA}.draw_conditions": _good_microscopy},
}


def train(name: str, out: Path, structures: Path, steps: int) -> None:
    few = name.startswith("20 ")
    config = CenterTrainConfig(
        steps=steps,
        seed=5,
        batch_size=4,
        init=None,
        procedural_structures=20 if few else 400,
        structures=None if few or name.startswith("procedural") else structures,
        validate_every=steps,
        workers=0,
    )
    patches = [patch(target, new) for target, new in ROWS[name].items()]
    # Scored at the best cut, so that a rough calibration will do.
    patches += [patch.object(center_training, "_CALIBRATION_CROPS", 60)]
    patches += [patch.object(center_training, "_NORM_BATCHES", 15)]
    for one in patches:
        one.start()
    try:
        for _ in center_training.train_center(out, config):
            pass
    finally:
        for one in patches:
            one.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--structures", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path("runs/simulator_ablation"))
    args = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    infos = json.loads((args.folder / "datasets.json").read_text())
    print(f"{args.steps} steps each; best F1 / AP\n{'without':52}" + "".join(f"{name:>14}" for name in infos))
    for name in args.rows:
        run = args.out / f"{list(ROWS).index(name)}"
        if not (run / "last.safetensors").is_file():
            train(name, run, args.structures, args.steps)
        picker = Picker(load_checkpoint(run / "last.safetensors"))
        cells = []
        for set_name, info in infos.items():
            data = read_set(args.folder / set_name, info)[:5]
            diameter = info["diameter_px"] * info["pixel_size"]
            numbers = measure(picker, data, diameter, info["diameter_px"] / 2)
            cells.append(f"{numbers['best']:.3f} / {numbers['AP']:.3f}")
        print(f"{name:52}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
