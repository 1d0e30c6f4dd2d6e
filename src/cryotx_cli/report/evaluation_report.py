"""The report of picks against the truth: brings together picks, stored candidates, micrographs and the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.errors import CryotxError, MicrographError
from cryotx_cli.events import Event, Events
from cryotx_cli.micrographs.find import MicrographFile, find_micrographs
from cryotx_cli.micrographs.micrograph import Micrograph, read_header, read_micrograph
from cryotx_cli.micrographs.names import pair_names
from cryotx_cli.report.annotated_image import grey_picture
from cryotx_cli.report.crop import crop_jpeg
from cryotx_cli.report.gallery import disagreements_in_gallery, positions_in_gallery
from cryotx_cli.report.model import ReportMicrograph, ReportRun, RunAgreement
from cryotx_cli.report.packing import thumbnail_bytes
from cryotx_cli.report.page import write_report
from cryotx_cli.report.run_report import about_run
from cryotx_cli.report.thumbnail import write_thumbnail
from cryotx_cli.report.truth import Disagreement, Truth, disagreements_to_show
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.stored import StoredRun, run_of_picks
from cryotx_cli.wording import some_of


@dataclass(frozen=True, eq=False)
class JudgedPicks:
    """Picks of one micrograph and the truth.

    Parameters
    ----------
    name
        Of the micrograph, as the truth has it.
    picks_name
        As the picks have it; None where there are none.
    picks
        The picks, in no particular order.
    truth
        What there was to find.
    """

    name: str
    picks_name: str | None
    picks: Particles
    truth: Truth


class EvaluationReport:
    """Iterate over it to write the report: it yields the name of each micrograph that it has read.

    Micrographs are looked for in the folder that the user names, where the run had them, and under the names that truth
    and picks give. Those that are not found are shown by the run's small pictures, or without a picture.

    Parameters
    ----------
    path
        HTML file to write, whole or not at all.
    judged
        All micrographs that have truth.
    agreement
        The numbers of all of them.
    picks
        File or folder of the picks, as the user typed it.
    micrographs
        Folder or micrographs STAR file to look in.

    Attributes
    ----------
    events : Events
        What the user should know; complete once the loop has ended.

    Raises
    ------
    MicrographError
        `micrographs` holds none.
    ParticleFileError
        The report cannot be written.
    CryotxError
        The settings of the run cannot be read.
    """

    def __init__(
        self,
        path: Path,
        judged: Sequence[JudgedPicks],
        agreement: RunAgreement,
        picks: Path,
        micrographs: Path | None = None,
    ) -> None:
        self.events = Events()
        self._path = path
        self._run = run_of_picks(picks)
        self._rows = _rows_of(judged, self._run)
        self._about = _about(picks, self._run, judged, agreement, self._rows)
        self._files = _find_files(judged, self._rows, self._run, micrographs)
        self._micrographs = [self._show(one) for one in judged]
        places = disagreements_to_show(disagreements_in_gallery(self._micrographs))
        self._crops: dict[Disagreement, bytes | None] = dict.fromkeys(places)
        with_crops = {place.position for place in places}
        self._to_read = [
            position
            for position in positions_in_gallery(self._micrographs)
            if position in with_crops or self._micrographs[position].thumbnail is None
        ]

    def __len__(self) -> int:
        return len(self._to_read)

    def __iter__(self) -> Iterator[str]:
        with TemporaryDirectory() as folder:
            for position in self._to_read:
                self._add_pictures(position, Path(folder, f"{position}.jpg"))
                yield self._micrographs[position].name
            self._tell_what_is_missing()
            write_report(self._path, self._about, self._micrographs, list(self._crops.items()))

    def _show(self, one: JudgedPicks) -> ReportMicrograph:
        row = self._rows.get(one.name)
        stored = _available(self._run, row, len(one.picks)) if self._run and row else None
        if row and row.error is None and stored is None:
            text = f"{one.name}: its picks are no longer those of the run, so its rejected candidates are not shown."
            self.events.tell(Event(text, micrograph=one.name))
        candidates, height, width, film = stored or (one.picks, *_size(one, self._files.get(one.name)), None)
        thumbnail = self._run.folder.outputs(row.stem).thumbnail if self._run and row and row.error is None else None
        return ReportMicrograph(
            name=one.name,
            candidates=_with_diameters(candidates, one.truth.diameter_px),
            height=height,
            width=width,
            picks=len(one.picks),
            thumbnail=thumbnail if thumbnail is not None and thumbnail.is_file() else None,
            defocus=row.defocus if row else None,
            truth=one.truth,
            film=film,
            unpicked=self._run is not None and not _is_picked(one, self._rows),
        )

    def _add_pictures(self, position: int, thumbnail: Path) -> None:
        """Cut out the crops of one micrograph, and make its small picture where the run has none."""
        one = self._micrographs[position]
        micrograph = self._read(one)
        if micrograph is not None and one.thumbnail is None:
            write_thumbnail(thumbnail, grey_picture(micrograph), thumbnail_bytes(len(self._micrographs)))
            self._micrographs[position] = one = replace(one, thumbnail=thumbnail)
        image: NDArray[np.generic] | None = micrograph.image if micrograph is not None else _picture(one.thumbnail)
        if image is None:
            return
        scale = image.shape[1] / one.width
        for place in self._crops:
            if place.position == position:
                x, y = ((place.x + 0.5) * scale - 0.5, (place.y + 0.5) * scale - 0.5)
                self._crops[place] = crop_jpeg(image, x, y, place.diameter_px * scale)

    def _read(self, one: ReportMicrograph) -> Micrograph | None:
        file = self._files.get(one.name)
        if file is None:
            return None
        try:
            micrograph = read_micrograph(replace(file, pixel_size=file.pixel_size or 1.0))  # only its pixels count here
        except MicrographError as error:
            self.events.tell(Event(error.message, micrograph=one.name))
            return None
        if micrograph.image.shape != (one.height, one.width):
            height, width = micrograph.image.shape
            text = f"{file.path}: has {width} x {height} px, the picks are on {one.width} x {one.height} px: not shown."
            self.events.tell(Event(text, micrograph=one.name))
            return None
        return micrograph

    def _tell_what_is_missing(self) -> None:
        bare = sum(self._micrographs[position].thumbnail is None for position in self._to_read)
        if bare:
            self.events.tell(
                Event(
                    f"{bare} of {len(self._micrographs)} micrographs are without a picture: give --micrographs FOLDER."
                )
            )


def _about(
    picks: Path,
    run: StoredRun | None,
    judged: Sequence[JudgedPicks],
    agreement: RunAgreement,
    rows: Mapping[str, LedgerRow],
) -> ReportRun:
    unpicked = [one.name for one in judged if run is not None and not _is_picked(one, rows)]
    missed = [one.name for one in judged if one.picks_name is None and one.name not in unpicked]
    events: tuple[Event, ...] = ()
    if missed:
        events += (Event(f"Without picks, all their particles counted as missed: {some_of(missed)}.", "warning"),)
    if unpicked:
        others = _f1([one for one in judged if one.name not in unpicked])
        text = f"Not picked by this run, all their particles counted as missed: {some_of(unpicked)}."
        events += (Event(f"{text} Without them F1 is {others:.3f}.", "warning"),)
    if run is not None:
        return replace(about_run(run), agreement=agreement, events=events)
    scores = np.concatenate([one.picks.scores for one in judged] or [np.zeros(0)])
    scores = scores[np.isfinite(scores)]
    low, high = float(scores.min(initial=0.0)), float(scores.max(initial=1.0))
    return ReportRun(picks, None, None, (low, high), agreement, events=events)


def _is_picked(one: JudgedPicks, rows: Mapping[str, LedgerRow]) -> bool:
    """Return whether a run with these rows has picked it, be it that it has found nothing."""
    return one.picks_name is not None or (one.name in rows and rows[one.name].error is None)


def _f1(judged: Sequence[JudgedPicks]) -> float:
    compared = sum(len(one.picks) + len(one.truth.particles) for one in judged)
    return 2 * sum(one.truth.hits for one in judged) / compared if compared else 1.0


def _available(run: StoredRun, row: LedgerRow, picks: int) -> tuple[Particles, int, int, Region | None] | None:
    """Return what a threshold chooses among, height, width and film; None where the picks are not those of the run."""
    available = run.available(row)
    if available is None or row.picks != picks or len(available[0]) < picks:
        return None
    particles, candidates = available
    return particles, candidates.height, candidates.width, candidates.film


def _rows_of(judged: Sequence[JudgedPicks], run: StoredRun | None) -> dict[str, LedgerRow]:
    """Return what the run says of each micrograph, by the name in the truth."""
    if run is None:
        return {}
    partners = {one.name: one.picks_name for one in judged if one.picks_name in run.rows}
    # Those without a single pick are not in the file of picks.
    without = [one.name for one in judged if one.picks_name is None]
    partners |= pair_names(set(run.rows) - set(partners.values()), without)
    return {name: run.rows[partner] for name, partner in partners.items() if partner is not None}


def _find_files(
    judged: Sequence[JudgedPicks], rows: Mapping[str, LedgerRow], run: StoredRun | None, micrographs: Path | None
) -> dict[str, MicrographFile]:
    """Return the file of each micrograph that is found, by the name in the truth."""
    files: dict[str, MicrographFile] = {}
    if micrographs is not None:
        names = [name for one in judged for name in (one.name, one.picks_name) if name]
        found = {file.name: file for file in find_micrographs([micrographs], named=names)}
        files = {name: found[partner] for name, partner in pair_names(found, [one.name for one in judged]).items()}
    for one in judged:
        row = rows.get(one.name)
        paths = [run.folder.micrograph_of(row) if run and row else "", one.name, one.picks_name or ""]
        path = next((Path(path) for path in paths if path and Path(path).is_file()), None)
        if path is not None:
            files.setdefault(one.name, MicrographFile(path, one.name))
    return files


def _size(one: JudgedPicks, file: MicrographFile | None) -> tuple[int, int]:
    """Return height and width: those of the file, else of what the particles take up."""
    if file is not None:
        try:
            header = read_header(file.path)
            return header.height, header.width
        except CryotxError:
            pass  # the user hears of it when the image is to be read
    centres = np.vstack([one.picks.centres, one.truth.particles.centres, np.zeros((1, 2))])
    width, height = np.ceil(centres.max(axis=0) + one.truth.diameter_px).astype(int).tolist()
    return height, width


def _with_diameters(particles: Particles, usual: float) -> Particles:
    known = np.where(np.isfinite(particles.diameters), particles.diameters, usual)
    return Particles(particles.centres, particles.scores, known, particles.pixel_size)


def _picture(thumbnail: Path | None) -> NDArray[np.generic] | None:
    return None if thumbnail is None else cv2.imread(str(thumbnail), cv2.IMREAD_GRAYSCALE)
