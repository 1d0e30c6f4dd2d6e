"""The classes of a run on its page: their averages, and which of them each pick is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cryotx_cli.averages.choice import StoredClasses, read_classes
from cryotx_cli.averages.output import FOLDER, STACK
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.micrographs.stack import read_stack

_EXTREMES = (0.5, 99.5)  # percent of an average's pixels that are black and white


class ClassGallery:
    """What `cryotx classes` has left in the folder of a run; read again when it is made anew.

    Parameters
    ----------
    run
        The folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._read: tuple[int, StoredClasses] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Return what is known of each class; nothing where there are none, or they are damaged."""
        classes = self._classes()
        return [] if classes is None else [{**vars(row), "words": row.in_words} for row in classes.rows]

    def numbers_of(self, micrograph: str, candidates: Particles) -> list[int]:
        """Return the class of each candidate, 0 for none; nothing where there are no classes."""
        classes = self._classes()
        return [] if classes is None else [int(one) for one in classes.numbers_of(micrograph, candidates)]

    def picture(self, number: int) -> bytes:
        """Return the average of a class as a grey PNG file.

        Raises
        ------
        CryotxError
            There is no such class, or it cannot be read.
        """
        images, _ = read_stack(self._run / STACK)
        if not 1 <= number <= len(images):
            raise CryotxError(f"{self._run / STACK}: has no class {number}")
        average = images[number - 1]
        low, high = np.percentile(average, _EXTREMES)
        grey = np.clip((average - low) * (255 / max(float(high - low), 1e-12)), 0, 255).astype(np.uint8)
        return cv2.imencode(".png", grey)[1].tobytes()

    def _classes(self) -> StoredClasses | None:
        try:
            modified = (self._run / FOLDER / "classes.json").stat().st_mtime_ns
            if self._read is None or self._read[0] != modified:
                self._read = modified, read_classes(self._run)
        except (OSError, ConfigError, CryotxError):
            return None
        return self._read[1]
