"""The report of a run of ``cryotx pick``, from what lies in its folder."""

from __future__ import annotations

import math
from dataclasses import replace

from cryotx_cli.detector.diameter_estimate import kept_estimate
from cryotx_cli.events import Event
from cryotx_cli.report.model import ReportMicrograph, ReportRun
from cryotx_cli.report.page import write_report
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.start import start_of
from cryotx_cli.runs.stored import StoredRun
from cryotx_cli.runs.verdict import verdict


def write_run_report(run: StoredRun) -> None:
    """Write the report of a run, finished or not, from its ledger, candidates and thumbnails.

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
    shown = (_as_shown(run, row) for row in run.rows.values())
    write_report(run.folder.report, replace(about, events=events), shown)


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


def _as_shown(run: StoredRun, row: LedgerRow) -> ReportMicrograph:
    outputs, available = run.folder.outputs(row.stem), run.available(row)
    if available is None:
        return ReportMicrograph(row.micrograph, error=row.error or f"{outputs.candidates}: missing or damaged")
    particles, candidates = available
    return ReportMicrograph(
        name=row.micrograph,
        candidates=particles,
        height=candidates.height,
        width=candidates.width,
        picks=row.picks,
        thumbnail=outputs.thumbnail,
        defocus=row.defocus,
        film=candidates.film,
    )
