"""The report of a run: one HTML file that needs no network, with a threshold to move and picks that follow it.

The file holds, for every micrograph, how many candidates have each score (in hundredths), and for those of the gallery
the candidates themselves and a small picture. Browsers cut, count and draw; `report.js` mirrors `ReportRun`.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePath

import jinja2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli import __version__
from cryotx_cli.config import PickConfig
from cryotx_cli.data.candidates import read_stored_candidates
from cryotx_cli.data.formats.whole_file import whole_file
from cryotx_cli.data.particles import Particles
from cryotx_cli.data.pick_folder import LedgerRow, MicrographOutputs, PickFolder
from cryotx_cli.data.selection import Selection
from cryotx_cli.report.annotated_image import score_colours
from cryotx_cli.report.thumbnail import read_thumbnail

GALLERY_SIZE = 300
"""Most micrographs that are shown as pictures; all of them are in the counts and in the plots."""

MAX_BYTES = 24_000_000
"""Size of the gallery's pictures and candidates together; the rest takes less than 1 kB a micrograph."""

_CANDIDATE_BYTES = 4_000_000
_EXTREMES = 30
_SCORES = np.arange(101) / 100  # the scores that the slider can be set to


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
    """

    name: str
    candidates: Particles | None = None
    height: int = 0
    width: int = 0
    picks: int = 0
    thumbnail: Path | None = None
    defocus: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class ReportRun:
    """What a report says of the run as a whole.

    Parameters
    ----------
    star, folder
        The merged STAR file and the folder that ``cryotx threshold`` takes, as the user would type them.
    config
        Settings that the picks were made with; its diameter is a number of Å.
    """

    star: Path
    folder: Path
    config: PickConfig


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


def write_report(path: str | Path, run: ReportRun, micrographs: Iterable[ReportMicrograph]) -> None:
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
        iterator need not hold them all.

    Raises
    ------
    ParticleFileError
        The file cannot be written.
    """
    rows = [_Row.of(position, micrograph) for position, micrograph in enumerate(micrographs)]
    picked = [row for row in rows if row.micrograph.error is None]
    gallery = [picked[i] for i in _gallery([row.micrograph.picks for row in picked])]
    picks = np.array([row.micrograph.picks for row in picked], int)
    floor = _lowest_score(gallery)
    script = _source("report.js")
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
        skipped=[row.micrograph for row in rows if row.micrograph.error is not None],
        settings=_settings(run.config, picked),
        gallery_size=len(gallery),
        data=_data(run, rows, picked, gallery, floor),
        pictures=_pictures(gallery, floor),
    )
    with whole_file(path) as file:
        file.writelines(parts)


@dataclass(frozen=True, eq=False)
class _Row:
    """A micrograph boiled down: `counts` of candidates by hundredths of score, `table` of candidates, best first.

    Columns of the table (n, 4) are x and y as fractions of width and height, score in hundredths, diameter as a
    fraction of the width.
    """

    position: int
    micrograph: ReportMicrograph
    counts: NDArray[np.uint16]
    table: NDArray[np.float32]
    pixel_size: float

    @classmethod
    def of(cls, position: int, micrograph: ReportMicrograph) -> _Row:
        found = micrograph.candidates or Particles.empty(np.nan)
        best_first = found.sorted_by_score()
        # Comparing with k / 100 and not rounding: a candidate counts at a threshold exactly if `choose` keeps it there.
        hundredths = np.searchsorted(_SCORES, best_first.scores, side="right") - 1
        size = np.array([max(micrograph.width, 1), max(micrograph.height, 1)])
        table = np.column_stack([(best_first.centres + 0.5) / size, hundredths, best_first.diameters / size[0]])
        counts = np.bincount(hundredths, minlength=len(_SCORES)).clip(max=0xFFFF).astype(np.uint16)
        stripped = ReportMicrograph(
            micrograph.name, None, micrograph.height, micrograph.width, micrograph.picks, micrograph.thumbnail,
            micrograph.defocus, micrograph.error,
        )  # fmt: skip
        return cls(position, stripped, counts, table.astype(np.float32), found.pixel_size)


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
    counts = np.zeros(len(_SCORES), np.int64)
    for row in gallery:
        counts += row.counts
    at_least = counts[::-1].cumsum()[::-1]
    return int(np.argmax(at_least * _ENCODED_BYTES <= _CANDIDATE_BYTES))


