"""Crops of labelled micrographs: labels stay on their particles, and what has no label is background only if it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from cryotx_cli.config import CenterConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.checkpoint import Checkpoint
from cryotx_cli.detector.center.network import CenterDETR
from cryotx_cli.detector.center.picker import Detections, Picker
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.training.center import labelled_data as labelled_crops
from cryotx_cli.training.center.data import Crop, turned
from cryotx_cli.training.center.labelled_data import (
    LabelledImage,
    Unlabelled,
    labelled_crop,
    prepare_labelled,
    probability_though_unlabelled,
    unlabelled_detections,
)

TINY = CenterConfig(widths=(4, 4, 8, 8), depths=(1, 1, 1), hidden_dim=16, thin_dim=8, heads=2)
NOTHING = Unlabelled(np.zeros((0, 2)), np.zeros(0))
LABELS = np.array([[20.0, 30.0], [90.0, 40.0], [50.0, 75.0]])


class Sees:
    """Stands in for a picker that finds the same things in every image."""

    checkpoint = Checkpoint({})

    def __init__(self, centres, probabilities):
        p = np.asarray(probabilities, float)
        self.found = Detections(np.asarray(centres, float), np.full(len(p), 12.0), np.log(p / (1 - p)))

    def detect(self, image):
        return self.found


def spots(centres, height, width):
    """Black, but for the pixels at `centres`."""
    image = np.zeros((height, width), np.float16)
    x, y = np.rint(centres).astype(int).T
    image[y, x] = 1
    return image


def image_of(labels, height=120, width=140, scales=(1.0,), margin=0.0):
    at = [spots((labels + 0.5) * s - 0.5, round(height * s), round(width * s)) for s in scales]
    return LabelledImage("m.mrc", tuple(at), tuple(scales), np.asarray(labels, float), margin)


def grid(count, spacing=30.0):
    side = int(np.ceil(np.sqrt(count)))
    return (np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)[:count] + 1) * spacing


def test_what_is_known_to_be_no_particle_is_background_and_says_nothing_of_the_others():
    labels = grid(9)[:6]
    places = np.concatenate([labels, grid(9)[6:], [[105.0, 25.0]]])  # three without a label, one far from all
    picker = Sees(places, [0.97] * 6 + [0.95] * 3 + [0.6])
    plain = image_of(labels)
    negatives = replace(plain, negatives=places[6:9] + 2.0)  # as exact as picks are

    (before,), (after,) = unlabelled_detections(picker, [plain]), unlabelled_detections(picker, [negatives])

    assert_allclose(after.centres, before.centres)
    assert (before.doubt[:3] > 0.5).all()
    assert (after.doubt[:3] == 0).all()
    # Of the sure ones that may be particles all have labels now: the doubtful one is more likely background.
    assert 0 < after.doubt[3] < before.doubt[3]


def test_a_label_beside_what_is_none_stays_a_label():
    labels = grid(4)
    image = replace(image_of(labels), negatives=labels[:1] + 4.0)
    (seen,) = unlabelled_detections(Sees(labels, [0.97] * 4), [image])
    assert len(seen.centres) == 0
    crop = labelled_crop(image, seen, np.random.default_rng(0), 256)
    assert len(crop.centres) == 4
    assert not crop.ignored.any()


def test_windows_are_cut_around_what_is_no_particle_too():
    nothing = replace(image_of(np.zeros((0, 2)), 600, 600), negatives=np.array([[300.0, 300.0]]))
    held = 0
    for seed in range(200):
        crop = labelled_crop(replace(nothing, images=(spots(nothing.negatives, 600, 600),)), NOTHING,
                             np.random.default_rng(seed), 64)  # fmt: skip
        assert len(crop.centres) == 0
        held += bool(crop.image.max() > 0)
    assert 0.6 < held / 200 < 0.85  # by chance it would be one in ninety


# --- what has no label -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_the_probability_though_unlabelled_is_a_count_of_particles(share):
    rng = np.random.default_rng(2)
    p = 0.7
    particle = rng.random(200_000) < p
    labelled = particle & (rng.random(200_000) < share)

    expected = particle[~labelled].mean()

    assert probability_though_unlabelled(np.array([p]), share)[0] == pytest.approx(expected, abs=0.01)


def test_sure_detections_are_mostly_left_out_where_half_of_the_particles_have_labels():
    centres = grid(200)
    picker = Sees(centres, np.full(200, 0.97))

    (found,) = unlabelled_detections(picker, [image_of(centres[::2], 600, 600)])

    assert_allclose(found.centres, centres[1::2])
    assert (found.doubt > 0.85).all()


def test_doubtful_detections_are_background_where_nearly_all_particles_have_labels():
    centres = grid(200)
    probabilities = np.where(np.arange(200) < 180, 0.97, 0.5)
    picker = Sees(centres, probabilities)

    (found,) = unlabelled_detections(picker, [image_of(centres[:180], 600, 600)])

    assert_allclose(found.centres, centres[180:])
    assert (found.doubt < 0.1).all()


def test_each_micrograph_has_its_own_share_of_labels():
    centres = grid(200)
    picker = Sees(centres, np.where(np.arange(200) % 10 == 0, 0.7, 0.97))
    sure = np.flatnonzero(np.arange(200) % 10)
    whole, half = image_of(centres[sure], 600, 600), image_of(centres[sure[::2]], 600, 600)

    seen = unlabelled_detections(picker, [whole, half])

    doubt = [one.doubt[np.isin(one.centres, centres[::10]).all(1)].mean() for one in seen]
    assert doubt[0] < 0.3 < doubt[1]


def test_where_nobody_labelled_everything_is_left_out():
    centres = np.array([[10.0, 60.0], [70.0, 60.0], [130.0, 60.0]])
    picker = Sees(centres, [0.1, 0.1, 0.1])

    (found,) = unlabelled_detections(picker, [image_of(np.array([[70.0, 30.0]]), margin=20.0)])

    assert found.doubt[[0, 2]].tolist() == [1.0, 1.0]
    assert found.doubt[1] < 0.1


@pytest.mark.parametrize(("doubt", "least", "most"), [(0.0, 0, 0), (0.3, 70, 110), (1.0, 300, 300)])
def test_an_unlabelled_detection_is_left_out_of_as_many_crops_as_it_is_likely(doubt, least, most):
    image = image_of(LABELS[:2], 64, 100)
    unlabelled = Unlabelled(np.array([[60.0, 10.0]]), np.array([doubt]))

    crops = [labelled_crop(image, unlabelled, np.random.default_rng(i), size=112) for i in range(300)]

    assert all(int((~crop.ignored).sum()) == 2 for crop in crops)
    assert least <= sum(int(crop.ignored.sum()) for crop in crops) <= most


# --- crops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 160])
def test_labels_stay_on_their_particles_through_cuts_scales_and_turns(monkeypatch, size):
    monkeypatch.setattr(labelled_crops, "_LABEL_JITTER", 0.0)
    image = image_of(LABELS, scales=(0.8, 1.0, 1.25))
    seen, turns = 0, set()
    for number in range(60):
        crop = labelled_crop(image, NOTHING, np.random.default_rng(number), size)
        assert crop.image.shape == (1, size, size)
        inside = ~crop.ignored
        x, y = crop.centres[inside].round().long().T
        bright = sum(float(crop.image[0, j, i]) for i, j in zip(x.tolist(), y.tolist(), strict=True))
        assert bright == float(crop.image.sum()) == int(inside.sum())  # each spot has its label, each label its spot
        assert len(set(crop.radii.tolist())) <= 1
        seen += int(inside.sum())
        turns.add(tuple(crop.centres.flatten().round().tolist()))
    assert seen > 60
    assert len(turns) > 30


def test_radii_follow_the_scale():
    image = image_of(LABELS, scales=(0.8, 1.0, 1.25))

    radii = {round(float(labelled_crop(image, NOTHING, np.random.default_rng(i), 160).radii[0]), 3) for i in range(40)}

    assert radii == {9.6, 12.0, 15.0}


def test_centres_are_as_inexact_as_labels():
    image = image_of(LABELS)
    misses = []
    for number in range(400):
        crop = labelled_crop(image, NOTHING, np.random.default_rng(number), 160)
        spot = torch.nonzero(crop.image[0])[:, [1, 0]].float()
        misses += (torch.cdist(crop.centres, spot).min(1).values ** 2 / 2).tolist()

    assert np.sqrt(np.mean(misses)) == pytest.approx(0.05 * 24, rel=0.1)


def test_sparse_labels_are_seen_in_most_crops():
    image = image_of(np.array([[700.0, 500.0]]), 1000, 1000)

    holding = [len(labelled_crop(image, NOTHING, np.random.default_rng(i), 64).centres) > 0 for i in range(100)]

    assert 55 < sum(holding) < 90


def test_a_turn_is_one_of_eight():
    rng = np.random.default_rng(1)
    image = torch.zeros(1, 16, 16)
    image[0, 3, 11] = 1
    crop = Crop(image, torch.tensor([[11.0, 3.0]]), torch.ones(1), torch.zeros(1, dtype=torch.bool), image[0])

    places = set()
    for _ in range(200):
        other = turned(crop, rng)
        (x, y) = other.centres[0].long().tolist()
        assert other.image[0, y, x] == other.junk[y, x] == 1
        places.add((x, y))

    assert places == {(a, b) for p, q in ((11, 3), (3, 11)) for a in (p, 15 - p) for b in (q, 15 - q)}


# --- preparing -------------------------------------------------------------------------------------------------------


def test_a_prepared_micrograph_is_what_the_picker_sees_and_labels_lie_on_it():
    picker = Picker(Checkpoint(CenterDETR(TINY).state_dict(), TINY))
    micrograph = Micrograph(np.random.default_rng(0).normal(size=(300, 400)).astype(np.float32), 2.0, Path("m.mrc"))
    corners = Particles(np.array([[-0.5, -0.5], [399.5, 299.5]]), np.ones(2), np.full(2, 60.0), 2.0)

    image = prepare_labelled(picker, micrograph, corners, diameter=96.0, margin=30.0)  # 48 px wide: half as large

    assert image.name == "m.mrc"
    assert_allclose(image.nominal, picker.prepare(micrograph, 96.0), atol=2e-3)
    assert_allclose(image.labels, [[-0.5, -0.5], [199.5, 149.5]])
    assert image.margin == pytest.approx(15.0)
    for pixels, scale in zip(image.images, image.scales, strict=True):
        assert_allclose(pixels.shape, [150 * scale, 200 * scale], atol=1)
    assert image.in_labelled_area(np.array([[14.0, 70.0], [15.0, 70.0], [184.6, 70.0], [70.0, 134.4]])).tolist() == [
        False,
        True,
        False,
        True,
    ]


def test_an_image_to_judge_by_is_prepared_at_its_own_scale_alone():
    picker = Picker(Checkpoint(CenterDETR(TINY).state_dict(), TINY))
    micrograph = Micrograph(np.random.default_rng(0).normal(size=(300, 400)).astype(np.float32), 2.0, Path("m.mrc"))

    image = prepare_labelled(picker, micrograph, Particles.empty(2.0), diameter=96.0, margin=0.0, scales=False)

    assert image.scales == (1.0,)
