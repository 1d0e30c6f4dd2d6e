"""Picks judged by the truth: each micrograph, a data set, several pickers over several data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.agreement import Counts, average_precision, dice, disc_overlap, match
from cryotx_cli.coordinates.chance import Field, pairs_by_chance
from cryotx_cli.coordinates.coco_agreement import CocoPrecision, PicksAndTruth, coco_average_precision
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.events import Event

RATES = ("precision", "recall", "f1", "chance", "dice", "average_precision")
"""What is averaged over data sets, as dictionaries for JSON call it."""


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
    pairs_by_chance
        How many pairs as many points at random make.
    """

    name: str
    counts: Counts
    diameter_px: float
    overlap: tuple[float, float]
    picks: Particles
    truth: Particles
    hits: NDArray[np.bool_]
    pairs_by_chance: float

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores of the picks (n,)."""
        return self.picks.scores

    @property
    def chance(self) -> float:
        """F1 of as many points at random."""
        return self.counts.f1_of(self.pairs_by_chance)

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
            **_figures(self),
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
    def chance(self) -> float:
        """F1 of as many points at random on each micrograph."""
        return self.counts.f1_of(sum(row.pairs_by_chance for row in self.micrographs))

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
                **_figures(self),
                "coco_ap": self.coco.average if self.coco else None,
                "coco_ap50": self.coco.at_half if self.coco else None,
            },
            "micrographs": [row.to_dict() for row in self.micrographs],
            "truth_without_picks": self.truth_without_picks,
            "picks_without_truth": self.picks_without_truth,
            "unlabelled": self.unlabelled,
        }


@dataclass(frozen=True, eq=False)
class TreeEvaluation:
    """Several data sets, and what one or several pickers found in each.

    Parameters
    ----------
    results
        By picker, then by data set: every picker has every set.
    without_picks
        By picker: the sets for which it has no picks at all. Their particles count as missed.
    without_truth
        By picker: micrographs, or what lies beside the picks of sets, of which there is no truth; left out.
    is_tree
        Whether the truth is a tree of data sets, which may hold one alone.
    events
        What was odd about the sets.
    """

    results: Mapping[str, Mapping[str, EvaluationResult]]
    without_picks: Mapping[str, list[str]]
    without_truth: Mapping[str, list[str]]
    is_tree: bool
    events: tuple[Event, ...] = ()

    @property
    def sets(self) -> list[str]:
        """Names of the data sets."""
        return list(next(iter(self.results.values())))

    @property
    def alone(self) -> EvaluationResult | None:
        """The result, if it is that of one program on one data set; None where there are several, or a tree."""
        results = [result for of_sets in self.results.values() for result in of_sets.values()]
        return results[0] if len(results) == 1 and not self.is_tree else None

    def mean(self, picker: str) -> dict[str, float]:
        """Return the means over the data sets, each counting once however many particles it has, by `RATES`."""
        figures = [_figures(result) for result in self.results[picker].values()]
        return {rate: float(np.mean([one[rate] for one in figures])) for rate in RATES}

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON; each set of a picker is as `EvaluationResult.to_dict` has it."""
        first = next(iter(next(iter(self.results.values())).values()))
        return {
            "radius": first.radius,
            "sets": self.sets,
            "pickers": {
                picker: {
                    "mean": self.mean(picker),
                    "sets": {name: result.to_dict() for name, result in of_sets.items()},
                    "sets_without_picks": self.without_picks[picker],
                    "picks_without_set": self.without_truth[picker],
                }
                for picker, of_sets in self.results.items()
            },
        }


def judged_micrographs(
    picks: Mapping[str, Particles],
    truth: Mapping[str, Particles],
    partners: Mapping[str, str],
    diameters: Mapping[str, float],
    radius: float,
) -> list[MicrographEvaluation]:
    """Judge the picks of a data set, each micrograph alone.

    Parameters
    ----------
    picks, truth
        By micrograph, in the same pixels.
    partners
        By micrographs of the truth: what the picks call the same micrograph.
    diameters
        Of the particles in pixels, by micrographs of the truth.
    radius
        Largest distance of a match as a fraction of the diameter.

    Returns
    -------
    list of MicrographEvaluation
        In the order of the truth; without a partner every particle is missed.
    """
    found = {
        name: picks[partners[name]] if name in partners else Particles.empty(true.pixel_size)
        for name, true in truth.items()
    }
    fields = _fields(found, truth, max(diameters.values(), default=1.0))
    rows = []
    for number, (name, true) in enumerate(truth.items()):
        here, radius_px = found[name], radius * diameters[name]
        hits = match(here.centres, true.centres, radius_px) >= 0
        rows.append(
            MicrographEvaluation(
                name,
                Counts(len(here), len(true), int(hits.sum())),
                diameters[name],
                disc_overlap(here.centres, true.centres, diameters[name]),
                here,
                true,
                hits,
                pairs_by_chance(here.centres, true.centres, radius_px, fields[true.shape], number),
            )
        )
    return rows


def _fields(
    picks: Mapping[str, Particles], truth: Mapping[str, Particles], least_side: float
) -> dict[tuple[int, int] | None, Field]:
    """Return where points may lie on micrographs of each shape: all micrographs of one tell how large it is."""
    points: dict[tuple[int, int] | None, list[NDArray[np.float64]]] = {}
    for name, true in truth.items():
        points.setdefault(true.shape, []).extend((picks[name].centres, true.centres))
    return {shape: Field.around(here, least_side) for shape, here in points.items()}


def _figures(agreement: MicrographEvaluation | EvaluationResult) -> dict[str, Any]:
    counts = agreement.counts
    return {
        "picks": counts.picks,
        "truth": counts.truth,
        "matched": counts.matched,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "chance": agreement.chance,
        "dice": agreement.dice,
        "average_precision": agreement.average_precision,
    }
