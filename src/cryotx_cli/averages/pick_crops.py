"""The crops of all picks of a run: each micrograph is read once, the crops wait in a file without a name."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.averages.crops import SIDE, Frame
from cryotx_cli.averages.kept_crops import KeptCrops, crops_key, cut_and_keep, read_kept
from cryotx_cli.averages.surroundings import Surroundings, surroundings
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError, MicrographError
from cryotx_cli.micrographs.micrograph import MicrographFile, read_micrograph
from cryotx_cli.runs.candidates import Candidates
from cryotx_cli.runs.jobs import has_changed
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.stored import StoredRun

_READERS = 2
_Read: TypeAlias = "tuple[LedgerRow, Particles, tuple[KeptCrops, Surroundings] | str]"


@dataclass(frozen=True, eq=False)
class PickCrops:
    """Crops of the picks of a run, in the order of its micrographs.

    Parameters
    ----------
    images
        (n, side, side) whole numbers, see `cryotx_cli.averages.crops.in_numbers`.
    offsets
        (n, 2) x and y in pixels of a crop from its middle to the pick.
    whole
        (n,) whether the micrograph holds the particle as a whole.
    noise
        (side / 2 + 1,) mean amplitude of the noise that was taken away, see `Crops`.
    picks
        The micrographs with their picks, whose crops these are.
    left_out
        Why micrographs are left out, by their names.
    coarsest
        Å per pixel of the coarsest micrograph.
    flipped
        On how many of the micrographs phases were flipped.
    around
        Where each of the picks lies.
    """

    images: NDArray[np.int8]
    offsets: NDArray[np.float32]
    whole: NDArray[np.bool_]
    noise: NDArray[np.float64]
    picks: list[tuple[LedgerRow, Particles]]
    left_out: dict[str, str]
    coarsest: float
    flipped: int
    around: Surroundings


def read_crops(run: StoredRun, rows: Sequence[LedgerRow], frame: Frame, done: Callable[[], None]) -> PickCrops:
    """Return the crops of a run: those that were kept, and where there are none cut out of micrographs, and kept.

    Parameters
    ----------
    run
        The run.
    rows
        Its micrographs that are to be looked at, all of which have picks.
    frame
        The scale of the crops.
    done
        Called after each micrograph.

    Raises
    ------
    CryotxError
        Not one micrograph with picks can be read.
    """
    picks: list[tuple[LedgerRow, Particles]] = []
    offsets, whole, noise, around, left_out, flipped = [], [], [], [], {}, 0
    with tempfile.TemporaryFile(prefix="cryotx-crops-") as file:
        for row, particles, outcome in _read_ahead(run, rows, frame):
            if isinstance(outcome, str):
                left_out[row.micrograph] = outcome
            else:
                crops, places = outcome
                file.write(crops.images.data)
                picks.append((row, particles))
                offsets.append(crops.offsets)
                whole.append(crops.whole)
                noise.append(crops.noise)
                around.append(places)
                flipped += crops.flipped
            done()
        if not picks:
            reason = next(iter(left_out.values()), "it has no picks")
            raise CryotxError(
                f"{run.folder.path}: there is nothing to average: {reason}",
                "Bring the micrographs back to where they were picked, or pick them again.",
            )
        file.flush()
        shape = (sum(map(len, whole)), SIDE, SIDE)
        images = np.memmap(file, np.int8, "r", shape=shape)  # keeps the file, which has no name any more
    return PickCrops(
        images,
        np.concatenate(offsets),
        np.concatenate(whole),
        np.mean(noise, 0),
        picks,
        left_out,
        max(particles.pixel_size for _, particles in picks),
        flipped,
        Surroundings.joined(around),
    )


def micrographs_with_picks(run: StoredRun) -> list[LedgerRow]:
    """Return the rows of the micrographs that have picks."""
    return [row for row in run.picked if row.picks]


def _read_ahead(run: StoredRun, rows: Sequence[LedgerRow], frame: Frame) -> Iterator[_Read]:
    """Yield micrographs with their picks and crops, or with the reason why there are none, in order."""
    with ThreadPoolExecutor(_READERS) as readers:
        coming = iter(rows)
        ahead: deque[Future[_Read]] = deque()
        while True:
            ahead.extend(readers.submit(_read, run, row, frame) for row in islice(coming, _READERS + 1 - len(ahead)))
            if not ahead:
                return
            yield ahead.popleft().result()


def _read(run: StoredRun, row: LedgerRow, frame: Frame) -> _Read:
    particles = Particles.empty(1.0)
    try:
        stored = run.candidates(row)
        if stored is None:
            raise CryotxError(f"{run.folder.outputs(row.stem).candidates}: missing or damaged")
        available = run.choosable(row, stored[1])
        # As many as the run has picked, whatever this version would choose.
        particles = available.select(np.arange(min(row.picks, len(available))))
        crops, candidates = _crops(run, row, particles, stored, frame), stored[1]
        diameter_px = frame.diameter / particles.pixel_size
        size = candidates.height, candidates.width
        return row, particles, (crops, surroundings(particles.centres, *size, candidates.film, diameter_px))
    except CryotxError as error:
        return row, particles, error.message
    except OSError as error:
        return row, particles, f"{error.filename}: {error.strerror}"


def _crops(
    run: StoredRun, row: LedgerRow, particles: Particles, stored: tuple[str, Candidates], frame: Frame
) -> KeptCrops:
    file, (candidates_key, candidates) = run.folder.outputs(row.stem).crops, stored
    key = crops_key(candidates_key, frame, row.ctf)
    kept = read_kept(file, key, particles.centres)
    if kept is not None:
        return kept
    path = run.folder.micrograph_of(row)
    # The pixel size of the run counts, whatever the header says.
    micrograph = read_micrograph(MicrographFile(path, row.micrograph, particles.pixel_size))
    if micrograph.image.shape != (candidates.height, candidates.width) or has_changed(path, row):
        raise MicrographError(f"{path}: has changed since it was picked")
    return cut_and_keep(file, key, run.settled.with_dark_particles(micrograph), particles.centres, frame, row.ctf)
