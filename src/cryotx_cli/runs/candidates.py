"""Everything the network proposed on a micrograph, kept in a file so that picks can be chosen again without it."""

import json
from array import array
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.files.whole_file import whole_file


@dataclass(frozen=True, eq=False)
class Candidates:
    """Everything the network proposed on one micrograph of (height, width) pixels.

    Parameters
    ----------
    particles, height, width
        What was proposed, and the pixels of the micrograph.
    film
        Where it shows support film or large ice crystals; None where none were looked for, as in older runs.
    """

    particles: Particles
    height: int
    width: int
    film: Region | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "particles", replace(self.particles, shape=(self.height, self.width)))

    @property
    def film_share(self) -> float | None:
        """Share of the micrograph that shows film or ice; None where none were looked for."""
        return None if self.film is None else round(self.film.share(self.height, self.width), 4)


def write_candidates(path: Path, candidates: Candidates, key: str) -> None:
    """Write candidates as CSV below one comment line that holds `key`, the image's size, its pixel size and its film.

    Numbers are written so that reading gives the same bits back.
    """
    particles = candidates.particles
    about = {"key": key, "height": candidates.height, "width": candidates.width, "pixel_size": particles.pixel_size}
    if candidates.film is not None:
        about["film"] = candidates.film.rows()
    rows = np.column_stack([particles.centres, particles.scores, particles.diameters]).tolist()
    with whole_file(path) as file:
        file.write(f"# {json.dumps(about)}\nx_px,y_px,score,diameter_px\n")
        file.writelines(f"{x!r},{y!r},{score!r},{diameter!r}\n" for x, y, score, diameter in rows)


def read_candidates(path: Path, key: str) -> Candidates | None:
    """Return what `write_candidates` stored under `key`; None if there is nothing, or something under another key."""
    stored = read_stored_candidates(path)
    return stored[1] if stored is not None and stored[0] == key else None


def read_stored_candidates(path: Path) -> tuple[str, Candidates] | None:
    """Return what `write_candidates` stored, with its key; None if there is nothing."""
    values = array("d")
    try:
        with path.open(encoding="utf-8") as file:
            about = json.loads(file.readline().removeprefix("# "))
            file.readline()
            for line in file:
                values.extend(_row(line))
        table = np.array(values).reshape(-1, 4)
        if not np.isfinite(table).all():
            return None
        particles = Particles(table[:, :2], table[:, 2], table[:, 3], about["pixel_size"])
        film = Region.of(about["film"]) if "film" in about else None
        return str(about["key"]), Candidates(particles, int(about["height"]), int(about["width"]), film)
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None  # absent, or not a file of ours: the network has to run again


def _row(line: str) -> list[float]:
    values = [float(value) for value in line.split(",")]
    if len(values) != 4:
        raise ValueError(f"{len(values)} values in a row of candidates")
    return values
