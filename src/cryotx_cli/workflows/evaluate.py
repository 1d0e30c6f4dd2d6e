"""Evaluate picks against the truth: pair the micrographs of both sides, match their particles, count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from cryotx_cli.coordinates.evaluation import EvaluationResult, TreeEvaluation, judged_micrographs
from cryotx_cli.coordinates.grid import Grid, on_grids
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import cryoppp_sets, cryoppp_tree, find_labelled_micrographs, read_coordinates
from cryotx_cli.datasets.data_sets import (
    SetSizes,
    entries_of_no_set,
    entries_of_sets,
    read_set_sizes,
    sizes_of,
    truth_of_sets,
)
from cryotx_cli.errors import ConfigError, DatasetError, NoCoordinatesError, ParticleFileError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.names import NAMES_AGREE, pair_names
from cryotx_cli.report.evaluation_report import EvaluationReport, JudgedPicks
from cryotx_cli.report.model import RunAgreement
from cryotx_cli.report.truth import Truth
from cryotx_cli.runs.stored import file_of_picks
from cryotx_cli.wording import counted, some_of

_OTHER_PIXELS = (
    "cryotx convert PICKS OUT --scale {factor} turns them into pixels of the truth; --pixel-size says that both are in "
    "the same pixels."
)

_Truth = tuple[dict[str, Particles], list[str]]  # labels by micrograph, and the micrographs without any

Coordinates = str | Path | Particles | Mapping[str, Particles]
"""A coordinate file or folder, the particles of one micrograph, or particles by micrograph."""


def evaluate(
    picks: Coordinates,
    truth: Coordinates,
    diameter: float | None = None,
    pixel_size: float | None = None,
    radius: float = 0.5,
) -> EvaluationResult:
    """Evaluate picks against the truth.

    Parameters
    ----------
    picks
        What `read_coordinates` reads: a coordinate file of any format, or a folder of such files; or particles by
        micrograph; or those of one micrograph. The folder of a run of ``cryotx pick`` stands for the STAR file beside
        it.
    truth
        The same, or a CryoPPP tree, whose labels are turned to the rows of the MRC file where they belong to one.
    diameter
        Of the particles in Å; without it the diameters in the truth are used, their median in each micrograph. Neither
        a box nor what the picks state is taken for it: the same coordinates are as good in any format.
    pixel_size
        Å per pixel of the coordinates, where neither side states it; only needed with `diameter`.
    radius
        Largest distance of a match as a fraction of the diameter.

    Returns
    -------
    EvaluationResult
        Micrographs of the two sides belong together as `pairing` pairs their names. Particles without a name
        belong to the only micrograph of the other side.

    Raises
    ------
    ConfigError
        If the diameter in pixels does not follow from files and arguments, or particles of one micrograph are compared
        with those of several.
    ParticleFileError, DatasetError, MicrographError
        If a side cannot be read, or no micrograph is on both sides.
    """
    events: list[Event] = []
    found, true, unlabelled = _by_micrograph(picks, truth, events.append)
    called = (_called(picks, "picks"), _called(truth, "truth"))
    return _judged(found, true, unlabelled, called, SetSizes(diameter, pixel_size), radius, events)


def evaluate_sets(
    pickers: Mapping[str, str | Path],
    truth: str | Path,
    diameter: float | None = None,
    pixel_size: float | None = None,
    radius: float = 0.5,
    diameters: str | Path | None = None,
) -> TreeEvaluation:
    """Evaluate the picks of one or several programs against the truth of one or several data sets.

    Parameters
    ----------
    pickers
        By a name for each program, where its picks lie: a folder with something named after each set, ``<set>/`` or
        ``<set>.star``; or a file or folder that `evaluate` takes, with the micrographs of all sets.
    truth
        A CryoPPP tree; or, with `diameters`, a folder with something named after each set; or what `evaluate` takes,
        which is one set.
    diameter, pixel_size
        As `evaluate` takes them, for the sets of which `diameters` does not say it.
    radius
        Largest distance of a match as a fraction of the diameter.
    diameters
        Table of the sets, as `read_set_sizes` reads it.

    Returns
    -------
    TreeEvaluation
        Every picker has every set: the particles of a set for which it has no picks are missed.

    Raises
    ------
    ConfigError, DatasetError, ParticleFileError, MicrographError
        As `evaluate` does; or the table cannot be used, or has none of the sets.
    """
    truth, events = Path(truth), list[Event]()
    sizes = read_set_sizes(diameters) if diameters is not None else {}
    tree = truth_of_sets(truth, sizes)
    true = _truth_of(tree or {_name_of_set(truth): truth}, events.append)
    _tell_of_table(diameters, sizes, true, events.append)
    results: dict[str, dict[str, EvaluationResult]] = {}
    without_picks, without_truth = {}, {}
    for picker, path in pickers.items():
        where, told = Path(path), {name: list[Event]() for name in true}
        found, without_truth[picker] = _picks_of(where, true, bool(tree), told, events)
        without_picks[picker] = [name for name in true if not any(map(len, found.get(name, {}).values()))]
        results[picker] = {}
        for name, (labels, unlabelled) in true.items():
            sizes_here = sizes_of(name, sizes, diameter, pixel_size)
            of_set = (found.get(name, {}), labels, unlabelled, (str(where), str(tree.get(name, truth))))
            try:
                results[picker][name] = _judged(*of_set, sizes_here, radius, told[name])
            except (ConfigError, ParticleFileError) as error:
                if not tree:
                    raise
                for_each = "; --diameters takes a table of all sets." if isinstance(error, ConfigError) else ""
                raise type(error)(f"{name}: {error.message}", error.hint + for_each) from error
    return TreeEvaluation(results, without_picks, without_truth, bool(tree), tuple(events))


def evaluation_report(
    result: EvaluationResult,
    path: str | Path,
    picks_path: str | Path,
    truth_path: str | Path,
    micrographs: str | Path | None = None,
    pixel_size: float | None = None,
) -> EvaluationReport:
    """Prepare a page that shows where picks and truth disagree.

    Parameters
    ----------
    result
        Of `evaluate`.
    path
        HTML file to write, whole or not at all.
    picks_path, truth_path, pixel_size
        As they were given to `evaluate`. Of a run of ``cryotx pick`` the report shows all stored candidates.
    micrographs
        Folder or micrographs STAR file in which to look for the micrographs first.

    Returns
    -------
    EvaluationReport
        Iterate over it to write the file.

    Raises
    ------
    MicrographError
        `micrographs` holds none.
    CryotxError
        The settings of the run cannot be read.
    """
    judged = [
        JudgedPicks(
            row.name,
            result.partners.get(row.name),
            replace(
                row.picks, pixel_size=_first_known(pixel_size, row.picks.pixel_size, row.truth.pixel_size) or np.nan
            ),
            Truth(row.truth, row.diameter_px, result.radius * row.diameter_px, row.counts.matched),
        )
        for row in result.micrographs
    ]
    agreement = RunAgreement(
        Path(truth_path),
        result.radius,
        result.counts.precision,
        result.counts.recall,
        result.counts.f1,
        result.average_precision,
        result.dice,
        result.chance,
        (
            *((name, "without labels") for name in result.unlabelled),
            *((name, "picks, but no labels") for name in result.picks_without_truth),
        ),
    )
    return EvaluationReport(
        Path(path), judged, agreement, Path(picks_path), None if micrographs is None else Path(micrographs)
    )


def _judged(
    found: Mapping[str, Particles],
    true: Mapping[str, Particles],
    unlabelled: list[str],
    called: tuple[str, str],
    sizes: SetSizes,
    radius: float,
    events: list[Event],
) -> EvaluationResult:
    """Judge the picks of one data set; `called` says how messages call the two sides."""
    partners = pair_names(found, true)
    if found and not partners:
        raise ParticleFileError(
            f"no micrograph is on both sides: {called[0]} names {some_of(found)}, {called[1]} names {some_of(true)}",
            NAMES_AGREE,
        )
    if sizes.pixel_size is not None:  # who states it says that both sides are in these pixels
        found, true = (
            {n: replace(here, pixel_size=sizes.pixel_size) for n, here in side.items()} for side in (found, true)
        )
    grids = {partner: Grid.of(true[name]) for name, partner in partners.items()}
    found = on_grids(found, grids, "the truth", _OTHER_PIXELS, events.append)
    diameters = _diameters_px(found, true, partners, sizes.diameter, sizes.pixel_size)
    return EvaluationResult(
        judged_micrographs(found, true, partners, diameters, radius),
        radius,
        partners,
        truth_without_picks=[name for name in true if name not in partners],
        picks_without_truth=sorted(set(found) - set(partners.values())),
        unlabelled=unlabelled,
        events=tuple(events),
    )


def _truth_of(sets: Mapping[str, Path], tell: Tell) -> dict[str, _Truth]:
    """Read the truth of each set, and the micrographs of it that nobody has labelled."""
    true = {}
    for name, path in sets.items():
        labels, unlabelled = _read_truth(path, tell)
        if labels:
            true[name] = (labels, unlabelled)
        elif len(sets) > 1:
            tell(Event(f"{name}: none of its {len(unlabelled)} micrographs is labelled: left out"))
    if not true:
        raise ParticleFileError(f"{path}: none of its {len(unlabelled)} micrographs is labelled")
    return true


def _name_of_set(truth: Path) -> str:
    folder = next(iter(cryoppp_sets(truth)), None) or (truth if truth.is_dir() else None)
    return folder.resolve().name if folder else truth.stem


def _tell_of_table(
    table: str | Path | None, sizes: Mapping[str, SetSizes], sets: Mapping[str, object], tell: Tell
) -> None:
    """Name the sets that only the table has, and those that it does not have."""
    if table is None:
        return
    if sets.keys().isdisjoint(sizes):
        raise DatasetError(
            f"{table}: lists {some_of(sizes)}, and the truth is that of {some_of(sets)}",
            "The column set has the name of each data set's folder.",
        )
    for names, what in ((sizes.keys() - sets, "without truth, left out"), (sets - sizes.keys(), f"not in {table}")):
        if names:
            tell(Event(f"{counted(len(names), 'data sets')} {what}: {', '.join(sorted(names))}"))


def _picks_of(
    path: Path, true: Mapping[str, _Truth], is_tree: bool, told: Mapping[str, list[Event]], events: list[Event]
) -> tuple[dict[str, dict[str, Particles]], list[str]]:
    """Return the picks of each set that a picker has some of, and the names of what belongs to no set."""
    if not is_tree:
        (name,) = true
        return {name: read_coordinates(file_of_picks(path), told[name].append)}, []
    entries = entries_of_sets(path, true)
    if entries:
        found = {name: _picks_in(entry, told[name].append) for name, entry in entries.items()}
        picked = {name: here for name, here in found.items() if any(map(len, here.values()))}
        return picked, entries_of_no_set(path, true)
    everything = read_coordinates(file_of_picks(path), events.append)
    # Two sets may each have a micrograph of the same name: the folder of the set tells them apart.
    places = {f"{name}/{micrograph}": name for name, (labels, _) in true.items() for micrograph in labels}
    partners = pair_names(everything, places)
    if everything and not partners:
        raise ParticleFileError(
            f"no micrograph is on both sides: {path} names {some_of(everything)}, the truth {some_of(places)}",
            NAMES_AGREE,
        )
    found = {}
    for place, partner in partners.items():
        found.setdefault(places[place], {})[partner] = everything[partner]
    return found, sorted(set(everything) - set(partners.values()))


def _picks_in(entry: Path, tell: Tell) -> dict[str, Particles]:
    """Return the picks that lie in a folder or file named after a set; a picker that has found none may leave none."""
    try:
        return read_coordinates(file_of_picks(entry), tell)
    except NoCoordinatesError as error:
        if not entry.is_dir():
            raise
        tell(Event(f"{error.message}: counts as no picks", "warning"))
        return {}


def _by_micrograph(
    picks: Coordinates, truth: Coordinates, tell: Tell
) -> tuple[dict[str, Particles], dict[str, Particles], list[str]]:
    """Return picks and truth by the names of their micrographs, and the micrographs that nobody has labelled."""
    unlabelled: list[str] = []
    if isinstance(truth, Particles):
        true = {"micrograph": truth}
    elif isinstance(truth, Mapping):
        true = dict(truth)
        if not true:
            raise ParticleFileError("the truth holds no micrographs, so there is nothing to compare with")
    else:
        true, unlabelled = _truth_of({"": Path(truth)}, tell)[""]
    if isinstance(picks, Particles):
        return {_only(true, "picks"): picks}, true, unlabelled
    found = dict(picks) if isinstance(picks, Mapping) else read_coordinates(file_of_picks(Path(picks)), tell)
    return found, {_only(found, "truth"): truth} if isinstance(truth, Particles) else true, unlabelled


def _only(other: Mapping[str, Particles], side: str) -> str:
    if len(other) != 1:
        raise ConfigError(
            f"the {side} are those of one micrograph, and the other side has {len(other)}: {some_of(other)}",
            'Say which one it is: {"name": particles}.',
        )
    return next(iter(other))


def _called(side: Coordinates, otherwise: str) -> str:
    return otherwise if isinstance(side, Particles | Mapping) else str(side)


def _read_truth(path: Path, tell: Tell) -> _Truth:
    truth, tree = read_coordinates(path, tell), cryoppp_tree(path)
    if not truth and tree is None:
        raise ParticleFileError(f"{path}: holds no particles, so there is no truth to compare with")
    unlabelled = [m.file.name for m in find_labelled_micrographs(tree) if m.labels is None] if tree else []
    return truth, [] if path.is_file() else unlabelled


def _diameters_px(
    picks: Mapping[str, Particles],
    truth: Mapping[str, Particles],
    partners: Mapping[str, str],
    diameter: float | None,
    pixel_size: float | None,
) -> dict[str, float]:
    """Particle diameter in pixels for each micrograph of the truth."""
    if diameter is not None:
        sizes = {
            name: _first_known(
                pixel_size, true.pixel_size, picks[partners[name]].pixel_size if name in partners else None
            )
            for name, true in truth.items()
        }
        everywhere = _first_known(*sizes.values())
        if everywhere is None:
            raise ConfigError(
                f"a diameter of {diameter:g} Å says nothing about pixels: neither file states a pixel size",
                "Give it in Å per pixel, for example --pixel-size 1.06",
            )
        return {name: diameter / (size or everywhere) for name, size in sizes.items()}
    known = {name: true.diameters[np.isfinite(true.diameters)] for name, true in truth.items()}
    all_known = np.concatenate([*known.values(), np.zeros(0)])
    if not all_known.size:
        boxed = any(true.box_px > 0 for true in truth.values())
        raise ConfigError(
            f"the truth states no particle diameter{': the side of a box is none' if boxed else ''}",
            "Give it in Å, for example --diameter 160",
        )
    return {name: float(np.median(of_one if of_one.size else all_known)) for name, of_one in known.items()}


def _first_known(*sizes: float | None) -> float | None:
    return next((size for size in sizes if size is not None and np.isfinite(size)), None)
