"""The folder beside ``particles.star``: what one run of picking leaves there and what the next one may reuse.

::

    particles.star
    particles/
        box/        EMAN box file of each micrograph, in the folders of the input
        star/       RELION STAR file of each micrograph
        png/        picture of each micrograph with its picks
        candidates/ every candidate with score and diameter, before any threshold
        ledger.jsonl, config.toml
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cryotx_cli.data.formats.whole_file import whole_file
from cryotx_cli.data.micrograph import MicrographFile, without_micrograph_suffix
from cryotx_cli.data.particles import Particles
from cryotx_cli.errors import CryotxError


@dataclass(frozen=True)
class MicrographOutputs:
    """The files of one micrograph."""

    box: Path
    star: Path
    png: Path
    candidates: Path


@dataclass(frozen=True)
class LedgerRow:
    """One line of ``ledger.jsonl``: what happened to one micrograph.

    Parameters
    ----------
    micrograph
        Its name, as the user or a STAR file gave it.
    key
        Fingerprint of everything that decides its picks; a run with another one starts it anew.
    read_seconds, pick_seconds
        Time to read it; time to prepare it and to run the network on it (0 where stored candidates were reused).
    candidates, picks
        How many the network proposed, how many were kept.
    edge, distance
        How many would have been picked but lay too close to the border, or to a better pick.
    error
        Why it was skipped; None for a complete one.
    """

    micrograph: str
    key: str
    read_seconds: float = 0.0
    pick_seconds: float = 0.0
    candidates: int = 0
    picks: int = 0
    edge: int = 0
    distance: int = 0
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Candidates:
    """Everything the network proposed on one micrograph of (height, width) pixels."""

    particles: Particles
    height: int
    width: int


class PickFolder:
    """The folder of one ``particles.star``.

    Parameters
    ----------
    star
        The merged STAR file; the folder has its name without the suffix.
    files
        The micrographs of this run. Their outputs mirror the folders below their common root, so that two files with
        one stem do not meet; two of one stem in one folder (``a.mrc``, ``a.tif``) keep their suffixes.

    Raises
    ------
    CryotxError
        The folder cannot be written.
    """

    def __init__(self, star: Path, files: Sequence[MicrographFile]) -> None:
        self.path = star.with_suffix("")
        self.ledger = self.path / "ledger.jsonl"
        self.config = self.path / "config.toml"
        self._stems = _output_stems([file.path for file in files])
        _require_writable(star.parent)
        _require_writable(self.path)

    def outputs(self, file: MicrographFile) -> MicrographOutputs:
        """Return the paths of the outputs of one of the micrographs of this run."""
        stem = self._stems[file.path]
        return MicrographOutputs(
            *(
                self.path / kind / stem.with_name(f"{stem.name}.{suffix}")
                for kind, suffix in (("box", "box"), ("star", "star"), ("png", "png"), ("candidates", "csv"))
            )
        )

    def read_ledger(self) -> dict[str, LedgerRow]:
        """Return the last row of each micrograph by its name; what a stopped run wrote half is left out."""
        rows = {}
        with suppress(FileNotFoundError):
            for line in self.ledger.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, TypeError):  # a line cut short, or one of another version
                    row = LedgerRow(**json.loads(line))
                    rows[row.micrograph] = row
        return rows

    def start_ledger(self, rows: Iterable[LedgerRow]) -> None:
        """Begin this run's ledger with the rows that stay valid."""
        with whole_file(self.ledger) as file:
            file.writelines(_line(row) for row in rows)

    def append_ledger(self, row: LedgerRow) -> None:
        """Add the row of a micrograph that is done."""
        with self.ledger.open("a", encoding="utf-8") as file:
            file.write(_line(row))


def fingerprint(*parts: object) -> str:
    """Hash values that have a JSON form: equal parts give equal text, on any machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def write_candidates(path: Path, candidates: Candidates, key: str) -> None:
    """Write candidates as CSV below one comment line that holds `key`, the image's size and its pixel size.

    Numbers are written so that reading gives the same bits back.
    """
    particles = candidates.particles
    about = {"key": key, "height": candidates.height, "width": candidates.width, "pixel_size": particles.pixel_size}
    rows = np.column_stack([particles.centres, particles.scores, particles.diameters]).tolist()
    with whole_file(path) as file:
        file.write(f"# {json.dumps(about)}\nx_px,y_px,score,diameter_px\n")
        file.writelines(f"{x!r},{y!r},{score!r},{diameter!r}\n" for x, y, score, diameter in rows)


def read_candidates(path: Path, key: str) -> Candidates | None:
    """Return what `write_candidates` stored under `key`; None if there is nothing, or something under another key."""
    try:
        about_line, _, *rows = path.read_text(encoding="utf-8").splitlines()
        about = json.loads(about_line.removeprefix("# "))
        if about["key"] != key:
            return None
        table = np.array([[float(value) for value in row.split(",")] for row in rows]).reshape(-1, 4)
        particles = Particles(table[:, :2], table[:, 2], table[:, 3], about["pixel_size"])
        return Candidates(particles, about["height"], about["width"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent, or not a file of ours: the network runs again


def _line(row: LedgerRow) -> str:
    return json.dumps(asdict(row)) + "\n"


def _output_stems(paths: Sequence[Path]) -> dict[Path, Path]:
    root = os.path.commonpath([path.absolute().parent for path in paths])
    below = {path: Path(os.path.relpath(path.absolute(), root)) for path in paths}
    stems = {path: inner.with_name(without_micrograph_suffix(inner.name)) for path, inner in below.items()}
    users = Counter(stems.values())
    return {path: stem if users[stem] == 1 else below[path] for path, stem in stems.items()}


def _require_writable(folder: Path) -> None:
    # Trying is the only reliable test: mode bits say nothing about read-only file systems, quotas and full disks.
    probe = folder / f".writable.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(4096))
        probe.unlink()
    except OSError as error:
        raise CryotxError(
            f"{folder}: cannot write there ({error.strerror})", "Choose another place with --out, or free this one."
        ) from error
