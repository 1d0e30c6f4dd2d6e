"""The threshold rules against brute force, simulation and cases worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.runs.candidates import Candidates
from cryotx_cli.runs.expected_f1 import DEFAULT_FLOOR, expected_f1_cut, highest_expected_f1
from cryotx_cli.runs.false_discovery import false_discovery
from cryotx_cli.runs.selection import ExpectedCount, ExpectedF1, Percentile, Selection, Threshold, choose


def candidates(*probabilities):
    n = len(probabilities)
    return Particles(np.zeros((n, 2)), np.array(probabilities, float), np.full(n, 20.0), 2.0)


def plug_in_f1(probabilities, kept):
    """2 E[true positives] / (picks + E[particles]), with loops instead of cumulative sums."""
    return 2 * sum(p for p, k in zip(probabilities, kept, strict=True) if k) / (sum(kept) + sum(probabilities))


@given(st.lists(st.integers(0, 50).map(lambda n: n / 50), max_size=9), st.sampled_from([0.0, 0.25, 0.5]))
def test_no_subset_of_the_candidates_has_a_higher_expected_f1(probabilities, floor):
    kept = np.array(probabilities, float) >= expected_f1_cut(np.array(probabilities, float), floor)
    allowed = [p >= floor for p in probabilities]
    subsets = (
        [bool(bits >> i & 1) and allowed[i] for i in range(len(probabilities))]
        for bits in range(1, 2 ** len(probabilities))
    )
    best = max((plug_in_f1(probabilities, subset) for subset in subsets if any(subset)), default=None)
    assert not np.any(kept & ~np.array(allowed, bool))
    assert kept.any() == any(allowed)
    if best is not None:
        assert plug_in_f1(probabilities, kept) == pytest.approx(best)


def test_the_cut_is_the_best_one_for_simulated_labels():
    rng = np.random.default_rng(4)
    probabilities = np.sort(rng.beta(0.5, 0.7, 300))[::-1]
    labels = rng.random((4000, 300)) < probabilities
    true_positives = labels.cumsum(axis=1)
    f1 = (2 * true_positives / (np.arange(1, 301) + labels.sum(axis=1, keepdims=True))).mean(axis=0)
    kept = int(np.count_nonzero(probabilities >= expected_f1_cut(probabilities, floor=0.0)))
    assert (
        abs(kept - (np.argmax(f1) + 1)) <= 6
    )  # the maximum is flat: neighbours differ by less than the simulation errs
    assert f1[kept - 1] == pytest.approx(f1.max(), abs=1e-4)
    assert f1[kept - 1] > max(f1[kept - 60], f1[kept + 60])


def test_an_empty_micrograph_gets_nothing():
    assert not choose(candidates(0.24, 0.1, 0.05), ExpectedF1(floor=0.25)).any()
    assert choose(candidates(), ExpectedF1()).shape == (0,)
    assert expected_f1_cut(np.array([0.2, 0.1]), floor=0.25) == np.inf


def test_candidates_below_the_floor_still_count_as_particles_that_may_be_missed():
    # S = 1.2 particles: one pick 1.8 / 2.2 = 0.82, two 2.4 / 3.2 = 0.75. S = 5.2: 1.8 / 6.2 = 0.29, 2.4 / 7.2 = 0.33.
    assert choose(candidates(0.9, 0.3), ExpectedF1(floor=0.3)).tolist() == [True, False]
    assert choose(candidates(0.9, 0.3, *[0.2] * 20), ExpectedF1(floor=0.3)).tolist() == [True, True] + [False] * 20


def test_a_micrograph_of_guesses_keeps_only_what_convinces_alone():
    guesses = [0.3] * 300  # each cut among them would be wrong in 210 of 300
    assert not choose(candidates(*guesses), ExpectedF1()).any()
    assert choose(candidates(0.9, 0.8, 0.6, *guesses), ExpectedF1()).sum() == 2
    assert choose(candidates(*guesses), Threshold(0.3)).all()
    assert not choose(candidates(*[0.49] * 300), ExpectedF1()).any()
    assert choose(candidates(*[0.51] * 300), ExpectedF1()).all()


def test_picks_far_less_sure_than_their_fellows_are_left_out():
    # Odds of 0.96 are 24, a twelfth of them are 2, those of 2/3.
    assert choose(candidates(*[0.96] * 30, 0.7, 0.66, 0.6), ExpectedF1()).sum() == 31
    # However sure most picks are, 0.96 is sure enough.
    assert choose(candidates(*[0.99999] * 30, 0.96, 0.95), ExpectedF1()).sum() == 31
    # Where most are not sure, and where there are few of them, the highest expected F1 alone decides.
    unsure = [*[0.8] * 30, 0.7, 0.66, 0.6]
    assert choose(candidates(*unsure), ExpectedF1()).all()
    assert choose(candidates(*[0.96] * 6, 0.6), ExpectedF1()).all()
    assert choose(candidates(*[0.96] * 30, 0.6), Threshold(0.5)).all()


def test_the_order_of_the_candidates_does_not_matter():
    rng = np.random.default_rng(1)
    probabilities = rng.choice([0.1, 0.3, 0.31, 0.6, 0.9], 60)
    order = rng.permutation(60)
    for rule in (ExpectedF1(), Threshold(0.31)):
        kept = choose(candidates(*probabilities), rule)
        assert choose(candidates(*probabilities[order]), rule).tolist() == kept[order].tolist()


def test_the_rules_of_the_automatic_cut_begin_where_they_say():
    # Ten picks are fellows, nine are not: 0.6 has far less than a twelfth of the odds of 0.99.
    assert choose(candidates(*[0.99] * 9, 0.6), ExpectedF1()).sum() == 9
    assert choose(candidates(*[0.99] * 8, 0.6), ExpectedF1()).all()
    # Picks that are right half of the time are not mostly wrong.
    assert choose(candidates(*[0.5] * 300), ExpectedF1()).all()
    assert choose(candidates(0.65, *[0.3] * 300), ExpectedF1()).sum() == 1
    assert choose(candidates(0.64, *[0.3] * 300), ExpectedF1()).sum() == 0
    # A median of 0.996 has the odds 249, a twelfth of them are those of 0.954; surer ones count as it.
    assert choose(candidates(*[0.9999] * 30, 0.9541, 0.9539), ExpectedF1()).sum() == 31


def test_picks_less_sure_than_their_fellows_stay_where_the_settings_say_so():
    found = candidates(*[0.99] * 30, 0.6, 0.2)
    selection = {one: Selection.of(PickConfig(unsure=one), 100.0) for one in ("auto", "drop", "keep")}
    assert [int(choose(found, one.rule).sum()) for one in selection.values()] == [30, 30, 31]
    assert len({repr(one) for one in selection.values()}) == 2  # picks of an earlier run stay where nothing changes


def test_the_floor_of_the_automatic_rules_is_a_quarter():
    few = candidates(*[0.9] * 3, 0.25, 0.249, *[0.2] * 40)
    assert DEFAULT_FLOOR == ExpectedF1().floor == Percentile(0).floor == 0.25
    assert choose(few, ExpectedF1()).sum() == 4
    assert choose(few, Percentile(0)).sum() == 4


@given(st.lists(st.floats(0.01, 1), max_size=12))
def test_the_highest_expected_f1_is_that_of_the_best_number_of_picks(probabilities):
    best_first = sorted(probabilities, reverse=True)
    every = [
        plug_in_f1(best_first, [True] * k + [False] * (len(best_first) - k)) for k in range(1, len(best_first) + 1)
    ]
    assert highest_expected_f1(np.array(probabilities)) == pytest.approx(max(every, default=0.0))


def test_threshold_is_inclusive():
    assert choose(candidates(0.2, 0.5, 0.49, 0.9), Threshold(0.5)).tolist() == [False, True, False, True]


@pytest.mark.parametrize(("percent", "kept"), [(0, 8), (25, 6), (50, 4), (99, 1), (100, 0)])
def test_percentile_drops_the_lowest_of_those_above_the_floor(percent, kept):
    probabilities = [0.05, 0.3, 0.9, 0.4, 0.8, 0.1, 0.5, 0.7, 0.6, 0.35]  # eight at or above 0.25
    mask = choose(candidates(*probabilities), Percentile(percent, floor=0.25))
    assert sorted(np.array(probabilities)[mask]) == sorted(probabilities)[10 - kept :]


def test_expected_count_keeps_the_best():
    probabilities = candidates(0.2, 0.9, 0.1, 0.5)
    assert choose(probabilities, ExpectedCount(2)).tolist() == [False, True, False, True]
    assert choose(probabilities, ExpectedCount(9)).all()


# --- all that decides, on one micrograph -----------------------------------------------------------------------------


def on_a_micrograph(*rows, pixel_size=2.0, height=100, width=200):
    """Candidates (x, y, score), in pixels of an image of 200 x 100."""
    table = np.array(rows, float).reshape(-1, 3)
    found = Particles(table[:, :2], table[:, 2], np.full(len(table), 20.0), pixel_size)
    return Candidates(found, height, width)


def scattered(seed, n=80, pixel_size=1.7):
    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.uniform(-0.5, 199.5, n), rng.uniform(-0.5, 99.5, n), rng.uniform(0, 1, n).round(2)])
    return on_a_micrograph(*rows, pixel_size=pixel_size)


def by_hand(found, min_distance, edge, threshold, most):
    """Indices of the picks, best first, with distances in Å and loops."""
    points = (found.particles.centres + 0.5) * found.particles.pixel_size  # Å from the corner of the image
    scores = found.particles.scores
    apart = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if all(np.hypot(*(points[i] - points[j])) >= min_distance for j in apart):
            apart.append(i)
    size = np.array([found.width, found.height]) * found.particles.pixel_size
    inside = [i for i in apart if min(*points[i], *(size - points[i])) >= edge]
    return [i for i in inside if scores[i] >= threshold][:most]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("min_distance", "edge", "most"), [(40.0, 0.0, None), (0.0, 25.0, None), (30.0, 15.0, 7)])
def test_distances_are_in_angstrom_and_the_best_come_first(seed, min_distance, edge, most):
    found = scattered(seed)
    picks = Selection(Threshold(0.3), min_distance, edge, most).choose(found).particles
    expected = by_hand(found, min_distance, edge, 0.3, most)
    assert 0 < len(expected) < 60
    np.testing.assert_array_equal(picks.centres, found.particles.centres[expected])
    np.testing.assert_array_equal(picks.scores, found.particles.scores[expected])
    available = Selection(Threshold(0.3), min_distance, edge, most).available(found)
    everything = by_hand(found, min_distance, edge, 0.0, most)
    np.testing.assert_array_equal(available.centres, found.particles.centres[everything])


@pytest.mark.parametrize(
    ("box", "edge", "kept"), [(41, 20.0, 20.0), (41, 60.0, 29.5), (None, 20.0, 9.5), (None, 0.0, -0.5), (1, 0.0, 0.0)]
)
def test_picks_have_room_for_their_boxes_and_keep_off_the_border(box, edge, kept):
    # Of 2 Å per pixel; the image ends half a pixel outside the centres of its outermost pixels.
    at = [(x, 50) for x in (kept - 0.1, kept, 199 - kept, 199.1 - kept)]
    at += [(100, y) for y in (kept - 0.1, kept, 99 - kept, 99.1 - kept)]
    found = on_a_micrograph(*((x, y, 0.9 - 0.01 * i) for i, (x, y) in enumerate(at)))
    selection = Selection(Threshold(0.0), 0.0, edge, None, box)
    inside = [at[i] for i in (1, 2, 5, 6)]
    assert selection.available(found).centres.tolist() == [list(map(float, place)) for place in inside]
    assert selection.choose(found).particles.centres.tolist() == selection.available(found).centres.tolist()


def test_what_the_border_and_better_neighbours_cost_is_counted_down_to_the_lowest_pick():
    found = on_a_micrograph(
        (50, 50, 0.9),
        (54, 50, 0.8),  # 8 Å beside a better one
        (54, 51, 0.7),  # another
        (100, 50, 0.6),
        (3, 50, 0.65),  # 7 Å from the border
        (150, 2, 0.6),  # 5 Å from the border
        (3, 80, 0.1),  # at the border, and no pick in any case
        (52, 52, 0.1),
    )
    chosen = Selection(Threshold(0.5), 20.0, 20.0, None).choose(found)
    assert chosen.particles.scores.tolist() == [0.9, 0.6]
    assert (chosen.dropped_at_border, chosen.dropped_beside_better) == (2, 2)
    none = Selection(Threshold(0.95), 20.0, 20.0, None).choose(found)
    assert (len(none.particles), none.dropped_at_border, none.dropped_beside_better) == (0, 0, 0)


def test_one_particle_counts_once_for_the_rule():
    # Nine particles, three candidates on each: half of the particles go, not half of the candidates.
    rows = [(20 * i + shift, 50, score) for i in range(9) for shift, score in ((0, 0.6), (1, 0.5), (2, 0.4))]
    chosen = Selection(Percentile(50), 20.0, 0.0, None).choose(on_a_micrograph(*rows))
    assert len(chosen.particles) == 9 - 4


def test_micrographs_and_decoys_are_chosen_alike_and_compared_by_their_areas():
    real = on_a_micrograph((50, 50, 0.9), (54, 50, 0.8), (100, 50, 0.07), (3, 50, 0.9))
    decoy = on_a_micrograph((50, 25, 0.06), (54, 25, 0.05), (100, 25, 0.04), (100, 3, 0.05), height=50)
    found = Selection(Threshold(0.5), 20.0, 20.0, max_picks=1).compared([(real, decoy)] * 2)
    assert found.candidates.tolist() == [0.07, 0.07, 0.9, 0.9, 0.9, 0.9]  # those at the border among them
    # Of low score are 2 candidates, 6 of the decoys, which have half the area; each counts as one more.
    assert found.loudness == pytest.approx((2 * 0.93 + 1) / (2 * 6 + 1))
    assert found.found_in_noise.area == 2 * 50 * 200 * 2.0**2


@pytest.mark.parametrize("how", [{"edge": 60.0}, {"box": 41}])
@pytest.mark.parametrize("own_cuts", [False, True])
def test_the_border_takes_picks_away_and_moves_no_automatic_cut(how, own_cuts):
    rng = np.random.default_rng(3)
    whole, decoy = scattered(1, 120), scattered(2, 60)
    decoy.particles.scores[:] = rng.beta(1, 12, len(decoy.particles))
    usual = Selection(ExpectedF1(), 20.0, 0.0, None)
    narrow = replace(usual, **how)
    if own_cuts:
        usual = replace(usual, rule=usual.compared([(whole, decoy)]).own_cuts)
        narrow = replace(narrow, rule=narrow.compared([(whole, decoy)]).own_cuts)

    picks, fewer = usual.choose(whole).particles, narrow.choose(whole)

    margin = 60.0 / 1.7 if "edge" in how else 41 / 2
    assert 0 < len(fewer.particles) < len(picks)
    assert len(fewer.particles) + fewer.dropped_at_border == len(picks)
    assert fewer.particles.centres.tolist() == picks.inside(whole.height, whole.width, margin).centres.tolist()


def test_the_best_so_many_are_counted_within_the_border():
    found = scattered(5)
    assert len(Selection(ExpectedCount(9), 10.0, 40.0, None).choose(found).particles) == 9


def test_the_rule_of_a_run_cuts_each_micrograph_by_its_own_candidates_and_area():
    scores = [*[0.99] * 6, *[0.85] * 3, *[0.03] * 9]
    found = on_a_micrograph(*((10 * i + 5, 50, score) for i, score in enumerate(scores)))
    own = false_discovery([np.array(scores)], [np.full(10, 0.03)], 1.0, found.particles.area).own_cuts
    assert own.cut(found.particles.scores, 100 * 200 * 2.0**2) == 0.85
    picks = Selection(own, 10.0, 0.0, None).choose(found).particles
    assert picks.scores.tolist() == scores[:9]


def test_picks_are_false_as_often_as_what_they_were_cut_by_says():
    scores = [*[0.9] * 60, *[0.6] * 30, *[0.05] * 100]
    found = on_a_micrograph(*((i, 50, score) for i, score in enumerate(scores)))
    decoys = [np.array([*[0.6] * 20, *[0.05] * 100])]
    # The other micrograph of the run is nothing but noise, of which this one has as much as a decoy.
    run = false_discovery([np.array(scores), decoys[0]], decoys, 2.0, found.particles.area)
    alone = false_discovery([np.array(scores)], decoys, 1.0, found.particles.area)
    picks = found.particles.select(found.particles.scores >= 0.6)

    own = Selection(run.own_cuts, 1.0, 0.0, max_picks=7).expected_false(found, picks, run)
    same = Selection(Threshold(0.6), 1.0, 0.0, None).expected_false(found, picks, run)

    assert own == alone.expected_false(picks.scores)
    assert same == run.expected_false(picks.scores)
    assert own < same
    assert Selection(Threshold(0.6), 1.0, 0.0, None).expected_false(found, picks, None) is None


def test_settings_become_a_selection():
    assert Selection.of(PickConfig(), 90.0) == Selection(ExpectedF1(), 45.0, 0.0, None)
    given = PickConfig(min_distance=12.0, edge=8.0, max_per_micrograph=3, threshold=0.4)
    assert Selection.of(given, 90.0) == Selection(Threshold(0.4), 12.0, 8.0, 3)
    assert Selection.of(PickConfig(box=180), 90.0) == Selection(ExpectedF1(), 45.0, 0.0, None, 180)
    assert Selection.of(PickConfig(percentile=30.0), 90.0).rule == Percentile(30.0)
    assert Selection.of(PickConfig(expected_count=7), 90.0).rule == ExpectedCount(7)
    assert Selection.of(PickConfig(selection="legacy"), 90.0) == Selection(Threshold(0.0), 0.0, 0.0, None)
    assert Selection.of(PickConfig(selection="legacy", min_distance=9.0), 90.0).min_distance == 9.0
