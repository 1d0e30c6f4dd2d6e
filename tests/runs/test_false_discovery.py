"""False discovery rates and cuts from scores of candidates and of decoys, where the truth is drawn."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from cryotx_cli.runs.false_discovery import FalseDiscovery, false_discovery


def logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def noise(rng: np.random.Generator, count: int) -> np.ndarray:
    return logistic(rng.normal(-3.0, 1.0, count))


def particles(rng: np.random.Generator, count: int, logit: float = 3.0) -> np.ndarray:
    return logistic(rng.normal(logit, 1.0, count))


def run(true: int, false: int, decoy: int, micrographs: int = 5, logit: float = 3.0, seed: int = 1) -> FalseDiscovery:
    """So many of each on each micrograph; decoys have the area of the micrographs."""
    rng = np.random.default_rng(seed)
    real = [np.concatenate([particles(rng, true, logit), noise(rng, false)]) for _ in range(micrographs)]
    return false_discovery(real, [noise(rng, decoy) for _ in range(micrographs)], 1.0)


def test_what_is_as_frequent_in_decoys_is_noise_and_what_decoys_lack_is_not() -> None:
    found = run(true=100, false=200, decoy=200)

    assert found.of(np.array([0.03, 0.05])).min() > 0.95
    assert found.of(np.array([0.99])).max() < 0.02
    assert not found.is_noise


def test_what_is_found_in_noise_is_counted_by_logit_and_smoothed_by_three_steps() -> None:
    scores = np.random.default_rng(5).beta(0.3, 4, 700).clip(1e-4, 0.9999)
    counts, _ = np.histogram(np.log(scores / (1 - scores)), np.arange(-7.0, 9.35, 0.1))

    found = false_discovery([scores], [scores], 1.0).found_in_noise

    assert np.allclose(found.density, gaussian_filter1d(counts.astype(float), 3, mode="constant"), rtol=0, atol=1e-12)


def test_the_rate_falls_with_the_score() -> None:
    scores = np.linspace(0.01, 0.999, 200)

    assert (np.diff(run(true=100, false=200, decoy=200).of(scores)) <= 1e-12).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_run_of_noise_is_told_as_such_and_keeps_nothing(seed: int) -> None:
    found = run(true=0, false=200, decoy=200, seed=seed)

    assert found.is_noise
    assert found.automatic_cut() == np.inf
    assert found.loudness == pytest.approx(1, abs=0.15)


def test_loudness_is_the_share_of_noise_that_particles_leave() -> None:
    assert run(true=100, false=50, decoy=200, logit=5).loudness == pytest.approx(0.25, abs=0.06)


def test_faint_particles_that_noise_does_not_explain_are_kept() -> None:
    found = run(true=60, false=200, decoy=200, logit=0.0)

    assert not found.is_noise
    assert 0.2 < found.automatic_cut() < 0.6


def test_the_cut_separates_what_can_be_separated() -> None:
    rng = np.random.default_rng(3)
    cut = run(true=100, false=200, decoy=200, seed=3).automatic_cut()

    assert (particles(rng, 10_000) >= cut).mean() > 0.85
    assert (noise(rng, 10_000) >= cut).mean() < 0.01


def test_twice_the_area_of_decoys_says_the_same() -> None:
    rng = np.random.default_rng(4)
    real = [np.concatenate([particles(rng, 100), noise(rng, 200)]) for _ in range(5)]
    decoys = [noise(rng, 200) for _ in range(10)]
    scores = np.array([0.05, 0.2, 0.4])

    once, twice = false_discovery(real, decoys[:5], 1.0), false_discovery(real, decoys, 0.5)

    assert once.of(scores) == pytest.approx(twice.of(scores), abs=0.08)


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
def test_a_cut_at_a_rate_keeps_the_rate_and_no_lower_one_does(rate: float) -> None:
    found = run(true=100, false=200, decoy=200, logit=2.0)

    cut = found.cut_at(rate)
    below = found.candidates[found.candidates < cut]

    assert found.rate(found.candidates[found.candidates >= cut]) <= rate
    assert found.rate(found.candidates[found.candidates >= below.max()]) > rate


def test_no_cut_reaches_a_rate_that_the_best_candidate_exceeds() -> None:
    assert run(true=0, false=50, decoy=50).cut_at(0.001) == np.inf


def test_picks_far_less_sure_than_their_fellows_go() -> None:
    sure = np.full(100, 0.99)
    found = false_discovery([np.concatenate([sure, np.full(20, 0.85)])], [np.full(10, 0.03)], 1.0)

    # The odds of 0.99 are 99; a tenth of them is those of 9.9 / 10.9.
    assert 0.85 < found.automatic_cut() <= 0.99


def test_a_few_picks_are_no_fellows() -> None:
    found = false_discovery([np.array([0.99] * 6 + [0.85] * 3)], [np.full(10, 0.03)], 1.0)

    assert found.automatic_cut() == pytest.approx(0.85)


def odds(score: float) -> float:
    return score / (1 - score)


DARK = [np.full(10, 0.03)]


def test_where_particles_are_fainter_fellows_are_those_half_way_to_the_rest_of_the_run() -> None:
    faint = np.concatenate([np.full(50, 0.8), np.full(5, 0.5)])
    cuts = false_discovery([np.full(100, 0.98)] * 3 + [faint], DARK, 1.0).own_cuts

    assert odds(cuts.cut(faint, 1.0)) == pytest.approx(np.sqrt(odds(0.98) * odds(0.8)) / 10)


def test_where_particles_are_surer_fellows_are_those_of_the_run() -> None:
    sure = np.concatenate([np.full(100, 0.99), np.full(5, 0.6)])
    cuts = false_discovery([np.full(100, 0.95)] * 5, DARK, 1.0).own_cuts

    assert odds(cuts.cut(sure, 1.0)) == pytest.approx(odds(0.95) / 10)


def test_picks_less_sure_than_their_fellows_stay_where_the_settings_say_so() -> None:
    sure = np.concatenate([np.full(100, 0.99), np.full(5, 0.6)])
    found = false_discovery([sure] * 3, DARK, 1.0)

    assert found.own_cuts.cut(sure, 1.0) > 0.6
    assert found.own_cuts.with_unsure.cut(sure, 1.0) == 0.6
    assert found.own_cuts.with_unsure.cut(np.array([0.99, 0.99, 0.6]), 1.0) == 0.6
    noise_alone = np.full(10, 0.03)
    assert found.own_cuts.with_unsure.cut(noise_alone, 1.0) == np.inf  # decoys count as before


def test_a_few_picks_have_the_fellows_of_the_run() -> None:
    cuts = false_discovery([np.full(100, 0.98)] * 3, DARK, 1.0).own_cuts

    assert odds(cuts.cut(np.array([0.99] * 3 + [0.8]), 1.0)) == pytest.approx(odds(0.98) / 10)


def test_faint_micrographs_keep_more_than_a_cut_of_the_whole_run_would() -> None:
    rng = np.random.default_rng(6)
    real = [np.concatenate([particles(rng, 100, logit), noise(rng, 200)]) for logit in (5.0, 5.0, 5.0, 0.5)]
    found = false_discovery(real, [noise(rng, 200) for _ in range(4)], 1.0)

    faint = found.own_cuts.cut(real[3], 1.0)
    assert faint < found.automatic_cut() - 0.2
    kept = real[3] >= faint
    assert kept[:100].mean() > 0.5 > 0.2 > (real[3] >= found.automatic_cut())[:100].mean()
    assert kept[100:].mean() < 0.05


def test_a_clear_micrograph_among_empty_ones_keeps_its_particles_and_they_nothing() -> None:
    rng = np.random.default_rng(7)
    empty = [noise(rng, 200) for _ in range(5)]
    clear = np.concatenate([particles(rng, 60), noise(rng, 200)])
    cuts = false_discovery(empty, [noise(rng, 200) for _ in range(5)], 1.0).own_cuts

    assert (clear >= cuts.cut(clear, 1.0))[:60].mean() > 0.9
    assert [cuts.cut(one, 1.0) for one in empty] == [np.inf] * 5


def test_guesses_of_a_run_of_noise_are_not_kept() -> None:
    rng = np.random.default_rng(8)
    cuts = false_discovery([noise(rng, 200)] * 5, [noise(rng, 200) for _ in range(5)], 1.0).own_cuts
    guesses = np.concatenate([np.full(12, 0.45), noise(rng, 200)])
    convincing = np.concatenate([np.full(12, 0.75), noise(rng, 200)])

    assert cuts.cut(guesses, 1.0) == np.inf
    assert cuts.cut(convincing, 1.0) <= 0.75


def test_a_run_of_guesses_keeps_only_what_noise_explains_a_twentieth_of() -> None:
    rng = np.random.default_rng(9)
    low = [logistic(rng.normal(-2.6, 0.8, 200)) for _ in range(10)]
    real = [np.concatenate([logistic(rng.normal(-0.4, 0.4, 60)), one]) for one in low[:5]]
    found = false_discovery(real, low[5:], 1.0)

    assert found.is_guesswork(found.best(0.2))
    strict = found.best(0.05)[0]
    assert strict > found.best(0.2)[0]
    assert found.automatic_cut() == pytest.approx(strict)


def guesses(seed: int = 9) -> FalseDiscovery:
    """A run whose candidates differ from noise and would be wrong more often than right."""
    rng = np.random.default_rng(seed)
    low = [logistic(rng.normal(-2.6, 0.8, 200)) for _ in range(10)]
    real = [np.concatenate([logistic(rng.normal(-0.4, 0.4, 60)), one]) for one in low[:5]]
    return false_discovery(real, low[5:], 1.0)


def test_guesses_that_other_sizes_show_too_are_kept_like_any_others() -> None:
    found = replace(guesses(), elsewhere=(0.01, 0.01))

    assert not found.is_noise
    assert found.automatic_cut() == pytest.approx(found.best(0.2)[0])
    assert found.automatic_cut() < guesses().automatic_cut()


def test_guesses_that_no_other_size_shows_are_noise() -> None:
    found = replace(guesses(), elsewhere=(0.4, 0.06))

    assert not guesses().is_noise
    assert found.is_noise
    assert found.automatic_cut() == np.inf


def test_one_size_of_three_decides_nothing() -> None:
    assert not replace(guesses(), elsewhere=(1.0, 0.01)).is_noise


def test_other_sizes_have_no_say_where_all_is_clear_or_all_is_noise() -> None:
    clear, empty = run(true=100, false=200, decoy=200), run(true=0, false=200, decoy=200)

    assert not replace(clear, elsewhere=(1.0, 1.0)).is_noise
    assert replace(clear, elsewhere=(1.0, 1.0)).automatic_cut() == clear.automatic_cut()
    assert replace(empty, elsewhere=(0.0, 0.0)).is_noise


def test_noise_of_a_larger_micrograph_is_more() -> None:
    rng = np.random.default_rng(10)
    found = run(true=60, false=200, decoy=200, logit=0.0)
    small = np.concatenate([particles(rng, 60, 0.0), noise(rng, 200)])

    assert found.own_cuts.cut(small, 4.0) > found.own_cuts.cut(small, 1.0)


def test_of_true_scores_the_expected_rate_is_the_true_one() -> None:
    """Candidates that are particles as often as their score says, and no noise that decoys know of."""
    rng = np.random.default_rng(5)
    scores = rng.uniform(0.4, 1, 5000)
    true = rng.uniform(size=5000) < scores

    found = false_discovery([scores], [np.full(5, 0.03)], 1.0)

    assert found.rate(scores[scores > 0.8]) == pytest.approx(1 - true[scores > 0.8].mean(), abs=0.02)


def test_empty_runs_say_nothing_and_break_nothing() -> None:
    found = false_discovery([np.zeros(0)], [np.zeros(0)], 1.0)

    assert found.rate(np.zeros(0)) == 0
    assert found.automatic_cut() == np.inf
    assert found.cut_at(0.05) == np.inf


# --- each rule by itself, by its formula -----------------------------------------------------------------------------


def some(**counts: int) -> np.ndarray:
    """Scores in thousandths, each so many times: ``some(_950=3)`` are three of 0.95."""
    return np.concatenate([np.full(n, int(name[1:]) / 1000) for name, n in counts.items()] or [np.zeros(0)])


def test_loudness_weighs_faint_candidates_by_what_they_are_not() -> None:
    real = [some(_50=30, _20=10), some(_19=7, _100=5, _900=20)]  # 0.02 is faint, 0.1 is not
    decoys = [some(_50=20, _20=10, _19=8, _100=5)]

    found = false_discovery(real, decoys, area_ratio=2.0)

    assert found.loudness == pytest.approx((30 * 0.95 + 10 * 0.98 + 1) / (2 * 30 + 1))
    assert found.micrographs == 2
    assert found.candidates.tolist() == sorted(np.concatenate(real))


@pytest.mark.parametrize("faint", [249, 526, 1000])
def test_noise_explains_what_decoys_have_and_more_or_less_of_it_as_faint_candidates_say(faint: int) -> None:
    found = false_discovery([some(_50=faint, _300=400)], [some(_50=250, _300=50)], area_ratio=2.0)

    loudness = (faint * 0.95 + 1) / 501
    assert found.noise_of(np.array([0.3])) == pytest.approx(loudness * 2 * 50 / 400)


def test_a_run_louder_than_its_decoys_has_to_show_that_much_more() -> None:
    decoys, clear = [some(_50=100, _400=3)], dict(_400=60, _700=20)

    quiet, loud = (false_discovery([some(_50=faint, **clear)], decoys, 1.0) for faint in (100, 300))

    above = slice(70, None)  # logits of which none is faint
    assert loud.tail[above] == pytest.approx(np.minimum(1, quiet.tail[above] * (300 * 0.95 + 1) / 101))


def test_noise_explains_all_that_there_is_and_no_more() -> None:
    found = false_discovery([some(_300=100)], [some(_300=300)], 1.0)

    assert found.noise_of(np.array([0.3])) == 1
    assert found.of(np.array([0.3])) == 1


def test_where_there_are_no_candidates_low_scores_are_noise_and_high_ones_are_not() -> None:
    found = false_discovery([some(_50=100, _950=100)], [some(_50=100)], 1.0)

    assert found.noise_of(np.array([0.0, 0.35, 0.47])).tolist() == [1, 1, 1]
    assert found.noise_of(np.array([0.53, 0.65, 0.95, 1.0])).tolist() == [0, 0, 0, 0]


def test_without_noise_a_candidate_is_false_as_its_score_says_less_what_noise_would_have_been() -> None:
    found = false_discovery([logistic(np.linspace(-6.9, 9.1, 5000))], [np.zeros(0)], 1.0)

    scores = np.linspace(0.01, 0.99, 981)
    of_noise = np.interp(scores, (0.35, 0.45, 0.55, 0.65, 0.75), (0.6, 0.49, 0.16, 0.05, 0.0))
    false = 1 - scores / (scores + (1 - scores) * (1 - of_noise))
    never_rising = np.array([false[i:].max() for i in range(len(false))])

    assert found.of(scores) == pytest.approx(never_rising, abs=0.01)
    assert found.of(np.array([0.76, 0.9])) == pytest.approx([0.24, 0.1], abs=0.004)
    assert found.expected_false(scores) == pytest.approx(found.rate(scores) * 981, abs=0.005)


def test_what_noise_explains_is_false_and_of_the_rest_what_the_score_says() -> None:
    found = false_discovery([some(_800=400)], [some(_800=200)], 1.0)

    assert found.of(np.array([0.8])) == pytest.approx([1 - 0.5 * 0.8], abs=0.01)


def test_the_cut_follows_the_expected_f1_of_what_noise_does_not_explain() -> None:
    real = [some(_400=100, _800=100)]

    # There are a tenth more particles than candidates add up to: with 10 of the hundred in noise 1.1 (80 + 36), and
    # 2 (80 + 36) / (200 + 127.6) = 0.708 is more than 2 x 80 / (100 + 127.6) = 0.703; but for that tenth it were less.
    assert false_discovery(real, [some(_400=10)], 1.0).automatic_cut() == pytest.approx(0.4)
    # With 15 of the hundred in noise: 2 (80 + 34) / (200 + 125.4) is less than 2 x 80 / (100 + 125.4).
    assert false_discovery(real, [some(_400=15)], 1.0).automatic_cut() == pytest.approx(0.8)


def test_nothing_is_kept_from_which_on_noise_explains_a_fifth() -> None:
    real = [some(_900=100, _990=20)]

    assert false_discovery(real, [some(_900=40)], 1.0).automatic_cut() == pytest.approx(0.99)
    assert false_discovery(real, [some(_900=8)], 1.0).automatic_cut() == pytest.approx(0.9)


@pytest.mark.parametrize(("sure", "odds"), [(990, 99), (999, 199)])
def test_the_least_of_a_pick_among_its_fellows_is_a_tenth_of_their_odds(sure: int, odds: float) -> None:
    """Beyond 0.995 sure ones count as 0.995."""
    least = odds / 10 / (1 + odds / 10)
    real = np.concatenate([np.full(100, sure / 1000), least + np.array([-0.01, 0.01])])

    found = false_discovery([real], [np.zeros(0)], 1.0)

    assert found.automatic_cut() == pytest.approx(least)


@pytest.mark.parametrize(("count", "cut"), [(9, 9.9 / 10.9), (8, 0.85)])
def test_ten_picks_are_fellows(count: int, cut: float) -> None:
    found = false_discovery([np.array([0.99] * count + [0.85])], [np.zeros(0)], 1.0)

    assert found.automatic_cut() == pytest.approx(cut)


def test_a_handful_of_candidates_may_be_noise_that_the_decoys_did_not_show() -> None:
    assert false_discovery([some(_900=5)], [np.zeros(0)], 1.0).is_noise
    assert not false_discovery([some(_900=30)], [np.zeros(0)], 1.0).is_noise
    assert false_discovery([some(_900=30)], [np.zeros(0)], 6.0).is_noise  # decoys of a sixth of the area
    assert false_discovery([some(_900=1)] * 30 + [np.zeros(0)], [np.zeros(0)], 1.0).is_noise  # less than one on each


def test_certain_candidates_count() -> None:
    found = false_discovery([np.ones(100)], [np.zeros(0)], 1.0)

    assert found.automatic_cut() == 1
    assert found.of(np.array([1.0])) == pytest.approx([0], abs=0.001)


def test_a_rate_that_is_just_reached_is_kept() -> None:
    found = false_discovery([some(_700=1)], [np.zeros(0)], 1.0)

    assert found.cut_at(found.rate(np.array([0.7]))) == 0.7
    assert found.cut_at(found.rate(np.array([0.7])) - 1e-9) == np.inf


@pytest.mark.parametrize(("right", "low", "high"), [(0, 0.0, 0.0), (12, 0.05, 0.6), (200, 1.0, 1.0)])
def test_how_clearly_a_run_differs_from_noise_has_degrees(right: int, low: float, high: float) -> None:
    rng = np.random.default_rng(3)
    noise = 1 / (1 + np.exp(-rng.normal(-4, 0.5, 400)))
    real = [np.concatenate([1 / (1 + np.exp(-rng.normal(-4, 0.5, 400))), np.full(right, 0.7)])]

    found = false_discovery(real, [noise], 1.0)

    assert low <= found.distinctness <= high
    assert found.is_noise == (found.distinctness == 0)
