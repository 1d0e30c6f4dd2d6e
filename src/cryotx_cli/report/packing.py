"""Micrographs boiled down to what fits into one file: counts, columns of small integers, pictures of so many bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.agreement import one_to_one
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.report.gallery import GALLERY_SIZE
from cryotx_cli.report.model import ReportMicrograph
from cryotx_cli.report.thumbnail import read_thumbnail
from cryotx_cli.report.truth import hits_at_cuts
from cryotx_cli.runs.false_discovery import FalseDiscovery

CUTS: NDArray[np.float64] = np.arange(101) / 100
"""What the slider can be set to, as fractions of its range."""

MAX_BYTES = 24_000_000
"""Size of the gallery's pictures and candidates together; the rest takes less than 1 kB a micrograph."""

_CANDIDATE_BYTES = 4_000_000
_ENCODED_BYTES = 8  # of a candidate: two numbers of 16 bits and two of 8, base64


def thumbnail_bytes(micrographs: int) -> int:
    """Return how large each thumbnail may be in a run of this many micrographs."""
    return _bytes_of_each(MAX_BYTES - _CANDIDATE_BYTES, min(micrographs, GALLERY_SIZE))


def _bytes_of_each(room: int, pictures: int) -> int:
    return room * 3 // 4 // max(pictures, 1)  # base64: 4 for 3


def base64_text(data: bytes) -> str:
    """Return bytes as text that JSON and HTML hold as it is."""
    return base64.b64encode(data).decode()


@dataclass(frozen=True, eq=False)
class PackedMicrograph:
    """A micrograph of a report without its candidates, and what the file holds of them.

    Parameters
    ----------
    position
        In the input.
    micrograph
        Without its candidates.
    pixel_size
        Å per pixel; NaN where not known.
    counts
        (101,) candidates by hundredths of the slider.
    table
        (n, 4) of candidates, best first: x and y as fractions of width and height, score in hundredths of the slider,
        diameter as a fraction of the width.
    pairs
        (k, 2) by `Truth.pairs`.
    hits
        (101,) how many candidates are hits at each cut.
    chances
        (101,) how many candidates of each score have a true partner if all are picked.
    false
        (101,) how many candidates of each score are expected to be false; 0 in a run without decoys.
    false_picks
        How many of the picks are.
    chosen
        How many of the best candidates the choice takes, those in dropped classes among them.
    classes
        (m,) class of each candidate up to the last that is in one, best first; 0: none.
    false_of_classes
        (m,) how many of each are expected to be false, 0 to 1.
    """

    position: int
    micrograph: ReportMicrograph
    pixel_size: float
    counts: NDArray[np.uint16]
    table: NDArray[np.float32]
    pairs: NDArray[np.intp]
    hits: NDArray[np.uint16]
    chances: NDArray[np.int64]
    false: NDArray[np.float64]
    false_picks: float
    chosen: int
    classes: NDArray[np.int64]
    false_of_classes: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        position: int,
        micrograph: ReportMicrograph,
        cuts: NDArray[np.float64],
        decoys: FalseDiscovery | None = None,
        dropped: frozenset[int] = frozenset(),
    ) -> PackedMicrograph:
        """Boil a micrograph down.

        Parameters
        ----------
        position, micrograph
            Which, and its place in the input.
        cuts
            (101,) scores that the slider can be set to.
        decoys
            What they say of the run.
        dropped
            Numbers of the classes that are none of its picks.
        """
        found = micrograph.candidates or Particles.empty(np.nan)
        order = np.argsort(-found.scores, kind="stable")
        best_first = found.select(order)
        # Comparing with k / 100 and not rounding: a candidate counts at a threshold exactly if `choose` keeps it there.
        hundredths = np.searchsorted(cuts, best_first.scores, side="right") - 1
        size = _size(micrograph)
        table = np.column_stack([(best_first.centres + 0.5) / size, hundredths, best_first.diameters / size[0]])
        truth = micrograph.truth
        pairs = truth.pairs(best_first) if truth else np.zeros((0, 2), np.intp)
        false = decoys.of(best_first.scores) if decoys else np.zeros(len(best_first))
        classes = np.zeros(len(found), np.int64) if micrograph.classes is None else micrograph.classes[order]
        chosen = micrograph.picks if micrograph.chosen is None else micrograph.chosen
        kept = ~np.isin(classes[:chosen], [*dropped])
        classes = np.trim_zeros(classes, "b")
        partnered = [i for i, _ in one_to_one(pairs, len(best_first))]
        return cls(
            position,
            replace(micrograph, candidates=None, classes=None),
            found.pixel_size,
            histogram(hundredths).clip(max=0xFFFF).astype(np.uint16),
            table.astype(np.float32),
            pairs,
            hits_at_cuts(hundredths, pairs, len(cuts)),
            histogram(hundredths[partnered]),
            np.bincount(hundredths, false, minlength=len(CUTS)).astype(np.float64),
            float(false[:chosen][kept].sum()) if micrograph.false_picks is None else micrograph.false_picks,
            chosen,
            classes,
            false[: len(classes)].astype(np.float32),
        )

    @property
    def largest_diameter(self) -> float:
        """Of the candidates, as a fraction of the width; 0 where there are none."""
        return float(self.table[:, 3].max(initial=0.0))

    def kept(self, floor: int) -> int:
        """Count the candidates, best first, that the file holds: those of the slider's range and all chosen."""
        return max(self.chosen, int(np.count_nonzero(self.table[:, 2] >= floor)))

    def candidate_columns(self, floor: int) -> bytes:
        """Pack columns one after the other: x, y (uint16, 65535 is the far border), score (uint8), diameter (uint8).

        Diameters are 255ths of the largest.
        """
        kept = self.table[: self.kept(floor)]
        diameters = np.rint(kept[:, 3] / max(self.largest_diameter, 1e-9) * 0xFF).astype(np.uint8)
        return b"".join(column.tobytes() for column in (_x_y(kept[:, :2]), kept[:, 2].astype(np.uint8), diameters))

    def truth_columns(self, floor: int) -> bytes:
        """Pack columns of uint16: x, y of the true particles, then candidate and particle of pairs."""
        truth = self.micrograph.truth
        if truth is None:
            return b""
        x_y = _x_y((truth.particles.centres + 0.5) / _size(self.micrograph))
        pairs = self.pairs[(self.pairs[:, 0] < self.kept(floor)) & (self.pairs <= 0xFFFF).all(axis=1)]
        return x_y.tobytes() + pairs.T.astype("<u2").tobytes()


