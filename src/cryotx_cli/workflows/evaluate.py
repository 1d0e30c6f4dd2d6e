"""Evaluate picks against the truth: pair the micrographs of both sides, match their particles, count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.agreement import Counts, average_precision, dice, disc_overlap, match
from cryotx_cli.coordinates.coco_agreement import CocoPrecision, PicksAndTruth, coco_average_precision
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.grid import Grid, on_grids
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import cryoppp_tree, find_labelled_micrographs
from cryotx_cli.errors import ConfigError, ParticleFileError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.names import NAMES_AGREE, pair_names
from cryotx_cli.report.evaluation_report import EvaluationReport, JudgedPicks
from cryotx_cli.report.model import RunAgreement
from cryotx_cli.report.truth import Truth
from cryotx_cli.runs.stored import file_of_picks
from cryotx_cli.wording import some_of

_OTHER_PIXELS = (
    "cryotx convert PICKS OUT --scale {factor} turns them into pixels of the truth; --pixel-size says that both are in "
    "the same pixels."
)

Coordinates = str | Path | Particles | Mapping[str, Particles]
"""A coordinate file or folder, the particles of one micrograph, or particles by micrograph."""


@dataclass(frozen=True, eq=False)
class MicrographEvaluation:
    """How the picks of one micrograph agree with its truth.

    Parameters
    ----------
    name
        As the truth names it.
    counts
        Picks, true particles and pairs of them.
    diameter_px
        The particle diameter that sets the matching radius and the discs, in pixels.
    overlap
        Common area and sum of areas of the two unions of discs, px².
    picks, truth
        The particles of both sides.
    hits
        (n,) of each pick: whether it has a true partner.
    """

    name: str
    counts: Counts
    diameter_px: float
    overlap: tuple[float, float]
    picks: Particles
    truth: Particles
    hits: NDArray[np.bool_]

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores of the picks (n,)."""
        return self.picks.scores

    @property
    def dice(self) -> float:
        """Dice coefficient of the unions of discs."""
        return dice([self.overlap])

    @property
    def average_precision(self) -> float:
        """Area under the precision-recall curve of this micrograph."""
        return average_precision(self.scores, self.hits, self.counts.truth)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers of this micrograph, ready for JSON."""
        return {
            "micrograph": self.name,
            "diameter_px": self.diameter_px,
            **_figures(self.counts, self.dice, self.average_precision),
        }


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """How picks agree with the truth, each micrograph and all of them together.

    Parameters
    ----------
    micrographs
        One for each micrograph that has truth, in the order of the truth.
    radius
        Largest distance of a match as a fraction of the diameter.
    partners
        By micrographs of the truth: what the picks call the same micrograph.
    truth_without_picks
        Micrographs with truth for which there are no picks; their particles count as missed.
    picks_without_truth
        Micrographs with picks for which there is no truth; they are left out.
    unlabelled
        Micrographs of a CryoPPP tree that nobody has labelled.
    events
        What was odd about the files of both sides.
    """

    micrographs: list[MicrographEvaluation]
    radius: float
    partners: Mapping[str, str] = field(default_factory=dict)
    truth_without_picks: list[str] = field(default_factory=list)
    picks_without_truth: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    events: tuple[Event, ...] = ()

    @property
    def counts(self) -> Counts:
        """Sum over the micrographs: precision, recall and F1 of it are micro-averages."""
        return sum((row.counts for row in self.micrographs), Counts())

    @property
    def dice(self) -> float:
        """Dice coefficient of the discs of all micrographs together."""
        return dice([row.overlap for row in self.micrographs])

    @property
    def average_precision(self) -> float:
        """Area under the precision-recall curve of the picks of all micrographs in one ranking."""
        scores = np.concatenate([row.scores for row in self.micrographs])
        return average_precision(scores, np.concatenate([row.hits for row in self.micrographs]), self.counts.truth)

    @cached_property
    def coco(self) -> CocoPrecision | None:
        """COCO's average precision of boxes with the diameter as side; None where there is no true particle."""
        return coco_average_precision(
            [
                PicksAndTruth(row.picks.centres, row.truth.centres, row.scores, row.diameter_px)
                for row in self.micrographs
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "radius": self.radius,
            "total": {
                **_figures(self.counts, self.dice, self.average_precision),
                "coco_ap": self.coco.average if self.coco else None,
                "coco_ap50": self.coco.at_half if self.coco else None,
            },
            "micrographs": [row.to_dict() for row in self.micrographs],
            "truth_without_picks": self.truth_without_picks,
            "picks_without_truth": self.picks_without_truth,
            "unlabelled": self.unlabelled,
        }


def evaluate(
    picks: Coordinates,
    truth: Coordinates,
    diameter: float | None = None,
    pixel_size: float | None = None,
    radius: float = 0.5,
) -> EvaluationResult:
    """Evaluate picks against the truth.

    Parameters
    ----------
    picks
        What `read_particles` reads: a coordinate file of any format, or a folder of such files; or particles by
        micrograph; or those of one micrograph. The folder of a run of ``cryotx pick`` stands for the STAR file beside
        it.
    truth
        The same, or a CryoPPP tree, whose labels are turned to the rows of the MRC file where they belong to one.
    diameter
        Of the particles in Å; without it the diameters in the truth are used, their median in each micrograph. Neither
        a box nor what the picks state is taken for it: the same coordinates are as good in any format.
    pixel_size
        Å per pixel of the coordinates, where neither side states it; only needed with `diameter`.
    radius
        Largest distance of a match as a fraction of the diameter.

    Returns
    -------
    EvaluationResult
        Micrographs of the two sides belong together as `pairing` pairs their names. Particles without a name
        belong to the only micrograph of the other side.

    Raises
    ------
    ConfigError
        If the diameter in pixels does not follow from files and arguments, or particles of one micrograph are compared
        with those of several.
    ParticleFileError, DatasetError, MicrographError
        If a side cannot be read, or no micrograph is on both sides.
    """
    events: list[Event] = []
    found, true, unlabelled = _by_micrograph(picks, truth, events.append)
    partners = pair_names(found, true)
    if found and not partners:
        raise ParticleFileError(
            f"no micrograph is on both sides: {_called(picks, 'picks')} names {some_of(found)}, "
            f"{_called(truth, 'truth')} names {some_of(true)}",
            NAMES_AGREE,
        )
    if pixel_size is not None:  # who states it says that both sides are in these pixels
        found, true = ({n: replace(here, pixel_size=pixel_size) for n, here in side.items()} for side in (found, true))
    grids = {partner: Grid.of(true[name]) for name, partner in partners.items()}
    found = on_grids(found, grids, "the truth", _OTHER_PIXELS, events.append)
    diameters = _diameters_px(found, true, partners, diameter, pixel_size)
    rows = [
        _evaluate_micrograph(name, found.get(partners.get(name, "")), of_truth, diameters[name], radius)
        for name, of_truth in true.items()
    ]
    return EvaluationResult(
        rows,
        radius,
        partners,
        truth_without_picks=[name for name in true if name not in partners],
        picks_without_truth=sorted(set(found) - set(partners.values())),
        unlabelled=unlabelled,
        events=tuple(events),
    )


def evaluation_report(
    result: EvaluationResult,
    path: str | Path,
    picks_path: str | Path,
    truth_path: str | Path,
    micrographs: str | Path | None = None,
    pixel_size: float | None = None,
) -> EvaluationReport:
    """Prepare a page that shows where picks and truth disagree.

    Parameters
    ----------
    result
        Of `evaluate`.
    path
        HTML file to write, whole or not at all.
    picks_path, truth_path, pixel_size
        As they were given to `evaluate`. Of a run of ``cryotx pick`` the report shows all stored candidates.
    micrographs
        Folder or micrographs STAR file in which to look for the micrographs first.

    Returns
    -------
    EvaluationReport
        Iterate over it to write the file.

    Raises
    ------
    MicrographError
        `micrographs` holds none.
    CryotxError
        The settings of the run cannot be read.
    """
    judged = [
        JudgedPicks(
            row.name,
            result.partners.get(row.name),
            replace(
                row.picks, pixel_size=_first_known(pixel_size, row.picks.pixel_size, row.truth.pixel_size) or np.nan
            ),
            Truth(row.truth, row.diameter_px, result.radius * row.diameter_px, row.counts.matched),
        )
        for row in result.micrographs
    ]
    agreement = RunAgreement(
        Path(truth_path),
        result.radius,
        result.counts.precision,
        result.counts.recall,
        result.counts.f1,
        result.average_precision,
        result.dice,
        (
            *((name, "without labels") for name in result.unlabelled),
            *((name, "picks, but no labels") for name in result.picks_without_truth),
        ),
    )
    return EvaluationReport(
        Path(path), judged, agreement, Path(picks_path), None if micrographs is None else Path(micrographs)
    )


def _figures(counts: Counts, dice: float, average_precision: float) -> dict[str, Any]:
    return {
        "picks": counts.picks,
        "truth": counts.truth,
        "matched": counts.matched,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "dice": dice,
        "average_precision": average_precision,
    }


def _evaluate_micrograph(
    name: str, picks: Particles | None, truth: Particles, diameter_px: float, radius: float
) -> MicrographEvaluation:
    picks = picks if picks is not None else Particles.empty(truth.pixel_size)
    hits = match(picks.centres, truth.centres, radius * diameter_px) >= 0
    counts = Counts(len(picks), len(truth), int(hits.sum()))
    overlap = disc_overlap(picks.centres, truth.centres, diameter_px)
    return MicrographEvaluation(name, counts, diameter_px, overlap, picks, truth, hits)


def _by_micrograph(
    picks: Coordinates, truth: Coordinates, tell: Tell
) -> tuple[dict[str, Particles], dict[str, Particles], list[str]]:
    """Return picks and truth by the names of their micrographs, and the micrographs that nobody has labelled."""
    unlabelled: list[str] = []
    if isinstance(truth, Particles):
        true = {"micrograph": truth}
    elif isinstance(truth, Mapping):
        true = dict(truth)
        if not true:
            raise ParticleFileError("the truth holds no micrographs, so there is nothing to compare with")
    else:
        true, unlabelled = _read_truth(Path(truth), tell)
    if isinstance(picks, Particles):
        return {_only(true, "picks"): picks}, true, unlabelled
    found = dict(picks) if isinstance(picks, Mapping) else read_particles(file_of_picks(Path(picks)), tell)
    return found, {_only(found, "truth"): truth} if isinstance(truth, Particles) else true, unlabelled


def _only(other: Mapping[str, Particles], side: str) -> str:
    if len(other) != 1:
        raise ConfigError(
            f"the {side} are those of one micrograph, and the other side has {len(other)}: {some_of(other)}",
            'Say which one it is: {"name": particles}.',
        )
    return next(iter(other))


def _called(side: Coordinates, otherwise: str) -> str:
    return otherwise if isinstance(side, Particles | Mapping) else str(side)


def _read_truth(path: Path, tell: Tell) -> tuple[dict[str, Particles], list[str]]:
    tree = cryoppp_tree(path)
    if tree is None:
        truth = read_particles(path, tell)
        if not truth:
            raise ParticleFileError(f"{path}: holds no particles, so there is no truth to compare with")
        return truth, []
    micrographs = find_labelled_micrographs(tree)
    if path.is_file():
        micrographs = [m for m in micrographs if m.labels is not None and m.labels.samefile(path)]
    labelled = {m.file.name: m.read_particles() for m in micrographs if m.labels is not None}
    if not labelled:
        raise ParticleFileError(f"{path}: none of its {len(micrographs)} micrographs is labelled")
    return labelled, [m.file.name for m in micrographs if m.labels is None]


def _diameters_px(
    picks: Mapping[str, Particles],
    truth: Mapping[str, Particles],
    partners: Mapping[str, str],
    diameter: float | None,
    pixel_size: float | None,
) -> dict[str, float]:
    """Particle diameter in pixels for each micrograph of the truth."""
    if diameter is not None:
        sizes = {
            name: _first_known(
                pixel_size, true.pixel_size, picks[partners[name]].pixel_size if name in partners else None
            )
            for name, true in truth.items()
        }
        everywhere = _first_known(*sizes.values())
        if everywhere is None:
            raise ConfigError(
                f"a diameter of {diameter:g} Å says nothing about pixels: neither file states a pixel size",
                "Give it in Å per pixel, for example --pixel-size 1.06",
            )
        return {name: diameter / (size or everywhere) for name, size in sizes.items()}
    known = {name: true.diameters[np.isfinite(true.diameters)] for name, true in truth.items()}
    all_known = np.concatenate([*known.values(), np.zeros(0)])
    if not all_known.size:
        boxed = any(true.box_px > 0 for true in truth.values())
        raise ConfigError(
            f"the truth states no particle diameter{': the side of a box is none' if boxed else ''}",
            "Give it in Å, for example --diameter 160",
        )
    return {name: float(np.median(of_one if of_one.size else all_known)) for name, of_one in known.items()}


def _first_known(*sizes: float | None) -> float | None:
    return next((size for size in sizes if size is not None and np.isfinite(size)), None)
