"""Average the picks of a finished run: classes of views, and how far their halves agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.averages.classes import FEWEST, Classes, filtered, number_of_classes, sorted_into_classes
from cryotx_cli.averages.crops import SIDE, Frame
from cryotx_cli.averages.output import STACK, Assigned, ClassRow, relion_poses, write_classes
from cryotx_cli.averages.pick_crops import PickCrops, read_crops
from cryotx_cli.config import ClassesConfig
from cryotx_cli.detector.device import choose_device
from cryotx_cli.errors import CryotxError
from cryotx_cli.events import Event, Tell
from cryotx_cli.picking.page import write_page
from cryotx_cli.runs.folder import relion_path
from cryotx_cli.runs.stored import StoredRun, read_run
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
        Time for all of it.
    """

    folder: Path
    rows: tuple[ClassRow, ...]
    picks: int
    trained: int
    seconds: float


def classes(
    run: str | Path,
    config: ClassesConfig,
    tell: Tell = lambda _: None,
    read: Callable[[], None] = lambda: None,
) -> ClassesMade:
    """Sort the picks of a run into classes and write their averages into ``classes/`` of its folder.

    What is there already stays until the new files are whole. The report of the run is written again, with the classes.

    Parameters
    ----------
    run
        The STAR file that ``cryotx pick`` wrote, or the folder of the same name.
    config
        Settings.
    tell
        Hears what there is to know.
    read
        Called after each micrograph that has picks.

    Raises
    ------
    CryotxError
        There is no such run, or it has too few picks, its micrographs are gone, or the folder cannot be written.
    DeviceError
        The device is not there.
    """
    started = time.perf_counter()
    stored = read_run(Path(run))
    device = choose_device(config.device).device
    frame = Frame(stored.settled.diameter)
    _require_picks(stored, sum(row.picks for row in stored.picked))
    crops = read_crops(stored, frame, read)
    if crops.left_out:
        name, reason = next(iter(crops.left_out.items()))
        text = f"{counted(len(crops.left_out), 'micrographs')} left out, for example {name}: {reason}"
        tell(Event(text, "warning"))
    _require_picks(stored, int(crops.whole.sum()))
    trains = _sample(crops.whole, config.sample, config.seed)
    number = config.classes or number_of_classes(int(trains.sum()))
    number = min(number, int(trains.sum()) // 10)
    found = sorted_into_classes(crops.images, trains, frame.rings(crops.coarsest), number, config.seed, device)
    rows = _rows(found, crops, frame)
    about = {"picks": len(crops.images), "trained": int(trains.sum()), "seed": config.seed, "chance": found.chance}
    images = np.stack([filtered(one.image, crops.noise) for one in found.classes])
    first = crops.picks[0][0]
    stack = relion_path(stored.folder.path / STACK, stored.folder.micrograph_of(first), first.micrograph)
    folder = write_classes(
        stored.folder.path, stack, images, frame.pixel_size, rows, list(_assigned(found, crops, frame)), about
    )
    if stored.settled.config.report:
        write_page(stored)
    return ClassesMade(folder, tuple(rows), len(crops.images), int(trains.sum()), time.perf_counter() - started)


def _require_picks(run: StoredRun, picks: int) -> None:
    if picks < FEWEST:
        raise CryotxError(
            f"{run.folder.star}: {counted(picks, 'picks')} that lie in a micrograph as a whole are too few to average",
            f"It takes {FEWEST} at least; some hundreds show something.",
        )


def _sample(whole: NDArray[np.bool_], size: int, seed: int) -> NDArray[np.bool_]:
    """Return which crops the classes are made with: so many of the whole ones, or all of them."""
    places = np.flatnonzero(whole)
    chosen = np.random.default_rng(seed).permutation(places)[:size]
    trains = np.zeros(len(whole), bool)
    trains[chosen] = True
    return trains


def _rows(found: Classes, crops: PickCrops, frame: Frame) -> list[ClassRow]:
    scores = np.concatenate([particles.scores for _, particles in crops.picks])
    counts = np.bincount(found.numbers, minlength=len(found.classes))
    sums = np.bincount(found.numbers, scores, minlength=len(found.classes))
    return [
        ClassRow(
            number=i + 1,
            picks=int(counts[i]),
            share=float(counts[i] / counts.sum()),
            mean_score=float(sums[i] / max(1, counts[i])),
            resolution=None if one.ring is None else SIDE * frame.pixel_size / one.ring,
            agreement=float(np.tanh(one.strength)),
        )
        for i, one in enumerate(found.classes)
    ]


def _assigned(found: Classes, crops: PickCrops, frame: Frame) -> Iterator[Assigned]:
    psi, origins = relion_poses(found.angles, found.shifts, frame.pixel_size)
    start = 0
    for row, particles in crops.picks:
        some = slice(start, start + len(particles))
        start = some.stop
        yield Assigned(row.micrograph, particles, found.numbers[some] + 1, psi[some], origins[some])
