"""``cryotx evaluate``: how well picks agree with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import EvaluateConfig
from cryotx_cli.errors import ConfigError

if TYPE_CHECKING:
    from cryotx_cli.report.evaluation_report import EvaluationReport
    from cryotx_cli.workflows.evaluate import EvaluationResult, MicrographEvaluation


@settings_flags(EvaluateConfig)
def evaluate(
    picks: Annotated[
        Path, typer.Argument(metavar="PICKS", help="Coordinates to judge: a file of any format or a folder of files.")
    ],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUTH", help="Coordinates to trust: the same, or a CryoPPP data set.")
    ],
    config: EvaluateConfig,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers as JSON.", rich_help_panel="Output")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a page that shows where picks and truth disagree.", rich_help_panel="Output"
        ),
    ] = None,
    micrographs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Micrographs for --report, if they are not where the run had them.",
            rich_help_panel="Output",
        ),
    ] = None,
) -> None:
    """Compare picks with the true coordinates.

    Examples
    --------
    cryotx evaluate particles.star hand_picked.star --diameter 160
    cryotx evaluate particles.star labels/ --diameter 160 --report agreement.html
    """
    from cryotx_cli.cli.console import status, table
    from cryotx_cli.files.whole_file import require_own_file, write_json
    from cryotx_cli.wording import counted
    from cryotx_cli.workflows.evaluate import evaluate as compare
    from cryotx_cli.workflows.evaluate import evaluation_report

    if micrographs is not None and report is None:
        raise ConfigError("--micrographs: only the page of --report shows micrographs", "Add --report FILE.html.")
    if json_file is not None:
        require_own_file(json_file, "--json", '{\n  "radius"')
    if report is not None:
        require_own_file(report, "--report", '<meta name="generator" content="cryotx')
    result = compare(picks, truth, config.diameter, config.pixel_size, config.radius)
    for event in result.events:
        status(event.text)
    table(
        f"Pairs up to {config.radius:g} diameters apart",
        ("Micrograph", "Picks", "True", "Paired", "Precision", "Recall", "F1", "Dice", "AP"),
        [_row(micrograph.name, micrograph) for micrograph in result.micrographs],
        total=_row(f"All {len(result.micrographs)}", result),
    )
    if result.coco is not None:
        typer.echo(
            f"COCO: AP {result.coco.average:.3f} for overlaps of .50 to .95, AP50 {result.coco.at_half:.3f}, of boxes "
            "with the diameter as side"
        )
    for names, remark in (
        (result.truth_without_picks, "without picks, counted as missed"),
        (result.picks_without_truth, "without truth, left out"),
        (result.unlabelled, "without labels, left out"),
    ):
        if names:
            status(f"{counted(len(names), 'micrographs')} {remark}: {_some(names)}")
    if json_file is not None:
        write_json(json_file, result.to_dict())
    if report is not None:
        _write_report(evaluation_report(result, report, picks, truth, micrographs, config.pixel_size))
        status(f"Wrote {report}")


def _row(name: str, agreement: MicrographEvaluation | EvaluationResult) -> tuple[str, ...]:
    counts = agreement.counts
    rates = (counts.precision, counts.recall, counts.f1, agreement.dice, agreement.average_precision)
    return name, f"{counts.picks}", f"{counts.truth}", f"{counts.matched}", *(f"{rate:.3f}" for rate in rates)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _write_report(report: EvaluationReport) -> None:
    from cryotx_cli.cli.console import progress, status

    with progress(len(report), "micrographs") as bar:
        for _ in report:
            bar.advance()
    for event in report.events:
        status(event.text)
