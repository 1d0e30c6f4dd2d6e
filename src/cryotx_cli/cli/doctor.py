"""``cryotx doctor``: what picking needs, and what to do about each problem."""

from __future__ import annotations

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import DoctorConfig


@settings_flags(DoctorConfig)
def doctor(config: DoctorConfig) -> None:
    """Check whether picking works on this machine.

    Examples
    --------
    cryotx doctor
    cryotx doctor --device cuda:0 --out /scratch/picks/
    """
    from cryotx_cli.cli.console import facts, status
    from cryotx_cli.workflows.doctor import examine

    findings = list(examine(config))
    facts("This machine", [(finding.name, finding.value) for finding in findings])
    for finding in findings:
        if finding.problem:
            status(f"{'Error' if finding.fatal else 'Warning'}: {finding.name}: {finding.problem}")
            status(finding.remedy)
    if any(finding.fatal for finding in findings):
        raise typer.Exit(1)
    status("Picking works.")
