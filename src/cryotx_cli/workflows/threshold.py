"""Choose the picks of a finished run anew from its stored candidates and write its files again, without the network."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cryotx_cli.averages.choice import StoredClasses, read_classes
from cryotx_cli.averages.standing import standing_of_classes
from cryotx_cli.config import ThresholdConfig
from cryotx_cli.coordinates.formats.cryosparc import OTHER_EXPOSURES, exposures_of, grid_of_exposure
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.table import require_names
from cryotx_cli.coordinates.grid import on_grid
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.errors import ConfigError, CryotxError, MicrographError
from cryotx_cli.events import Event, Events
from cryotx_cli.micrographs.micrograph import MicrographFile, read_micrograph
from cryotx_cli.picking.page import write_page
from cryotx_cli.report.annotated_image import write_annotated_image
from cryotx_cli.runs.commands import choose_again, word_of
from cryotx_cli.runs.dropped import Dropped, write_dropped
from cryotx_cli.runs.folder import remove_picks, write_coordinates
from cryotx_cli.runs.jobs import has_changed
from cryotx_cli.runs.ledger import LedgerRow, with_film
from cryotx_cli.runs.out_name import require_own_star
from cryotx_cli.runs.start import note_choice
from cryotx_cli.runs.stored import StoredRun, cut_by_decoys, read_run
from cryotx_cli.wording import counted


@dataclass(frozen=True)
class Redrawn:
    """What became of one picture: `error` says why it is left out, None if it is there."""

    micrograph: str
    error: str | None


@dataclass(frozen=True, eq=False)
class _Chosen:
    row: LedgerRow
    particles: Particles
    shape: tuple[int, int]
    film: Region | None
    unchanged: bool  # the picks are those from before: what shows them stays right
    out_with_classes: int


class ThresholdRun:
    """Picks chosen anew: all coordinates are written; iterate to draw the pictures, which takes longer.

    Iterating yields a `Redrawn` for each picture. There are none where the run or the settings leave out pictures.

    Attributes
    ----------
    star, folder : Path
        The merged STAR file and the folder that holds everything else.
    micrographs : int
        How many micrographs the run has picked.
    before, after : int
        Picks on them before and now.
    expected_false : float or None
        How many of those now are expected to be no particles; None in a run without decoys.
    dropped_at_border, dropped_beside_better : int
        Would-be picks dropped now because they lay too close to the border, or to a better pick.
    out_with_classes : int
        How many picks there would be more without the classes that were dropped, now or before.
    film : int or None
        On how many micrographs support film or large ice crystals were seen; None where they were not looked for.
    seconds : float
        Time for choosing and for writing coordinates.
    events : Events
        What the user should know.
    """

    def __init__(self, before: StoredRun, after: StoredRun, images: bool, command: str) -> None:
        started = time.perf_counter()
        self.star, self.folder = before.folder.star, before.folder.path
        self.events = Events()
        settled = after.settled
        self._before, self._folder, self._settled, self._command = before, before.folder, settled, command
        self._after, self._found = after, after.false_discovery
        if not before.picked:
            raise CryotxError(
                f"{self._folder.ledger}: no micrograph of this run is finished", "Start cryotx pick first."
            )
        if self._found is None and settled.cut_by_run and settled.config.decoys:
            self.events.tell(
                Event(
                    "This run was not compared with noise: each micrograph has a threshold of its own, and the share "
                    "of false picks is not known. cryotx pick with the same settings compares it where it can."
                )
            )
        exposures = self._exposures([row.micrograph for row in before.picked])
        chosen = [self._choose(row) for row in before.picked]
        self._compare(chosen, exposures)
        self._write(chosen, exposures, images)
        self._tell_of_classes(chosen)
        self._to_draw = chosen if images else []
        if settled.config.images and not images:
            self.events.tell(Event(f"Pictures are left out; {choose_again(self.folder, '--images')} draws them."))
        self.micrographs = len(chosen)
        self.before = sum(row.picks for row in before.picked)
        self.after = sum(one.row.picks for one in chosen)
        self.expected_false = sum(one.row.expected_false or 0.0 for one in chosen) if self._found else None
        self.dropped_at_border = sum(one.row.dropped_at_border for one in chosen)
        self.dropped_beside_better = sum(one.row.dropped_beside_better for one in chosen)
        self.out_with_classes = sum(one.out_with_classes for one in chosen)
        if self.out_with_classes and not self.after:
            back = choose_again(self.folder, "--drop-classes none")
            out = counted(self.out_with_classes, "picks")
            text = f"No pick is left; {out} are out with the classes that were dropped. {back} brings them back."
            self.events.tell(Event(text, "warning"))
        self.film = with_film([one.row for one in chosen])
        self.seconds = time.perf_counter() - started

    def __len__(self) -> int:
        return len(self._to_draw)

    def __iter__(self) -> Iterator[Redrawn]:
        for one in self._to_draw:
            try:
                self._draw(one)
                yield Redrawn(one.row.micrograph, None)
            except (MicrographError, OSError) as error:
                kept = self._folder.outputs(one.row.stem).png.exists()  # one of the same picks
                reason = error.message if isinstance(error, MicrographError) else f"{error.filename}: {error.strerror}"
                yield Redrawn(one.row.micrograph, None if kept else reason)

    def _exposures(self, names: Sequence[str]) -> Mapping[str, Exposure]:
        """Check what may go wrong with the formats before anything is changed."""
        require_names(names, self._settled.formats)
        file = self._settled.config.exposures
        exposures = exposures_of(file, names, self.events.tell) if file is not None else {}
        if file is not None and len(exposures) < len(names):
            without = len(names) - len(exposures)
            self.events.tell(Event(f"{without} not among the exposures, left out of particles.cs.", "warning"))
        return exposures

    def _choose(self, row: LedgerRow) -> _Chosen:
        stored = self._before.candidates(row)
        if stored is None:
            raise CryotxError(
                f"{self._folder.outputs(row.stem).candidates}: the candidates of {row.micrograph} are missing or "
                "damaged",
                "Start cryotx pick again with the same settings: it picks what is missing.",
            )
        key, candidates = stored
        picks = self._after.picks(row, candidates)
        before = self._before.picks(row, candidates).particles
        is_current = row.key == self._before.picks_key(row, key)  # not of a choice that was interrupted
        unchanged = is_current and np.array_equal(before.centres, picks.particles.centres)
        row = replace(
            row,
            key=self._after.picks_key(row, key),
            picks=len(picks.particles),
            dropped_at_border=picks.dropped_at_border,
            dropped_beside_better=picks.dropped_beside_better,
            expected_false=self._settled.selection.expected_false(candidates, picks.particles, self._found),
        )
        shape = (candidates.height, candidates.width)
        out = self._after.out_with_classes(row, candidates)
        return _Chosen(row, picks.particles, shape, candidates.film, unchanged, out)

    def _compare(self, chosen: Sequence[_Chosen], exposures: Mapping[str, Exposure]) -> None:
        """Refuse exposures of other images before anything is changed, and tell of those in other pixels."""
        there = [(one, exposures[one.row.micrograph]) for one in chosen if one.row.micrograph in exposures]
        rescaled = dict.fromkeys(
            on_grid(one.row.micrograph, one.particles, grid_of_exposure(exposure), "the exposure", OTHER_EXPOSURES)[1]
            for one, exposure in there
        )
        for told in filter(None, rescaled):
            self.events.tell(Event(f"Picks in particles.cs are {told}."))

    def _write(self, chosen: Sequence[_Chosen], exposures: Mapping[str, Exposure], images: bool) -> None:
        settled, folder = self._settled, self._folder
        # Until its files are written a micrograph counts as one with other settings: cryotx pick would do it anew.
        folder.ledger.start([*(replace(one.row, key="") for one in chosen), *self._before.skipped])
        settled.save(folder.config)
        write_dropped(folder.dropped, self._after.dropped)
        for one in chosen:
            outputs = folder.outputs(one.row.stem, one.row.relion)
            remove_picks(outputs, picture=not (images and one.unchanged))
            write_coordinates(outputs, one.particles, settled.formats, settled.box_px(one.particles.pixel_size))
        folder.write_merged([(one.row, one.particles) for one in chosen], settled.formats, exposures)
        folder.ledger.start([*(one.row for one in chosen), *self._before.skipped])
        if self._command:
            note_choice(folder.path, self._command)
        if settled.config.report:
            write_page(StoredRun(folder, settled, self._after.dropped), self.events.tell)

    def _tell_of_classes(self, chosen: Sequence[_Chosen]) -> None:
        picks = ((one.row.micrograph, one.particles) for one in chosen)
        standing = standing_of_classes(self.folder, picks, self._after.dropped)
        if standing is not None and (told := standing.in_words(self.folder)):
            self.events.tell(Event(told))

    def _draw(self, one: _Chosen) -> None:
        path = self._folder.micrograph_of(one.row)
        # The pixel size of the run counts, whatever the header says.
        file = MicrographFile(path, one.row.micrograph, one.particles.pixel_size)
        micrograph = read_micrograph(file)
        if micrograph.image.shape != one.shape or has_changed(path, one.row):
            raise MicrographError(f"{path}: has changed since it was picked")
        picture = self._folder.outputs(one.row.stem).png
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_annotated_image(picture, micrograph, one.particles, path.name, film=one.film)


def threshold(run: str | Path, config: ThresholdConfig, command: str = "") -> ThresholdRun:
    """Choose the picks of a finished run anew and write its coordinates again.

    The result has the same bytes as that of ``cryotx pick`` with these settings, which takes it for its own when it
    runs again.

    Parameters
    ----------
    run
        The STAR file that ``cryotx pick`` wrote, or the folder of the same name.
    config
        What to change; what is None stays as it was.
    command
        As it was typed, for the report.

    Returns
    -------
    ThresholdRun
        Iterate over it to draw the pictures, too.

    Raises
    ------
    ConfigError
        The run's settings do not allow the new ones, or another program's file has taken the place of its STAR file.
    CryotxError
        There is no such run, candidates are missing, or the folder cannot be written.
    """
    before = read_run(Path(run))
    if config.fdr is not None and before.false_discovery is None:
        raise ConfigError(
            f"--fdr: {before.folder.path} has no decoys to tell it by",
            "Give --threshold, or start cryotx pick with --fdr: it makes them, and keeps its candidates.",
        )
    require_own_star(before.folder.star)
    dropped, told = _dropped(before, config)
    after = cut_by_decoys(before.folder, before.settled.changed(**_changes(before, config)), dropped)
    try:
        images = after.settled.config.images if config.images is None else config.images
        done = ThresholdRun(before, after, images, command)
    except OSError as error:
        raise CryotxError(
            f"{before.folder.path}: cannot write there ({error.strerror})", "Repeat the command when there is room."
        ) from error
    for event in told:
        done.events.tell(event)
    return done


def _dropped(before: StoredRun, config: ThresholdConfig) -> tuple[Dropped, list[Event]]:
    """Return the picks to leave out with their classes, and what to tell of these."""
    if config.drop_classes is None and config.keep_classes is None:
        return before.dropped, _told_of_earlier(before)
    classes = read_classes(before.folder.path)
    numbers = classes.to_drop(config.drop_classes, config.keep_classes)
    places, found = {}, 0
    for row in before.picked:
        stored = before.candidates(row)
        if stored is not None:
            candidates = stored[1].particles
            of = classes.numbers_of(row.micrograph, candidates)
            found += int(np.count_nonzero(of))
            # What was dropped before these classes were made is in none of them, and stays out.
            earlier = before.dropped.places.get(row.micrograph, frozenset())
            in_classes = {(x, y) for x, y in candidates.centres[of > 0].tolist()}
            now = {(x, y) for x, y in candidates.centres[np.isin(of, [*numbers])].tolist()}
            places[row.micrograph] = frozenset((earlier - in_classes) | now)
    if found < sum(map(len, classes.numbers.values())) / 2:
        raise ConfigError(
            f"{before.folder.path}: its classes are those of other picks",
            f"Make them again: cryotx classes {word_of(before.folder.path)}",
        )
    return Dropped(places), [_told_of(classes, numbers)]


def _told_of_earlier(before: StoredRun) -> list[Event]:
    if not any(before.dropped.places.values()):
        return []
    back = choose_again(before.folder.path, "--drop-classes none")
    return [Event(f"What was dropped with classes stays out; {back} brings it back.")]


def _told_of(classes: StoredClasses, numbers: frozenset[int]) -> Event:
    before, after = classes.coverage(), classes.coverage(numbers)
    shown = ", ".join(map(str, sorted(numbers))) or "none"
    share = after.picks / max(1, before.picks)
    if not before.views:
        return Event(f"Classes dropped: {shown}. None of the classes was more than noise, so no view of them is lost.")
    text = (
        f"Classes dropped: {shown}. Orientations: {counted(before.views, 'views')} more than noise before, "
        f"{after.views} after, with {share:.0%} of their picks"
    )
    if after.views:
        text += f"; spread like {before.even:.1f} views of equal size before, {after.even:.1f} after"
    text += "."
    return Event(text, "note" if after.views == before.views else "warning")


def _changes(before: StoredRun, config: ThresholdConfig) -> dict[str, object]:
    """Return the settings of ``cryotx pick`` that become others."""
    rule = {name: getattr(config, name) for name in ("threshold", "fdr", "percentile", "expected_count")}
    changes: dict[str, object] = {}
    if any(value is not None for value in rule.values()):
        if not before.settled.by_probability:
            raise ConfigError(
                f"{before.folder.config}: the picks of this run were chosen as the original program does, not by "
                "probability",
                "Choose them with cryotx pick --percentile, or with weights that give probabilities.",
            )
        changes = {**rule, "threshold": "auto" if config.threshold is None else config.threshold}
    for name in ("unsure", "max_per_micrograph", "min_distance", "edge", "box", "formats", "exposures"):
        if getattr(config, name) is not None:
            changes[name] = getattr(config, name)
    if config.images:  # cryotx pick keeps them from now on
        changes["images"] = True
    if config.formats is not None:
        changes["boxes"] = "box" in config.formats
    return changes
