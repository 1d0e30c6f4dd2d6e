"""``cryotx evaluate``: how well picks agree with the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import EvaluateConfig
from cryotx_cli.errors import ConfigError

if TYPE_CHECKING:
    from cryotx_cli.coordinates.evaluation import EvaluationResult, MicrographEvaluation, TreeEvaluation
    from cryotx_cli.report.evaluation_report import EvaluationReport


@settings_flags(EvaluateConfig)
def evaluate(
    picks: Annotated[
        list[str],
        typer.Argument(
            metavar="PICKS...",
            help="Coordinates to judge: a file of any format or a folder of files; of a tree, a folder with something "
            "named after each data set. Several programs: one after the other, NAME=PATH to name them.",
        ),
    ],
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="TRUTH",
            help="Coordinates to trust: the same, a CryoPPP data set, or a tree of data sets.",
        ),
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
    cryotx evaluate particles.star truth.star --diameter 160 --pixel-size 0.85
    cryotx evaluate runs/cryotx Topaz=runs/topaz cryoppp/ --diameters sets.csv
    """
    from cryotx_cli.cli.console import status
    from cryotx_cli.files.whole_file import require_own_file, write_json
    from cryotx_cli.runs.stored import not_in_run
    from cryotx_cli.workflows.evaluate import evaluate_sets, evaluation_report

    if micrographs is not None and report is None:
        raise ConfigError("--micrographs: only the page of --report shows micrographs", "Add --report FILE.html.")
    if json_file is not None:
        require_own_file(json_file, "--json", '{\n  "radius"')
    if report is not None:
        require_own_file(report, "--report", '<meta name="generator" content="cryotx')
    if report is not None and json_file is not None and report.absolute() == json_file.absolute():
        raise ConfigError(f"--report {report}: also --json, one of which would replace the other")
    pickers = _named(picks)
    result = evaluate_sets(
        pickers, truth, config.diameter, config.pixel_size, config.radius, diameters=config.diameters
    )
    for event in result.events:
        status(event.text)
    alone = result.alone
    if report is not None and alone is None:
        raise ConfigError(
            f"--report: the page shows the picks of one program on one data set, not of {len(pickers)} on "
            f"{len(result.sets)}",
            "Give the picks and the truth of one set.",
        )
    if alone is not None:
        never = not_in_run(next(iter(pickers.values())), alone.truth_without_picks)
        _show_set(alone, stated=config.diameter is None and config.diameters is None, never=never)
    else:
        _show_tree(result)
    if json_file is not None:
        write_json(json_file, (alone or result).to_dict())
    if report is not None and alone is not None:
        path = next(iter(pickers.values()))
        _write_report(evaluation_report(alone, report, path, truth, micrographs, config.pixel_size))
        status(f"Wrote {report}")


def _named(picks: Sequence[str]) -> dict[str, Path]:
    """Return where the picks of each program lie by its name: the one given, else as much of its path as tells it."""
    paths, given = [], []
    for one in picks:
        name, equals, path = one.partition("=")
        named = bool(equals and name.strip() and "/" not in name and not Path(one).exists())
        paths.append(Path(path if named else one))
        given.append(name.strip() if named else "")
    names = given
    for parts in (1, 2, 3):
        names = [
            name or "/".join(path.absolute().with_suffix("").parts[-parts:])
            for name, path in zip(given, paths, strict=True)
        ]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    name = next(name for name, count in Counter(names).items() if count > 1)
    raise ConfigError(f"PICKS: two programs are called {name}", "Name them: NAME=PATH.")


def _show_set(result: EvaluationResult, stated: bool, never: Sequence[str]) -> None:
    """Print the numbers of one set; `stated`: the diameter is what the truth says; `never`: the run has not picked."""
    from cryotx_cli.cli.console import below, status, table

    for event in result.events:
        status(event.text)
    table(
        _title(result),
        ("Micrograph", "Picks", "True", "Paired", "Precision", "Recall", "F1", "Chance", "Dice", "AP"),
        [_row(micrograph.name, micrograph) for micrograph in result.micrographs],
        total=_row(f"All {len(result.micrographs)}", result),
    )
    if result.coco is not None:
        below(
            f"COCO: AP {result.coco.average:.3f} for overlaps of .50 to .95, AP50 {result.coco.at_half:.3f} "
            "(boxes of a diameter)"
        )
    below(f"Diameter: {_diameter(result)}{_in_angstrom(result)}{', as the truth states' if stated else ''}")
    _tell_of_names(result, "", never)


