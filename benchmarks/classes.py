"""Class averages: pure, honest about noise, sparing with particles that are there, and how fast.

    python benchmarks/classes.py --simulated 7 [--first 100]          (three kinds of runs with truth, so many of each)
    python benchmarks/classes.py --noise 20 --crowded FOLDER
    python benchmarks/classes.py --real FOLDER...
    python benchmarks/classes.py --scaling
    python benchmarks/classes.py --relion FOLDER --particles 400 --classes 4        (needs relion_refine)

Simulated runs are those of class_scenes.py: all candidates of the network from a score of 0.05 on, so that there is
something to drop, and those that it keeps by itself; in brackets the mean of the runs. Noise are micrographs without
particles, noise with the spectrum of micrographs of FOLDER, and places anywhere on these, at least half a diameter
apart. For a set of real micrographs the labels tell precision and recall before and after `--drop-classes auto`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from accuracy import read_set
from class_relion import compare_with_relion
from class_scenes import HIDDEN, KINDS, PicksWithTruth, empty_micrographs, picks_with_truth
from cryotx_cli.averages.choice import StoredClasses, read_classes
from cryotx_cli.averages.classes import FEWEST, Classes, number_of_classes, sorted_into_classes
from cryotx_cli.averages.crops import SIDE, Frame, crops_of
from cryotx_cli.averages.output import ClassRow
from cryotx_cli.averages.power import verdict
from cryotx_cli.config import ClassesConfig, PickConfig
from cryotx_cli.coordinates.agreement import match
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.errors import CryotxError
from cryotx_cli.micrographs.decoy import decoy_from, radial_spectrum
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.runs.selection import ExpectedF1, choose
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.classes import classes as average
from cryotx_cli.workflows.pick import start_pick
from machine import describe_machine

CPU = torch.device("cpu")
_RARE, _NOISE_PICKS = 0.03, 400
_PARTICLES, _VIEWS = 10_000, 50

Drawn = tuple[NDArray[np.float16], NDArray[np.bool_], int]


@dataclass(frozen=True)
class Kept:
    """What `--drop-classes auto` does to one run."""

    picks: int
    junk: int
    junk_gone: int
    particles: int
    lost: int
    rarest: float
    purity: float


def classes_of(
    images: NDArray[np.float16],
    whole: NDArray[np.bool_],
    rings: int,
    seed: int,
    scores: NDArray[np.float64] | None = None,
) -> Classes:
    """Sort crops into classes with the command's own settings."""
    number = min(number_of_classes(int(whole.sum())), int(whole.sum()) // 10)
    return sorted_into_classes(images, whole, rings, number, seed, CPU, scores, whole)


def dropped(found: Classes, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which picks `--drop-classes auto` drops."""
    counts = np.bincount(found.numbers, minlength=len(found.classes))
    means = (np.bincount(found.numbers, scores, minlength=len(counts)) / np.maximum(1, counts)).tolist()
    rows = [
        ClassRow(
            k,
            int(mine.sum()),
            float(mine.mean()),
            score,
            ring,
            0.0,
            verdict=verdict(found, k, score),
        )
        for k, ring, mine, score in (
            (k, None if one.ring is None else float(one.ring), found.numbers == k, means[k])
            for k, one in enumerate(found.classes)
        )
    ]
    return np.isin(found.numbers, [*StoredClasses(tuple(rows), {}, {}).to_drop("auto", None)])


def kept(run: PicksWithTruth, some: NDArray[np.bool_], seed: int) -> Kept | None:
    """Classify some of the picks of a run and judge the result; None where they are too few to average."""
    some = some & (run.kinds != HIDDEN)
    if (run.whole & some).sum() < FEWEST:
        return None
    found = classes_of(run.images[some], run.whole[some], run.rings, seed, run.scores[some])
    gone, kinds = dropped(found, run.scores[some]), run.kinds[some]
    real = kinds >= 0
    views = np.bincount(kinds[real], minlength=len(run.proteins))
    left = np.bincount(kinds[real & ~gone], minlength=len(run.proteins))
    often = views >= _RARE * max(1, views.sum())
    # What a class is of: one of the proteins, or dirt.
    what = np.where(real, run.proteins[np.maximum(kinds, 0)] + 1, 0)
    pure = sum(np.bincount(what[found.numbers == k]).max() for k in np.unique(found.numbers))
    return Kept(
        len(kinds),
        int((~real).sum()),
        int((~real & gone).sum()),
        int(real.sum()),
        int((real & gone).sum()),
        float((left[often] / views[often]).min()) if often.any() else 1.0,
        pure / len(kinds),
    )


def report_simulated(picker: Picker, first: int, count: int, micrographs: int) -> None:
    print("\n| run | d' | picks | purity | junk | of it dropped | particles | of them lost | rarest view keeps |")
    print("|---|---|---|---|---|---|---|---|---|")
    every: dict[str, list[Kept]] = {}
    for number in range(first, first + count):
        for kind in KINDS:
            run = picks_with_truth(picker, kind, number, micrographs)
            for of, some in (("candidates", np.ones(len(run.kinds), bool)), ("own cut", run.kept)):
                one = kept(run, some, number)
                if one is None:
                    print(f"| {kind} {number}, {of} | {run.detectability:.0f} | too few |", flush=True)
                    continue
                every.setdefault(f"{kind}, {of}", []).append(one)
                print(_row(f"{kind} {number}, {of}", f"{run.detectability:.0f}", [one]), flush=True)
    for name, ones in sorted(every.items()):
        print(_row(f"all {len(ones)} of {name}", "", ones))


def _row(name: str, strength: str, ones: Sequence[Kept]) -> str:
    picks, junk, gone, particles, lost = (
        sum(getattr(one, field) for one in ones) for field in ("picks", "junk", "junk_gone", "particles", "lost")
    )
    purity = sum(one.purity * one.picks for one in ones) / picks
    cells = [
        f"{purity:.3f}",
        junk,
        f"{gone / junk:.2f} ({np.mean([one.junk_gone / one.junk for one in ones if one.junk]):.2f})" if junk else "-",
        particles,
        f"{lost / max(1, particles):.3f}",
        f"{min(one.rarest for one in ones):.2f}",
    ]
    return f"| {name} | {strength} | {picks} | " + " | ".join(map(str, cells)) + " |"


def report_noise(picker: Picker, folder: Path | None, seeds: int) -> None:
    print("\n| picks of | runs | in which a class passes | classes that pass | of |\n|---|---|---|---|---|")
    kinds: dict[str, Callable[[int], Drawn]] = {
        "micrographs without particles": lambda seed: _picked(picker, empty_micrographs(seed))
    }
    if folder is not None:
        info = json.loads((folder.parent / "datasets.json").read_text())[folder.name]
        data = [one.micrograph for one in read_set(folder, info)]
        diameter = info["diameter_px"] * info["pixel_size"]
        kinds["noise with the spectrum of " + folder.name] = lambda seed: _picked(
            picker, (diameter, _decoys(picker, data, diameter, seed))
        )
        kinds["places anywhere in " + folder.name] = lambda seed: _anywhere(data, diameter, seed)
    for name, draw in kinds.items():
        passing, total, runs = [], 0, 0
        for seed in range(seeds):
            images, whole, rings = draw(seed)
            found = classes_of(images, whole, rings, seed)
            passing.append(sum(one.ring is not None for one in found.classes))
            total, runs = total + len(found.classes), runs + 1
        print(f"| {name} | {runs} | {sum(map(bool, passing))} | {sum(passing)} | {total} |", flush=True)


def _picked(picker: Picker, of: tuple[float, Iterator[Micrograph]]) -> Drawn:
    """Take the best candidates of the network, whatever their scores."""
    diameter, micrographs = of
    frame, parts = Frame(diameter), []
    for one in micrographs:
        found = picker.pick(one, diameter).with_minimum_distance(diameter / 2 / one.pixel_size)
        cut = crops_of(one, found.centres, frame)
        parts.append((found.scores, cut.images.astype(np.float16), cut.whole, frame.rings(one.pixel_size)))
        if sum(len(scores) for scores, *_ in parts) > 2 * _NOISE_PICKS:
            break
    best = np.argsort(-np.concatenate([scores for scores, *_ in parts]))[:_NOISE_PICKS]
    images, whole = (np.concatenate([part[i] for part in parts])[best] for i in (1, 2))
    return images, whole, min(rings for *_, rings in parts)


def _decoys(picker: Picker, data: Sequence[Micrograph], diameter: float, seed: int) -> Iterator[Micrograph]:
    for number, one in enumerate(data):
        prepared = picker.prepare(one, diameter)
        spectrum = radial_spectrum(prepared)
        assert spectrum is not None
        noise = decoy_from(spectrum, (prepared.shape[0], prepared.shape[1]), seed, number)
        yield Micrograph(noise, diameter / PIXELS_PER_DIAMETER, one.source)


def _anywhere(data: Sequence[Micrograph], diameter: float, seed: int) -> Drawn:
    rng, frame, parts = np.random.default_rng(seed), Frame(diameter), []
    each = _NOISE_PICKS // len(data) + 1
    for one in data:
        apart, (height, width) = diameter / one.pixel_size, one.image.shape
        tries = rng.uniform(0.6 * apart, np.array([width, height]) - 0.6 * apart, (20 * each, 2))
        places: list[NDArray[np.float64]] = []
        for place in tries:
            if not places or cKDTree(places).query(place)[0] > apart / 2:
                places.append(place)
        cut = crops_of(one, np.array(places[:each]), frame)
        parts.append((cut.images.astype(np.float16), cut.whole))
    images, whole = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return images, whole, frame.rings(data[0].pixel_size)


def report_real(picker: Picker, folders: Sequence[Path]) -> None:
    print("\n| set | picks | classes | pass | dropped | precision | recall | F1 | after: precision | recall | F1 |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for folder in folders:
        for name, info in json.loads((folder / "datasets.json").read_text()).items():
            with TemporaryDirectory() as temporary:
                out = Path(temporary) / "p.star"
                diameter = info["diameter_px"] * info["pixel_size"]
                config = replace(PickConfig(), diameter=diameter, images=False, report=False, formats=())
                config = replace(config, pixel_size=info["pixel_size"])
                list(start_pick([folder / name / "micrographs"], out, config, picker))
                print(_real_row(name, folder / name, info, out), flush=True)


def _real_row(name: str, folder: Path, info: dict[str, float], out: Path) -> str:
    try:
        average(out, ClassesConfig())
    except CryotxError as error:
        return f"| {name} | {error.message} |"
    run, classes = read_run(out), read_classes(out.with_suffix(""))
    gone = classes.to_drop("auto", None)
    labelled = {one.micrograph.source.name: one for one in read_set(folder, info)}
    counts, labels = np.zeros((2, 2), int), 0
    for row in run.picked:
        stored, one = run.available(row), labelled.get(Path(row.micrograph).name)
        if stored is None or one is None:
            continue
        picks = stored[0].select(np.arange(row.picks))
        stays = ~np.isin(classes.numbers_of(row.micrograph, picks), [*gone])
        labels += len(one.truth)
        for i, some in enumerate((np.ones(len(picks), bool), stays)):
            centres = picks.centres[some]
            centres = centres[one.labelled_area(centres)]
            counts[i] += (match(centres, one.truth, info["diameter_px"] / 2) >= 0).sum(), len(centres)
    cells = [
        f"{hits / max(1, picks):.3f} | {hits / labels:.3f} | {2 * hits / (picks + labels):.4f}"
        for hits, picks in counts
    ]
    passing = sum(row.resolution is not None for row in classes.rows)
    shown = ", ".join(map(str, sorted(gone))) or "none"
    total = sum(row.picks for row in run.picked)
    return f"| {name} | {total} | {len(classes.rows)} | {passing} | {shown} | {' | '.join(cells)} |"


def _crops_of(picker: Picker, folder: Path, count: int) -> NDArray[np.float16]:
    """Return crops of picks of a set of real micrographs, drawn at random."""
    info = json.loads((folder.parent / "datasets.json").read_text())[folder.name]
    diameter, parts = info["diameter_px"] * info["pixel_size"], []
    for one in read_set(folder, info):
        found = picker.pick(one.micrograph, diameter).with_minimum_distance(info["diameter_px"] / 2)
        cut = crops_of(one.micrograph, found.select(choose(found, ExpectedF1())).centres, Frame(diameter))
        parts.append(cut.images[cut.whole].astype(np.float16))
    images = np.concatenate(parts)
    return images[np.sort(np.random.default_rng(1).permutation(len(images))[:count])]


def report_scaling() -> None:
    print("\n| particles | classes | CPU seconds | seconds | peak MiB |\n|---|---|---|---|---|")
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for count in (2500, 5000, _PARTICLES):
            print(pool.apply(_scaled, (count,)), flush=True)


def _scaled(count: int) -> str:
    torch.set_num_threads(1)
    rng = np.random.default_rng(count)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    views = np.zeros((_VIEWS, SIDE, SIDE))
    for view in views:
        for u, v, width in zip(*rng.uniform(-12, 12, (2, 5)), rng.uniform(2, 4, 5), strict=True):
            view += np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * width**2))
    images = np.stack([np.rot90(views[k], t) for k, t in rng.integers([_VIEWS, 4], size=(count, 2))])
    images = (images + rng.normal(0, 1.5, images.shape)).astype(np.float16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu, clock = time.process_time(), time.perf_counter()
    found = sorted_into_classes(images, np.ones(count, bool), 28, _VIEWS, 1, CPU)
    used, passed = time.process_time() - cpu, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"| {count} | {len(found.classes)} | {used:.1f} | {passed:.1f} | {peak:.0f} ({before:.0f} before) |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulated", type=int, default=0, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first simulated run")
    parser.add_argument("--micrographs", type=int, default=4, metavar="N", help="of a simulated run")
    parser.add_argument("--noise", type=int, default=0, metavar="SEEDS")
    parser.add_argument("--crowded", type=Path, metavar="FOLDER")
    parser.add_argument("--real", type=Path, nargs="+", default=[], metavar="FOLDER")
    parser.add_argument("--relion", type=Path, metavar="FOLDER")
    parser.add_argument("--particles", type=int, default=400, metavar="N")
    parser.add_argument("--classes", type=int, default=4, metavar="K")
    parser.add_argument("--scaling", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(describe_machine("torch", "numpy"))
    picker = Picker(load_checkpoint("default"))
    if args.simulated:
        report_simulated(picker, args.first, args.simulated, args.micrographs)
    if args.noise:
        report_noise(picker, args.crowded, args.noise)
    if args.real:
        report_real(picker, args.real)
    if args.scaling:
        report_scaling()
    if args.relion:
        compare_with_relion(_crops_of(picker, args.relion, args.particles), args.classes)


if __name__ == "__main__":
    main()
