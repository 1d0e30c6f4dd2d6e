"""How much of what a run picks is the luck of the noise that was drawn for it.

    python benchmarks/draws.py FOLDER [FOLDER ...] [--sets NAME ...] [--auto] [--draws N] [--weights NAME|FILE]

FOLDERs hold data sets in the CryoPPP layout and datasets.json, as those of accuracy.py. Each set is picked N times,
every time with other decoys: the first with those of `cryotx pick` itself. F1 is over all its micrographs, as in
accuracy.py. With --auto the diameter is estimated each time, from noise that is drawn anew as well, and not that of the
labels.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from accuracy import Labelled, read_set
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.agreement import Counts, match
from cryotx_cli.coordinates.formats.star_particles import read_particles_star
from cryotx_cli.detector import size_sweep
from cryotx_cli.detector.load_picker import load_picker
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.picking import prepared
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.pick import start_pick
from machine import describe_machine

_SEEDS = ((prepared, "seed_of"), (size_sweep, "noise_seed"))  # what noise is drawn from: of a run, of a sweep of sizes


def run(
    picker: ParticlePicker, data: list[Labelled], config: PickConfig, radius_px: float, draw: int
) -> tuple[int, float, float]:
    """Return the number of picks, their F1 and the diameter of a run whose noise is another one for each draw."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "p.star"
        with ExitStack() as patched:
            for module, name in _SEEDS:
                as_it_is = getattr(module, name)
                patched.enter_context(patch.object(module, name, lambda of, as_it_is=as_it_is: as_it_is(of) + draw))
            list(start_pick([one.micrograph.source for one in data], out, config, picker))
        picked = {Path(name).name: particles for name, particles in read_particles_star(out).items()}
        diameter = read_run(out).settled.diameter
    counts = Counts()
    for one in data:
        found = picked.get(one.micrograph.source.name)
        if found is None:
            counts += Counts(0, len(one.truth), 0)
            continue
        kept = found.select(one.labelled_area(found.centres))
        counts += Counts(len(kept), len(one.truth), int((match(kept.centres, one.truth, radius_px) >= 0).sum()))
    return sum(map(len, picked.values())), counts.f1, diameter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--sets", nargs="+", help="these only")
    parser.add_argument("--auto", action="store_true", help="the diameter is not told")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--weights", default="default")
    arguments = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    print("| set | diameter | picks | F1 as it is | mean | standard deviation | least | most | CPU s |")
    print("|---" * 9 + "|")
    picker = load_picker(PickConfig(weights=arguments.weights)).picker
    for folder in arguments.folders:
        for name, info in json.loads((folder / "datasets.json").read_text()).items():
            if arguments.sets and name not in arguments.sets:
                continue
            config = PickConfig(
                diameter="auto" if arguments.auto else info["diameter_px"] * info["pixel_size"],
                pixel_size=info["pixel_size"],
                images=False,
                report=False,
                no_classes=True,
            )
            data, begun = read_set(folder / name, info), time.process_time()
            drawn = [run(picker, data, config, info["diameter_px"] / 2, draw) for draw in range(arguments.draws)]
            seconds = (time.process_time() - begun) / len(drawn)
            picks, f1, diameters = (np.array(column) for column in zip(*drawn, strict=True))
            print(
                f"| {name} | {_range(diameters)} Å | {_range(picks)} | {f1[0]:.3f} | {f1.mean():.3f} | {f1.std():.4f} "
                f"| {f1.min():.3f} | {f1.max():.3f} | {seconds:.1f} |",
                flush=True,
            )


def _range(values: np.ndarray) -> str:
    low, high = f"{values.min():.0f}", f"{values.max():.0f}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    main()
