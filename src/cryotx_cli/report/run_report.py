"""The report of a run of ``cryotx pick``, from what lies in its folder."""

from __future__ import annotations

from cryotx_cli.config import PickConfig
from cryotx_cli.report.model import ReportMicrograph, ReportRun
from cryotx_cli.report.page import write_report
from cryotx_cli.runs.candidates import read_stored_candidates
from cryotx_cli.runs.folder import LedgerRow, MicrographOutputs, PickFolder
from cryotx_cli.runs.selection import Selection


def write_run_report(folder: PickFolder, config: PickConfig) -> None:
    """Write the report of a run from what lies in its folder: ledger, candidates and thumbnails.

    Parameters
    ----------
    folder
        The run, finished or not; the report holds what its ledger holds.
    config
        Settings that the picks in the ledger were made with; its diameter is a number of Å.

    Raises
    ------
    ParticleFileError
        The report cannot be written.
    """
    assert config.diameter != "auto"
    selection = Selection.of(config, config.diameter)
    rows = sorted(folder.read_ledger().values(), key=lambda row: row.index)
    micrographs = (_from_folder(row, folder.outputs(row.stem), selection) for row in rows)
    write_report(folder.report, ReportRun(folder.star, folder.path, config), micrographs)


def _from_folder(row: LedgerRow, outputs: MicrographOutputs, selection: Selection) -> ReportMicrograph:
    """Return a micrograph of a run as its report shows it."""
    stored = read_stored_candidates(outputs.candidates) if row.error is None else None
    if stored is None:
        return ReportMicrograph(row.micrograph, error=row.error or f"{outputs.candidates}: missing or damaged")
    candidates = stored[1]
    return ReportMicrograph(
        name=row.micrograph,
        candidates=selection.available(candidates),
        height=candidates.height,
        width=candidates.width,
        picks=row.picks,
        thumbnail=outputs.thumbnail,
        defocus=row.defocus,
    )
