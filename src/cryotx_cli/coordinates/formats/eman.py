"""EMAN2's ``info/<micrograph>_info.json``: ``{"boxes": [[x, y, "manual"], ...]}`` with the centres of the boxes.

Pixels of the full-size micrograph, y down the stored rows. EMAN2 keeps what it knows of a micrograph in the same file;
only the boxes are read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cryotx_cli.coordinates.formats.entry import MicrographFormat
from cryotx_cli.coordinates.formats.scores import known_scores
from cryotx_cli.coordinates.particles import Particles, checked_particles
from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.events import Tell, warn
from cryotx_cli.files.text_file import first_line, open_text
from cryotx_cli.files.whole_file import whole_file

_MAX_BYTES = 1 << 24  # of what EMAN2 knows of one micrograph, and JSON is read in one piece


def write_eman_info(path: str | Path, particles: Particles) -> None:
    """Write one micrograph's particles. Scores and diameters have no place in this format.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    boxes = [f'  [{x:.3f}, {y:.3f}, "manual"]' for x, y in particles.centres.tolist()]
    with whole_file(path) as file:
        file.write('{"boxes": [\n' + ",\n".join(boxes) + "\n]}\n")


def read_eman_info(path: str | Path, tell: Tell = warn) -> Particles:
    """Read the boxes of one micrograph; `tell` takes what was odd.

    Returns
    -------
    Particles
        Scores are the boxes' fourth values where those are numbers, as automatic picks of EMAN2 have them, otherwise
        1; diameters and the pixel size are NaN.

    Raises
    ------
    ParticleFileError
        If the file is not JSON with a list of boxes, or a box does not begin with two finite numbers, or all boxes are
        those of a tomogram.
    """
    path = Path(path)
    with open_text(path) as file:
        text = file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise NoCoordinatesError(f"{path}: larger than 16 MB: not EMAN2's file of one micrograph", "Check the path.")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParticleFileError(f"{path}: cannot be read as JSON: {error}", "Check that the file is whole.") from error
    boxes = content.get("boxes") if isinstance(content, dict) else None
    if not boxes and isinstance(content, dict) and content.get("boxes_3d"):
        raise ParticleFileError(
            f'{path}: holds boxes in a tomogram ("boxes_3d"), not in a micrograph',
            "cryotx works on 2D micrographs only: give boxes without z.",
        )
    if not isinstance(boxes, list):
        raise NoCoordinatesError(f'{path}: no list "boxes", as EMAN2\'s info files have it', "Check the path.")
    table = np.array([_box(box, number, path) for number, box in enumerate(boxes, 1)]).reshape(-1, 3)
    return checked_particles(path, table[:, :2], known_scores(table[:, 2], tell))


def _box(box: Any, number: int, path: Path) -> tuple[float, float, float]:
    numbers = [_finite(value) for value in (box[:2] if isinstance(box, list) else [])]
    if len(numbers) < 2 or None in numbers:
        raise ParticleFileError(
            f"{path}: box {number} is {str(box)[:60]}, which does not begin with the numbers x and y"
        )
    score = _finite(box[3]) if len(box) > 3 else None
    return numbers[0] or 0.0, numbers[1] or 0.0, 1.0 if score is None else score


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if np.isfinite(number) else None


EMAN = MicrographFormat(
    name="eman",
    suffix=".json",
    recognises=lambda beginning: first_line(beginning).startswith("{"),
    read=lambda path, tell: {"": read_eman_info(path, tell)},
    write=lambda path, particles, _: write_eman_info(path, particles),
    endings=("_info",),
    in_run="eman/info",  # where an EMAN2 project keeps them
)
