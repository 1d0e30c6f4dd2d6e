"""Reference-free classes: each crop goes to the average that it fits best, turned and moved, again and again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cryotx_cli.averages.polar import PolarFourier
from cryotx_cli.averages.search import Poses, Search, averaged

_ROUNDS, _FIRST_RINGS, _SETTLED = 10, 6, 4  # from one round to the next a ring more; no class is begun anew at the end
_FEWEST, _STARVED, _PART = 5, 0.15, 8


def ring_weights(polar: PolarFourier, harmonics: Tensor) -> Tensor:
    """Return (rings,) weights with which each ring of these crops counts by the number of its frequencies."""
    twice = torch.where(polar.m > 0, 2.0, 1.0)  # for the negative ones
    power = (harmonics[:4096].abs().square() * twice).sum(2).mean(0)
    return (_frequencies(polar) / power.clamp_min(1e-12)).sqrt()


def trained_averages(polar: PolarFourier, crops: Tensor, classes: int, seed: int) -> Tensor:
    """Sort crops into classes and return their averages, (classes, rings, angles).

    Parameters
    ----------
    polar
        Their sampling.
    crops
        (n, rings, harmonics), weighted; at least as many as classes.
    classes
        How many.
    seed
        Of the crops that the classes begin with.
    """
    draw = np.random.default_rng(seed)  # that of PyTorch loads its compilers first
    averages = polar.samples(crops[_some(draw, len(crops), classes).to(polar.device)])
    for round_ in range(_ROUNDS):
        settles = round_ >= _ROUNDS - _SETTLED
        poses = best_poses(Search(polar, averages, _FIRST_RINGS + round_, exact=settles), crops)
        averages, counts = averaged(polar, crops, poses, classes)
        if not settles:
            averages, counts = _begun_anew(polar, crops, poses, averages, counts, draw)
        averages = _without_noise(polar, averages, counts)
    return averages


def best_poses(search: Search, crops: Tensor) -> Poses:
    """Return how crops fit the averages that suit them best.

    Parameters
    ----------
    search
        Knows the averages.
    crops
        (n, rings, harmonics), weighted.
    """
    scores, shifts = search.coarse(crops)
    best = relative(scores).argmax(1)
    return search.fine(crops, best, shifts[torch.arange(len(crops), device=crops.device), best])


def relative(scores: Tensor) -> Tensor:
    """Return how well crops fit each average, (n, classes), by how well crops fit it on the whole.

    The average of many crops has less noise, and every crop fits it better: left to the bare correlations, large
    classes grow until there is no other.
    """
    ordered = scores.sort(0).values
    middle, low = ordered[len(scores) // 2], ordered[int(0.16 * len(scores))]
    return (scores - middle) / (middle - low).clamp_min(1e-6)


def _begun_anew(
    polar: PolarFourier, crops: Tensor, poses: Poses, averages: Tensor, counts: Tensor, draw: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Begin classes that next to nothing is left of with some members of the largest one."""
    averages, counts = averages.clone(), counts.clone()
    for starved in torch.where(counts < max(_FEWEST, _STARVED * len(crops) / len(counts)))[0].tolist():
        largest = int(counts.argmax())
        members = torch.where(poses.classes == largest)[0]
        some = members[_some(draw, len(members), max(_FEWEST, len(members) // _PART)).to(members.device)]
        of_some = poses.select(some)
        alone = Poses(torch.zeros_like(of_some.classes), of_some.angles, of_some.shifts, of_some.scores)
        averages[starved] = averaged(polar, crops[some], alone, 1)[0][0]
        counts[largest] -= counts[largest] // 2
        counts[starved] = len(some)
    return averages, counts


def _without_noise(polar: PolarFourier, averages: Tensor, counts: Tensor) -> Tensor:
    """Return averages whose rings are as strong as what they hold beyond the noise of so many crops."""
    power = averages.abs().square().mean(-1)
    noise = _frequencies(polar) / counts.clamp_min(1)[:, None]
    return averages * ((power - noise).clamp_min(0) / power.clamp_min(1e-12))[..., None]


def _frequencies(polar: PolarFourier) -> Tensor:
    """Return how many frequencies each ring has, relative to the first; the power of weighted crops is the same."""
    return torch.arange(1, polar.rings + 1, device=polar.device, dtype=torch.float32)


def _some(draw: np.random.Generator, of: int, count: int) -> Tensor:
    return torch.from_numpy(draw.permutation(of)[:count])
