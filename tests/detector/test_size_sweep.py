"""Sizes of particles that a few micrographs show, by a picker that sees dark discs and is drawn to what it is told."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import ndimage

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.diameter_estimate import estimate_diameter
from cryotx_cli.detector.particle_picker import DiameterEstimate, Located
from cryotx_cli.detector.size_sweep import USUAL_SIZES, SizeSweep, apart, middle_of, sweep
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
    assert str(found).startswith("1 of 3 agree within 15%, alone they say 1")
    assert str(found).endswith("; 2 show too little alone")


@pytest.mark.slow
def test_faint_particles_are_seen_by_all_micrographs_together():
    # No candidate is likelier right than wrong, but noise has none.
    found = sweep(DiscPicker(sure=-0.1), [micrograph_of(160, seed=seed) for seed in range(3)], 3).estimate()

    assert found.value == pytest.approx(160, rel=0.08)
    assert found.each == ()
    assert str(found) == "from 3 micrographs together, each of which shows too little alone"


@pytest.mark.slow
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
    assert picker.seen == [(field, field)]


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
        (190.0, (189.8, 190.2), 2, "2 of 2 agree within 15%, alone they say 190 Å"),
        (190.0, (150.0, 190.0, 240.0), 3, "1 of 3 agree within 15%, alone they say 150 to 240 Å"),
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


@pytest.mark.slow
def test_micrographs_that_do_not_agree_are_looked_at_in_all_sizes():
    picker = DiscPicker()
    looking = SizeSweep(picker, USUAL_SIZES, 5)
    for seed, diameter in enumerate((90, 160, 300, 90)):
        looking.add(micrograph_of(diameter, seed=seed))
    before = len(picker.seen)

    looking.add(micrograph_of(300, seed=5))

    assert len(picker.seen) - before > 7


def test_a_few_sure_lumps_do_not_outshine_many_particles():
    class LumpPicker(DiscPicker):
        """Is quite sure of one lump at the largest size, and of discs less so."""

        def locate(self, prepared, micrograph):
            found = super().locate(prepared, micrograph).particles
            told = 24 * micrograph.pixel_size * micrograph.image.shape[0] / prepared.shape[0]
            if micrograph.image.any() and told > 350:
                lump = np.array([[100.0, 100.0]])
                found = Particles(lump, np.array([0.97]), np.array([told / micrograph.pixel_size]), found.pixel_size)
            return Located(found)

    found = sweep(LumpPicker(sure=1.0), [micrograph_of(160, side=800)], 1).estimate()

    assert found.value == pytest.approx(160, rel=0.1)
    assert found.doubt is None


# --- the rules, by a picker that says what is written down -----------------------------------------------------------


class Saying(PickerWithoutNetwork):
    """Says of each diameter that it is told what `says` has for it, and of its decoys what `noise` has.

    Both give pairs of score and size in Å for a diameter in Å.
    """

    compares_with_noise = True

    def __init__(self, says, noise=lambda told: [], side: int = 240) -> None:
        self.says, self.noise, self.side = says, noise, side
        self.told: list[float] = []
        self.decoys: list[float] = []
        self._told_of: dict[tuple[int, ...], float] = {}

    def prepare(self, micrograph, diameter):
        self.told.append(diameter)
        self._told_of[micrograph.image.shape] = diameter
        return np.random.default_rng(1).normal(size=(self.side, self.side)).astype(np.float32)

    def locate(self, prepared, micrograph):
        assert prepared.shape == (self.side, self.side)
        told = self._told_of[micrograph.image.shape]
        if micrograph.image.any():
            found = self.says(told)
        else:
            self.decoys.append(told)
            found = self.noise(told)
        scores, sizes = np.reshape(found, (-1, 2)).T
        far_apart = told * np.arange(len(scores))
        centres = np.column_stack([far_apart, far_apart])
        return Located(Particles(centres, scores, sizes / micrograph.pixel_size, micrograph.pixel_size))


LARGE = Micrograph(np.ones((5000, 5000), np.float32), 10.0, Path("large.mrc"))


def looked_at(picker: Saying, *sizes: float, count: int = 1) -> SizeSweep:
    found = SizeSweep(picker, sizes, count)
    for _ in range(count):
        found.add(LARGE)
    return found


def f1_of(probabilities: list[float]) -> float:
    best, total = sorted(probabilities, reverse=True), sum(probabilities)
    return max(2 * sum(best[:k]) / (k + total) for k in range(1, len(best) + 1))


def implied_by(said: float, told: float = 160.0) -> float:
    best = looked_at(Saying(lambda told: [(0.9, said)] * 30, side=96), told).best()
    assert best is not None
    return best.implied


def test_what_is_said_lies_between_what_is_told_and_the_truth():
    said = np.linspace(-0.35, 0.43, 40)  # natural logarithms of multiples of what is told
    implied = np.array([math.log(implied_by(160 * math.exp(one)) / 160) for one in said])

    assert implied_by(160.0) == pytest.approx(160)
    assert (implied[said < -0.001] <= said[said < -0.001] + 1e-9).all()
    assert (implied[said > 0.001] >= said[said > 0.001] - 1e-9).all()
    slope = np.diff(implied) / np.diff(said)
    assert slope.min() > 1
    assert slope[np.abs(said[1:]) < 0.24].max() < 2.1
    assert slope.max() < 13
    assert implied_by(2000.0) == pytest.approx(160 * math.exp(1.0))  # beyond what was measured
    assert implied_by(10.0) == pytest.approx(160 * math.exp(-0.73))


@pytest.mark.parametrize(("large", "small", "counts"), [(26, 74, "large"), (24, 76, "small")])
def test_the_upper_quartile_of_the_sizes_counts(large, small, counts):
    best = looked_at(Saying(lambda told: [(0.9, 176.0)] * large + [(0.9, 150.0)] * small), 160.0).best()
    assert best is not None
    assert best.implied == pytest.approx(implied_by({"large": 176.0, "small": 150.0}[counts]))


def test_sizes_weigh_by_how_sure_their_candidates_are():
    best = looked_at(Saying(lambda told: [(0.2, 176.0)] * 50 + [(0.9, 150.0)] * 50), 160.0).best()
    assert best is not None
    assert best.implied == pytest.approx(implied_by(150.0))


def test_the_evidence_is_the_expected_f1_of_what_noise_does_not_explain():
    picker = Saying(lambda told: [(0.99, 160.0)] * 10 + [(0.8, 160.0)] * 30, lambda told: [(0.8, 160.0)] * 6)
    seen = looked_at(picker, 160.0, count=2)
    best = seen.best()
    left = [0.99] * 10 + [0.8 * (1 - 6 / 30)] * 30
    assert best is not None
    assert best.told == 160
    assert best.evidence == pytest.approx(f1_of(left), abs=0.005)
    assert best.count == pytest.approx(sum(left), rel=0.005)
    assert seen.estimate().count == pytest.approx(2 * sum(left), rel=0.005)


@pytest.mark.parametrize(
    ("side", "count", "decoys"), [(240, 1, 10), (240, 2, 10), (240, 3, 12), (240, 5, 12), (96, 1, 12)]
)
def test_decoys_of_three_micrographs_have_room_for_a_thousand_particles(side, count, decoys):
    picker = Saying(lambda told: [(0.9, 160.0)] * 30, side=side)
    looked_at(picker, 160.0, count=count).best()
    assert len(picker.decoys) == decoys


def test_a_decoy_is_made_once():
    picker = Saying(lambda told: [(0.9, 160.0)] * 30)
    found = looked_at(picker, 160.0)
    assert found.diameter() == found.diameter() == pytest.approx(160)
    assert len(picker.decoys) == 10


def test_sizes_that_look_good_are_compared_with_noise_before_others():
    sizes = [40 * 2 ** (step / 2) for step in range(9)]
    seen = {sizes[0]: 0.6, sizes[2]: 0.95, sizes[3]: 0.9, sizes[4]: 0.8, sizes[7]: 0.7}
    picker = Saying(lambda told: [(seen.get(told, 0.1), told)] * 30)
    best = looked_at(picker, *sizes).best()
    assert best is not None
    assert best.told == sizes[2]
    assert set(picker.decoys) == {sizes[place] for place in (2, 3, 4, 7)}

    all_but_one = Saying(picker.says, lambda told: [] if told == sizes[0] else picker.says(told))
    best = looked_at(all_but_one, *sizes).best()
    assert best is not None
    assert best.told == sizes[0]
    assert set(all_but_one.decoys) == set(sizes)


def test_where_noise_explains_all_there_is_no_size():
    found = looked_at(Saying(lambda told: [(0.9, told)] * 30, lambda told: [(0.9, told)] * 30), 113.0, 160.0)
    assert found.best() is None
    assert found.diameter() is None
    assert found.span == (113, 160)
    assert looked_at(Saying(lambda told: []), 160.0).best() is None
    assert looked_at(Saying(lambda told: [(0.2, told)] * 60), 160.0).best() is None  # F1 of 0.33


@pytest.mark.parametrize(
    ("candidates", "speaks"),
    [
        ([0.6] * 5, True),
        ([0.6] * 4 + [0.5], False),
        ([0.6] * 5 + [0.3] * 38, True),  # an expected F1 of 0.502
        ([0.6] * 5 + [0.3] * 60, False),  # of 0.488
    ],
)
def test_a_micrograph_speaks_for_itself_by_five_likely_candidates(candidates, speaks):
    sure = [(0.95, 160.0)] * 30
    picker = Saying(lambda told: sure if len(picker.told) == 1 else [(score, 160.0) for score in candidates])
    found = SizeSweep(picker, [160.0], 2)
    for _ in range(2):
        found.add(LARGE)
    assert found.estimate().each == pytest.approx([160, 160] if speaks else [160])


@pytest.mark.parametrize("truth", [130.0, 160.0, 200.0, 260.0])
def test_from_a_wrong_size_the_way_leads_to_the_right_one(truth):
    """What is said is drawn to what is told; a small size looks best."""
    sizes = [80 * 2 ** (step / 2) for step in range(6)]
    picker = Saying(
        lambda told: [(0.9 - told / 4000, told * math.exp(0.36 * math.tanh(2.4 * math.log(truth / told))))] * 30
    )
    found = looked_at(picker, *sizes)
    assert found.diameter() == pytest.approx(truth, rel=0.06)
    assert found.estimate().each == pytest.approx([truth], rel=0.06)


def test_a_guess_far_from_all_that_was_looked_for_is_no_word_of_a_micrograph():
    assert looked_at(Saying(lambda told: [(0.9, 2000.0)] * 30), 160.0).estimate().each == ()
    assert len(looked_at(Saying(lambda told: [(0.9, 176.0)] * 30), 160.0).estimate().each) == 1


def test_all_usual_sizes_are_looked_for():
    picker = Saying(lambda told: [(0.9, told)] * 30, side=96)
    assert sweep(picker, [LARGE], 1).span == pytest.approx((40, 1280))
    assert_allclose(picker.told, 40 * np.sqrt(2) ** np.arange(11))


def test_what_a_size_says_that_is_far_from_the_truth_does_not_count():
    far = 167.0
    assert implied_by(far, 113.0) > 113 * math.exp(0.45)
    picker = Saying(lambda told: {113.0: [(0.9, far)] * 30, 160.0: [(0.95, 160.0)] * 30}[told])
    assert looked_at(picker, 113.0, 160.0).diameter() == pytest.approx(160, rel=1e-3)


def test_towards_a_size_that_shows_nothing_the_diameter_stays_where_particles_are_seen():
    smaller = min(np.linspace(140, 150, 21), key=lambda said: abs(implied_by(said) - 140))
    seen = looked_at(Saying(lambda told: [(0.9, smaller)] * 30 if told == 160 else []), 113.0, 160.0)
    found = seen.diameter()

    near = np.linspace(140 / 1.2, 140 * 1.2, 6401)
    good = np.interp(np.log(near), np.log([113, 160]), [0, 1])
    assert found == pytest.approx(near[good >= 0.8 * good.max()].min(), rel=0.01)
    assert seen.estimate().each == pytest.approx([found])


def test_a_way_to_a_size_that_was_not_looked_for_ends_before_it():
    sizes = [75.0, 106.0, 150.0]
    found = SizeSweep(Saying(lambda told: [(0.9, 0.8 * told)] * 30 if told < 150 else []), sizes, 1)
    found.add(replace(LARGE, pixel_size=20.0))  # 75 Å are less than four pixels
    (alone,) = found.estimate().each
    assert 106 / 1.6 < alone < 106


def test_near_the_smallest_size_no_others_are_looked_for():
    sizes = [80 * 2 ** (step / 2) for step in range(6)]
    picker = Saying(lambda told: [(0.9, told)] * 30 if told == sizes[0] else [], side=96)
    looked_at(picker, *sizes, count=4)
    assert picker.told == [*sizes * 3, *sizes[:3]]


def test_candidates_are_half_a_diameter_apart():
    found = Particles([[0, 0], [39.9, 0], [0, 40.1]], [0.9, 0.8, 0.7], [80, 80, 80], 2.0)
    assert apart(found, 160.0).scores.tolist() == [0.9, 0.7]


def test_what_two_sizes_say_is_averaged_by_how_near_and_how_good_they_are():
    picker = Saying(lambda told: {113.0: [(0.95, 140.0)] * 30, 160.0: [(0.67, 152.0)] * 30}[told])
    implied = [implied_by(140.0, 113.0), implied_by(152.0, 160.0)]
    weights = [
        evidence * (0.45 - abs(math.log(told / one)))
        for evidence, told, one in zip((f1_of([0.95] * 30), f1_of([0.67] * 30)), (113, 160), implied, strict=True)
    ]
    expected = math.exp(np.average(np.log(implied), weights=weights))
    assert looked_at(picker, 113.0, 160.0).diameter() == pytest.approx(expected, rel=1e-3)


def test_particles_that_a_smaller_size_shows_much_better_are_said_to_be_smaller():
    # At the smaller size, too, a size is said that implies 160 Å.
    smaller = min(np.linspace(150, 156, 13), key=lambda said: abs(implied_by(said, 113.0) - 160))
    seen = {113.0: [(0.9, smaller)] * 30, 160.0: [(0.35, 160.0)] * 30, 226.0: []}
    evidence = [f1_of([0.9] * 30), f1_of([0.35] * 30), 0.0]

    found = looked_at(Saying(lambda told: seen[told]), *seen).diameter()

    near = np.linspace(160 / 1.2, 160 * 1.2, 6401)
    good = np.interp(np.log(near), np.log([113, 160, 226]), evidence)
    nearest = near[good >= 0.8 * good.max()].max()
    assert found == pytest.approx(nearest, rel=0.01)
    assert 145 < nearest < 156


def test_pixels_decide_which_sizes_are_looked_for():
    sizes = [79.9, 80.0, 160.0]
    picker = Saying(lambda told: [(0.9, 160.0)] * 30)
    found = SizeSweep(picker, sizes, 1)
    found.add(replace(LARGE, pixel_size=20.0))
    assert picker.told == [80, 160]
    assert found.span == (80, 160)
