"""The report of a run: one HTML file that needs no network, with a threshold to move and picks that follow it.

The file holds, for every micrograph, how many candidates have each score (in hundredths), and for those of the gallery
the candidates themselves and a small picture. Browsers cut, count and draw; `report.js` mirrors `ReportRun`. Where the
truth is known the file also holds how many hits there are at each cut, and crops of misses and false picks, which
`agreement.js` shows.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path, PurePath

import jinja2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli import __version__
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.agreement import one_to_one
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.report.agreement import (
    CROP_DIAMETERS,
    Place,
    Truth,
    hits_at_cuts,
    misses_and_false_picks,
)
from cryotx_cli.report.annotated_image import score_colours
from cryotx_cli.report.thumbnail import read_thumbnail
from cryotx_cli.runs.candidates import read_stored_candidates
from cryotx_cli.runs.folder import LedgerRow, MicrographOutputs, PickFolder
from cryotx_cli.runs.selection import Selection

GALLERY_SIZE = 300
"""Most micrographs that are shown as pictures; all of them are in the counts and in the plots."""

MAX_BYTES = 24_000_000
"""Size of the gallery's pictures and candidates together; the rest takes less than 1 kB a micrograph."""

_CANDIDATE_BYTES = 4_000_000
_EXTREMES = 30
_CUTS = np.arange(101) / 100  # what the slider can be set to


@dataclass(frozen=True, eq=False)
class ReportMicrograph:
    """One micrograph of a run.

    Parameters
    ----------
    name
        As the user or a STAR file named it.
    candidates
        Candidates among which a threshold chooses, those dropped for the border or a better neighbour left out; None
        where the micrograph was skipped.
    height, width
        Its pixels.
    picks
        How many of the best candidates are picks.
    thumbnail
        Picture by `cryotx_cli.report.thumbnail.write_thumbnail`; the gallery shows grey where it is missing.
    defocus
        Å of underfocus, as `_rlnDefocusU`; None where not known.
    error
        Why it was skipped.
    truth
        The true particles, in a report that compares with them.
    """

    name: str
    candidates: Particles | None = None
    height: int = 0
    width: int = 0
    picks: int = 0
    thumbnail: Path | None = None
    defocus: float | None = None
    error: str | None = None
    truth: Truth | None = None


@dataclass(frozen=True)
class Agreement:
    """How the picks of a run agree with the truth, all micrographs together.

    Parameters
    ----------
    truth
        File or folder of the truth, as the user would type it.
    radius
        Largest distance of a pair in diameters.
    precision, recall, f1, average_precision, dice
        As ``cryotx evaluate`` prints them.
    left_out
        Micrographs that are not compared, with the reason.
    """

    truth: Path
    radius: float
    precision: float
    recall: float
    f1: float
    average_precision: float
    dice: float
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ReportRun:
    """What a report says of the run as a whole.

    Parameters
    ----------
    star, folder
        The merged STAR file and the folder that ``cryotx threshold`` takes, as the user would type them. The folder is
        None where the picks are no run of ``cryotx pick``: `star` is then any file or folder of picks.
    config
        Settings that the picks were made with; its diameter is a number of Å. None where they are not known.
    scores
        Lowest and highest setting of the slider: 0 and 1 unless the scores are no probabilities.
    agreement
        With the truth; None where there is none.
    """

    star: Path
    folder: Path | None
    config: PickConfig | None
    scores: tuple[float, float] = (0.0, 1.0)
    agreement: Agreement | None = None


def thumbnail_bytes(micrographs: int) -> int:
    """Return how large each thumbnail may be in a run of this many micrographs."""
    return (MAX_BYTES - _CANDIDATE_BYTES) * 3 // 4 // min(max(micrographs, 1), GALLERY_SIZE)  # base64: 4 for 3


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


def positions_in_gallery(micrographs: Sequence[ReportMicrograph]) -> list[int]:
    """Return which of the micrographs `write_report` shows as pictures."""
    picked = [position for position, one in enumerate(micrographs) if one.error is None]
    return [picked[i] for i in _gallery([micrographs[position].picks for position in picked])]


def places_of_disagreement(micrographs: Sequence[ReportMicrograph]) -> list[Place]:
    """Return all misses and false picks on the micrographs that `write_report` shows as pictures."""
    places: list[Place] = []
    for position in positions_in_gallery(micrographs):
        one = micrographs[position]
        if one.candidates is not None and one.truth is not None:
            places += misses_and_false_picks(position, one.candidates.sorted_by_score(), one.picks, one.truth)
    return places


