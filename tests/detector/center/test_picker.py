"""Picking: scales, tiles and coordinates, with a network whose detections are known.

The stand-in networks take the place of `Picker._run`, which sees one tile: either they say fixed detections, or they
see dark discs as a person would. Everything around them is the real thing.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from scipy.spatial import cKDTree

from cryotx_cli.config import CenterConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.calibration import Calibration
from cryotx_cli.detector.center import picker as picker_module
from cryotx_cli.detector.center.checkpoint import Checkpoint
from cryotx_cli.detector.center.film import FilmFinder
from cryotx_cli.detector.center.network import CenterDETR, Queries
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.image import padding
from cryotx_cli.micrographs.micrograph import Micrograph

TINY = CenterConfig(widths=(4, 8, 8, 8), depths=(1, 1, 1), hidden_dim=16, thin_dim=8, heads=2)


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    return Checkpoint(CenterDETR(TINY).state_dict(), TINY)


def queries_at(centres, radii, logits):
    """Queries of one image; centres in px from its corner."""
    rows = [torch.as_tensor(np.asarray(a, float))[None] for a in (logits, centres, radii)]
    return Queries(*rows, torch.ones(1, len(logits), dtype=torch.bool))


class SayingPicker(Picker):
    """Says the same of every tile."""

    def say(self, centres, radii=None, logits=None):
        n = len(centres)
        self.said = queries_at(centres, radii or np.full(n, 12.0), logits or np.linspace(3, 1, n))
        return self

    def _run(self, image):
        return self.said


class SeeingPicker(Picker):
    """Finds dark discs that are nearly as large as the network expects, the surer the nearer, and measures them."""

    def _run(self, image):
        assert max(image.shape) <= picker_module._WHOLE
        regions, count = ndimage.label(image < -2.5)
        index = np.arange(1, count + 1)
        area = ndimage.sum_labels(np.ones_like(image), regions, index)
        centres = np.array(ndimage.center_of_mass(np.ones_like(image), regions, index)).reshape(-1, 2)[:, ::-1]
        radii = np.sqrt(np.asarray(area) / np.pi)
        known = (radii > 12 / 1.6) & (radii < 12 * 1.6)
        return queries_at(centres[known] + 0.5, radii[known], 4 - 8 * np.abs(np.log(radii[known] / 12)))


def micrograph_of(centres, diameter_px, shape=(512, 600), pixel_size=2.0, seed=0):
    """Dark discs on faint noise."""
    image = np.random.default_rng(seed).normal(100, 0.02, shape).astype(np.float32)
    rows, columns = np.indices(shape, np.float32)
    reach = int(diameter_px / 2) + 3
    for x, y in centres:
        window = tuple(slice(max(0, int(c) - reach), int(c) + reach) for c in (y, x))
        image[window] -= np.clip(diameter_px / 2 + 0.5 - np.hypot(columns[window] - x, rows[window] - y), 0, 1)
    return Micrograph(image, pixel_size, Path("mic.mrc"))


def blank(shape=(300, 420), pixel_size=1.5, seed=0):
    image = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    return Micrograph(image, pixel_size, Path("blank.mrc"))


def spread(shape, step, seed=0):
    """Centres on a jittered grid, (n, 2)."""
    rng = np.random.default_rng(seed)
    ys, xs = np.meshgrid(np.arange(step / 2, shape[0], step), np.arange(step / 2, shape[1], step), indexing="ij")
    return np.stack([xs, ys], -1).reshape(-1, 2) + rng.uniform(-0.15, 0.15, (xs.size, 2)) * step


# --- scale -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pixel_size", "diameter"), [(1.5, 90.0), (0.7, 120.0), (5.0, 100.0)])
def test_a_particle_becomes_24_pixels_wide(checkpoint, pixel_size, diameter):
    shape = (300, 420)
    prepared = Picker(checkpoint).prepare(blank(shape, pixel_size), diameter)
    assert prepared.dtype == np.float32
    assert_allclose(prepared.shape, np.array(shape) * 24 * pixel_size / diameter, atol=0.5)
    assert np.median(prepared) == pytest.approx(0, abs=1e-4)


def test_hot_pixels_change_no_grey_levels_around(checkpoint):
    micrograph = blank()
    spoiled = micrograph.image.copy()
    spoiled[100, 200] = 1e7
    prepared = [Picker(checkpoint).prepare(replace(micrograph, image=i), 90.0) for i in (micrograph.image, spoiled)]
    assert np.median(np.abs(prepared[0] - prepared[1])) < 0.01


@pytest.mark.parametrize(
    ("shape", "pixel_size", "diameter"),
    [
        ((300, 420), 1.5, 1e5),  # the image holds no particle
        ((100, 2000), 1.0, 80.0),  # its short side is 30 px at network scale
        ((300, 420), 1.5, 4.0),  # a particle of under three pixels
        ((300, 420), 300.0, 80.0),
    ],
)
def test_a_diameter_that_does_not_fit_the_image_is_refused(checkpoint, shape, pixel_size, diameter):
    with pytest.raises(MicrographError, match=r"blank\.mrc") as caught:
        Picker(checkpoint).pick(blank(shape, pixel_size), diameter)
    assert f"{diameter:g} Å is {diameter / pixel_size:.1f} px wide" in caught.value.message
    assert f"{shape[1]} x {shape[0]}" in caught.value.message
    assert "--diameter" in caught.value.hint


def test_the_smallest_image_and_the_smallest_particle_that_are_taken(checkpoint):
    picker = Picker(checkpoint)
    assert picker.prepare(blank((96, 400), 1.0), 72.0).shape[0] == 32  # a third of its size
    with pytest.raises(MicrographError, match=r"72\.0 px wide"):
        picker.prepare(blank((95, 400), 1.0), 72.0)
    assert picker.prepare(blank((40, 50), 1.0), 3.0).shape == (320, 400)
    with pytest.raises(MicrographError, match=r"2\.9 px wide"):
        picker.prepare(blank((40, 50), 1.0), 2.9)


def test_it_is_a_picker_that_needs_the_diameter_and_compares_with_noise():
    assert Picker.scales_to_diameter
    assert Picker.compares_with_noise


# --- coordinates -----------------------------------------------------------------------------------------------------


def test_detections_scale_back_exactly(checkpoint):
    # From the corner to the far corner of the network's image is from the corner to the far corner of the micrograph's.
    micrograph, picker = blank((300, 420), 1.5), SayingPicker(checkpoint)
    height, width = picker.prepare(micrograph, 90.0).shape
    picker.say([[0, 0], [width, height], [width / 2, height / 4], [17.25, 80.5]], radii=[12.0, 6.0, 15.0, 12.0])
    found = picker.pick(micrograph, 90.0)
    scale = np.array([420 / width, 300 / height])
    corners = [[0, 0], [420, 300], [210, 75], [17.25 * scale[0], 80.5 * scale[1]]]
    assert_allclose(found.centres, np.array(corners) - 0.5, atol=1e-9)
    assert_allclose(found.diameters, np.array([24, 12, 30, 24]) * scale.mean(), rtol=1e-12)
    assert found.pixel_size == 1.5


def test_scores_are_calibrated_and_the_best_comes_first(checkpoint):
    calibration = Calibration((-1.0, 3.0), (0.2, 0.6))
    picker = SayingPicker(replace(checkpoint, calibration=calibration))
    picker.say([[20, 30], [50, 40], [90, 60]], logits=[0.0, 3.0, -1.0])
    found = picker.pick(blank(), 90.0)
    assert_allclose(found.scores, [0.6, 0.3, 0.2])
    assert_array_equal(np.argsort(found.centres[:, 0]), [1, 0, 2])


def test_detections_outside_the_image_are_dropped(checkpoint):
    picker = SayingPicker(checkpoint).say([[-0.01, 40], [50, 40], [50, 1000], [120, 90]])
    micrograph = blank()
    assert picker.prepare(micrograph, 90.0).shape == (120, 168)
    assert len(picker.pick(micrograph, 90.0)) == 2


def test_nothing_is_found_in_padding(checkpoint):
    micrograph = blank()
    micrograph.image[:50] = micrograph.image[50]  # 20 px at network scale
    picker = SayingPicker(checkpoint).say([[30, 15], [30, 40], [80, 100]])
    assert_allclose(np.sort(picker.pick(micrograph, 90.0).centres[:, 1]), [99.5, 249.5], atol=1)


def test_padded_queries_are_no_particles(checkpoint):
    picker = SayingPicker(checkpoint).say([[30, 40], [50, 40]])
    picker.said = replace(picker.said, valid=torch.tensor([[True, False]]))
    assert len(picker.pick(blank(), 90.0)) == 1


@pytest.mark.parametrize(
    ("shape", "pixel_size", "diameter"), [((512, 600), 2.0, 80.0), ((700, 500), 1.1, 130.0), ((190, 260), 7.0, 140.0)]
)
def test_discs_are_found_where_they_are(checkpoint, shape, pixel_size, diameter):
    centres = spread(shape, 2.2 * diameter / pixel_size)
    found = SeeingPicker(checkpoint).pick(micrograph_of(centres, diameter / pixel_size, shape, pixel_size), diameter)
    inside = (
        (centres > 0.6 * diameter / pixel_size) & (centres < np.array(shape[::-1]) - 0.6 * diameter / pixel_size)
    ).all(1)
    distance, _ = cKDTree(found.centres).query(centres[inside])
    network_px = diameter / pixel_size / 24
    assert inside.sum() >= 4
    assert distance.max() < 0.25 * network_px
    misses = found.centres[cKDTree(found.centres).query(centres[inside])[1]] - centres[inside]
    assert np.abs(misses.mean(0)).max() < 0.1 * network_px  # no common shift: half a pixel is a mistake in conventions
    assert_allclose(np.median(found.diameters), diameter / pixel_size, rtol=0.1)


# --- tiles -----------------------------------------------------------------------------------------------------------


def test_tiles_find_what_the_whole_image_finds_once(checkpoint, monkeypatch):
    centres = spread((512, 600), 33.0)  # some on the seams
    micrograph = micrograph_of(centres, 20.0, pixel_size=2.0)
    picker = SeeingPicker(checkpoint)
    whole = picker.pick(micrograph, 40.0)
    monkeypatch.setattr(picker_module, "_WHOLE", 160)
    monkeypatch.setattr(picker_module, "_TILE", 160)
    tiled = picker.pick(micrograph, 40.0)
    assert len(whole) > 200
    assert len(tiled) == len(whole)
    distance, nearest = cKDTree(whole.centres).query(tiled.centres)
    assert distance.max() < 1e-6
    assert len(set(nearest)) == len(whole)


@pytest.mark.parametrize(("width", "most"), [(1536, 1536), (1537, 1024)])
def test_an_image_is_cut_into_tiles_of_1024_where_it_is_larger_than_1536(checkpoint, width, most):
    seen = []

    class Watched(SayingPicker):
        def _run(self, image):
            seen.append(image.shape)
            return super()._run(image)

    Watched(checkpoint).say([[10, 10]]).detect(np.random.default_rng(0).normal(size=(32, width)).astype(np.float32))
    assert max(shape[1] for shape in seen) == most
    assert sum(shape[1] for shape in seen) >= width


def test_a_tile_claims_only_its_core(checkpoint, monkeypatch):
    # Every tile says one centre in the overlap, 10 px from its left border: only the first one may.
    monkeypatch.setattr(picker_module, "_WHOLE", 160)
    monkeypatch.setattr(picker_module, "_TILE", 160)
    found = SayingPicker(checkpoint).say([[10, 80]]).detect(np.zeros((160, 600), np.float32))
    assert_allclose(found.centres, [[9.5, 79.5]])


# --- the network itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 32), (37, 53), (96, 130)])
def test_images_of_any_size_run_through_the_network(checkpoint, shape):
    found = Picker(checkpoint).detect(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    assert len(found.centres) == len(found.radii) == len(found.logits) > 0
    assert np.isfinite(found.centres).all()


@pytest.mark.parametrize("shape", [(37, 53), (63, 33)])
def test_an_odd_size_gives_what_the_image_filled_up_with_grey_gives(checkpoint, shape):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    filled = np.zeros((64, 64), np.float32)[: -(-shape[0] // 16) * 16, : -(-shape[1] // 16) * 16]
    filled[: shape[0], : shape[1]] = image
    found, expected = Picker(checkpoint).detect(image), Picker(checkpoint).detect(filled)
    kept = [(each.centres < np.array(shape[::-1]) - 12).all(1) for each in (found, expected)]  # off the filling
    assert kept[0].sum() >= 5
    assert_allclose(found.where(kept[0]).centres, expected.where(kept[1]).centres, atol=1e-4)
    assert_allclose(found.where(kept[0]).logits, expected.where(kept[1]).logits, atol=1e-4)


@pytest.mark.parametrize(("shape", "given"), [((37, 53), (48, 64)), ((64, 33), (64, 48)), ((65, 48), (80, 48))])
def test_the_network_is_given_sides_that_are_multiples_of_16(checkpoint, shape, given):
    picker = Picker(checkpoint)
    network, batches = picker.model, []
    picker.model = lambda batch: network(batches.append(batch) or batch)
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    picker.detect(image)
    expected = np.zeros(given, np.float32)
    expected[: shape[0], : shape[1]] = image
    (batch,) = batches
    assert_array_equal(batch[0, 0].numpy(), expected)


def test_the_checkpoint_decides_about_the_decoder(checkpoint):
    weights = {k: v.clone() for k, v in checkpoint.weights.items()}
    for layer in (0, 1):
        weights[f"shape_heads.{layer}.2.bias"] += torch.tensor([0.25, -0.125, 0.0])
        weights[f"score_heads.{layer}.bias"] += 0.5
    image = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)
    with_decoder = Picker(replace(checkpoint, weights=weights)).detect(image)
    without = Picker(replace(checkpoint, weights=weights, use_decoder=False)).detect(image)
    assert_allclose(with_decoder.logits, without.logits + 1.0, atol=1e-5)
    assert_allclose(with_decoder.centres - without.centres, without.radii[:, None] * [0.5, -0.25], atol=1e-4)


def test_a_picker_keeps_no_memory_of_the_last_micrograph(checkpoint):
    picker = Picker(checkpoint)
    first = picker.pick(blank(seed=1), 90.0)
    picker.pick(blank((260, 300), seed=2), 70.0)
    again = picker.pick(blank(seed=1), 90.0)
    assert_array_equal(first.centres, again.centres)
    assert_array_equal(first.scores, again.scores)


def test_the_fingerprint_follows_everything_that_changes_picks(checkpoint):
    changed = {k: v.clone() for k, v in checkpoint.weights.items()}
    changed["stem.0.weight"][0, 0, 0, 0] += 1e-3
    others = [
        replace(checkpoint, weights=changed),
        replace(checkpoint, use_decoder=False),
        replace(checkpoint, calibration=Calibration((-1.0, 1.0), (0.1, 0.9))),
        replace(checkpoint, model=replace(TINY, peak_floor=0.02)),
        replace(checkpoint, film=FilmFinder().state_dict()),
        replace(checkpoint, film=FilmFinder().state_dict()),
    ]
    marks = {Picker(c).fingerprint for c in (checkpoint, *others)}
    assert len(marks) == 7
    assert Picker(replace(checkpoint, name="other", training={"steps": 1})).fingerprint in marks


# --- film ------------------------------------------------------------------------------------------------------------


class SeesFilm(torch.nn.Module):
    """Takes what is bright for film, with a probability of 0.9."""

    def __init__(self):
        super().__init__()
        self.logit = torch.nn.Parameter(torch.tensor(math.log(9.0)))

    def forward(self, features):
        return torch.where(features[:, 0] > 0.5, self.logit, torch.tensor(-9.0))


def test_detections_on_film_are_less_likely(checkpoint):
    picker = SayingPicker(checkpoint).say([[100, 80], [20, 80], [38, 20], [42, 20]], logits=[2.0, 2.0, 1.0, 1.0])
    picker.film_finder = SeesFilm()
    image = np.random.default_rng(0).normal(0, 0.1, (160, 200)).astype(np.float32)
    image[:, :40] += 1
    found = picker.detect(image)
    assert_allclose(found.centres, [[99.5, 79.5], [19.5, 79.5], [37.5, 19.5], [41.5, 19.5]])
    likely = 1 / (1 + np.exp(-np.array([2.0, 1.0])))
    assert_allclose(
        1 / (1 + np.exp(-found.logits)), [likely[0], 0.1 * likely[0], 0.1 * likely[1], likely[1]], rtol=1e-5
    )


def test_film_is_outlined_in_pixels_of_the_micrograph_up_to_its_border(checkpoint):
    picker = SayingPicker(checkpoint).say([[100, 80]])
    picker.film_finder = SeesFilm()
    prepared = np.random.default_rng(0).normal(0, 0.1, (158, 198)).astype(np.float32)  # its cells reach 2 px beyond it
    prepared[:, :40] += 1
    located = picker.locate(prepared, blank((316, 396)))
    assert located.film is not None
    (outline,) = located.film.outlines
    assert outline.min(axis=0).tolist() == [-0.5, -0.5]
    assert outline[:, 1].max() == 315.5
    assert outline[:, 0].max() == pytest.approx(2 * 40 - 0.5, abs=2.1)
    prepared[:, :40] -= 1
    prepared[:, 160:] += 1
    (outline,) = picker.locate(prepared, blank((316, 396))).film.outlines
    assert outline.max(axis=0).tolist() == [395.5, 315.5]


def test_film_is_seen_across_tiles(checkpoint, monkeypatch):
    monkeypatch.setattr(picker_module, "_WHOLE", 160)
    monkeypatch.setattr(picker_module, "_TILE", 160)
    picker = SayingPicker(checkpoint).say([[80, 80]], logits=[2.0])
    image = np.random.default_rng(0).normal(0, 0.1, (160, 600)).astype(np.float32)
    image[:, 300:] += 1
    without = picker.detect(image)
    picker.film_finder = SeesFilm()
    found = picker.detect(image)
    assert_array_equal(found.centres, without.centres)
    on_film = found.centres[:, 0] > 300
    assert 0 < on_film.sum() < len(on_film)
    assert_array_equal(found.logits < 0, on_film)


def test_nothing_is_found_that_touches_padding(checkpoint):
    image = np.random.default_rng(0).normal(0, 1, (160, 200)).astype(np.float32)
    image[:20] = image[20]
    first = padding(image)[0]
    picker = SayingPicker(checkpoint).say([[50, first - 1], [80, first + 9], [110, first + 10], [3, 80]])
    assert_allclose(picker.detect(image).centres, [[109.5, first + 9.5], [2.5, 79.5]])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_padding_is_padding_on_each_side(checkpoint, turns):
    upright = np.random.default_rng(0).normal(0, 1, (160, 200)).astype(np.float32)
    upright[:20] = upright[20]
    first = padding(upright)[0]
    centres, (height, width) = [[80, first + 9], [110, first + 10], [3, 80]], upright.shape
    for _ in range(turns):  # against the clock, as np.rot90 turns
        centres, (height, width) = [[y, width - x] for x, y in centres], (width, height)
    picker = SayingPicker(checkpoint).say(centres)
    assert_allclose(picker.detect(np.rot90(upright, turns)).centres, np.array(centres[1:]) - 0.5)


def test_nothing_is_found_in_a_blank_corner_or_touches_it(checkpoint):
    image = np.random.default_rng(0).normal(0, 1, (400, 500)).astype(np.float32)
    image[:100, :100] = 0
    micrograph = replace(blank(), image=image)
    picker = SayingPicker(checkpoint).say([[20, 20], [60, 20], [20, 60], [80, 20]])
    # At 90 Å a pixel of the network is 2.5 of the image, so the corner is 40 px wide.
    assert_allclose(
        np.sort(picker.pick(micrograph, 90.0).centres, 0),
        np.sort([[149.5, 49.5], [49.5, 149.5], [199.5, 49.5]], 0),
        atol=1,
    )
    touching = picker.say([[20, 20], [49, 20], [20, 49]])
    assert not len(touching.pick(micrograph, 90.0))


class ToldPicker(Picker):
    """Finds in a micrograph, at a diameter, what a function says: rows of (x, y, score, diameter), in px."""

    def find(self, rows):
        self.rows = rows
        return self

    def pick(self, micrograph, diameter):
        table = np.array(self.rows(micrograph, diameter), float).reshape(-1, 4)
        return Particles(table[:, :2], table[:, 2], table[:, 3], micrograph.pixel_size)


# --- the contrast ----------------------------------------------------------------------------------------------------


def test_bright_particles_are_told_from_dark_ones(checkpoint):
    picker, shape = SeeingPicker(checkpoint), (600, 600)
    dark = micrograph_of(spread(shape, 90.0), 50.0, shape)
    bright = replace(dark, image=-dark.image)
    assert not picker.is_inverted([dark, dark], 100.0)
    assert picker.is_inverted([bright, bright], 100.0)


def test_without_evidence_the_contrast_is_as_recorded(checkpoint):
    assert not SeeingPicker(checkpoint).is_inverted([blank((400, 400))], 100.0)
    assert not SeeingPicker(checkpoint).is_inverted([], 100.0)


def scores_for(expected_f1):
    """The probability of a single candidate whose expected F1, 2 p / (1 + p), is this."""
    return expected_f1 / (2 - expected_f1)


@pytest.mark.parametrize(
    ("dark", "bright", "inverted"),
    [
        (0.3, 0.66, True),
        (0.3, 0.64, False),
        (0.6, 0.79, False),  # not clearly better
        (0.6, 0.81, True),
        (0.66, 0.95, False),  # convincing as it is
    ],
)
def test_the_contrast_turns_only_for_convincing_and_clearly_better_evidence(checkpoint, dark, bright, inverted):
    micrograph = blank((400, 400))
    micrograph.image[0, 0] = -100.0

    def one(seen, diameter):
        return [(50, 50, scores_for(bright if seen.image[0, 0] > 0 else dark), 40)]

    assert ToldPicker(checkpoint).find(one).is_inverted([micrograph], 100.0) == inverted


@pytest.mark.parametrize(("apart", "inverted"), [(24.0, False), (26.0, True)])
def test_candidates_within_half_a_diameter_are_one_for_the_evidence(checkpoint, apart, inverted):
    # 100 Å are 50 px. Beside sure ones lie poor ones: if they count, the dark contrast does not convince.
    micrograph = blank(pixel_size=2.0)
    micrograph.image[:] = -100.0

    def beside(seen, diameter):
        sure = [(100 * i, 100, 0.9, 50) for i in range(4)]
        poor = [(100 * i, 100 + apart, 0.25, 50) for i in range(4)] + [
            (100 * i, 100 - apart, 0.3, 50) for i in range(4)
        ]
        return sure if seen.image[0, 0] > 0 else [*sure, *poor, *[(50, 1000 + apart * i, 0.2, 50) for i in range(20)]]

    assert ToldPicker(checkpoint).find(beside).is_inverted([micrograph], 100.0) == inverted
