"""cryotx beside other pickers on the same labelled micrographs: F1, precision, recall and CPU seconds a micrograph.

Usage: python benchmarks/peers.py FOLDER [--sets NAME ...] [--micrographs N] [--topaz PROGRAM] [--relion PROGRAM]
                                         [--only NAME ...] [--results FILE]
       python benchmarks/peers.py --results FILE --markdown

FOLDER is laid out as for accuracy.py. Everyone is told the particle diameter and the pixel size, and reads the same
files: pictures are converted to float32 MRC in a temporary folder first.

cryotx         `cryotx pick`, default model
DoG            a difference of Gaussians as wide as the particle, written out below; keeps maxima above one standard
               deviation of the filtered image
RELION LoG     as RELION's job runs it when nothing is changed there: `relion_autopick --LoG --shrink 0 --lowpass 20`,
               with the range of diameters of its tutorial, moved to the known one
Topaz          `topaz preprocess` and `topaz extract -m resnet16`, the pretrained model; radius from the diameter.
               Its authors advise 4 to 8 Å per pixel: downsampled to just below 8, and a second time to twice that

Picks and labels are matched one to one within half a diameter, nearest pairs first, inside the area that the labellers
worked in, and counted over the whole set. `F1` is what the program keeps by itself, `best` the highest F1 over the cuts
of its score. Each program runs with one thread over all micrographs of a set in one call; CPU seconds hardly depend on
what else the machine does; those of DoG, which runs in this process, leave out the start, and its memory is not
measured (0). Command lines are printed as they run. With --results the rows are also kept in a JSON file, and with
--only the others' rows are taken from it. --markdown prints the rows of that file as the documentation's table and runs
nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import child
from cryotx_cli.coordinates.agreement import Counts, match
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import find_labelled_micrographs
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, clip_outliers, normalise, rescale
from cryotx_cli.micrographs.micrograph import read_micrograph, without_micrograph_suffix
from machine import describe_machine
from programs import run_cryotx, run_relion, run_topaz

CUTS = np.linspace(0, 0.99, 100)


@dataclass(frozen=True)
class DataSet:
    """Labelled micrographs as MRC files in one folder: truth by stem, lengths in px of these files."""

    name: str
    folder: Path
    truth: dict[str, NDArray[np.float64]]
    sizes: dict[str, NDArray[np.intp]]
    pixel_size: float
    diameter_px: float
    edge: float

    @property
    def diameter(self) -> float:
        return self.diameter_px * self.pixel_size

    def labelled_area(self, stem: str, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = np.all((points >= self.edge) & (points <= self.sizes[stem] - self.edge), axis=1)
        return inside


@dataclass(frozen=True)
class Picked:
    """What a picker keeps by itself and all its candidates, by stem, and what it cost."""

    own: dict[str, Particles]
    candidates: dict[str, Particles]
    cost: child.Cost


Picker = Callable[[DataSet, Path], Picked]


@dataclass(frozen=True)
class Row:
    """One picker on one set; seconds are those of one micrograph, memory that of its largest process."""

    set: str
    picker: str
    micrographs: int
    picks: int
    precision: float
    recall: float
    f1: float
    best: float
    cpu: float
    wall: float
    peak_mib: float
    date: str


def convert(source: Path, info: dict[str, float], folder: Path, limit: int | None) -> DataSet:
    """Write the labelled micrographs of a set as MRC files into `folder`."""
    truth, sizes = {}, {}
    labelled = [one for one in find_labelled_micrographs(source) if one.labels is not None]
    folder.mkdir()
    for one in labelled[:limit]:
        micrograph = read_micrograph(one.file, info["pixel_size"])
        with mrcfile.new(folder / f"{one.stem}.mrc") as mrc:
            mrc.set_data(micrograph.image)
            mrc.voxel_size = micrograph.pixel_size
        truth[one.stem] = one.read_particles().centres
        sizes[one.stem] = np.array(micrograph.image.shape[::-1])
    return DataSet(
        source.name, folder, truth, sizes, info["pixel_size"], info["diameter_px"], info["edge_unlabelled_px"]
    )


def pick_with_cryotx(data: DataSet, work: Path) -> Picked:
    out, flags = work / "p.star", ("--no-images", "--no-report")
    cost = run_cryotx(data.folder, out, data.pixel_size, data.diameter, *flags)
    own = by_stem(out)
    # All candidates are stored: choosing again repeats nothing.
    run_cryotx(data.folder, out, data.pixel_size, data.diameter, *flags, "--threshold", 0.02)
    return Picked(own, by_stem(out), cost)


def pick_with_dog(data: DataSet, work: Path) -> Picked:
    wall, cpu = time.perf_counter(), time.process_time()
    maxima = {stem: dog_maxima(data, stem) for stem in data.truth}
    cost = child.Cost(time.perf_counter() - wall, time.process_time() - cpu, 0.0)
    candidates = {stem: particles for stem, (particles, _) in maxima.items()}
    return Picked(
        {stem: particles.above(deviation) for stem, (particles, deviation) in maxima.items()}, candidates, cost
    )


def dog_maxima(data: DataSet, stem: str) -> tuple[Particles, float]:
    """Maxima of a dark-blob filter as wide as the particle, and the filtered image's standard deviation."""
    image = read_micrograph(data.folder / f"{stem}.mrc", data.pixel_size).image
    small = normalise(rescale(clip_outliers(image), PIXELS_PER_DIAMETER / data.diameter_px))
    sigma = PIXELS_PER_DIAMETER / 2 / np.sqrt(2)  # the Laplacian that answers a disc best (Lindeberg 1998)
    ratio = np.sqrt(1.6)  # between the widths: nearest to a Laplacian (Marr and Hildreth 1980)
    response = ndimage.gaussian_filter(small, sigma * ratio) - ndimage.gaussian_filter(small, sigma / ratio)
    highest = ndimage.maximum_filter(response, size=round(PIXELS_PER_DIAMETER / 2))
    rows, columns = np.nonzero((response == highest) & (response > 0))
    scale = np.array(image.shape[::-1]) / np.array(small.shape[::-1])
    centres = (np.column_stack([columns, rows]) + 0.5) * scale - 0.5
    diameters = np.full(len(centres), data.diameter_px)
    found = Particles(centres, response[rows, columns], diameters, data.pixel_size)
    return found.with_minimum_distance(data.diameter_px / 2), float(response.std())


