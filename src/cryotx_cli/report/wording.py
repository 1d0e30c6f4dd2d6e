"""How a report words the settings of a run and the names of its micrographs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import date
from pathlib import Path, PurePath

import numpy as np

from cryotx_cli.report.model import ReportRun
from cryotx_cli.report.packing import PackedMicrograph
from cryotx_cli.runs.false_discovery import OwnCuts
from cryotx_cli.runs.folder import absolute_path
from cryotx_cli.runs.selection import ExpectedCount, ExpectedF1, Percentile, RunCut, Threshold
from cryotx_cli.runs.settled import Settled

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def stated_diameter(run: ReportRun, picked: Sequence[PackedMicrograph]) -> tuple[str, str]:
    """Return the particle diameter and its unit."""
    if run.settled is not None:
        return f"{run.settled.diameter:.0f}", "Å"
    truths = [(one.micrograph.truth.diameter_px, one.pixel_size) for one in picked if one.micrograph.truth]
    if not truths:
        return "-", ""
    pixels, pixel_size = np.median(truths, axis=0).tolist()
    return (f"{pixels * pixel_size:.0f}", "Å") if np.isfinite(pixel_size) else (f"{pixels:.0f}", "px")


def stated_settings(run: ReportRun, picked: Sequence[PackedMicrograph]) -> list[tuple[str, str]]:
    """Return names and values for people, most important first."""
    sizes = sorted({round(one.pixel_size, 4) for one in picked if np.isfinite(one.pixel_size)})
    pixel_size = f"{sizes[0]:g} Å" if len(sizes) == 1 else f"{sizes[0]:g} to {sizes[-1]:g} Å" if sizes else "-"
    settings = [("Pixel size", pixel_size)]
    if run.estimate is not None:
        settings.insert(0, ("Diameter estimated", str(run.estimate)))
    if run.settled is not None:
        settings += _pick_settings(run.settled)
    if run.classes is not None and run.classes.dropped:
        settings.append(("Classes dropped", ", ".join(map(str, sorted(run.classes.dropped)))))
    if run.agreement is not None:
        pair = f"pick and label up to {run.agreement.radius:g} diameters apart, one to one, nearest first"
        settings += [("Labels", str(run.agreement.truth)), ("Hit", pair)]
    return settings


def stated_day(run: ReportRun) -> str:
    """Return when the run was started, as 30 November 2026; nothing where nobody knows."""
    if run.start is None:
        return ""
    day = date.fromisoformat(run.start.day)
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"  # strftime would speak the language of the machine


def stated_origin(run: ReportRun) -> list[tuple[str, str]]:
    """Return names and values of where the run lies, and of the commands that made it, as far as they are known."""
    if run.folder is None:
        return []
    folder = absolute_path(run.folder)
    origin = [("Folder", str(folder))]
    if run.start is not None:
        if run.start.folder != str(folder.parent):
            origin.append(("Started in", run.start.folder))
        origin += [("Command", run.start.command)]
        origin += [("Picks chosen by", run.start.choice)] if run.start.choice else []
    return origin


def _pick_settings(settled: Settled) -> list[tuple[str, str]]:
    selection, choice = settled.selection, _choice(settled)
    if selection.max_picks is not None:
        choice += f"; at most {selection.max_picks} of each micrograph"
    bright = [("Contrast", "bright particles")] if settled.contrast == "bright" else []
    return [
        *bright,
        ("Weights", settled.config.weights),
        ("Choice of picks", choice),
        ("Smallest distance between picks", f"{selection.min_distance:.4g} Å"),
        ("Smallest distance to the border", f"{selection.edge:g} Å"),
    ]


def _choice(settled: Settled) -> str:
    if not settled.by_probability:
        return "as the original program"
    match settled.selection.rule:
        case ExpectedCount(count):
            return f"the best {count} of each micrograph"
        case Percentile(percent):
            return f"all but the worst {percent:g} % of each micrograph's candidates"
        case RunCut(probability, rate):
            asked = f"{100 * rate:.3g} % of the picks expected to be false"
            return f"{asked}: score of at least {probability:.3f}" if probability <= 1 else f"{asked}: none"
        case Threshold(probability):
            return f"score of at least {probability:g}"
        case ExpectedF1() | OwnCuts():
            return "automatic: a threshold for each micrograph"


def short_names(names: Sequence[str]) -> list[str]:
    """Drop the folders and the ending that all names share."""
    if len(names) < 2:
        return [PurePath(name).name for name in names]
    folders = _in_common([PurePath(name).parent.parts for name in names])
    inner = [str(PurePath(*PurePath(name).parts[folders:])) for name in names]
    ending = inner[0][len(inner[0]) - _in_common([name[::-1] for name in inner]) :]
    begin = re.search(r"[._-]", ending)  # whole words only: m10.mrc and m20.mrc share .mrc and not 0.mrc
    return [name[: begin.start() - len(ending)] or name for name in inner] if begin else inner


def _in_common(sequences: Sequence[Sequence[str]]) -> int:
    """Return how many first elements are the same in all of them."""
    differs = (i for i, elements in enumerate(zip(*sequences, strict=False)) if len(set(elements)) > 1)
    return next(differs, min(map(len, sequences)))


def threshold_command(folder: Path) -> str:
    """Return the command that chooses the picks of a run anew, but for the choice that ends it."""
    word = shlex.quote(str(folder) if not str(folder).startswith("-") else f"./{folder}")
    return f"cryotx threshold {word}"
