"""Sizes of particles that a few micrographs show, by a picker that sees dark discs and is drawn to what it is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import ndimage

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.diameter_estimate import estimate_diameter
from cryotx_cli.detector.particle_picker import DiameterEstimate, Located
from cryotx_cli.detector.size_sweep import USUAL_SIZES, SizeSweep, middle_of, sweep
from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.image import normalise, rescale
from cryotx_cli.micrographs.micrograph import Micrograph
from quick_picker import PickerWithoutNetwork


class DiscPicker(PickerWithoutNetwork):
    """Sees dark discs of about the size that it is told, the surer the nearer; what it says is drawn to that size."""

    compares_with_noise = True

    def __init__(self, sure: float = 4.0) -> None:
        self.sure = sure
        self.seen: list[tuple[int, int]] = []

    def prepare(self, micrograph, diameter):
        factor = 24 * micrograph.pixel_size / diameter
        if min(micrograph.image.shape) * factor < 32:
            raise MicrographError("too small")
        return normalise(rescale(micrograph.image, factor))

    def locate(self, prepared, micrograph):
        self.seen.append(prepared.shape)
        regions, count = ndimage.label(prepared < -2.5)
        index = np.arange(1, count + 1)
        radii = np.sqrt(np.asarray(ndimage.sum_labels(np.ones_like(prepared), regions, index)) / np.pi)
        centres = np.array(ndimage.center_of_mass(np.ones_like(prepared), regions, index)).reshape(-1, 2)[:, ::-1]
        known = (radii > 6) & (radii < 24)
        apart = np.log(radii[known] / 12)
        said = 24 * np.exp(0.36 * np.tanh(2.4 * apart))
        scale = micrograph.image.shape[0] / prepared.shape[0]
        scores = 1 / (1 + np.exp(-(self.sure - 4 * np.abs(apart))))
        found = Particles((centres[known] + 0.5) * scale - 0.5, scores, said * scale, micrograph.pixel_size)
        return Located(found.sorted_by_score())


def micrograph_of(
    diameter: float, pixel_size: float = 2.5, side: int = 600, seed: int = 0, noise: float = 0.02
) -> Micrograph:
    """Dark discs of a diameter in Å in noise."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, noise, (side, side)).astype(np.float32)
    radius, step = diameter / pixel_size / 2, 1.8 * diameter / pixel_size
    reach = int(radius) + 3
    for y in np.arange(step / 2, side, step):
        for x in np.arange(step / 2, side, step):
            cy, cx = (y, x) + rng.uniform(-0.15, 0.15, 2) * step
            window = tuple(slice(max(0, int(c) - reach), int(c) + reach) for c in (cy, cx))
            rows, columns = np.indices((side, side), np.float32, sparse=True)
            image[window] -= np.clip(radius + 0.5 - np.hypot(columns[:, window[1]] - cx, rows[window[0]] - cy), 0, 1)
    return Micrograph(image, pixel_size, Path(f"m{seed}.mrc"))


def nothing(side: int = 600, pixel_size: float = 2.5, seed: int = 0) -> Micrograph:
    image = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    return Micrograph(image, pixel_size, Path(f"noise{seed}.mrc"))


@pytest.mark.parametrize(
    ("diameter", "pixel_size"),
    [
        (44.0, 1.25),
        pytest.param(95.0, 2.5, marks=pytest.mark.slow),
        (160.0, 2.5),
        pytest.param(330.0, 5.0, marks=pytest.mark.slow),
        pytest.param(950.0, 10.0, marks=pytest.mark.slow),
    ],
)
def test_the_diameter_is_estimated_without_a_hint(diameter, pixel_size):
    micrographs = [micrograph_of(diameter, pixel_size, seed=seed) for seed in range(2)]

    found = sweep(DiscPicker(), micrographs, 2).estimate()

    assert found.value == pytest.approx(diameter, rel=0.08)
    assert_allclose(found.each, diameter, rtol=0.08)
    assert (found.agreeing, found.tried, found.doubt) == (2, 2, None)


def test_without_particles_there_is_no_diameter():
    with pytest.raises(MicrographError, match="no particles seen in 2 micrographs, tried 40 to 1280 Å") as caught:
        sweep(DiscPicker(), [nothing(seed=seed) for seed in range(2)], 2).estimate()
    assert "--diameter" in caught.value.hint


def test_sizes_that_do_not_fit_a_small_image_are_left_out():
    assert sweep(DiscPicker(), [micrograph_of(100, 2.0, side=150)], 1).estimate().value == pytest.approx(100, rel=0.15)


def test_micrographs_without_particles_say_nothing_alone():
    found = sweep(DiscPicker(), [micrograph_of(160), nothing(), nothing(seed=1)], 3).estimate()

    assert found.value == pytest.approx(160, rel=0.08)
    assert len(found.each) == 1
    assert "not sure (1 of 3 agree" in str(found.doubt)
    assert str(found).startswith("1 of 3 agree within 15%, they say 1")
    assert str(found).endswith("; 2 show too little alone")


