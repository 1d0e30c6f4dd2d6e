"""What a run says that was told a wrong diameter or a wrong pixel size.

Usage: python benchmarks/diagnosis.py FOLDER [FOLDER ...] [--sets NAME ...] [--micrographs N]
           [--weights NAME|FILE] [--verbose]

FOLDERs hold data sets in the CryoPPP layout and datasets.json, which gives for each of them `pixel_size` (Å) and
`diameter_px`. The first N micrographs of five sets are picked with a diameter, or a pixel size, that is wrong by a
factor. `right` is the diameter of the labels at the pixel size that was given, `named` what the run tells to type.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path

from cryotx_cli.config import PickConfig
from cryotx_cli.detector.load_picker import load_picker
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.micrographs.micrograph import find_micrographs
from cryotx_cli.workflows.pick import start_pick
from machine import describe_machine

CASES = (
    ("synaptic_vesicles", "diameter", 0.3),
    ("synaptic_vesicles", "pixel size", 2.5),
    ("10028", "diameter", 5.0),
    ("10028", "pixel size", 0.18),
    ("10059", "diameter", 0.5),
    ("10059", "pixel size", 3.0),
    ("10146", "diameter", 0.18),
    ("10146", "pixel size", 1.8),
    ("toxin", "diameter", 2.5),
    ("toxin", "pixel size", 0.35),
)


def remarks(picker: ParticlePicker, files: list[Path], pixel_size: float, diameter: float) -> tuple[int, str]:
    """Return the number of picks, and all that the run says."""
    config = PickConfig(
        pixel_size=pixel_size, diameter=diameter, contrast="dark", images=False, report=False, formats=()
    )
    with tempfile.TemporaryDirectory() as folder:
        run = start_pick(files, Path(folder) / "particles.star", config, picker)
        for _ in run:
            pass
        return run.summary.particles, " ".join(str(event) for event in run.events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--sets", nargs="+", help="these only")
    parser.add_argument("--micrographs", type=int, default=2)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--verbose", action="store_true", help="all that the runs say")
    arguments = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    picker = load_picker(PickConfig(weights=arguments.weights)).picker
    sets = {
        name: (folder / name / "micrographs", info)
        for folder in arguments.folders
        for name, info in json.loads((folder / "datasets.json").read_text()).items()
    }
    print("| set | wrong | by | given | right | named | off by | picks |")
    print("|---|---|---|---|---|---|---|---|")
    for name, wrong, factor in CASES:
        if arguments.sets and name not in arguments.sets:
            continue
        folder, info = sets[name]
        files = [file.path for file in find_micrographs([folder])[: arguments.micrographs]]
        pixel_size, diameter = info["pixel_size"], info["diameter_px"] * info["pixel_size"]
        right = diameter
        if wrong == "diameter":
            diameter *= factor
        else:
            pixel_size, right = pixel_size * factor, right * factor
        begun = time.perf_counter()
        picks, said = remarks(picker, files, pixel_size, diameter)
        named = re.search(r"--diameter (\d+)", said)
        value, off = (named[1], f"{float(named[1]) / right - 1:+.0%}") if named else ("-", "-")
        cells = name, wrong, f"{factor:g}", f"{diameter:.0f} Å", f"{right:.0f} Å", f"{value} Å", off, str(picks)
        print(f"| {' | '.join(cells)} |", flush=True)
        if arguments.verbose:
            print(f"{time.perf_counter() - begun:.0f} s: {said}", flush=True)


if __name__ == "__main__":
    main()