_ENCODED_BYTES = 8  # two of 16 bits and two of 8, base64


def _candidates(row: _Row, floor: int) -> bytes:
    """Pack columns one after the other: x, y (uint16, 65535 is the far border), score (uint8), diameter (uint8).

    Diameters are 255ths of the largest.
    """
    table = row.table
    kept = table[(table[:, 2] >= floor) | (np.arange(len(table)) < row.micrograph.picks)]
    x_y = np.rint(kept[:, :2].T.clip(0, 1) * 0xFFFF).astype("<u2")
    diameters = np.rint(kept[:, 3] / max(_largest_diameter(row), 1e-9) * 0xFF).astype(np.uint8)
    return b"".join(column.tobytes() for column in (x_y, kept[:, 2].astype(np.uint8), diameters))


def _largest_diameter(row: _Row) -> float:
    return float(row.table[:, 3].max(initial=0.0))


def _pictures(gallery: Sequence[_Row], floor: int) -> Iterator[tuple[int, str, str]]:
    """Yield position, candidates and JPEG of each micrograph of the gallery."""
    packed = [_text(_candidates(row, floor)) for row in gallery]
    room = (MAX_BYTES - sum(map(len, packed))) * 3 // 4 // max(len(gallery), 1)
    for row, candidates in zip(gallery, packed, strict=True):
        jpeg = read_thumbnail(row.micrograph.thumbnail, room) if row.micrograph.thumbnail else None
        yield row.position, candidates, _text(jpeg or b"")


def _data(
    run: ReportRun, rows: Sequence[_Row], picked: Sequence[_Row], gallery: Sequence[_Row], floor: int
) -> dict[str, object]:
    """Everything but pictures and candidates, for `report.js`."""
    return {
        "command": f"cryotx threshold {_shell_word(run.folder)} --threshold",
        "adjustable": run.config.selection != "legacy",  # the original program's choice is no threshold
        "threshold": None if run.config.threshold == "auto" else run.config.threshold,
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
                "pixel_size": row.pixel_size,
                "diameter": round(_largest_diameter(row), 6),
            }
            for row in gallery
        ],
        "colours": [f"#{r:02x}{g:02x}{b:02x}" for b, g, r in score_colours(_SCORES).tolist()],
    }


def _picked_counts(picked: Sequence[_Row]) -> list[int]:
    counts = np.zeros(len(_SCORES), np.int64)
    for row in picked:
        counts += np.bincount(row.table[: row.micrograph.picks, 2].astype(int), minlength=len(_SCORES))
    return [int(count) for count in counts]


def _settings(config: PickConfig, picked: Sequence[_Row]) -> list[tuple[str, str]]:
    """Return names and values for people, most important first."""
    assert config.diameter != "auto"
    sizes = sorted({round(row.pixel_size, 4) for row in picked})
    pixel_size = f"{sizes[0]:g} Å" if len(sizes) == 1 else f"{sizes[0]:g} to {sizes[-1]:g} Å" if sizes else "-"
    if config.selection == "legacy":
        choice = "as the original program"
    elif config.expected_count is not None:
        choice = f"the best {config.expected_count} of each micrograph"
    elif config.percentile is not None:
        choice = f"all but the worst {config.percentile:g} % of each micrograph's candidates"
    elif config.threshold == "auto":
        choice = "automatic: the highest expected F1 of each micrograph"
    else:
        choice = f"score of at least {config.threshold:g}"
    if config.max_per_micrograph is not None:
        choice += f"; at most {config.max_per_micrograph} of each micrograph"
    distance = f"{Selection.of(config, config.diameter).min_distance:.4g} Å"
    return [
        ("Pixel size", pixel_size),
        ("Weights", config.weights),
        ("Choice of picks", choice),
        ("Smallest distance between picks", distance),
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
