"""The report of a run of ``cryotx pick``, from what lies in its folder."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cryotx_cli.detector.diameter_estimate import kept_estimate
from cryotx_cli.events import Event
from cryotx_cli.report.class_average import ReportClasses
from cryotx_cli.report.model import ReportMicrograph, ReportRun
from cryotx_cli.report.page import write_report
from cryotx_cli.runs.candidates import Candidates
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.start import start_of
from cryotx_cli.runs.stored import StoredRun
from cryotx_cli.runs.verdict import verdict


def write_run_report(run: StoredRun, classes: ReportClasses | None = None) -> None:
    """Write the report of a run, finished or not, from its ledger, candidates and thumbnails.

    Parameters
    ----------
    run
        The run.
    classes
        What its picks average to, to show as well.

    Raises
    ------
    ParticleFileError
        The report cannot be written.
    """
    about = about_run(run)
    # What was said of the diameter at the start of the run is long gone.
    doubt = about.estimate.doubt if about.estimate is not None else None
    doubts = [Event(doubt, "warning")] if doubt else []
    events = *doubts, *verdict(run.picked, about.found, run.settled, run.folder.path)
    shown = (_as_shown(run, row, classes) for row in run.rows.values())
    write_report(run.folder.report, replace(about, events=events, classes=classes), shown)


def about_run(run: StoredRun) -> ReportRun:
    """Return what a report says of a run of ``cryotx pick``, whatever it has picked."""
    estimate = kept_estimate(run.folder.diameter)
    if estimate is not None and not math.isclose(estimate.value, run.settled.diameter, rel_tol=1e-3):
        estimate = None  # of an earlier start: now it was given
    return ReportRun(
        run.folder.star,
        run.folder.path,
        run.settled,
        found=run.false_discovery,
        start=start_of(run.folder.path),
        estimate=estimate,
    )


def _as_shown(run: StoredRun, row: LedgerRow, classes: ReportClasses | None) -> ReportMicrograph:
    outputs, stored = run.folder.outputs(row.stem), run.candidates(row)
    if stored is None:
        return ReportMicrograph(row.micrograph, error=row.error or f"{outputs.candidates}: missing or damaged")
    candidates = stored[1]
    shown = ReportMicrograph(
        name=row.micrograph,
        height=candidates.height,
        width=candidates.width,
        picks=row.picks,
        thumbnail=outputs.thumbnail,
        defocus=row.defocus,
        film=candidates.film,
        false_picks=row.expected_false,
    )
    return _with_classes(shown, run, candidates, classes)


def _with_classes(
    shown: ReportMicrograph, run: StoredRun, candidates: Candidates, classes: ReportClasses | None
) -> ReportMicrograph:
    """Leave out the candidates that were dropped, but for those of the classes that are shown: they can come back."""
    everything = run.settled.selection.available(candidates)
    kept = run.dropped.is_kept(shown.name, everything)
    if classes is None:
        return replace(shown, candidates=everything.select(kept))
    numbers, chosen = classes.numbers_of(shown.name, everything), shown.picks
    stays = kept | (numbers > 0)
    if not kept.all():
        chosen = int(np.count_nonzero(stays[: len(run.settled.selection.choose(candidates).particles)]))
    return replace(shown, candidates=everything.select(stays), classes=numbers[stays], chosen=chosen)
