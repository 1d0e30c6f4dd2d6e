"""What correcting a few micrographs on the page of ``cryotx review`` and adapting bring on micrographs not corrected.

    python benchmarks/review_adapting.py WORK FOLDER --set 10059 [--done 4] [--steps N]
    python benchmarks/review_adapting.py WORK --second-protein [--done 5] [--fresh 4] [--steps N]

WORK is a folder for what is made; a run that is there is used. FOLDER is that of accuracy.py. All micrographs are
picked; somebody corrects the first `done` of them to their labels on the page where labellers worked (picks without a
label are removed, labels without a pick added), marks them as done, and adapts as the page does. All other micrographs
judge, where labellers worked, within half a diameter, beside the F1 of as many points at random. With --second-protein
half of the particles are another protein of about the same size, which nobody wants.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from accuracy import read_set
from class_scenes import two_proteins
from cryotx_cli.config import ReviewConfig
from cryotx_cli.coordinates.agreement import Counts, match
from cryotx_cli.coordinates.chance import Field, pairs_by_chance
from cryotx_cli.coordinates.formats.star_particles import read_particles_star
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.review.adapting import Adapting
from cryotx_cli.review.changes import AddPicks, Point, RemovePicks, SetMark
from cryotx_cli.review.of_run import RunSubjects
from cryotx_cli.review.session import Session
from cryotx_cli.workflows.review import review
from machine import describe_machine

SEED = 5  # of this one the model takes both proteins for particles


@dataclass(frozen=True, eq=False)
class Labels:
    """What is right on one micrograph, in px; `field` is where people have looked."""

    path: Path
    centres: NDArray[np.float64]
    field: Field

    def has_looked(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell of (n, 2) points whether they lie where people have looked."""
        low = np.array(self.field.corner)
        return np.asarray(((points >= low) & (points <= low + self.field.size)).all(1))


@dataclass(frozen=True, eq=False)
class Set:
    """Micrographs in their order, Å per pixel, and the diameter of a particle in Å."""

    labels: list[Labels]
    pixel_size: float
    diameter: float

    @property
    def radius_px(self) -> float:
        return self.diameter / 2 / self.pixel_size


def labelled_set(folder: Path, name: str) -> Set:
    info = json.loads((folder / "datasets.json").read_text())[name]
    found = []
    for one in read_set(folder / name, info):
        height, width = one.micrograph.image.shape
        inside = Field((one.edge, one.edge), (width - 2 * one.edge, height - 2 * one.edge))
        found.append(Labels(one.micrograph.source, one.truth, inside))
    return Set(found, info["pixel_size"], info["diameter_px"] * info["pixel_size"])


def second_protein(folder: Path, count: int) -> Set:
    """Simulate micrographs of two proteins; the labels are those of the first."""
    diameter, pixel_size, fields = two_proteins(SEED, count)
    found = []
    for number, (image, centres, wanted) in enumerate(fields):
        path = folder / f"m{number:02}.mrc"
        if not path.exists():
            write_micrograph(path, image, pixel_size)
        size = np.array(image.shape[::-1], float)
        wanted = wanted & ((centres > -0.5) & (centres < size - 0.5)).all(1)
        found.append(Labels(path, centres[wanted], Field((0.0, 0.0), (float(size[0]), float(size[1])))))
    return Set(found, pixel_size, diameter)


def pick(work: Path, data: Set) -> Path:
    star = work / "particles.star"
    if not star.exists():
        listed = work / "micrographs.star"
        rows = "".join(f"{one.path} {data.pixel_size}\n" for one in data.labels)
        listed.write_text(f"\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographPixelSize #2\n{rows}")
        command = [sys.executable, "-m", "cryotx_cli", "pick", str(listed), "--out", str(star), "--no-classes"]
        subprocess.run([*command, "--diameter", str(data.diameter)], check=True)
    return star


def correct(session: Session, data: Set, done: int) -> tuple[int, int]:
    """Make the picks of the first micrographs those of the labels; return how many were removed and added."""
    removed = added = 0
    for one, subject in list(zip(data.labels, session.subjects.all(), strict=True))[:done]:
        name, picks = subject.name, session.picks(subject).centres
        partner = match(picks, one.centres, data.radius_px)
        others = np.setdiff1d(np.arange(len(one.centres)), partner)
        if wrong := _points(picks[(partner < 0) & one.has_looked(picks)]):
            session.change(RemovePicks(id=uuid4().hex, kind="remove", micrograph=name, points=wrong))
        if missed := _points(one.centres[others]):
            session.change(AddPicks(id=uuid4().hex, kind="add", micrograph=name, points=missed))
        session.change(SetMark(id=uuid4().hex, kind="mark", micrograph=name, mark="done"))
        removed, added = removed + len(wrong), added + len(missed)
    return removed, added


def _points(centres: NDArray[np.float64]) -> list[Point]:
    return [(float(x), float(y)) for x, y in centres]


def score(star: Path, data: Set, done: int) -> str:
    """Judge the picks of the micrographs that nobody has corrected."""
    picks = {Path(name).name: particles.centres for name, particles in read_particles_star(star).items()}
    total, chance = Counts(), 0.0
    for number, one in enumerate(data.labels[done:]):
        found = picks.get(one.path.name, np.zeros((0, 2)))
        found = found[one.has_looked(found)]
        hits = int((match(found, one.centres, data.radius_px) >= 0).sum())
        total += Counts(len(found), len(one.centres), hits)
        chance += pairs_by_chance(found, one.centres, data.radius_px, one.field, number)
    return (
        f"{total.picks:6} picks of {total.truth} labels, precision {total.precision:.3f}, recall {total.recall:.3f}, "
        f"F1 {total.f1:.3f} (chance {total.f1_of(chance):.3f})"
    )


def adapt(run: Path, data: Set, done: int, steps: int | None) -> Path:
    opened = review([str(run)], ReviewConfig())
    assert isinstance(opened.session.subjects, RunSubjects)
    if not opened.session.last:
        print("removed {}, added {}".format(*correct(opened.session, data, done)), flush=True)
    adapting = Adapting(opened.session, opened.session.subjects, opened.folder)
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    adapting.start(steps)
    while (status := adapting.status())["phase"] in ("training", "picking"):
        time.sleep(2)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    opened.close()
    print("\n".join(status["commands"]))
    for row in status["table"]:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(status["verdict"] if status["phase"] == "done" else "\n".join(status["lines"]))
    print(f"{status['phase']} in {time.monotonic() - started:.0f} s, {cpu:.0f} CPU s", flush=True)
    return Path(status["run"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--set", default="10059")
    parser.add_argument("--second-protein", action="store_true")
    parser.add_argument("--done", type=int, default=4)
    parser.add_argument("--fresh", type=int, default=4, help="simulated micrographs that only judge")
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    args.work.mkdir(parents=True, exist_ok=True)
    if args.second_protein:
        data = second_protein(args.work / "micrographs", args.done + args.fresh)
    else:
        data = labelled_set(args.folder, args.set)
    star = pick(args.work, data)
    print("before", score(star, data, args.done), flush=True)
    adapted = adapt(star.with_suffix(""), data, args.done, args.steps)
    print("after ", score(adapted, data, args.done))


if __name__ == "__main__":
    main()
