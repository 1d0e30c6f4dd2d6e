"""What is known of each class of a run: how far its halves agree, its scores, and where its picks lie."""

from __future__ import annotations

import math

import numpy as np

from cryotx_cli.averages.classes import Class, Classes
from cryotx_cli.averages.crops import SIDE, Frame
from cryotx_cli.averages.output import ClassRow
from cryotx_cli.averages.pick_crops import PickCrops
from cryotx_cli.averages.power import verdict
from cryotx_cli.averages.surroundings import Whereabouts, whereabouts

_BESIDE = "neighbours, nothing of its own"


def class_rows(found: Classes, crops: PickCrops, frame: Frame) -> list[ClassRow]:
    """Return what is known of each class.

    Parameters
    ----------
    found
        The classes of its picks.
    crops
        The picks.
    frame
        The scale of the crops.
    """
    scores = np.concatenate([particles.scores for _, particles in crops.picks])
    counts = np.bincount(found.numbers, minlength=len(found.classes))
    sums = np.bincount(found.numbers, scores, minlength=len(found.classes))
    where = crops.around
    everywhere = whereabouts(where, np.ones(len(scores), bool))
    rows = []
    for i, one in enumerate(found.classes):
        mean_score = float(sums[i] / max(1, counts[i]))
        own = whereabouts(where, found.numbers == i) if counts[i] else everywhere
        rows.append(
            ClassRow(
                number=i + 1,
                picks=int(counts[i]),
                share=float(counts[i] / counts.sum()),
                mean_score=mean_score,
                resolution=None if one.ring is None else SIDE * frame.pixel_size / one.ring,
                coarsest=None if one.ring is None else SIDE * frame.pixel_size / one.between[0],
                finest=None if one.ring is None else SIDE * frame.pixel_size / one.between[1],
                verdict=verdict(found, i, mean_score),
                agreement=float(np.tanh(one.strength)),
                centred=one.centred,
                apart=own.apart * frame.diameter if math.isfinite(own.apart) else None,
                touching=own.touching,
                at_border=own.at_border,
                at_film=own.at_film,
                looks=_looks(one, found.chance, own, everywhere),
            )
        )
    return rows


def _looks(one: Class, chance: float, own: Whereabouts, everywhere: Whereabouts) -> str:
    if one.strength > chance and not one.has_its_own:
        return _BESIDE
    return own.looks_like(everywhere)
