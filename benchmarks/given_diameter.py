"""What the network says of particle sizes when the diameter it is given is right, and when it is wrong.

Usage: python benchmarks/given_diameter.py FOLDER [--sets NAME ...] [--micrographs N] [--weights NAME|FILE]

FOLDER holds data sets in the CryoPPP layout and datasets.json, which gives for each of them `pixel_size` (Å) and
`diameter_px`. The first N micrographs of each set are picked at several diameters. `said / given` is the median
diameter of the picks with a score above 0.5, as a multiple of the diameter that was given: `cryotx pick` warns if it
leaves 1/1.25 to 1.25. `alone` is what `--diameter auto` makes of it, as a multiple of the labelled diameter.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.diameter_estimate import estimate_diameter
from cryotx_cli.micrographs.micrograph import Micrograph, MicrographFile, find_micrographs, read_micrograph
from machine import describe_machine

RATIOS = (0.5, 0.625, 0.8, 1.0, 1.25, 1.6, 2.0)


def confident_sizes(picker: Picker, micrograph: Micrograph, diameter: float) -> np.ndarray:
    found = picker.pick(micrograph, diameter).with_minimum_distance(0.5 * diameter / micrograph.pixel_size)
    return found.diameters[found.scores > 0.5] * found.pixel_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", default=["10017", "10028", "10059", "10146"])
    parser.add_argument("--micrographs", type=int, default=3)
    parser.add_argument("--weights", default="default")
    arguments = parser.parse_args()
    print(describe_machine())
    picker = Picker(load_checkpoint(arguments.weights))
    info = json.loads((arguments.folder / "datasets.json").read_text())
    print(f"| set | {' | '.join(f'given / true {ratio:g}' for ratio in RATIOS)} | alone |")
    print(f"|---|{'---|' * (len(RATIOS) + 1)}")
    for name in arguments.sets:
        pixel_size = info[name]["pixel_size"]
        true = pixel_size * info[name]["diameter_px"]
        files: list[MicrographFile] = find_micrographs([arguments.folder / name / "micrographs"])
        files = files[: arguments.micrographs]
        micrographs = [read_micrograph(file, pixel_size) for file in files]
        cells = []
        for ratio in RATIOS:
            sizes = np.concatenate([confident_sizes(picker, one, true * ratio) for one in micrographs])
            said = f"{np.median(sizes) / true / ratio:.2f}" if len(sizes) else "-"
            cells.append(f"{said} ({len(sizes)})")
        estimate = estimate_diameter(files, pixel_size, picker)
        print(f"| {name} | {' | '.join(cells)} | {estimate.value / true:.2f} |", flush=True)


if __name__ == "__main__":
    main()
