"""Classes of crowded places show their neighbours; those of picks show what the picks are centred on."""

import numpy as np
import pytest
import torch

from cryotx_cli.averages.centring import LEAST_CENTRED, MOST_SPREAD, centred_power, show_an_object, spread
from cryotx_cli.averages.classes import sorted_into_classes

SIDE, FIELD, RADIUS = 64, 1400, 16


def crowd(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A field of hollow shells side by side, in noise, and their centres."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(60, FIELD - 60, 44), np.arange(60, FIELD - 60, 44)), -1).reshape(-1, 2)
    centres = (grid + rng.integers(-5, 6, grid.shape))[rng.random(len(grid)) < 0.8]
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    shell = np.exp(-((np.hypot(x, y) - RADIUS) ** 2) / (2 * 2.5**2))
    field = rng.normal(0, 1, (FIELD, FIELD))
    for x0, y0 in centres:
        field[y0 - 32 : y0 + 32, x0 - 32 : x0 + 32] += shell
    return field, centres


def cut(field: np.ndarray, places: np.ndarray) -> np.ndarray:
    crops = np.stack([field[y - 32 : y + 32, x - 32 : x + 32] for x, y in places])
    crops -= crops.mean((1, 2))[:, None, None]
    return (crops / crops.std((1, 2))[:, None, None]).astype(np.float32)


def places_anywhere(count: int, seed: int) -> np.ndarray:
    """At least half a particle apart, as picks are."""
    rng, kept = np.random.default_rng(seed), np.empty((0, 2), int)
    while len(kept) < count:
        place = rng.integers(40, FIELD - 40, 2)
        if not len(kept) or np.hypot(*(kept - place).T).min() > 20:
            kept = np.vstack([kept, place])
    return kept


@pytest.mark.slow
def test_places_anywhere_in_a_crowd_make_next_to_no_class_and_particles_do() -> None:
    """Some of the places happen to lie on particles, and a class of these shows one."""
    everything, cpu = np.ones(300, bool), torch.device("cpu")
    agree, pass_, made, of_picks = 0, 0, 0, 0
    for seed in range(1, 4):
        field, centres = crowd(seed)
        anywhere = sorted_into_classes(cut(field, places_anywhere(300, seed)), everything, 28, 5, seed, cpu)
        picked = sorted_into_classes(cut(field, centres[:300]), everything, 28, 5, seed, cpu)
        agree += sum(one.strength > anywhere.chance for one in anywhere.classes)
        pass_ += sum(one.ring is not None for one in anywhere.classes)
        made, of_picks = made + len(picked.classes), of_picks + sum(one.ring is not None for one in picked.classes)

    # The neighbours are there, and their halves agree; it is not for want of that that these are none.
    assert agree >= 8
    assert pass_ <= agree / 4
    assert of_picks >= 0.8 * made


def test_what_lies_round_the_middle_counts_and_what_lies_beside_it_does_not() -> None:
    field, centres = crowd(3)
    picks, places = cut(field, centres[:300]), cut(field, places_anywhere(300, 4))

    power = centred_power(np.concatenate([picks, places]), np.repeat([0, 1], 300), 2)

    assert power[0] > 4 * LEAST_CENTRED
    assert abs(power[1]) < LEAST_CENTRED


@pytest.mark.parametrize("count", [3, 20, 400])
def test_noise_shares_nothing_however_few_crops_there_are(count: int) -> None:
    noise = np.random.default_rng(count).normal(0, 1, (400 // count * count, SIDE, SIDE)).astype(np.float32)
    classes = len(noise) // count

    power = centred_power(noise, np.repeat(np.arange(classes), count), classes)

    assert abs(power.mean()) < 0.0005


def test_a_class_of_one_crop_and_one_of_none_share_nothing() -> None:
    crops = np.ones((1, SIDE, SIDE), np.float32)

    assert centred_power(crops, np.zeros(1, np.int64), 2).tolist() == pytest.approx([0, 0])


def test_spread_is_about_the_mean_of_each_class() -> None:
    shifts = np.array([[3.0, 0], [5, 0], [0, -7], [0, -7]])

    assert spread(shifts, np.array([0, 0, 1, 1]), 3).tolist() == pytest.approx([np.sqrt(0.5), 0, 0])
    assert MOST_SPREAD < 4


def test_what_shows_an_object_in_its_middle_is_told_from_noise_and_few_tell_nothing() -> None:
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    rng = np.random.default_rng(3)
    crops = rng.normal(0, 1, (200, SIDE, SIDE)).astype(np.float32)
    crops[:100] += 0.5 * (np.hypot(x, y) < 12)
    some = np.arange(200) < 100

    assert show_an_object(crops, some)
    assert not show_an_object(crops, ~some)
    assert not show_an_object(crops, np.arange(200) < 10)
