"""The report of a run of ``cryotx pick``, from what lies in its folder."""

from __future__ import annotations

import math

from cryotx_cli.detector.diameter_estimate import kept_estimate
from cryotx_cli.events import Event
from cryotx_cli.report.model import ReportMicrograph, ReportRun
from cryotx_cli.report.page import write_report
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.stored import StoredRun
from cryotx_cli.runs.verdict import verdict


def write_run_report(run: StoredRun) -> None:
    """Write the report of a run, finished or not, from its ledger, candidates and thumbnails.

    Raises
    ------
    ParticleFileError
        The report cannot be written.
    """
    found = run.false_discovery
    events = *_doubts(run), *verdict(run.picked, found, run.settled, run.folder.path)
    about = ReportRun(run.folder.star, run.folder.path, run.settled, found=found, events=events)
    write_report(run.folder.report, about, (_as_shown(run, row) for row in run.rows.values()))


def _doubts(run: StoredRun) -> list[Event]:
    """Say where the diameter was estimated and is not sure; what was said at the start of the run is long gone."""
    estimate = kept_estimate(run.folder.diameter)
    used = estimate is not None and math.isclose(estimate.value, run.settled.diameter, rel_tol=1e-3)
    return [Event(estimate.doubt, "warning")] if estimate and used and estimate.doubt else []


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
