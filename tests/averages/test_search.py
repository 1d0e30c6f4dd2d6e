"""Crops whose turn and move are known are found so, put back and averaged."""

import math

import numpy as np
import pytest
import torch

from cryotx_cli.averages.polar import PolarFourier
from cryotx_cli.averages.search import Poses, Search, averaged
from particle_images import placed, shape


@pytest.fixture(scope="module")
def polar() -> PolarFourier:
    return PolarFourier(64, 20.0, 16, torch.device("cpu"))


def harmonics(polar: PolarFourier, images: np.ndarray) -> torch.Tensor:
    return polar.harmonics_of(torch.from_numpy(np.asarray(images, np.float32)))


def test_turn_move_and_class_of_each_crop_are_found(polar: PolarFourier) -> None:
    rng = np.random.default_rng(1)
    shapes = [shape(0), shape(1)]
    angles, shifts = rng.uniform(0, 2 * math.pi, 20), rng.integers(-2, 3, (20, 2)).astype(float)
    numbers = rng.integers(0, 2, 20)
    crops = np.stack([placed(shapes[k], a, s) for k, a, s in zip(numbers, angles, shifts, strict=True)])
    search = Search(polar, polar.samples(harmonics(polar, np.stack(shapes))))
    seen = harmonics(polar, crops)

    scores, near = search.coarse(seen)
    best = scores.argmax(1)
    poses = search.fine(seen, best, near[torch.arange(20), best])

    assert poses.classes.tolist() == numbers.tolist()
    off = (poses.angles.numpy() - angles + math.pi) % (2 * math.pi) - math.pi
    assert np.abs(off).max() < math.radians(3)
    assert np.abs(poses.shifts.numpy() - shifts).max() <= 1.0


def test_crops_put_back_average_to_what_they_show(polar: PolarFourier) -> None:
    rng = np.random.default_rng(2)
    angles, shifts = rng.uniform(0, 2 * math.pi, 50), rng.uniform(-3, 3, (50, 2))
    crops = np.stack([placed(shape(0), a, s) for a, s in zip(angles, shifts, strict=True)])
    poses = Poses(
        torch.zeros(50, dtype=torch.int64),
        torch.from_numpy(angles).float(),
        torch.from_numpy(shifts).float(),
        torch.zeros(50),
    )

    average, counts = averaged(polar, harmonics(polar, crops), poses, 2)

    wanted = polar.samples(harmonics(polar, shape(0)[None]))[0]
    assert counts.tolist() == [50, 0]
    assert (average[0, :10] - wanted[:10]).abs().max() < 0.05 * wanted.abs().max()


def test_a_pose_after_another_is_one_pose() -> None:
    inner = Poses(torch.tensor([0]), torch.tensor([0.7]), torch.tensor([[1.0, -2.0]]), torch.tensor([0.5]))
    outer = Poses(torch.tensor([3]), torch.tensor([-1.9]), torch.tensor([[0.5, 2.0]]), torch.tensor([0.9]))
    image = shape(0)
    step_by_step = placed(placed(image, -1.9, (0.5, 2.0)), 0.7, (1.0, -2.0))

    one = inner.after(outer)

    at_once = placed(image, float(one.angles[0]), one.shifts[0].numpy())
    assert one.classes.tolist() == [3]
    assert np.abs(at_once - step_by_step).max() < 0.05 * np.abs(image).max()
