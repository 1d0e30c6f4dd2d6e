"""From what a network says to the probability that a pick is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """Maps a detector's logit to the probability that the pick is right: linear between knots, both rising.

    The default is the logistic function itself.
    """

    logits: tuple[float, ...] = tuple(np.linspace(-8, 8, 65).tolist())
    probabilities: tuple[float, ...] = tuple((1 / (1 + np.exp(-np.linspace(-8, 8, 65)))).tolist())

    def __call__(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities, same shape."""
        return np.asarray(np.interp(logits, self.logits, self.probabilities), np.float64)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Calibration:
        """Return the one in the settings of a file."""
        return cls(*(tuple(settings["calibration"][name]) for name in ("logits", "probabilities")))
