"""Which micrographs and which places a report shows as pictures: all of a small run, a sample of a large one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cryotx_cli.report.model import ReportMicrograph
from cryotx_cli.report.truth import Disagreement, misses_and_false_picks

GALLERY_SIZE = 300
"""Most micrographs that are shown as pictures; all of them are in the counts and in the plots."""

_EXTREMES = 30


def positions_in_gallery(micrographs: Sequence[ReportMicrograph]) -> list[int]:
    """Return which of the micrographs a report shows as pictures, in the order of the input.

    Those with the fewest and the most picks, and others spread over the run; those with an error are left out.
    """
    picked = [position for position, one in enumerate(micrographs) if one.error is None]
    if len(picked) <= GALLERY_SIZE:
        return picked
    by_picks = np.argsort([micrographs[position].picks for position in picked], kind="stable")
    extreme = {*by_picks[:_EXTREMES].tolist(), *by_picks[-_EXTREMES:].tolist()}
    others = [i for i in range(len(picked)) if i not in extreme]
    spread = np.linspace(0, len(others) - 1, GALLERY_SIZE - len(extreme)).round().astype(int)
    return [picked[i] for i in sorted(extreme | {others[i] for i in spread})]


def disagreements_in_gallery(micrographs: Sequence[ReportMicrograph]) -> list[Disagreement]:
    """Return all misses and false picks on the micrographs that a report shows as pictures, if they were picked."""
    found: list[Disagreement] = []
    for position in positions_in_gallery(micrographs):
        one = micrographs[position]
        if one.candidates is not None and one.truth is not None and not one.unpicked:
            found += misses_and_false_picks(position, one.candidates.sorted_by_score(), one.picks, one.truth)
    return found