def _show_tree(result: TreeEvaluation) -> None:
    from cryotx_cli.cli.console import below, status, table

    several = len(result.results) > 1
    for picker, of_sets in result.results.items():
        for name, of_set in of_sets.items():
            for event in of_set.events:
                status(f"{_label(picker if several else '', name)}{event.text}")
    first = next(iter(result.results.values()))
    table(
        _title(next(iter(first.values()))),
        ("Data set", *(["Picker"] if several else []), "Picks", "True", "Precision", "Recall", "F1", "Chance", "Dice"),
        list(_rows_of_sets(result, several)),
        total=_means(result, several) if result.is_tree else (),
        texts=2 if several else 1,
    )
    below("Diameters: " + ", ".join(f"{name} {_diameter(of_set)}" for name, of_set in first.items()))
    for picker, of_sets in result.results.items():
        label = f"{picker}: " if several else ""
        if result.without_picks[picker]:
            status(f"{label}no picks of {', '.join(result.without_picks[picker])}: all particles counted as missed")
        if result.without_truth[picker]:
            status(f"{label}without truth, left out: {_some(result.without_truth[picker])}")
        for name, of_set in of_sets.items():
            if name not in result.without_picks[picker]:
                _tell_of_names(of_set, _label(picker if several else "", name))


def _title(result: EvaluationResult) -> str:
    return f"Pairs up to {result.radius:g} diameters apart; chance: F1 of as many points at random"


def _rows_of_sets(result: TreeEvaluation, several: bool) -> Iterator[tuple[str, ...]]:
    for number, name in enumerate(result.sets):
        if several and number:
            yield ()
        for position, (picker, of_sets) in enumerate(result.results.items()):
            cells = _row("" if position else name, of_sets[name])
            numbers = (cells[1], "" if position else cells[2], *cells[4:9])
            yield (cells[0], *([picker] if several else []), *numbers)


def _means(result: TreeEvaluation, several: bool) -> tuple[str, ...]:
    """Return the cells of the means over the sets, with a line for each program."""
    means = [result.mean(picker) for picker in result.results]
    rates = (
        "\n".join(f"{mean[rate]:.3f}" for mean in means) for rate in ("precision", "recall", "f1", "chance", "dice")
    )
    return f"Mean of {len(result.sets)}", *(["\n".join(result.results)] if several else []), "", "", *rates


def _row(name: str, agreement: MicrographEvaluation | EvaluationResult) -> tuple[str, ...]:
    counts = agreement.counts
    rates = (
        *(counts.precision, counts.recall, counts.f1, agreement.chance),
        *(agreement.dice, agreement.average_precision),
    )
    return name, f"{counts.picks}", f"{counts.truth}", f"{counts.matched}", *(f"{rate:.3f}" for rate in rates)


def _diameter(result: EvaluationResult) -> str:
    """Return the diameter of the particles of a set in pixels, or the smallest and the largest."""
    diameters = [row.diameter_px for row in result.micrographs]
    low, high = f"{min(diameters):.0f}", f"{max(diameters):.0f}"
    return f"{low} px" if low == high else f"{low} to {high} px"


def _in_angstrom(result: EvaluationResult) -> str:
    """Return the same in Å; nothing where neither side knows a pixel size."""
    sizes = [(row.diameter_px, side.pixel_size) for row in result.micrographs for side in (row.truth, row.picks)]
    diameters = [diameter * size for diameter, size in sizes if isfinite(size)]
    if not diameters:
        return ""
    low, high = f"{min(diameters):.0f}", f"{max(diameters):.0f}"
    return f" ({low} Å)" if low == high else f" ({low} to {high} Å)"


def _label(*names: str) -> str:
    return ", ".join(filter(None, names)) + ": "


def _tell_of_names(result: EvaluationResult, label: str, never: Sequence[str] = ()) -> None:
    from cryotx_cli.cli.console import status
    from cryotx_cli.wording import counted

    for names, remark in (
        ([name for name in result.truth_without_picks if name not in never], "without picks, counted as missed"),
        (never, "not picked by this run at all, counted as missed"),
        (result.picks_without_truth, "without truth, left out"),
        (result.unlabelled, "without labels, left out"),
    ):
        if names:
            status(f"{label}{counted(len(names), 'micrographs')} {remark}: {_some(names)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _write_report(report: EvaluationReport) -> None:
    from cryotx_cli.cli.console import progress, status

    with progress(len(report), "micrographs") as bar:
        for _ in report:
            bar.advance()
    for event in report.events:
        status(event.text)
