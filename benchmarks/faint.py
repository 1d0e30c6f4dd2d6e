"""How well runs of few micrographs with faint particles are cut, and how much of it is the luck of the diameter.

    python benchmarks/faint.py FOLDER ... [--sets NAME ...] [--noise X ...] [--diameters FACTOR ...] [--micrographs N]
        [--weights default]

FOLDERs hold data sets in the CryoPPP layout and datasets.json, as those of accuracy.py. To the first N micrographs of
each set noise is added that has the spectrum of the micrograph and X times its deviation, and they are picked with the
diameter of the labels times each FACTOR. F1 over the set at the cut of `cryotx pick`, at the one that it would have if
it had looked at no other size than the one it was told, and at the best cut for all. The last line has the mean and the
worst of what the two miss of the best.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from accuracy import Labelled, read_set
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.agreement import Counts
from cryotx_cli.detector.load_picker import load_picker
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.micrographs.decoy import decoy_from, noise_seed, radial_spectrum
from cryotx_cli.micrographs.image import normalise
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.pick import start_pick
from machine import describe_machine
from selection_rules import Labels

_OTHER_NOISE = 777  # than that of the decoys
_CUTS = 1 / (1 + np.exp(-np.linspace(-4, 6, 61)))


def noisier(one: Labelled, noise: float) -> Labelled:
    """Return a micrograph with noise of its own spectrum added."""
    image = normalise(np.asarray(one.micrograph.image, np.float32))
    spectrum = radial_spectrum(image)
    assert spectrum is not None
    height, width = image.shape
    more = decoy_from(spectrum, (height, width), noise_seed(image) + _OTHER_NOISE)
    return replace(one, micrograph=replace(one.micrograph, image=image / image.std() + noise * more))


def picked(
    picker: ParticlePicker, data: Sequence[Labelled], info: dict[str, float], diameter: float
) -> tuple[list[Labels], FalseDiscovery]:
    """Pick micrographs with the command; return their candidates, labels and what decoys say."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"m{number}.mrc" for number in range(len(data))]
        for path, one in zip(paths, data, strict=True):
            write_micrograph(path, one.micrograph.image, info["pixel_size"])
        config = PickConfig(diameter=diameter, contrast="dark", images=False, report=False)
        list(start_pick(paths, Path(folder) / "p.star", config, picker))
        run = read_run(Path(folder) / "p.star")
        found = {Path(row.path).name: run.available(row) for row in run.picked}
        decoys = run.false_discovery
    assert decoys is not None
    labels = []
    for path, one in zip(paths, data, strict=True):
        available = found[path.name]
        assert available is not None
        labels.append(Labels(available[0], one, info["diameter_px"] / 2))
    return labels, decoys


def f1(labels: Sequence[Labels], cuts: Sequence[float]) -> float:
    return sum((one.at(cut) for one, cut in zip(labels, cuts, strict=True)), Counts()).f1


def rows(picker: ParticlePicker, arguments: argparse.Namespace) -> Iterator[tuple[str, float, float, float]]:
    """Yield what was picked, with F1 as it is, with one size, and at the best cut."""
    for folder in arguments.folders:
        for name, info in json.loads((folder / "datasets.json").read_text()).items():
            if arguments.sets and name not in arguments.sets:
                continue
            data = read_set(folder / name, info)[: arguments.micrographs]
            for noise in arguments.noise:
                shown = [noisier(one, noise) for one in data]
                for factor in arguments.diameters:
                    diameter = factor * info["diameter_px"] * info["pixel_size"]
                    labels, found = picked(picker, shown, info, diameter)
                    own, one_size = (
                        f1(labels, [which.own_cuts.cut(one.all_scores, one.area) for one in labels])
                        for which in (found, replace(found, elsewhere=()))
                    )
                    best = max(f1(labels, [cut] * len(labels)) for cut in _CUTS)
                    yield f"{name} | {noise:g} | {diameter:.0f} Å", own, one_size, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="these only")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0], metavar="X")
    parser.add_argument("--diameters", type=float, nargs="+", default=[1.0], metavar="FACTOR")
    parser.add_argument("--micrographs", type=int, metavar="N")
    parser.add_argument("--weights", default="default")
    arguments = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    print("| set | noise | diameter | F1 | with one size | best cut |")
    print("|---" * 6 + "|")
    missed = []
    for name, own, one_size, best in rows(load_picker(PickConfig(weights=arguments.weights)).picker, arguments):
        missed.append((best - own, best - one_size))
        print(f"| {name} | {own:.3f} | {one_size:.3f} | {best:.3f} |", flush=True)
    mean, worst = np.mean(missed, axis=0), np.max(missed, axis=0)
    print(
        f"| missed of the best, mean (worst) | | | {mean[0]:.3f} ({worst[0]:.3f}) | {mean[1]:.3f} ({worst[1]:.3f}) | |"
    )


if __name__ == "__main__":
    main()
