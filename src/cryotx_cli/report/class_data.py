"""What the program of a report reads of the classes of a run: their averages, and the class of each pick."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cryotx_cli.report.class_average import ReportClasses
from cryotx_cli.report.packing import CUTS, PackedMicrograph, base64_text


def class_data(classes: ReportClasses, picked: Sequence[PackedMicrograph]) -> dict[str, object]:
    """Return it ready for JSON; all lists of classes have the best first.

    Candidates are told of by their rank: the program knows from the counts which score each has. Of every micrograph
    the file holds one number for each of its candidates, best first and up to the last that is in a class: 0 for none,
    else the place of its class in the list, from 1.

    Parameters
    ----------
    classes
        The classes.
    picked
        The micrographs in the order of the input.
    """
    ordered = classes.best_first
    place = np.zeros(1 + max((one.number for one in ordered), default=0), np.int64)
    for i, one in enumerate(ordered, 1):
        place[one.number] = i
    columns = [place[one.classes] for one in picked]
    kind = "<u2" if len(ordered) > 0xFF else "<u1"
    return {
        "side": round(classes.side, 3),
        "list": [
            {
                "number": one.number,
                "score": round(one.mean_score, 4),
                "resolution": None if one.resolution is None else round(one.resolution, 2),
                "words": one.words,
                "verdict": one.verdict,
                "suggested": one.suggested,
                "dropped": one.number in classes.dropped,
                "remarks": one.remarks,
                "picture": base64_text(picture),
            }
            for one, picture in zip(ordered, classes.pictures(), strict=True)
        ],
        "ends": [one.chosen for one in picked],
        "wide": kind == "<u2",
        "lengths": [len(column) for column in columns],
        "of": base64_text(b"".join(column.astype(kind).tobytes() for column in columns)),
        "false": _false(picked, columns, len(ordered)),
    }


def _false(
    picked: Sequence[PackedMicrograph], columns: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.int64]]], count: int
) -> list[dict[str, object]]:
    """How many candidates of each class are expected to be false: by score, and of those that the choice takes."""
    of_scores, chosen = np.zeros((count + 1, len(CUTS))), np.zeros(count + 1)
    for one, column in zip(picked, columns, strict=True):
        scores = one.table[: len(column), 2].astype(int)
        np.add.at(of_scores, (column, scores), one.false_of_classes)
        taken = column[: one.chosen]
        chosen += np.bincount(taken, one.false_of_classes[: len(taken)], minlength=count + 1)
    return [
        {"of_scores": scores.round(3).tolist() if scores.any() else [], "written": round(float(written), 3)}
        for scores, written in zip(of_scores[1:], chosen[1:], strict=True)
    ]