def pick_with_relion(program: Path, data: DataSet, work: Path) -> Picked:
    cost = run_relion(program, data.folder, work, data.pixel_size, data.diameter)
    found: dict[str, Particles] = {}
    for file in work.rglob("*_autopick.star"):
        found |= by_stem(file)
    return Picked(found, found, cost)


def pick_with_topaz(program: Path, doubled: bool, data: DataSet, work: Path) -> Picked:
    cost = run_topaz(program, data.folder, work, data.pixel_size, data.diameter, doubled=doubled)
    found = by_stem(work / "picks.txt")
    return Picked(found, found, cost)


def by_stem(path: Path) -> dict[str, Particles]:
    return {without_micrograph_suffix(Path(name).name): found for name, found in read_particles(path).items()}


def score(name: str, data: DataSet, picked: Picked) -> Row:
    own = count(data, picked.own)
    scores = np.concatenate([particles.scores for particles in picked.candidates.values()])
    cuts = np.quantile(scores, CUTS) if len(scores) else []
    best = max((count(data, picked.candidates, cut).f1 for cut in cuts), default=0.0)
    many, cost = len(data.truth), picked.cost
    today = datetime.date.today().isoformat()
    return Row(
        data.name, name, many, own.picks, own.precision, own.recall, own.f1, max(best, own.f1),
        cost.cpu / many, cost.wall / many, cost.peak_mib, today,
    )  # fmt: skip


def count(data: DataSet, found: dict[str, Particles], cut: float = -np.inf) -> Counts:
    total = Counts()
    for stem, labels in data.truth.items():
        truth = labels[data.labelled_area(stem, labels)]
        picks = found.get(stem, Particles.empty(data.pixel_size)).above(cut).sorted_by_score().centres
        picks = picks[data.labelled_area(stem, picks)]
        matched = int((match(picks, truth, data.diameter_px / 2) >= 0).sum())
        total += Counts(len(picks), len(truth), matched)
    return total


