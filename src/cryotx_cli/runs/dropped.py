"""Picks that were taken out of a run with the classes that they are in: noted, so that they can return."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError
from cryotx_cli.files.whole_file import write_json
from cryotx_cli.runs.folder import fingerprint

Place = tuple[float, float]


@dataclass(frozen=True)
class Dropped:
    """What was dropped.

    Parameters
    ----------
    places
        By the names of the micrographs, x and y of the candidates in pixels, as they are stored.
    """

    places: Mapping[str, frozenset[Place]]

    def kept(self, micrograph: str, particles: Particles) -> Particles:
        """Return the particles of a micrograph without those that were dropped."""
        return particles.select(self.is_kept(micrograph, particles)) if self.places.get(micrograph) else particles

    def is_kept(self, micrograph: str, particles: Particles) -> NDArray[np.bool_]:
        """Return which particles of a micrograph were not dropped, (n,)."""
        places = self.places.get(micrograph, frozenset())
        return np.array([tuple(one) not in places for one in particles.centres.tolist()], bool)

    def picks_key(self, micrograph: str, key: str) -> str:
        """Return the fingerprint of the picks that are left of those with this one."""
        places = self.places.get(micrograph)
        return fingerprint(key, sorted(places)) if places else key


def read_dropped(path: Path) -> Dropped:
    """Return what `write_dropped` wrote; nothing where there is no such file.

    Raises
    ------
    CryotxError
        It cannot be read: picks that were dropped must not come back without a word.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Dropped({name: frozenset((float(x), float(y)) for x, y in places) for name, places in content.items()})
    except FileNotFoundError:
        return Dropped({})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CryotxError(
            f"{path}: damaged; it holds the picks that were dropped", "Remove it: all picks come back then."
        ) from error


def write_dropped(path: Path, dropped: Dropped) -> None:
    """Write it whole, or remove it where nothing is dropped.

    Raises
    ------
    ParticleFileError
        It cannot be written.
    """
    content = {name: sorted(places) for name, places in sorted(dropped.places.items()) if places}
    if content:
        write_json(path, content)
    else:
        path.unlink(missing_ok=True)