def write_report(
    path: str | Path,
    run: ReportRun,
    micrographs: Iterable[ReportMicrograph],
    crops: Sequence[tuple[Place, bytes | None]] = (),
) -> None:
    """Write the report of a run.

    Nothing in it depends on the time or on the machine: the same picks give the same bytes.

    Parameters
    ----------
    path
        HTML file to write, whole or not at all.
    run
        The run.
    micrographs
        All of them in the order of the input, which is taken for the order of acquisition. Looked at one by one: an
        iterator need not hold them all. With an `Agreement` all those without an error have a `Truth`.
    crops
        Misses and false picks to show, in this order, each with its JPEG (None: not available).

    Raises
    ------
    ParticleFileError
        The file cannot be written.
    """
    low, high = run.scores
    scores = low + (high - low) * _CUTS
    scores[-1] = high  # whatever the rounding: the best score is in reach
    rows = [_Row.of(position, micrograph, scores) for position, micrograph in enumerate(micrographs)]
    picked = [row for row in rows if row.micrograph.error is None]
    gallery = [picked[i] for i in _gallery([row.micrograph.picks for row in picked])]
    picks = np.array([row.micrograph.picks for row in picked], int)
    floor = _lowest_score(gallery)
    script = _source("agreement.js") + _source("report.js")
    shown = _crops(crops)
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        _source("template.html")
    )
    parts = page.generate(
        run=run,
        version=__version__,
        style=_source("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        picks=picks,
        median=float(np.median(picks)) if len(picks) else 0.0,
        skipped=_left_out(run, rows),
        settings=_settings(run, picked),
        diameter=_diameter(run, picked),
        labels=sum(len(row.micrograph.truth.particles) for row in picked if row.micrograph.truth),
        gallery_size=len(gallery),
        data=_data(run, rows, picked, gallery, floor),
        crops=shown,
        crop_diameters=CROP_DIAMETERS,
        pictures=_pictures(gallery, floor, sum(len(str(one["jpeg"])) for one in shown)),
    )
    with whole_file(path) as file:
        file.writelines(parts)


def _left_out(run: ReportRun, rows: Sequence[_Row]) -> list[tuple[str, str]]:
    """Return the micrographs that are in the report by name alone, with the reason."""
    skipped = [(row.micrograph.name, row.micrograph.error) for row in rows if row.micrograph.error is not None]
    return [*skipped, *(run.agreement.left_out if run.agreement else ())]


@dataclass(frozen=True, eq=False)
class _Row:
    """A micrograph boiled down: `counts` of candidates by hundredths of the slider, `table` of candidates, best first.

    Columns of the table (n, 4) are x and y as fractions of width and height, score in hundredths of the slider,
    diameter as a fraction of the width. With the truth, `pairs` are those of `Truth.pairs`, `hits` how many
    of them are pairs at each cut, and `chances` how many candidates of each score have a true partner if all are
    picked.
    """

    position: int
    micrograph: ReportMicrograph
    counts: NDArray[np.uint16]
    table: NDArray[np.float32]
    pixel_size: float
    pairs: NDArray[np.intp]
    hits: NDArray[np.uint16]
    chances: NDArray[np.int64]

    @classmethod
    def of(cls, position: int, micrograph: ReportMicrograph, scores: NDArray[np.float64]) -> _Row:
        found = micrograph.candidates or Particles.empty(np.nan)
        best_first = found.sorted_by_score()
        # Comparing with k / 100 and not rounding: a candidate counts at a threshold exactly if `choose` keeps it there.
        hundredths = np.searchsorted(scores, best_first.scores, side="right") - 1
        size = np.array([max(micrograph.width, 1), max(micrograph.height, 1)])
        table = np.column_stack([(best_first.centres + 0.5) / size, hundredths, best_first.diameters / size[0]])
        truth = micrograph.truth
        pairs = truth.pairs(best_first) if truth else np.zeros((0, 2), np.intp)
        partnered = [i for i, _ in one_to_one(pairs, len(best_first))]
        return cls(
            position,
            replace(micrograph, candidates=None),
            _histogram(hundredths).clip(max=0xFFFF).astype(np.uint16),
            table.astype(np.float32),
            found.pixel_size,
            pairs,
            hits_at_cuts(hundredths, pairs, len(scores)),
            _histogram(hundredths[partnered]),
        )


def _histogram(hundredths: NDArray[np.intp]) -> NDArray[np.int64]:
    return np.bincount(hundredths, minlength=len(_CUTS)).astype(np.int64)


def _gallery(picks: Sequence[int]) -> list[int]:
    """Choose the micrographs to show: those with the fewest and the most picks, and others spread over the run."""
    if len(picks) <= GALLERY_SIZE:
        return list(range(len(picks)))
    by_picks = np.argsort(picks, kind="stable")
    extreme = {*by_picks[:_EXTREMES].tolist(), *by_picks[-_EXTREMES:].tolist()}
    others = [i for i in range(len(picks)) if i not in extreme]
    spread = np.linspace(0, len(others) - 1, GALLERY_SIZE - len(extreme)).round().astype(int)
    return sorted(extreme | {others[i] for i in spread})


def _lowest_score(gallery: Sequence[_Row]) -> int:
    """Return the score, in hundredths, below which candidates are left out because they would take too many bytes."""
    counts = np.zeros(len(_CUTS), np.int64)
    for row in gallery:
        counts += row.counts
    at_least = counts[::-1].cumsum()[::-1]
    return int(np.argmax(at_least * _ENCODED_BYTES <= _CANDIDATE_BYTES))


_ENCODED_BYTES = 8  # two of 16 bits and two of 8, base64


def _candidates(row: _Row, floor: int) -> bytes:
    """Pack columns one after the other: x, y (uint16, 65535 is the far border), score (uint8), diameter (uint8).

    Diameters are 255ths of the largest.
    """
    kept = row.table[: _kept(row, floor)]
    x_y = np.rint(kept[:, :2].T.clip(0, 1) * 0xFFFF).astype("<u2")
    diameters = np.rint(kept[:, 3] / max(_largest_diameter(row), 1e-9) * 0xFF).astype(np.uint8)
    return b"".join(column.tobytes() for column in (x_y, kept[:, 2].astype(np.uint8), diameters))


def _kept(row: _Row, floor: int) -> int:
    """Count the candidates, best first, that the file holds: those of the slider's range and all picks."""
    return max(row.micrograph.picks, int(np.count_nonzero(row.table[:, 2] >= floor)))


def _truth(row: _Row, floor: int) -> bytes:
    """Pack columns of uint16 one after the other: x, y of the true particles, then candidate and particle of pairs."""
    truth = row.micrograph.truth
    if truth is None:
        return b""
    size = np.array([max(row.micrograph.width, 1), max(row.micrograph.height, 1)])
    x_y = np.rint(((truth.particles.centres + 0.5) / size).T.clip(0, 1) * 0xFFFF)
    pairs = row.pairs[(row.pairs[:, 0] < _kept(row, floor)) & (row.pairs <= 0xFFFF).all(axis=1)]
    return b"".join(column.astype("<u2").tobytes() for column in (x_y, pairs.T))


def _largest_diameter(row: _Row) -> float:
    return float(row.table[:, 3].max(initial=0.0))


def _pictures(gallery: Sequence[_Row], floor: int, taken: int) -> Iterator[tuple[int, str, str, str]]:
    """Yield position, candidates, truth and JPEG of each micrograph of the gallery; `taken` bytes are crops'."""
    packed = [(_text(_candidates(row, floor)), _text(_truth(row, floor))) for row in gallery]
    taken += sum(len(candidates) + len(truth) for candidates, truth in packed)
    room = (MAX_BYTES - taken) * 3 // 4 // max(len(gallery), 1)
    for row, (candidates, truth) in zip(gallery, packed, strict=True):
        jpeg = read_thumbnail(row.micrograph.thumbnail, room) if row.micrograph.thumbnail else None
        yield row.position, candidates, truth, _text(jpeg or b"")


def _crops(crops: Sequence[tuple[Place, bytes | None]]) -> list[dict[str, object]]:
    return [
        {
            "kind": place.kind,
            "position": place.position,
            "index": place.index,
            "x": round(place.x, 1),
            "y": round(place.y, 1),
            "diameter": round(place.diameter_px, 2),
            "score": None if place.score is None else round(place.score, 4),
            "jpeg": _text(jpeg or b""),
        }
        for place, jpeg in crops
    ]


def _data(
    run: ReportRun, rows: Sequence[_Row], picked: Sequence[_Row], gallery: Sequence[_Row], floor: int
) -> dict[str, object]:
    """Everything but pictures and candidates, for `report.js`."""
    return {
        "command": f"cryotx threshold {_shell_word(run.folder)} --threshold" if run.folder else None,
        "adjustable": _adjustable(run, picked),
        "threshold": run.config.threshold if run.config and run.config.threshold != "auto" else None,
        "scores": run.scores,
        "floor": floor,
        "names": _short_names([row.micrograph.name for row in picked]),
        "full_names": [row.micrograph.name for row in picked],
        "positions": [row.position for row in picked],
        "skipped": [row.position for row in rows if row.micrograph.error is not None],
        "picks": [row.micrograph.picks for row in picked],
        "defocus": [row.micrograph.defocus for row in picked],
        "counts": _text(b"".join(row.counts.astype("<u2").tobytes() for row in picked)),
        "picked_counts": _picked_counts(picked),
        "gallery": [
            {
                "position": row.position,
                "width": row.micrograph.width,
                "height": row.micrograph.height,
                "pixel_size": row.pixel_size if np.isfinite(row.pixel_size) else None,
                "diameter": round(_largest_diameter(row), 6),
            }
            for row in gallery
        ],
        "colours": [f"#{r:02x}{g:02x}{b:02x}" for b, g, r in score_colours(_CUTS).tolist()],
        "truth": _judged(run.agreement, picked) if run.agreement else None,
    }


def _adjustable(run: ReportRun, picked: Sequence[_Row]) -> bool:
    if run.config is not None:
        return run.config.selection != "legacy"  # the original program's choice is no threshold
    return sum(any(row.counts[k] for row in picked) for k in range(len(_CUTS))) > 1  # many formats have no scores


def _judged(agreement: Agreement, picked: Sequence[_Row]) -> dict[str, object]:
    """Numbers for `agreement.js`, which does not know the places of all candidates and so cannot count hits itself."""
    truths = [row.micrograph.truth for row in picked if row.micrograph.truth is not None]
    return {
        "labels": [len(truth.particles) for truth in truths],
        "hits": [truth.hits for truth in truths],
        "hits_at_cuts": _text(b"".join(row.hits.astype("<u2").tobytes() for row in picked)),
        "chances": [int(count) for count in sum((row.chances for row in picked), np.zeros(len(_CUTS), np.int64))],
        "diameters": [
            round(truth.diameter_px / max(row.micrograph.width, 1), 6)
            for row, truth in zip(picked, truths, strict=True)
        ],
        "average_precision": agreement.average_precision,
    }


def _picked_counts(picked: Sequence[_Row]) -> list[int]:
    counts = np.zeros(len(_CUTS), np.int64)
    for row in picked:
        counts += np.bincount(row.table[: row.micrograph.picks, 2].astype(int), minlength=len(_CUTS))
    return [int(count) for count in counts]


def _diameter(run: ReportRun, picked: Sequence[_Row]) -> tuple[str, str]:
    """Return the particle diameter and its unit."""
    if run.config is not None and run.config.diameter != "auto":
        return f"{run.config.diameter:.0f}", "Å"
    truths = [(row.micrograph.truth.diameter_px, row.pixel_size) for row in picked if row.micrograph.truth]
    if not truths:
        return "-", ""
    pixels, pixel_size = np.median(truths, axis=0).tolist()
    return (f"{pixels * pixel_size:.0f}", "Å") if np.isfinite(pixel_size) else (f"{pixels:.0f}", "px")


def _settings(run: ReportRun, picked: Sequence[_Row]) -> list[tuple[str, str]]:
    """Return names and values for people, most important first."""
    sizes = sorted({round(row.pixel_size, 4) for row in picked if np.isfinite(row.pixel_size)})
    pixel_size = f"{sizes[0]:g} Å" if len(sizes) == 1 else f"{sizes[0]:g} to {sizes[-1]:g} Å" if sizes else "-"
    settings = [("Pixel size", pixel_size)]
    if run.config is not None:
        settings += _pick_settings(run.config)
    if run.agreement is not None:
        pair = f"pick and label up to {run.agreement.radius:g} diameters apart, one to one, nearest first"
        settings += [("Labels", str(run.agreement.truth)), ("Hit", pair)]
    return settings


def _pick_settings(config: PickConfig) -> list[tuple[str, str]]:
    assert config.diameter != "auto"
    if config.selection == "legacy":
        choice = "as the original program"
    elif config.expected_count is not None:
        choice = f"the best {config.expected_count} of each micrograph"
    elif config.percentile is not None:
        choice = f"all but the worst {config.percentile:g} % of each micrograph's candidates"
    elif config.threshold == "auto":
        choice = "automatic: a threshold for each micrograph"
    else:
        choice = f"score of at least {config.threshold:g}"
    if config.max_per_micrograph is not None:
        choice += f"; at most {config.max_per_micrograph} of each micrograph"
    return [
        ("Weights", config.weights),
        ("Choice of picks", choice),
        ("Smallest distance between picks", f"{Selection.of(config, config.diameter).min_distance:.4g} Å"),
        ("Smallest distance to the border", f"{config.edge:g} Å"),
    ]


def _short_names(names: Sequence[str]) -> list[str]:
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


def _shell_word(folder: Path) -> str:
    return shlex.quote(str(folder) if not str(folder).startswith("-") else f"./{folder}")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _source(name: str) -> str:
    return files("cryotx_cli.report").joinpath(name).read_text(encoding="utf-8")
