"""Why a run finds little, as a look at its micrographs has shown: kept for its report and for the same run again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cryotx_cli.files.whole_file import whole_file

Fault = Literal["size", "pixel size", "contrast", "noise", "film", "faint"]
_FILE = "diagnosis.json"


@dataclass(frozen=True)
class Diagnosis:
    """Why a run finds little, or something else than it was told to.

    Parameters
    ----------
    fault
        ``size``: the diameter or the pixel size is wrong; ``pixel size``: it is the pixel size; ``contrast``: bright
        and dark are; ``noise``: there is no more than noise; ``film``: there is support film or ice instead; ``faint``:
        particles are.
    text
        All of that for people; each command to type is a line of its own in it.
    commands
        The same commands alone.
    diameter
        Of the particles, in Å, at the pixel size that was given; None where none is known.
    pixel_size
        With which the particles have the diameter that was given, in Å; None where none is known.
    """

    fault: Fault
    text: str
    commands: tuple[str, ...] = ()
    diameter: float | None = None
    pixel_size: float | None = None


def keep_diagnosis(folder: Path, diagnosis: Diagnosis | None, key: str) -> None:
    """Write what a look has shown, under a key that changes with all that it depends on; None: all is well."""
    with whole_file(folder / _FILE) as file:
        json.dump({"key": key, "diagnosis": asdict(diagnosis) if diagnosis else None}, file, indent=1)


def was_looked_at(folder: Path, key: str) -> bool:
    """Whether `keep_diagnosis` wrote something under this key."""
    return _stored(folder).get("key") == key


def kept_diagnosis(folder: Path) -> Diagnosis | None:
    """Return what `keep_diagnosis` wrote; None if there is nothing."""
    stored = _stored(folder).get("diagnosis")
    try:
        return Diagnosis(**stored | {"commands": tuple(stored["commands"])}) if isinstance(stored, dict) else None
    except (KeyError, TypeError):  # of another version, or damaged
        return None


def drop_diagnosis(folder: Path) -> None:
    """Remove what `keep_diagnosis` wrote: the run goes on, or is as it should be."""
    (folder / _FILE).unlink(missing_ok=True)


def _stored(folder: Path) -> dict[str, object]:
    try:
        stored = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}
