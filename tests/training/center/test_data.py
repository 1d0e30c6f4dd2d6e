"""Training crops: labels stay on their particles through every turn, and every batch is its number's and seed's."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial import cKDTree

from cryotx_cli.simulator.camera import develop
from cryotx_cli.simulator.conditions import draw_conditions
from cryotx_cli.simulator.structures import Structure, procedural_structure
from cryotx_cli.training.center import data as training_data
from cryotx_cli.training.center.data import Crop, SimulatedCrops, simulated_crop, unpacked


@pytest.fixture(scope="module")
def structures():
    return [procedural_structure(np.random.default_rng(seed)) for seed in range(4)]


@pytest.fixture(scope="module")
def ball():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(1200, 3))
    points *= 60 * rng.random((1200, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    return Structure.from_beads(points, np.full(1200, 600.0), "ball", rng)


@pytest.fixture
def clean(monkeypatch):
    """Few particles, no noise, no damage, a phase plate in focus: images are projections."""

    def conditions(rng, severity=1.0):
        drawn = draw_conditions(rng, 0.0)
        optics = replace(
            drawn.optics,
            defocus=0.0,
            astigmatism=0.0,
            spherical_aberration=0.0,
            phase_shift=math.pi / 2 - math.asin(drawn.optics.amplitude_contrast),
            b_factor=0.0,
            mtf_decay=0.0,
            dose=1e-3,
        )
        return replace(drawn, optics=optics, dqe=1e15, ice_noise=1e-9, coverage=0.06, junk=0.0)

    monkeypatch.setattr(training_data, "draw_conditions", conditions)
    monkeypatch.setattr(training_data, "develop", lambda image, rng: image)


def fields(crop):
    return [getattr(crop, name).numpy() for name in ("image", "centres", "radii", "ignored", "junk")]


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_stay_on_their_particles_through_cuts_turns_and_mirrors(ball, clean):
    # Forty crops see each of the eight ways. A wrong turn is off by many pixels, a wrong centre by a whole or a half.
    misses = []
    for seed in range(40):
        crop = simulated_crop([ball], np.random.default_rng(seed), 160, jitter=1.0)
        image, centres = -crop.image[0].numpy(), crop.centres.numpy()
        assert_allclose(crop.radii, 12.0, rtol=1e-5)
        if len(centres) < 2:
            continue
        apart = cKDTree(centres).query(centres, 2)[0][:, 1] > 36
        for x, y in centres[apart & ((centres > 20) & (centres < 139)).all(1)]:
            x0, y0 = round(float(x)) - 16, round(float(y)) - 16
            window = image[y0 : y0 + 33, x0 : x0 + 33]
            window = np.clip(window - np.median(window), 0.3 * window.max(), None) - 0.3 * window.max()
            yy, xx = np.indices(window.shape)
            misses.append([(xx * window).sum() / window.sum() + x0 - x, (yy * window).sum() / window.sum() + y0 - y])
    assert len(misses) > 30
    assert np.quantile(np.abs(misses), 0.9) < 0.3  # one in twenty has lost a piece
    assert np.abs(np.mean(misses, axis=0)).max() < 0.1


def test_a_label_outside_the_crop_is_near_it_and_ignored(structures):
    outside = 0
    for seed in range(12):
        crop = simulated_crop(structures, np.random.default_rng(seed), 96)
        centres, ignored = crop.centres.numpy(), crop.ignored.numpy()
        assert len(centres) == len(crop.radii) == len(ignored)
        off = ((centres < -0.5) | (centres > 95.5)).any(1)
        assert ignored[off].all()
        if len(centres):
            reach = 0.5 * float(crop.radii[0])
            assert (centres > -0.5 - reach).all()
            assert (centres < 95.5 + reach).all()
        outside += off.sum()
    assert outside > 0


def test_crops_are_normalised_images(structures):
    crop = simulated_crop(structures, np.random.default_rng(1), 96)
    image = crop.image.numpy()
    assert image.shape == (1, 96, 96)
    assert image.dtype == np.float32
    assert np.abs(image).max() <= 5
    assert abs(np.median(image)) < 1
    assert crop.junk.shape == (96, 96)
    assert crop.junk.min() >= 0
    assert crop.junk.max() <= 1


@pytest.mark.parametrize("jitter", [1.0, 1.6])
def test_diameters_lie_around_24_pixels_within_the_jitter(structures, jitter):
    radii = []
    for seed in range(15):
        crop = simulated_crop(structures, np.random.default_rng(seed), 64, jitter)
        radii += crop.radii.tolist()[:1]
    assert len(radii) > 5
    assert min(radii) >= 12 / jitter * 0.999
    assert max(radii) <= 12 * jitter * 1.001
    if jitter > 1:
        assert max(radii) / min(radii) > 1.4


def test_particles_below_a_border_are_no_labels(ball, clean, monkeypatch):
    def bordered(image, rng):
        image = image.copy()
        image[:42] = image[42]
        return image

    monkeypatch.setattr(training_data, "develop", bordered)
    hidden_pixels = labels = 0
    for seed in range(12):
        crop = simulated_crop([ball], np.random.default_rng(seed), 160, jitter=1.0)
        hidden = (crop.image[0] == 0).numpy()
        hidden_pixels += hidden.sum()
        inside = (crop.centres > 0).all(1) & (crop.centres < 159).all(1)
        column, row = crop.centres[inside].round().long().T
        labels += len(row)
        assert not hidden[row, column].any()
    assert hidden_pixels > 3 * 160 * 20
    assert labels > 20


# --- batches ---------------------------------------------------------------------------------------------------------


def batches_of(structures, **settings):
    return SimulatedCrops(structures, **{"batch_size": 1, "steps": 40, "seed": 3, **settings})


def small(monkeypatch):
    """Count instead of simulate: what a batch asks for."""
    asked = []

    def crop(structures, rng, size, jitter, severity):
        asked.append((size, jitter, severity, rng.integers(2**31)))
        return asked[-1]

    monkeypatch.setattr(training_data, "simulated_crop", crop)


def test_a_batch_is_that_of_its_seed_and_number(structures):
    first, again, next_one = (batches_of(structures).batch(n)[0] for n in (7, 7, 8))
    other = batches_of(structures, seed=4).batch(7)[0]
    for a, b in zip(fields(first), fields(again), strict=True):
        assert_array_equal(a, b)
    assert not np.array_equal(first.image, next_one.image)
    assert not np.array_equal(first.image, other.image)


def drawn(structures, rng, *_):
    """Draw a crop of up to five particles out of nothing."""
    n = int(rng.integers(6))
    numbers = torch.from_numpy(rng.random(2 * 4 * 4 + 4 * n).astype(np.float32))
    image, junk, rows = numbers[:16].view(1, 4, 4), numbers[16:32].view(4, 4), numbers[32:].view(n, 4)
    return Crop(image, rows[:, :2], rows[:, 2], rows[:, 3] > 0.5, junk)


def assert_same_batches(found, expected):
    assert len(found) == len(expected)
    for batch, other in zip(found, expected, strict=True):
        for one, two in zip(batch, other, strict=True):
            for a, b in zip(fields(one), fields(two), strict=True):
                assert_array_equal(a, b)


def test_a_run_that_goes_on_sees_the_batches_it_would_have_seen(structures, monkeypatch):
    monkeypatch.setattr(training_data, "simulated_crop", drawn)
    whole = [unpacked(batch) for batch in batches_of(structures, batch_size=3)]
    assert len(whole) == 40
    assert_same_batches([unpacked(b) for b in batches_of(structures, batch_size=3, first=31)], whole[31:])
    assert list(batches_of(structures, first=40)) == []


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_any_number_of_workers_gives_the_same_batches_in_order(structures, monkeypatch, workers):
    monkeypatch.setattr(training_data, "simulated_crop", drawn)
    crops = batches_of(structures, batch_size=2, steps=11, first=2)
    loader = torch.utils.data.DataLoader(crops, batch_size=None, num_workers=workers)
    assert_same_batches([unpacked(batch) for batch in loader], [crops.batch(n) for n in range(2, 11)])


def test_simulating_leaves_the_threads_of_the_training_alone(structures, monkeypatch):
    monkeypatch.setattr(training_data, "simulated_crop", drawn)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        next(iter(batches_of(structures)))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_run_starts_easy_and_ends_with_fewer_larger_crops(structures, monkeypatch):
    small(monkeypatch)
    crops = batches_of(structures, batch_size=8, steps=80)
    severities = [crops.batch(n)[0][2] for n in range(80)]
    assert set(severities[:8]) == {0.3, 1.0}
    assert set(severities[8:]) == {1.0}
    early, late = crops.batch(70), crops.batch(71)  # the last eighth
    assert (len(early), early[0][:2]) == (8, (256, 1.6))
    assert (len(late), late[0][:2]) == (4, (384, 1.4))
    large = batches_of(structures, batch_size=96, steps=80).batch(71)
    assert (len(large), large[0][:2]) == (24, (512, 1.4))


# --- marks of cameras and software -----------------------------------------------------------------------------------


def test_developing_keeps_places_and_polarity():
    # Dark spots stay dark and where they are, whatever marks an image gets.
    rng = np.random.default_rng(0)
    image = rng.normal(1, 0.05, (144, 144)).astype(np.float32)
    yy, xx = np.indices(image.shape)
    places = [(36, 40), (100, 52), (60, 104)]
    for x, y in places:
        image -= 0.15 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 5.0**2)).astype(np.float32)
    for seed in range(60):
        out = develop(image, np.random.default_rng(seed))
        assert out.shape == image.shape
        assert out.dtype == np.float32
        assert np.isfinite(out).all()
        assert out.std() > 0
        spots = np.mean([out[y - 2 : y + 3, x - 2 : x + 3].mean() for x, y in places])
        assert spots < np.median(out) - 0.2 * 1.4826 * np.median(np.abs(out - np.median(out)))


def test_developing_follows_the_seed():
    image = np.random.default_rng(0).normal(1, 0.05, (64, 64)).astype(np.float32)
    first, again, other = (develop(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert_array_equal(first, again)
    assert (first != other).any()