def test_faint_particles_are_seen_by_all_micrographs_together():
    # No candidate is likelier right than wrong, but noise has none.
    found = sweep(DiscPicker(sure=-0.1), [micrograph_of(160, seed=seed) for seed in range(3)], 3).estimate()

    assert found.value == pytest.approx(160, rel=0.08)
    assert found.each == ()
    assert str(found) == "from 3 micrographs together, each of which shows too little alone"


def test_bright_particles_have_a_size_if_asked_for_or_if_there_are_no_dark_ones():
    micrograph = micrograph_of(160, noise=0.6, side=400)
    inverted = [replace(micrograph, image=-micrograph.image)]

    for bright in (None, True):
        assert estimate_diameter(inverted, None, DiscPicker(), bright).value == pytest.approx(160, rel=0.08)
    with pytest.raises(MicrographError, match="no particles"):
        estimate_diameter(inverted, None, DiscPicker(), bright=False)


def test_a_large_micrograph_is_looked_at_in_its_middle():
    rows, columns = np.indices((701, 900))
    micrograph = Micrograph((1000 * rows + columns).astype(np.float32), 10.0, Path("m.mrc"))

    middle = middle_of(micrograph, 120.0, 384)  # 2 network px a pixel

    assert middle.image.shape == (192, 192)
    assert middle.image[0, 0] == 1000 * 254 + 354
    assert middle_of(micrograph, 1200.0, 384).image.shape == (701, 900)


@pytest.mark.parametrize(("count", "field"), [(1, 640), (5, 543), (10, 384), (40, 384)])
def test_of_many_micrographs_a_smaller_field_each(count, field):
    picker = DiscPicker()
    SizeSweep(picker, [100.0], count).add(nothing(4000, 1.0))
    assert picker.seen == [pytest.approx((field, field), abs=1)]


def test_sizes_that_the_pixels_cannot_show_are_not_looked_for():
    picker = DiscPicker()
    SizeSweep(picker, USUAL_SIZES, 1).add(nothing(600, 30.0))
    assert len(picker.seen) == sum(size >= 4 * 30 for size in USUAL_SIZES)


def test_twenty_grey_levels_are_enough():
    micrograph = micrograph_of(160)
    low, high = micrograph.image.min(), micrograph.image.max()
    coarse = np.round((micrograph.image - low) / (high - low) * 19).astype(np.float32)

    found = sweep(DiscPicker(), [replace(micrograph, image=coarse)], 1).estimate()

    assert found.value == pytest.approx(160, rel=0.1)


@pytest.mark.parametrize(
    ("value", "each", "tried", "text"),
    [
        (190.0, (189.8, 190.2), 2, "2 of 2 agree within 15%, they say 190 Å"),
        (190.0, (150.0, 190.0, 240.0), 3, "1 of 3 agree within 15%, they say 150 to 240 Å"),
        (190.0, (190.0,), 1, "from one micrograph"),
        (190.0, (), 4, "from 4 micrographs together, each of which shows too little alone"),
    ],
)
def test_how_well_micrographs_agree_is_told_as_it_is(value, each, tried, text):
    assert str(DiameterEstimate(value, each, tried)) == text


@pytest.mark.parametrize(("agreeing", "doubtful"), [(5, True), (6, False)])
def test_an_estimate_is_doubtful_unless_most_agree(agreeing, doubtful):
    each = (*[190.0] * agreeing, *[400.0] * (10 - agreeing))
    assert (DiameterEstimate(190.0, each, 10).doubt is not None) == doubtful


@pytest.mark.parametrize(("count", "doubtful"), [(None, False), (19.4, True), (20.0, False)])
def test_an_estimate_from_few_candidates_is_doubtful(count, doubtful):
    doubt = DiameterEstimate(190.0, (190.0,), 1, count).doubt

    assert (doubt is not None) == doubtful
    if doubtful:
        assert "19 candidates in 1 micrograph stand out from noise" in str(doubt)
        assert "--diameter" in str(doubt)


def test_a_few_lumps_are_no_sure_diameter():
    found = sweep(DiscPicker(), [micrograph_of(330, side=500)], 1).estimate()

    assert found.value == pytest.approx(330, rel=0.1)
    assert found.count is not None
    assert found.count < 10
    assert "stand out from noise" in str(found.doubt)


def test_when_three_micrographs_agree_the_others_are_looked_at_near_that_size_only():
    picker = DiscPicker()
    looking = SizeSweep(picker, USUAL_SIZES, 5)
    passes = []
    for seed in range(5):
        looking.add(micrograph_of(160, seed=seed))
        passes.append(len(picker.seen))

    assert passes[4] - passes[3] == 5
    assert passes[1] - passes[0] > 7
    found = looking.estimate()
    assert found.value == pytest.approx(160, rel=0.08)
    assert (found.agreeing, found.tried) == (5, 5)


def test_micrographs_that_do_not_agree_are_looked_at_in_all_sizes():
    picker = DiscPicker()
    looking = SizeSweep(picker, USUAL_SIZES, 5)
    for seed, diameter in enumerate((90, 160, 300, 90)):
        looking.add(micrograph_of(diameter, seed=seed))
    before = len(picker.seen)

    looking.add(micrograph_of(300, seed=5))

    assert len(picker.seen) - before > 7
