"""What a run says of its false picks, and where it cuts by itself, against the truth of simulated micrographs.

    python benchmarks/decoys.py [--structures DIR] [--simulated 48] [--second 24] [--runs 3]
        [--kept DIR] [--weights default]

Sets of six micrographs are runs: those of accuracy.py --simulated (`simulated`), the same without soup, fragments,
contamination, film and artefacts (`noise alone`), and those of second_simulator.py (`second`, which --structures is
for), each of another specimen and compared with one decoy. The first table has the share of false ones among all
candidates of a tenth of the scores, as it is and as it was predicted, and how much of that is noise; the second, for
each set, the mean absolute difference of the predicted and of the true false discovery rate of all candidates above a
cut of 0.1, 0.2 ... 0.9 of which 20 at least are left, by the noise of each micrograph as in the ledger and by that of
the run (as with --fdr), and how many particles there are for each that the candidates of micrographs add up to.

The last table has runs of 40 micrographs of one specimen that fades from clear to invisible (a matched filter's d' of
16 to 1.5) as the ice gets thicker and the dose less, with a tenth of them empty, by `cryotx pick` itself: F1 of its
cuts, of the best one for all, and of cuts of each micrograph alone (--decoys 0).

What the network finds is kept in DIR, so that a second call with the same weights takes seconds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from accuracy import HELD_OUT_SEED, simulated_scene
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.agreement import Counts
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER
from cryotx_cli.micrographs.micrograph import Micrograph, write_micrograph
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.stored import read_run
from cryotx_cli.simulator.camera import develop
from cryotx_cli.simulator.conditions import draw_conditions
from cryotx_cli.simulator.micrograph import simulate_micrograph
from cryotx_cli.simulator.structures import procedural_structure
from cryotx_cli.workflows.pick import start_pick
from machine import describe_machine
from run_cuts import Judged, Run, best_cut, judge, runs_of
from scoring import Scene
from second_simulator import simulate
from second_specimen import voxel_maps

_ENOUGH = 20
_MICROGRAPHS, _EMPTY, _SIDE = 40, 4, 512
_ICE = (250.0, 800.0)  # Å, of the first micrograph and of the last
_DETECTABILITY = (16.0, 1.5)  # from clear to invisible


def by_score(name: str, runs: Sequence[Run]) -> Iterator[str]:
    """Yield rows of the first table."""
    scores, hits, predicted, noise = [], [], [], []
    for run, found in runs:
        here = np.concatenate([one.scores for one in run])
        scores.append(here)
        hits.append(np.concatenate([one.hits for one in run]))
        predicted += [of_one(found, one).of(one.scores) for one in run]
        noise += [of_one(found, one).noise_of(one.scores) for one in run]
    score, hit, false, explained = (np.concatenate(parts) for parts in (scores, hits, predicted, noise))
    for tenth in range(10):
        inside = (score >= tenth / 10) & (score < (tenth + 1) / 10 + (tenth == 9))
        if inside.any():
            numbers = [1 - hit[inside].mean(), false[inside].mean(), explained[inside].mean()]
            cells = " | ".join(f"{number:.2f}" for number in numbers)
            yield f"| {name} | {tenth / 10:.1f} to {(tenth + 1) / 10:.1f} | {inside.sum()} | {cells} |"


def of_one(found: FalseDiscovery, one: Judged) -> FalseDiscovery:
    """Return what a run tells of one of its micrographs, which has as much noise as it shows itself."""
    return found.found_in_noise.beside([one.all_scores], one.area)


def differences(runs: Sequence[Run]) -> tuple[list[float], list[float]]:
    """Return predicted less true rates of each run at each cut: by the noise of each micrograph, and of the run."""
    by_micrograph, by_run = [], []
    for run, decoys in runs:
        scores, hits = (np.concatenate([getattr(one, name) for one in run]) for name in ("scores", "hits"))
        false = np.concatenate([of_one(decoys, one).of(one.scores) for one in run])
        for cut in np.arange(1, 10) / 10:
            kept = scores >= cut
            if kept.sum() >= _ENOUGH:
                by_micrograph.append(false[kept].mean() - (1 - hits[kept].mean()))
                by_run.append(decoys.rate(scores[kept]) - (1 - hits[kept].mean()))
    return by_micrograph, by_run


def fading(number: int) -> Iterator[Scene]:
    """Yield the micrographs of one run, in a random order."""
    rng = np.random.default_rng([HELD_OUT_SEED, 2_000_000 + number])
    structure, distractor = procedural_structure(rng), procedural_structure(rng)
    usual = draw_conditions(rng, 0.5)
    pixel_size = structure.diameter / PIXELS_PER_DIAMETER
    order = rng.permutation(_MICROGRAPHS)
    empty = set(rng.permutation(_MICROGRAPHS)[:_EMPTY].tolist())
    for place in order:
        wanted, ice = (
            math.exp(np.interp(place / (_MICROGRAPHS - 1), [0, 1], np.log(ends))) for ends in (_DETECTABILITY, _ICE)
        )
        drawn = draw_conditions(rng, 0.5)
        conditions = replace(
            usual,
            optics=replace(usual.optics, dose=10.0, defocus=drawn.optics.defocus),
            ice_thickness=ice,
            coverage=0.0 if place in empty else drawn.coverage,
            junk=drawn.junk,
        )
        probe = simulate_micrograph(structure, distractor, conditions, (_SIDE // 2, _SIDE // 2), pixel_size, rng)
        dose = 10.0 * (wanted / probe.detectability) ** 2  # shot noise is most of the noise
        conditions = replace(conditions, optics=replace(conditions.optics, dose=dose))
        made = simulate_micrograph(structure, distractor, conditions, (_SIDE, _SIDE), pixel_size, rng)
        image = np.ascontiguousarray(develop(made.image, rng), np.float32)
        name = Path(f"m{place:02d}.mrc")
        yield Scene(Micrograph(image, pixel_size, name), made.centres, made.ignored, structure.diameter)


def picked(picker: Picker, scenes: Sequence[Scene], folder: Path) -> list[tuple[Judged, float]]:
    """Pick a run with the command; return the candidates and the cut of each micrograph."""
    for scene in scenes:
        path = folder / "micrographs" / scene.micrograph.source
        if not path.exists():
            write_micrograph(path, scene.micrograph.image, scene.micrograph.pixel_size)
    config = PickConfig(diameter=scenes[0].diameter, contrast="dark", images=False, report=False)
    list(start_pick([folder / "micrographs"], folder / "p.star", config, picker))
    run = read_run(folder / "p.star")
    found = {Path(row.micrograph).name: run.available(row) for row in run.picked}
    decoys = run.false_discovery
    assert decoys is not None
    judged = []
    for scene in scenes:
        available = found[scene.micrograph.source.name]
        assert available is not None
        particles = available[0]
        judged.append((judge(particles, scene), decoys.own_cuts.cut(particles.scores, particles.area)))
    return judged


def particles_for_each(runs: Sequence[Run]) -> float:
    """Return how many particles there are for each that the candidates of micrographs add up to."""
    wanted = expected = 0.0
    for run, found in runs:
        for one in run:
            wanted += one.wanted
            expected += float(((1 - of_one(found, one).noise_of(one.scores)) * one.scores).sum())
    return wanted / expected


def report_rates(runs: Mapping[str, Sequence[Run]]) -> None:
    print("\n| micrographs | score | candidates | false | predicted | of that noise |\n|---|---|---|---|---|---|")
    for name, ones in runs.items():
        print("\n".join(by_score(name, ones)))
    print("\n| micrographs | mean absolute difference | mean difference | by the run | sets | particles |")
    print("|---" * 6 + "|")
    for name, ones in runs.items():
        each, together = map(np.array, differences(ones))
        numbers = f"{np.abs(each).mean():.3f} | {each.mean():+.3f} | {np.abs(together).mean():.3f}"
        numbers += f" | {len(ones)} | {particles_for_each(ones):.2f}"
        print(f"| {name} | {numbers} |", flush=True)


def report_cuts(picker: Picker, count: int, kept: Path | None) -> None:
    print("\n| run | particles | own cuts | best cut for all | each micrograph alone |\n|---|---|---|---|---|")
    rows = []
    for number in range(count):
        with TemporaryDirectory() as folder:
            scenes = list(fading(number))
            cut = picked(picker, scenes, Path(folder) if kept is None else kept / f"fading-{number}")
        run = [one for one, _ in cut]
        own, alone = total(one.at(own) for one, own in cut), total(one.alone() for one in run)
        rows.append([own.f1, best_cut(run).f1, alone.f1])
        print(f"| {number + 1} | {own.truth} | " + " | ".join(f"{f1:.3f}" for f1 in rows[-1]) + " |", flush=True)
    print("| mean | | " + " | ".join(f"{f1:.3f}" for f1 in np.mean(rows, axis=0).tolist()) + " |")


def total(counts: Iterator[Counts]) -> Counts:
    return sum(counts, Counts())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=Path)
    parser.add_argument("--simulated", type=int, default=48, metavar="N")
    parser.add_argument("--second", type=int, default=24, metavar="N")
    parser.add_argument("--runs", type=int, default=3, metavar="N")
    parser.add_argument("--kept", type=Path, metavar="DIR")
    parser.add_argument("--weights", default="default")
    args = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    picker = Picker(load_checkpoint(args.weights))
    maps = voxel_maps(args.structures, np.random.default_rng([1]))
    sets: dict[str, tuple[Callable[[int], Scene], int]] = {
        "noise alone": (lambda number: simulated_scene(number, clean=True), args.simulated),
        "simulated": (simulated_scene, args.simulated),
        "second": (lambda number: simulate(maps, number, 1536, 1).scene, args.second),
    }
    runs = {
        name: list(runs_of(picker, scene, count, args.kept and args.kept / name))
        for name, (scene, count) in sets.items()
        if count
    }
    if runs:
        report_rates(runs)
    if args.runs:
        report_cuts(picker, args.runs, args.kept)


if __name__ == "__main__":
    main()
