"""Average the picks of a run: classes of views, how far their halves agree, and the files that show them."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.averages.choice import read_classes
from cryotx_cli.averages.class_rows import class_rows
from cryotx_cli.averages.classes import FEWEST, Classes, filtered, number_of_classes, sorted_into_classes
from cryotx_cli.averages.crops import Frame
from cryotx_cli.averages.output import FEW, FOLDER, STACK, TOO_FEW, Assigned, ClassRow, relion_poses, write_classes
from cryotx_cli.averages.pick_crops import PickCrops, micrographs_with_picks, read_crops
from cryotx_cli.config import ClassesConfig
from cryotx_cli.coordinates.formats.entry import Alignments, Exposure
from cryotx_cli.detector.device import choose_device
from cryotx_cli.errors import CryotxError
from cryotx_cli.events import Event, Tell
from cryotx_cli.runs.folder import fingerprint, relion_path
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.result import ClassCounts
from cryotx_cli.runs.stored import StoredRun
from cryotx_cli.version import __version__
from cryotx_cli.wording import counted


@dataclass(frozen=True)
class ClassesMade:
    """What came of it.

    Parameters
    ----------
    folder
        Where the files are.
    rows
        The classes, the largest first.
    picks
        How many picks are in them.
    trained
        How many of these the classes were made with.
    seconds
        Time for all of it; 0 where an earlier run had made them.
    """

    folder: Path
    rows: tuple[ClassRow, ...]
    picks: int
    trained: int
    seconds: float

    @property
    def in_words(self) -> str:
        """How many classes are more than noise, what the middle one of these resolves, and how many cannot be told."""
        counts = self.in_numbers
        middle = "" if counts.resolution is None else f" (half of them to {counts.resolution:.0f} Å or better)"
        told = f"; {counts.too_few} of too few picks to tell" if counts.too_few else ""
        return f"{counts.more_than_noise} of {counts.made} are more than noise{middle}{told}"

    @property
    def in_numbers(self) -> ClassCounts:
        """The same in numbers."""
        good = [row for row in self.rows if row.resolution is not None]
        known = [row.resolution for row in good if row.resolution is not None and row.picks >= FEW]
        middle = statistics.median_low(known) if len(known) > 1 else None
        few = sum(row.told == TOO_FEW for row in self.rows)
        return ClassCounts(len(self.rows), len(good), few, self.picks, middle)


def average_run(
    run: StoredRun,
    config: ClassesConfig,
    exposures: Mapping[str, Exposure],
    tell: Tell = lambda _: None,
    read: Callable[[], None] = lambda: None,
    most: int | None = None,
) -> ClassesMade:
    """Sort the picks of a run into classes and write their averages into ``classes/`` of its folder.

    What is there already stays until the new files are whole.

    Parameters
    ----------
    run
        The run.
    config
        Settings.
    exposures
        CryoSPARC's by the names of the micrographs, if there are any.
    tell
        Hears what there is to know.
    read
        Called after each micrograph that has picks.
    most
        Take every second micrograph, or third, ..., so that there are so many picks; None: take all.

    Raises
    ------
    CryotxError
        There are too few picks, the micrographs are gone, or the folder cannot be written.
    DeviceError
        The device is not there.
    """
    started = time.perf_counter()
    device = choose_device(config.device).device
    frame = Frame(run.settled.diameter)
    _require_picks(run, sum(row.picks for row in run.picked))
    rows = _every_nth(micrographs_with_picks(run), most)
    crops = read_crops(run, rows, frame, read)
    if crops.left_out:
        name, reason = next(iter(crops.left_out.items()))
        text = f"{counted(len(crops.left_out), 'micrographs')} left out, for example {name}: {reason}"
        tell(Event(text, "warning"))
    _require_picks(run, int(crops.whole.sum()))
    trains = _sample(crops.whole, config.sample, config.seed)
    number = config.classes or number_of_classes(int(trains.sum()))
    number = min(number, int(trains.sum()) // 10)
    scores = np.concatenate([particles.scores for _, particles in crops.picks])
    rings = frame.rings(crops.coarsest)
    found = sorted_into_classes(crops.images, trains, rings, number, config.seed, device, scores, crops.whole)
    shown = class_rows(found, crops, frame)
    about = {
        "of": picks_fingerprint(run, config) if len(rows) == len(micrographs_with_picks(run)) else "",
        "picks": len(crops.images),
        "trained": int(trains.sum()),
        "seed": config.seed,
        "chance": found.chance,
        "micrographs": len(crops.picks),
        "micrographs_left_out": len(crops.left_out),
        "micrographs_with_phases_flipped": crops.flipped,
    }
    images = np.stack([filtered(one.image, crops.noise) for one in found.classes])
    first = crops.picks[0][0]
    stack = relion_path(run.folder.path / STACK, run.folder.micrograph_of(first), first.micrograph)
    assigned = list(_assigned(found, crops, frame))
    folder = write_classes(run.folder.path, stack, images, frame.pixel_size, shown, assigned, about, exposures)
    return ClassesMade(folder, tuple(shown), len(crops.images), int(trains.sum()), time.perf_counter() - started)


def enough_picks(run: StoredRun) -> bool:
    """Return whether a run has picks enough to average."""
    return sum(row.picks for row in run.picked) >= FEWEST


def picks_fingerprint(run: StoredRun, config: ClassesConfig) -> str:
    """Return what tells the classes of these picks, made with these settings, from those of others."""
    picks = [(row.micrograph, row.key, row.picks, row.ctf) for row in run.picked if row.picks]
    return fingerprint(__version__, sorted(picks, key=lambda one: one[0]), config.classes, config.sample, config.seed)


def classes_made_before(run: StoredRun, config: ClassesConfig) -> ClassesMade | None:
    """Return the classes in the folder of a run if they are those of its picks, made with these settings."""
    folder = run.folder.path / FOLDER
    try:
        about = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
        if about["of"] != picks_fingerprint(run, config) or about["micrographs_left_out"]:
            return None
        return ClassesMade(folder, read_classes(run.folder.path).rows, int(about["picks"]), int(about["trained"]), 0.0)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, CryotxError):
        return None  # none, or none that can be read: they are made anew


def _every_nth(rows: list[LedgerRow], most: int | None) -> list[LedgerRow]:
    step = 1 if most is None else math.ceil(sum(row.picks for row in rows) / most)
    return rows[::step]


def _require_picks(run: StoredRun, picks: int) -> None:
    if picks < FEWEST:
        raise CryotxError(
            f"{run.folder.star}: {counted(picks, 'picks')} as a whole in a micrograph: too few to average",
            f"It takes {FEWEST} at least; some hundreds show something.",
        )


def _sample(whole: NDArray[np.bool_], size: int, seed: int) -> NDArray[np.bool_]:
    """Return which crops the classes are made with: so many of the whole ones, or all of them."""
    places = np.flatnonzero(whole)
    chosen = np.random.default_rng(seed).permutation(places)[:size]
    trains = np.zeros(len(whole), bool)
    trains[chosen] = True
    return trains


def _assigned(found: Classes, crops: PickCrops, frame: Frame) -> Iterator[Assigned]:
    psi, origins = relion_poses(found.angles, found.shifts, frame.pixel_size)
    origins = origins + crops.offsets * frame.pixel_size  # of the pick, not of the middle of its crop
    start = 0
    for row, particles in crops.picks:
        some = slice(start, start + len(particles))
        start = some.stop
        fits = Alignments(found.numbers[some] + 1, psi[some], origins[some])
        yield Assigned(row.micrograph, particles, fits, row.ctf)