def pickers(arguments: argparse.Namespace) -> Iterator[tuple[str, Picker | None]]:
    """Yield every picker asked for with the function that runs it; None where it is not installed."""
    topaz, relion = shutil.which(arguments.topaz), shutil.which(arguments.relion)
    yield "cryotx", pick_with_cryotx
    yield "DoG", pick_with_dog
    yield "RELION LoG", partial(pick_with_relion, Path(relion)) if relion else None
    for name, doubled in (("Topaz", False), ("Topaz, coarser", True)):
        yield name, partial(pick_with_topaz, Path(topaz), doubled) if topaz else None


def run_all(arguments: argparse.Namespace, data: DataSet, folder: Path) -> Iterator[Row]:
    for number, (name, pick) in enumerate(pickers(arguments)):
        if arguments.only and name not in arguments.only:
            continue
        if pick is None:
            print(f"{data.name:8}{name:16} not installed: skipped")
            continue
        work = folder / f"{data.name}-{number}"
        work.mkdir()
        try:
            picked = pick(data, work)
        except RuntimeError as error:
            print(f"{data.name:8}{name:16} {error}")
            continue
        yield score(name, data, picked)


def print_row(row: Row, note: str = "") -> None:
    ratios = "".join(f"{value:7.3f}" for value in (row.precision, row.recall, row.f1, row.best))
    print(
        f"{row.set:8}{row.picker:16}{row.micrographs:4}{row.picks:7}{ratios}{row.cpu:8.2f}{row.wall:8.2f}{row.peak_mib:7.0f}{note}",
        flush=True,
    )


def kept_rows(results: Path | None) -> dict[tuple[str, str], Row]:
    if results is None or not results.exists():
        return {}
    rows = [Row(**values) for values in json.loads(results.read_text())]
    return {(row.set, row.picker): row for row in rows}


def markdown(rows: Sequence[Row]) -> str:
    """Return the documentation's table, sets and pickers by name; the highest F1 of a set's own choices is bold."""
    lines = [
        "| set (micrographs) | picker | precision | recall | F1, own | F1, best | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    highest = {row.set: max(one.f1 for one in rows if one.set == row.set) for row in rows}
    for row in sorted(rows, key=lambda row: (row.set, row.picker != "cryotx", row.picker)):
        name = "difference of Gaussians" if row.picker == "DoG" else row.picker
        own = f"**{row.f1:.3f}**" if row.f1 == highest[row.set] else f"{row.f1:.3f}"
        cells = f"{row.precision:.3f} | {row.recall:.3f} | {own} | {row.best:.3f} | {row.cpu:.2f}"
        lines.append(f"| {row.set} ({row.micrographs}) | {name} | {cells} |")
    return "\n".join(lines) + "\n"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--micrographs", type=int, help="at most this many of each set; default: all")
    parser.add_argument("--topaz", default="topaz", help="the program or its path")
    parser.add_argument("--relion", default="relion_autopick", help="the program or its path")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="run only these of the pickers")
    parser.add_argument("--results", type=Path, help="JSON file of all rows, brought up to date")
    parser.add_argument("--markdown", action="store_true", help="print the rows of --results and run nothing")
    arguments = parser.parse_args()
    if arguments.folder is None and not arguments.markdown:
        parser.error("give FOLDER, or --results FILE --markdown")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    rows = kept_rows(arguments.results)
    if arguments.markdown:
        print(markdown(list(rows.values())), end="")
        return
    print(describe_machine("torch", "numpy", "scipy"))
    columns = "".join(f"{name:>7}" for name in ("P", "R", "F1", "best"))
    print(f"{'set':8}{'picker':16}{'n':>4}{'picks':>7}{columns}{'CPU s':>8}{'wall s':>8}{'MiB':>7}")
    for name, info in json.loads((arguments.folder / "datasets.json").read_text()).items():
        if (arguments.sets and name not in arguments.sets) or not (arguments.folder / name).is_dir():
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            data = convert(arguments.folder / name, info, folder / "micrographs", arguments.micrographs)
            for row in run_all(arguments, data, folder):
                rows[row.set, row.picker] = row
                print_row(row)
                if arguments.results is not None:
                    arguments.results.write_text(json.dumps([asdict(row) for row in rows.values()], indent=1))
        for row in rows.values():
            if arguments.only and row.set == name and row.picker not in arguments.only:
                print_row(row, f"  of {row.date}")


if __name__ == "__main__":
    main()
