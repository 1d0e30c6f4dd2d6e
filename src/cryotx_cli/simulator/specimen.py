"""What lies in the hole: where particles sit, how they are turned, and everything else that is there.

Positions and sizes are in pixels of the simulated field, x to the right and y down, unless a name ends in `_angstrom`.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryotx_cli.simulator.structures import Structure

Points = NDArray[np.float64]

_SPLAT_AT_ONCE = 32768  # beads: few enough that the arrays in between stay in the processor's cache


def place_particles(
    height: int, width: int, diameter: float, coverage: float, rng: np.random.Generator, margin: float
) -> Points:
    """Draw particle centres, (n, 2), up to `margin` outside the field; clusters may reach further.

    One of four habits: evenly spread, along a gradient of ice thickness, in clusters, or in touching patches.
    """
    target = int(coverage * (height + 2 * margin) * (width + 2 * margin) / (math.pi / 4 * diameter**2))
    habit = rng.choice(["even", "gradient", "clusters", "touching"], p=[0.45, 0.25, 0.15, 0.15])
    spacing = diameter * rng.uniform(0.55, 1.05)
    size = np.array([width + 2 * margin, height + 2 * margin])
    if habit == "touching":
        return _touching_patches(target, size, spacing, diameter, rng) - margin
    tries = rng.random((target * 6 + 8, 2)) * size
    if habit == "gradient":
        direction = rng.uniform(0, 2 * math.pi)
        ramp = (tries / size - 0.5) @ [math.cos(direction), math.sin(direction)]
        tries = tries[rng.random(len(tries)) < np.clip(0.5 + rng.uniform(0.5, 2) * ramp, 0.03, 1)]
    elif habit == "clusters":
        hubs = rng.random((int(rng.integers(1, 6)), 2)) * size
        chosen = hubs[rng.integers(len(hubs), size=len(tries))]
        tries = np.where(
            rng.random((len(tries), 1)) < 0.8,
            chosen + rng.normal(size=tries.shape) * size * rng.uniform(0.06, 0.2),
            tries,
        )
    return _thrown(tries, target, spacing) - margin


def _thrown(tries: Points, target: int, spacing: float) -> Points:
    """Keep the first `target` of `tries` that stay `spacing` apart, with a grid so that the cost stays linear."""
    if not len(tries) or target < 1:
        return np.empty((0, 2))
    cells = np.floor_divide(tries, spacing).astype(int)
    cells -= cells.min(0) - 1
    columns = int(cells[:, 0].max()) + 2
    around = [i * columns + j for i in (0, -1, 1) for j in (0, -1, 1)]
    taken: dict[int, list[tuple[float, float]]] = {}
    kept: list[int] = []
    least = spacing**2
    at = (cells[:, 1] * columns + cells[:, 0]).tolist()
    for number, (cell, (x, y)) in enumerate(zip(at, tries.tolist(), strict=True)):
        near = (taken[cell + step] for step in around if cell + step in taken)
        for u, v in itertools.chain.from_iterable(near):
            if (x - u) * (x - u) + (y - v) * (y - v) < least:
                break
        else:
            taken.setdefault(cell, []).append((x, y))
            kept.append(number)
            if len(kept) >= target:
                break
    return tries[kept]


def _touching_patches(target: int, size: Points, spacing: float, diameter: float, rng: np.random.Generator) -> Points:
    """Grow patches of particles that touch their neighbours."""
    order = [tuple((rng.random(2) * size).tolist()) for _ in range(max(1, target // 12))]
    while len(order) < target * 3 + 1:
        x, y = order[rng.integers(len(order))]
        angle, distance = rng.uniform(0, 2 * math.pi), diameter * rng.uniform(0.8, 1.15)
        order.append((x + distance * math.cos(angle), y + distance * math.sin(angle)))
    points = np.array(order)
    inside = ((points >= 0) & (points <= size)).all(1)
    return _thrown(points[inside], target, max(spacing, 0.7 * diameter))


def random_rotations(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw orientations, (n, 3, 3): uniform, or scattered around one to three views that the interface prefers."""
    quaternions = rng.normal(size=(n, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    w, x, y, z = quaternions.T
    uniform = np.stack(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        1,
    ).reshape(n, 3, 3)
    if rng.random() < 0.5:
        return uniform.astype(np.float32)
    views = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(int(rng.integers(1, 4)))]
    preferred = np.stack(views)[rng.integers(len(views), size=n)]
    scatter = rng.normal(size=(n, 3)) / math.sqrt(rng.uniform(2, 50))
    wobble = np.zeros((n, 3, 3))
    wobble[:, [2, 0, 1], [1, 2, 0]] = scatter
    wobble = wobble - wobble.transpose(0, 2, 1) + np.eye(3)
    wobble, _ = np.linalg.qr(wobble)
    spin = rng.uniform(0, 2 * math.pi, n)
    turn = np.zeros((n, 3, 3))
    turn[:, 0, 0], turn[:, 0, 1] = np.cos(spin), -np.sin(spin)
    turn[:, 1, 0], turn[:, 1, 1], turn[:, 2, 2] = np.sin(spin), np.cos(spin), 1
    likes = rng.random(n) < rng.uniform(0.5, 0.95)
    return np.where(likes[:, None, None], turn @ wobble @ preferred, uniform).astype(np.float32)


def project(
    field: Tensor,
    structure: Structure,
    centres: Points,
    pixel_size: float,
    rng: np.random.Generator,
    *,
    beads_each: int = 1500,
) -> None:
    """Add the projected potential of randomly turned copies to `field`.

    Each bead is shared among its four pixels by bilinear weights. Copies differ by 10 % in contrast; one in twenty has
    lost a piece.

    Parameters
    ----------
    field
        (height, width) projected potential in V Å, changed in place.
    centres
        (n, 2) in pixels of `field`.
    """
    n = len(centres)
    if not n:
        return
    count = min(len(structure.beads), beads_each)
    kept = rng.choice(len(structure.beads), count, replace=False)
    weights = structure.weights[kept] * (structure.weights.sum() / structure.weights[kept].sum())
    beads = torch.from_numpy(structure.beads[kept]).to(field)
    rotations = torch.from_numpy(random_rotations(n, rng)).to(field)
    contrast = rng.normal(1, 0.1, n).clip(0.5)
    amounts = torch.from_numpy(np.outer(contrast.astype(np.float32), weights / np.float32(pixel_size**2))).to(field)
    broken = np.flatnonzero(rng.random(n) < 0.05)
    if len(broken):
        amounts[broken] *= _left_of_broken(beads, len(broken), rng)
    places = torch.from_numpy(centres.astype(np.float32)).to(field)[:, :, None]
    scaled = beads.T / pixel_size
    at_once = max(1, _SPLAT_AT_ONCE // count)
    for some in (slice(start, start + at_once) for start in range(0, n, at_once)):
        x, y = (rotations[some, axis] @ scaled + places[some, axis] for axis in (0, 1))
        _splat(field, x.view(-1), y.view(-1), amounts[some].view(-1))


def _left_of_broken(beads: Tensor, copies: int, rng: np.random.Generator) -> Tensor:
    """Say for each of `copies` which beads are still there, (copies, n) bool: those below a random plane."""
    directions, shares = np.empty((copies, 3)), np.empty(copies)
    for i in range(copies):
        directions[i], shares[i] = rng.normal(size=3), rng.uniform(0.5, 0.9)
    along = (torch.from_numpy(directions.astype(np.float32)).to(beads) @ beads.T).cpu().numpy()
    place = shares * (len(beads) - 1)
    lower = place.astype(int)
    ordered, copy = np.sort(along, axis=1), np.arange(copies)
    low, high = ordered[copy, lower], ordered[copy, np.minimum(lower + 1, len(beads) - 1)]
    return torch.from_numpy(along < (low + (place - lower) * (high - low))[:, None]).to(beads.device)


def splat(field: Tensor, xy: Tensor, amounts: Tensor) -> None:
    """Add `amounts` (m,) at positions `xy` (m, 2), bilinearly; what falls outside is lost. Changes `field` in place."""
    for start in range(0, len(xy), _SPLAT_AT_ONCE):
        some = slice(start, start + _SPLAT_AT_ONCE)
        x, y = xy[some].T.contiguous().unbind()
        _splat(field, x, y, amounts[some])


def _splat(field: Tensor, x: Tensor, y: Tensor, amounts: Tensor) -> None:
    height, width = field.shape
    column, row = x.floor(), y.floor()
    fx, fy = x - column, y - row
    left_column, upper_row = column.clamp(0, width - 2), row.clamp(0, height - 2)
    # How many pixels outside: whole numbers. Comparisons of torch take several times as long as arithmetic.
    outside = column.sub_(left_column).abs_().add_(row.sub_(upper_row).abs_())
    amounts = outside.neg_().add_(1).clamp_min_(0).mul_(amounts)
    index = upper_row.int().mul_(width).add_(left_column.int()).long()
    right = amounts * fx
    left = amounts.sub_(right)
    lower_left, lower_right = left * fy, fy.mul_(right)
    flat = field.view(-1)
    flat.scatter_add_(0, index, left.sub_(lower_left))
    flat[1:].scatter_add_(0, index, right.sub_(lower_right))
    flat[width:].scatter_add_(0, index, lower_left)
    flat[width + 1 :].scatter_add_(0, index, lower_right)


def distance_to_edge(
    xx: Tensor, yy: Tensor, rng: np.random.Generator, pixel_size: float, offsets: tuple[float, float]
) -> Tensor:
    """Signed distance in Å to the edge of a support film; positive on the film.

    The film ends in a straight line or around a hole, at a distance from the middle of the field that is drawn from
    `offsets`, in sides of the field; one in ten is no film but the inside of a large ice crystal.
    """
    height, width = xx.shape[0], xx.shape[1]
    angle = rng.uniform(0, 2 * math.pi)
    direction = math.cos(angle), math.sin(angle)
    across = (xx - width / 2) * direction[0] + (yy - height / 2) * direction[1]
    offset = rng.uniform(*offsets) * max(height, width)
    if rng.random() < 0.3:
        return (across - offset) * pixel_size
    crystal = rng.random() < 0.15
    radius = (rng.uniform(600, 3000) if crystal else rng.uniform(3000, 10000)) / pixel_size
    if crystal:
        at = rng.random(2) * [width, height]
        return (radius - torch.hypot(xx - at[0], yy - at[1])) * pixel_size
    x0, y0 = width / 2 + direction[0] * (offset - radius), height / 2 + direction[1] * (offset - radius)
    return (torch.hypot(xx - x0, yy - y0) - radius) * pixel_size


def blob(xx: Tensor, yy: Tensor, radius: float, rng: np.random.Generator) -> Tensor:
    """Profile (0..1) of an irregular contaminant somewhere in or just outside the field."""
    height, width = xx.shape
    x0 = rng.uniform(-0.5 * radius, width + 0.5 * radius)
    y0 = rng.uniform(-0.5 * radius, height + 0.5 * radius)
    turn = rng.uniform(0, math.pi)
    stretch = math.exp(rng.uniform(0, 0.7))
    outline_waves = [radius * rng.normal(0, 0.12) * np.exp(1j * rng.uniform(0, 6.28)) for _ in range(2, 6)]
    ring = (rng.uniform(0.6, 0.9),) if rng.random() < 0.2 else ()  # a vesicle, bubble or rim of ice
    softness = max(0.08 * radius, 0.7)
    # Beyond, the profile is below exp(-14).
    reach = radius + sum(abs(wave) for wave in outline_waves) + 14 * softness
    half_width = reach * math.hypot(math.cos(turn) / stretch, math.sin(turn) * stretch)
    half_height = reach * math.hypot(math.sin(turn) / stretch, math.cos(turn) * stretch)
    left, right = (int(np.clip(x, 0, width)) for x in (x0 - half_width, x0 + half_width + 1))
    top, bottom = (int(np.clip(y, 0, height)) for y in (y0 - half_height, y0 + half_height + 1))
    profile = torch.zeros(height, width)
    x, y = xx[:1, left:right] - x0, yy[top:bottom, :1] - y0
    at = torch.complex(
        (x * math.cos(turn) + y * math.sin(turn)) * stretch, (y * math.cos(turn) - x * math.sin(turn)) / stretch
    )
    direction, distance = at.sgn(), at.abs()
    # The real part of a polynomial in exp(i angle): cosines of 2 to 5 times the angle.
    outline = direction * outline_waves[-1]
    for wave in outline_waves[-2::-1]:
        outline = (outline + wave) * direction
    outline = radius + (outline * direction).real
    inside = torch.sigmoid((outline - distance) / softness)
    for share in ring:
        inside -= torch.sigmoid((outline * share - distance) / max(0.06 * radius, 0.7))
    profile[top:bottom, left:right] = inside
    return profile


def clutter(field: Tensor, count: int, structure: Structure, pixel_size: float, rng: np.random.Generator) -> None:
    """Add `count` lumps of denatured protein and dirt to a field of potential in V Å.

    They are up to as large and as dark as the particles of `structure`, but no two are alike.
    """
    if not count:
        return
    height, width = field.shape
    lumps, beads = 6, 40
    size = structure.diameter / pixel_size * rng.uniform(0.3, 1.0, count)
    centres = rng.random((count, 1, 1, 2)) * [width, height]
    spread = size[:, None, None, None]
    lumped = centres + rng.normal(size=(count, lumps, 1, 2)) * 0.25 * spread
    xy = lumped + rng.normal(size=(count, lumps, beads, 2)) * 0.15 * spread * rng.uniform(
        0.4, 1.0, (count, lumps, 1, 1)
    )
    share = (size * pixel_size / structure.diameter) ** 2 * rng.uniform(0.1, 1.3, count)
    amounts = np.repeat(share * structure.weights.sum() / (lumps * beads), lumps * beads) / pixel_size**2
    splat(
        field,
        torch.from_numpy(xy.reshape(-1, 2).astype(np.float32)).to(field),
        torch.from_numpy(amounts.astype(np.float32)).to(field),
    )


def ice_balls(
    field: Tensor,
    junk: Tensor,
    count: int,
    smallest: float,
    largest: float,
    pixel_size: float,
    rng: np.random.Generator,
) -> None:
    """Add `count` round crystals of ice of many sizes to a field of potential in V Å, and mark them in `junk`.

    A ball on the ice adds its own thickness, 2 sqrt(R² - r²), times the potential of ice, 4.57 V; crystals that
    diffract look up to twice as dark.

    Parameters
    ----------
    smallest, largest
        Radii in pixels; logarithms are drawn evenly.
    """
    height, width = field.shape
    for _ in range(count):
        radius = math.exp(rng.uniform(math.log(smallest), math.log(largest)))
        x0, y0 = rng.uniform(0, width), rng.uniform(0, height)
        left, right = max(0, int(x0 - radius - 2)), min(width, int(x0 + radius + 3))
        top, bottom = max(0, int(y0 - radius - 2)), min(height, int(y0 + radius + 3))
        y = torch.arange(top, bottom, dtype=torch.float32)[:, None] - y0
        x = torch.arange(left, right, dtype=torch.float32)[None] - x0
        squared = x**2 * math.exp(rng.normal(0, 0.12)) + y**2
        thickness = 2 * pixel_size * (radius**2 - squared).clamp_min(0).sqrt()
        field[top:bottom, left:right] += 4.57 * rng.uniform(0.7, 2.0) * thickness
        covered = junk[top:bottom, left:right]
        torch.maximum(covered, (squared < radius**2).float(), out=covered)


def filament(xx: Tensor, yy: Tensor, thickness: float, rng: np.random.Generator) -> Tensor:
    """Profile (0..1) of a long, slightly bent fibre."""
    height, width = xx.shape
    turn = rng.uniform(0, math.pi)
    x0, y0 = rng.uniform(0, width), rng.uniform(0, height)
    along = (xx - x0) * math.cos(turn) + (yy - y0) * math.sin(turn)
    across = -(xx - x0) * math.sin(turn) + (yy - y0) * math.cos(turn)
    across = across + rng.uniform(0, 0.1) * width * torch.sin(along / width * rng.uniform(1, 6))
    return torch.sigmoid((thickness / 2 - across.abs()) / 1.0)
