"""When a run says that the number of picks or their scores have changed."""

import numpy as np
import pytest

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.runs.drift import RECENT, Drift


def picks(count, score):
    return Particles(np.zeros((count, 2)), np.full(count, score), np.full(count, 50.0), 1.5)


def lines(counts, scores):
    drift = Drift()
    return [drift.add(picks(count, score)) for count, score in zip(counts, scores, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_scatter_is_no_drift(seed):
    rng = np.random.default_rng(seed)
    counts = rng.negative_binomial(20, 20 / 320, 600)  # mean 300, deviation 69
    assert not any(lines(counts, rng.normal(0.8, 0.03, 600)))


@pytest.mark.parametrize(("after", "way"), [(150, "fell from 300 to 150"), (450, "rose from 300 to 450"), (0, "to 0")])
def test_a_step_is_said_once_and_soon(after, way):
    said = lines([300] * 40 + [after] * 200, [0.8] * 240)
    when = [i for i, one in enumerate(said) if one]
    assert len(when) == 1
    assert 40 <= when[0] < 40 + RECENT
    assert way in said[when[0]][0]


def test_a_fall_of_the_scores_is_said():
    said = lines([300] * 60, [0.8] * 40 + [0.6] * 20)
    assert [one for one in said if one] == [
        ["Mean score of the picks fell from 0.80 to 0.60 (medians of all before and of the last 11)."]
    ]


def test_a_slow_fall_is_said():
    rng = np.random.default_rng(0)
    said = lines(rng.poisson(np.linspace(400, 100, 300)), [0.8] * 300)
    assert 1 <= sum(map(bool, said)) <= 8


def test_a_few_bad_micrographs_are_no_drift():
    counts = [300] * 100
    counts[50:54] = [0, 10, 0, 900]
    assert not any(lines(counts, [0.8] * 100))


def test_a_change_at_the_very_beginning_is_not_judged():
    assert not any(lines([0] * 5 + [300] * 24, [0.8] * 29))