def _size(micrograph: ReportMicrograph) -> NDArray[np.int64]:
    return np.array([max(micrograph.width, 1), max(micrograph.height, 1)])


def _x_y(fractions: NDArray[np.floating]) -> NDArray[np.uint16]:
    return np.asarray(np.rint(fractions.T.clip(0, 1) * 0xFFFF), "<u2")


def histogram(hundredths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Count the candidates of each score, (101,)."""
    return np.bincount(hundredths, minlength=len(CUTS)).astype(np.int64)


def lowest_score(gallery: Iterable[PackedMicrograph]) -> int:
    """Return the score, in hundredths, below which candidates are left out because they would take too many bytes."""
    counts = sum((one.counts for one in gallery), np.zeros(len(CUTS), np.int64))
    at_least = counts[::-1].cumsum()[::-1]
    return int(np.argmax(at_least * _ENCODED_BYTES <= _CANDIDATE_BYTES))


def pictures(gallery: Sequence[PackedMicrograph], floor: int, taken: int) -> Iterator[tuple[int, str, str, str]]:
    """Yield position, candidates, truth and JPEG of each micrograph of the gallery, the last three as base64.

    Parameters
    ----------
    gallery
        Micrographs to show.
    floor
        By `lowest_score`.
    taken
        Bytes of the file that other pictures take.
    """
    packed = [(base64_text(one.candidate_columns(floor)), base64_text(one.truth_columns(floor))) for one in gallery]
    taken += sum(len(candidates) + len(truth) for candidates, truth in packed)
    room = _bytes_of_each(MAX_BYTES - taken, len(gallery))
    for one, (candidates, truth) in zip(gallery, packed, strict=True):
        jpeg = read_thumbnail(one.micrograph.thumbnail, room) if one.micrograph.thumbnail else None
        yield one.position, candidates, truth, base64_text(jpeg or b"")
