"""What a run says that was told a wrong diameter or a wrong pixel size.

Usage: python benchmarks/diagnosis.py FOLDER [FOLDER ...] [--sets NAME ...] [--micrographs N]
           [--weights NAME|FILE] [--verbose]

FOLDERs hold data sets in the CryoPPP layout and datasets.json, which gives for each of them `pixel_size` (Å) and
`diameter_px`. The first N micrographs of each set are picked twice: with a diameter and with a pixel size that is wrong
by a factor. Ten runs on five sets come first, then others in the same way. `right` is the diameter of the labels at the
pixel size that was given, `named` what diagnosis.json of the run says.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cryotx_cli.config import PickConfig
from cryotx_cli.detector.load_picker import load_picker
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.micrographs.micrograph import find_micrographs
from cryotx_cli.runs.diagnosis import Diagnosis, kept_diagnosis
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
    ("10017", "diameter", 0.3),
    ("10017", "pixel size", 2.0),
    ("atp", "diameter", 4.0),
    ("atp", "pixel size", 0.5),
    ("apoferritin_magellon_dense", "diameter", 0.1),
    ("apoferritin_magellon_dense", "pixel size", 4.0),
)
TEN = 10
TOLERATED = 0.2


def diagnosed(
    picker: ParticlePicker, files: Sequence[Path], pixel_size: float, diameter: float
) -> tuple[int, Diagnosis | None]:
    """Return the number of picks, and what the run says of itself."""
    config = PickConfig(
        pixel_size=pixel_size, diameter=diameter, contrast="dark", images=False, report=False, formats=()
    )
    with tempfile.TemporaryDirectory() as folder:
        run = start_pick(files, Path(folder) / "particles.star", config, picker)
        for _ in run:
            pass
        return run.summary.particles, kept_diagnosis(Path(folder) / "particles")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--sets", nargs="+", help="these only")
    parser.add_argument("--micrographs", type=int, default=2)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--verbose", action="store_true", help="all that the runs say of themselves")
    arguments = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    picker = load_picker(PickConfig(weights=arguments.weights)).picker
    sets = {
        name: (folder / name / "micrographs", info)
        for folder in arguments.folders
        for name, info in json.loads((folder / "datasets.json").read_text()).items()
    }
    print("| set | micrographs | wrong | by | given | right | named | off by | |")
    print("|---|---|---|---|---|---|---|---|---|")
    good: list[bool] = []
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
        begun = time.process_time()
        picks, told = diagnosed(picker, files, pixel_size, diameter)
        named = told.diameter if told is not None else None
        off = named / right - 1 if named is not None else None
        good.append(off is not None and abs(off) <= TOLERATED)
        cells = (
            *(
                name,
                str(len(files)),
                wrong,
                f"{factor:g}",
                f"{diameter:.0f} Å, {pixel_size:.3g} Å/px",
                f"{right:.0f} Å",
            ),
            *((f"{named:.0f} Å", f"{off:+.0%}") if named is not None and off is not None else ("-", "-")),
            "right" if good[-1] else f"wrong ({told.fault})" if told is not None else "wrong (nothing said)",
        )
        print(f"| {' | '.join(cells)} |", flush=True)
        if arguments.verbose:
            seconds = time.process_time() - begun
            print(
                f"{picks} picks, {seconds:.0f} CPU seconds: {told.text if told is not None else 'nothing'}", flush=True
            )
    print(f"{sum(good)} of {len(good)} within {TOLERATED:.0%}", end="")
    print(f", {sum(good[:TEN])} of the first {TEN}" if len(good) == len(CASES) else "")


if __name__ == "__main__":
    main()
