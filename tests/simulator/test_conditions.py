"""Circumstances of simulated micrographs are those that labs meet."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from cryotx_cli.simulator.conditions import draw_conditions


@pytest.fixture(scope="module")
def draws():
    generator = np.random.default_rng(0)
    return [draw_conditions(generator) for _ in range(1500)]


def test_circumstances_are_those_of_the_specification(draws):
    optics = [c.optics for c in draws]
    voltages = np.array([o.voltage for o in optics])
    assert_allclose([(voltages == v).mean() for v in (300, 200, 100)], [0.75, 0.22, 0.03], atol=0.035)
    defoci = np.array([o.defocus for o in optics])
    assert np.median(defoci) == pytest.approx(1.6e4, rel=0.06)
    assert defoci.min() >= 3e3
    assert defoci.max() <= 4.5e4
    # Share of the area under discs in labelled sets, raised for what nobody labelled: 0.08, 0.28, 0.62.
    assert_allclose(np.quantile([c.coverage for c in draws], [0.1, 0.5, 0.9]), [0.06, 0.3, 0.63], atol=0.04)
    assert max(c.coverage for c in draws) <= 0.95
    thickness = np.array([c.ice_thickness for c in draws])
    assert np.median(thickness) == pytest.approx(350, rel=0.06)
    assert thickness.min() >= 150
    assert all(18 <= o.dose <= 65 and 20 <= o.b_factor <= 250 and 0.06 <= o.amplitude_contrast <= 0.12 for o in optics)
    assert all(0.15 <= c.dqe <= 0.95 and 0.05 <= c.ice_noise <= 0.4 for c in draws)
    assert np.mean([o.phase_shift > 0 for o in optics]) == pytest.approx(0.02, abs=0.012)


def test_a_good_day_has_clean_ice_and_fair_settings():
    generator = np.random.default_rng(0)
    for conditions in (draw_conditions(generator, 0.0) for _ in range(300)):
        assert 1.2e4 <= conditions.optics.defocus <= 2.8e4
        assert 35 <= conditions.optics.dose <= 60
        assert conditions.optics.phase_shift == conditions.optics.drift == 0
        assert conditions.dqe >= 0.5
        assert conditions.soup == conditions.fragments == conditions.film == conditions.artefacts == 0
        assert 0.12 <= conditions.coverage <= 0.4
        assert conditions.ice_thickness <= 500
