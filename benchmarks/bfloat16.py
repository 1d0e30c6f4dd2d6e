"""What ``cryotx pick --precision bfloat16`` changes in picks, and that it takes fewer processor seconds.

    python benchmarks/bfloat16.py FOLDER [FOLDER ...] [--sets NAME ...] [--device cpu] [--weights NAME|FILE]

FOLDERs hold data sets in the CryoPPP layout and datasets.json, as those of accuracy.py. Each set is picked in either
precision, with decoys of the same: picks and their F1. Then candidates are compared one by one, those less than a tenth
of a diameter apart: the largest and the mean difference of their scores, and picks of each micrograph alone that the
other precision has not got. Seconds are those of the runs, with PyTorch loaded.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from accuracy import Labelled, read_set
from cryotx_cli.config import PickConfig
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.device import resolve_device
from draws import run
from gpu_parts.precision import candidates, compare
from machine import describe_machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--sets", nargs="+", help="these only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--weights", default="default")
    arguments = parser.parse_args()
    print(f"{describe_machine('torch', 'numpy')}; {torch.get_num_threads()} threads")
    print("| set | picks | F1 | CPU s | score: max | mean | picks lost | new |")
    print("|---" * 8 + "|")
    checkpoint, device = load_checkpoint(arguments.weights), resolve_device(arguments.device)
    exact, coarse = Picker(checkpoint, device), Picker(checkpoint, device, "bfloat16")
    for folder in arguments.folders:
        for name, info in json.loads((folder / "datasets.json").read_text()).items():
            if not arguments.sets or name in arguments.sets:
                print(f"| {name} | {row(exact, coarse, read_set(folder / name, info), info)} |", flush=True)


def row(exact: Picker, coarse: Picker, data: list[Labelled], info: dict[str, float]) -> str:
    diameter = info["diameter_px"] * info["pixel_size"]
    config = PickConfig(diameter=diameter, pixel_size=info["pixel_size"], images=False, report=False, no_classes=True)
    picks, f1, seconds = [], [], []
    for picker in (exact, coarse):
        begun = time.process_time()
        count, agreement, _ = run(picker, data, config, info["diameter_px"] / 2, 0)
        picks.append(f"{count}")
        f1.append(f"{agreement:.3f}")
        seconds.append(f"{time.process_time() - begun:.1f}")
    images = [one.micrograph for one in data]
    changes = np.array(
        [
            compare(*candidates(exact, one, diameter), *candidates(coarse, one, diameter), info["diameter_px"])
            for one in images
        ]
    )
    _, _, highest, mean, _, _, lost, new = changes.T
    cells = [*(" and ".join(pair) for pair in (picks, f1, seconds)), f"{highest.max():.3f}", f"{mean.mean():.4f}"]
    return " | ".join([*cells, f"{lost.sum():.0f}", f"{new.sum():.0f}"])


if __name__ == "__main__":
    main()
