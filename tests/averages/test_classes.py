"""Classes of crops: pure, honest about noise, and the same each time."""

import numpy as np
import pytest
import torch

from cryotx_cli.averages.chance import crops_of_noise
from cryotx_cli.averages.classes import last_ring, number_of_classes, sorted_into_classes
from particle_images import noisy_particles, placed, shape

CPU = torch.device("cpu")


def classes_of(crops: np.ndarray, number: int, seed: int = 0, trains: np.ndarray | None = None):
    trains = np.ones(len(crops), bool) if trains is None else trains
    return sorted_into_classes(crops, trains, 28, number, seed, CPU)


def purity(numbers: np.ndarray, truth: np.ndarray) -> float:
    return sum(np.bincount(truth[numbers == k]).max() for k in np.unique(numbers)) / len(truth)


@pytest.fixture(scope="module")
def two_shapes():
    crops, truth = noisy_particles(400, 1.0, seed=3)
    return crops, truth, classes_of(crops, 4)


def test_shapes_are_told_apart_and_are_no_noise(two_shapes) -> None:
    _, truth, found = two_shapes

    assert purity(found.numbers, truth) > 0.95
    assert all(one.ring is not None for one in found.classes)


def test_averages_show_the_shapes(two_shapes) -> None:
    """Each average, turned to fit, looks like one of the two: independent of how classes are made."""
    _, _, found = two_shapes

    def likeness(image: np.ndarray) -> float:
        turns = [
            placed(shape(k), a, s) for k in (0, 1) for a in np.linspace(0, 6.2, 90) for s in ((0, 0), (1, 0), (0, 1))
        ]
        return max(np.corrcoef(image[12:52, 12:52].ravel(), one[12:52, 12:52].ravel())[0, 1] for one in turns)

    assert min(likeness(one.image) for one in found.classes[:2]) > 0.8


def test_a_pose_brings_each_crop_onto_its_average(two_shapes) -> None:
    crops, _, found = two_shapes
    alike = []
    for i in range(0, 400, 8):
        expected = placed(found.classes[found.numbers[i]].image, found.angles[i], found.shifts[i])
        alike.append(np.corrcoef(expected[16:48, 16:48].ravel(), crops[i, 16:48, 16:48].ravel())[0, 1])

    other = [
        np.corrcoef(found.classes[0].image[16:48, 16:48].ravel(), crops[i, 16:48, 16:48].ravel())[0, 1]
        for i in range(0, 400, 8)
    ]
    assert np.mean(alike) > 2 * np.mean(other)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(two_shapes) -> None:
    crops, _, found = two_shapes

    again = classes_of(crops, 4)

    assert again.numbers.tobytes() == found.numbers.tobytes()
    assert all(a.image.tobytes() == b.image.tobytes() for a, b in zip(again.classes, found.classes, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_noise_makes_no_class(seed: int) -> None:
    crops = np.random.default_rng(seed).standard_normal((200, 64, 64)).astype(np.float32)

    assert not [one for one in classes_of(crops, 5, seed).classes if one.ring is not None]


@pytest.mark.slow
def test_nothing_fits_no_average_where_no_average_is_more_than_noise() -> None:
    rng = np.random.default_rng(1)
    crops = rng.standard_normal((200, 64, 64)).astype(np.float32)

    found = sorted_into_classes(crops, np.ones(200, bool), 28, 5, 1, CPU, rng.uniform(0.05, 0.9, 200))

    assert found.leftover is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_places_in_noise_that_look_like_the_particle_make_no_class(seed: int) -> None:
    """Einstein from noise: each average shows the template, and yet there is nothing."""
    crops = crops_of_noise(shape(0).astype(np.float32), 300, 50 + seed)
    average = crops.mean(0)
    assert np.corrcoef(average[16:48, 16:48].ravel(), shape(0)[16:48, 16:48].ravel())[0, 1] > 0.7

    assert not [one for one in classes_of(crops, 5, seed).classes if one.ring is not None]


@pytest.mark.slow
def test_crops_that_train_nothing_are_assigned_all_the_same() -> None:
    crops, truth = noisy_particles(400, 1.0, seed=5)
    trains = np.arange(400) < 200

    found = classes_of(crops, 4, trains=trains)

    assert purity(found.numbers[200:], truth[200:]) > 0.9


def test_crops_that_a_border_cuts_are_assigned_and_not_averaged() -> None:
    """Their edge, the sharpest thing there is, would agree in both halves to the last ring."""
    crops, _ = noisy_particles(240, 1.0, seed=5)
    whole = np.arange(240) % 4 != 0
    crops[~whole, :24] = -8.0

    found = sorted_into_classes(crops, whole, 28, 2, 1, CPU, None, whole)
    without = sorted_into_classes(crops[whole], whole[whole], 28, 2, 1, CPU)

    assert len(found.numbers) == 240
    darkest = min(one.image.min() for one in without.classes)
    assert min(one.image.min() for one in found.classes) > 1.5 * darkest


@pytest.mark.parametrize(
    ("beyond", "ring"),
    [
        ("0000000000", 3),  # the first three say nothing
        ("1111111111", 10),
        ("1111110000", 6),
        ("1110111000", 7),  # one ring may fall short
        ("1111000001", 4),  # a lucky ring far out is no detail
    ],
)
def test_up_to_which_ring_halves_agree(beyond: str, ring: int) -> None:
    curve = np.array([0.8 if one == "1" else 0.2 for one in beyond])

    assert last_ring(curve, np.full(10, 0.5)) == ring


@pytest.mark.parametrize(
    ("picks", "classes"), [(30, 1), (64, 1), (132, 2), (788, 13), (2000, 22), (10_000, 50), (10**6, 50)]
)
def test_the_number_of_classes_follows_the_picks(picks: int, classes: int) -> None:
    assert number_of_classes(picks) == classes
