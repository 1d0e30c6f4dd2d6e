"""``cryotx check``: whether another program will take the picks as they are meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import CheckConfig

if TYPE_CHECKING:
    from cryotx_cli.checks.finding import Finding
    from cryotx_cli.checks.names import PickCheck

_MARKS = {
    "pass": ("ok  ", typer.colors.GREEN),
    "skip": ("-   ", None),
    "warn": ("WARN", typer.colors.YELLOW),
    "fail": ("FAIL", typer.colors.RED),
}


@settings_flags(CheckConfig)
def check(
    picks: Annotated[
        Path, typer.Argument(metavar="PICKS", help="Coordinates to check: a file of any format or a folder of files.")
    ],
    against: Annotated[
        list[str],
        typer.Option(
            "--against",
            metavar="MICROGRAPHS",
            rich_help_panel="Input",
            help="What they are for: a micrographs STAR file, CryoSPARC exposures (.cs), a folder, files or a glob.",
        ),
    ],
    config: CheckConfig,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the findings as JSON.", rich_help_panel="Output"),
    ] = None,
) -> None:
    """Check picks before they are imported into another program.

    Looks at names, edges, pixel size, duplicates and at which way up the picks are.

    Examples
    --------
    cryotx check particles.star --against CtfFind/job003/micrographs_ctf.star
    cryotx check picks/ --against exposures.cs --json findings.json
    """
    from cryotx_cli.files.whole_file import require_own_file, write_json
    from cryotx_cli.workflows.check import check as run

    if json_file is not None:
        require_own_file(json_file, "--json", '{\n  "passed"')
    result = run(picks, against, config)
    for finding in result.findings:
        _print_finding(finding)
    typer.echo(_verdict(result))
    if json_file is not None:
        write_json(json_file, result.to_dict())
    if not result.passed:
        raise typer.Exit(1)


def _print_finding(finding: Finding) -> None:
    mark, colour = _MARKS[finding.level]
    typer.echo(f"{typer.style(mark, fg=colour)}  {finding.check}: {finding.summary}")
    for example in finding.examples:
        typer.echo(f"        {example}")
    if finding.advice:
        typer.echo(f"      > {finding.advice}")


def _verdict(result: PickCheck) -> str:
    from cryotx_cli.wording import counted

    failed = [finding.check for finding in result.findings if finding.level == "fail"]
    warnings = sum(finding.level == "warn" for finding in result.findings)
    told = f"{counted(result.picks, 'picks')}, {counted(result.micrographs, 'micrographs')}"
    if failed:
        return f"FAIL: {told}: {', '.join(failed)}"
    return f"PASS: {told}" + (f", {counted(warnings, 'warnings')}" if warnings else "")
