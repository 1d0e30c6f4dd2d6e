"""Scores as programs write them, some of which stand for none."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotx_cli.events import Event, Tell

_NONE = -999.0
"""What RELION and crYOLO write where there is no score, as for particles picked by hand."""


def known_scores(values: ArrayLike, tell: Tell) -> NDArray[np.float64]:
    """Return scores (n,) with 1 in place of those that are none: -999, NaN and infinite ones.

    It is told where some have a score and others have none, or a score is no number.
    """
    values = np.asarray(values, np.float64)
    marked = values == _NONE
    none = marked | ~np.isfinite(values)
    if none.any() and not marked.all():
        some = "no particle has" if none.all() else "some particles do not have"
        tell(Event(f"{some} a score that is a number (-999 stands for none, too): they count as 1, and are all read"))
    return np.where(none, 1.0, values)
