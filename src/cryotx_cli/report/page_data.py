"""What the program of a report reads beside pictures and candidates: numbers, names and crops, ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cryotx_cli.report.annotated_image import score_colours
from cryotx_cli.report.class_data import class_data
from cryotx_cli.report.model import ReportRun, RunAgreement
from cryotx_cli.report.packing import CUTS, PackedMicrograph, base64_text, histogram
from cryotx_cli.report.truth import Disagreement
from cryotx_cli.report.wording import short_names, threshold_command
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.selection import ExpectedCount, Percentile, Threshold
from cryotx_cli.runs.settled import Settled


def page_data(
    run: ReportRun,
    picked: Sequence[PackedMicrograph],
    skipped: Sequence[PackedMicrograph],
    gallery: Sequence[PackedMicrograph],
    floor: int,
) -> dict[str, object]:
    """Return everything but pictures, crops and candidates.

    Parameters
    ----------
    run
        The run.
    picked, skipped
        Micrographs without and with an error, in the order of the input.
    gallery
        Those to show as pictures.
    floor
        Score, in hundredths, below which the file holds no candidates.
    """
    names = [one.micrograph.name for one in picked]
    return {
        "command": threshold_command(run.folder) if run.folder else None,
        "adjustable": _adjustable(run, picked),
        "threshold": _threshold(run),
        "keeps_nothing": _keeps_nothing(run, picked),
        "own_cuts": _own_cuts(run),
        "expected_false": _expected_false(run.found, run.settled, picked) if run.found else None,
        "scores": run.scores,
        "floor": floor,
        "names": short_names(names),
        "full_names": names,
        "positions": [one.position for one in picked],
        "skipped": [one.position for one in skipped],
        "picks": [one.micrograph.picks for one in picked],
        "unpicked": [index for index, one in enumerate(picked) if one.micrograph.unpicked],
        "defocus": [one.micrograph.defocus for one in picked],
        "film": [None if share is None else round(share, 4) for share in (one.micrograph.film_share for one in picked)],
        "counts": base64_text(b"".join(one.counts.astype("<u2").tobytes() for one in picked)),
        "picked_counts": _picked_counts(picked, run.classes.dropped if run.classes else frozenset()),
        "gallery": [_shown(one) for one in gallery],
        "colours": [f"#{r:02x}{g:02x}{b:02x}" for b, g, r in score_colours(CUTS).tolist()],
        "truth": _judged(run.agreement, picked) if run.agreement else None,
        "classes": class_data(run.classes, picked) if run.classes else None,
    }


def _shown(one: PackedMicrograph) -> dict[str, object]:
    return {
        "position": one.position,
        "width": one.micrograph.width,
        "height": one.micrograph.height,
        "pixel_size": one.pixel_size if np.isfinite(one.pixel_size) else None,
        "diameter": round(one.largest_diameter, 6),
        "film": one.micrograph.film.rows() if one.micrograph.film else [],
    }


def _threshold(run: ReportRun) -> float | None:
    """Return the score that parts picks from the rest; None where no single one does."""
    rule = run.settled.selection.rule if run.settled is not None and run.settled.by_probability else None
    return rule.probability if isinstance(rule, Threshold) and np.isfinite(rule.probability) else None


def _own_cuts(run: ReportRun) -> str:
    """Name, in a word, what chose the picks where no single score did."""
    match run.settled.selection.rule if run.settled is not None else None:
        case ExpectedCount(count):
            return f"best {count}"
        case Percentile(percent):
            return f"−{percent:g} %"
        case _:
            return "auto"


def _keeps_nothing(run: ReportRun, picked: Sequence[PackedMicrograph]) -> bool:
    """Return whether the run has decided to pick nothing."""
    if run.settled is None or not run.settled.cut_by_run:
        return False
    return run.found is not None and not any(one.micrograph.picks for one in picked)


def _expected_false(
    found: FalseDiscovery, settled: Settled | None, picked: Sequence[PackedMicrograph]
) -> dict[str, object]:
    """How many picks are expected to be false: of those of the run, and of the candidates of each score."""
    of_scores = sum((one.false for one in picked), np.zeros(len(CUTS)))
    cut = (found.own_cuts if settled is None else settled.own_cuts(found)).cut_of(found)
    return {
        "written": round(sum(one.false_picks for one in picked), 3),
        "of_scores": of_scores.round(3).tolist(),
        "automatic": cut if np.isfinite(cut) else None,
    }


def _adjustable(run: ReportRun, picked: Sequence[PackedMicrograph]) -> bool:
    if run.settled is not None:
        return run.settled.by_probability  # the original program's choice is no threshold
    return sum(any(one.counts[k] for one in picked) for k in range(len(CUTS))) > 1  # many formats have no scores


def _judged(agreement: RunAgreement, picked: Sequence[PackedMicrograph]) -> dict[str, object]:
    """Numbers for the program, which does not know the places of all candidates and so cannot count hits itself."""
    truths = [one.micrograph.truth for one in picked if one.micrograph.truth is not None]
    return {
        "labels": [len(truth.particles) for truth in truths],
        "hits": [truth.hits for truth in truths],
        "hits_at_cuts": base64_text(b"".join(one.hits.astype("<u2").tobytes() for one in picked)),
        "chances": sum((one.chances for one in picked), np.zeros(len(CUTS), np.int64)).tolist(),
        "diameters": [
            round(truth.diameter_px / max(one.micrograph.width, 1), 6)
            for one, truth in zip(picked, truths, strict=True)
        ],
        "average_precision": agreement.average_precision,
    }


def _picked_counts(picked: Sequence[PackedMicrograph], dropped: frozenset[int]) -> list[int]:
    counts = np.zeros(len(CUTS), np.int64)
    for one in picked:
        counts += histogram(one.table[: one.chosen, 2].astype(int))
        out = np.isin(one.classes[: one.chosen], [*dropped])
        counts -= histogram(one.table[: len(out), 2][out].astype(int))
    return [int(count) for count in counts]


def crop_data(crops: Sequence[tuple[Disagreement, bytes | None]]) -> list[dict[str, object]]:
    """Return the misses and false picks to show, each with its JPEG as base64, empty where there is none."""
    return [
        {
            "kind": place.kind,
            "position": place.position,
            "index": place.index,
            "x": round(place.x, 1),
            "y": round(place.y, 1),
            "diameter": round(place.diameter_px, 2),
            "score": None if place.score is None else round(place.score, 4),
            "jpeg": base64_text(jpeg or b""),
        }
        for place, jpeg in crops
    ]
