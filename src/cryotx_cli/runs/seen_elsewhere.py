"""What micrographs of faint particles show where the network is told a size that is a little smaller or larger.

What a network thinks of faint particles depends on the pixels that it sees them in, and a diameter that is given is
seldom exact to some hundredths. Ice that looks like particles at one size does not at the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.runs.candidates import Candidates
from cryotx_cli.runs.false_discovery import false_discovery

OTHER_SIZES = (0.93, 1.07)
"""Diameters as multiples of the one that was told: F1 hardly differs where all is clear."""

Seen = tuple[Candidates, Sequence[Candidates]]
"""Candidates of a micrograph, and of each of its decoys."""

_FILE = "sizes.json"


@dataclass(frozen=True)
class SeenElsewhere:
    """What other sizes say.

    Parameters
    ----------
    key
        Changes with all that it depends on.
    noise
        `FalseDiscovery.noise_of_best` at each of them, 1 at most.
    """

    key: str
    noise: tuple[float, ...]


def noise_beside(seen: Sequence[Seen], diameter: float) -> float | None:
    """Return how much noise explains of the best candidates of some micrographs; None where none has a decoy.

    Parameters
    ----------
    seen
        What was found in each.
    diameter
        In Å. Candidates are half of it apart at least, whatever the run makes of picks near each other.
    """
    found = [_apart(one, diameter) for one, _ in seen]
    decoys = [_apart(one, diameter) for _, drawn in seen for one in drawn]
    if not decoys:
        return None
    area = sum(one.area for one in decoys)
    ratio = sum(one.area for one in found) / area
    compared = false_discovery([one.scores for one in found], [one.scores for one in decoys], ratio, area)
    return min(1.0, compared.noise_of_best)


def keep_seen_elsewhere(folder: Path, seen: SeenElsewhere | None) -> None:
    """Write what other sizes say into the folder of a run; None where they have no say."""
    if seen is None:
        (folder / _FILE).unlink(missing_ok=True)
    elif seen != kept_seen_elsewhere(folder):
        with whole_file(folder / _FILE) as file:
            json.dump(asdict(seen), file)


def kept_seen_elsewhere(folder: Path) -> SeenElsewhere | None:
    """Return what `keep_seen_elsewhere` wrote; None if there is nothing."""
    try:
        stored = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return SeenElsewhere(str(stored["key"]), tuple(map(float, stored["noise"])))
    except (OSError, ValueError, KeyError, TypeError):  # of another version, or damaged: it is looked at again
        return None


def _apart(found: Candidates, diameter: float) -> Particles:
    return found.particles.with_minimum_distance(0.5 * diameter / found.particles.pixel_size)
