"""What a run has decided: made once, nothing left open, read back as it was."""

from dataclasses import replace

import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.errors import ConfigError
from cryotx_cli.runs.selection import ExpectedCount, ExpectedF1, Threshold
from cryotx_cli.runs.settled import read_settled, settle


def must_not_be_asked(*_):
    raise AssertionError("the settings say it")


def test_what_is_open_is_asked_for_and_the_rest_is_not():
    settled = settle(PickConfig(), estimate=lambda: 150.0, is_bright=lambda diameter: diameter == 150.0)
    assert (settled.diameter, settled.contrast) == (150.0, "bright")
    assert settled.selection.min_distance == 75.0
    given = PickConfig(diameter=90.0, contrast="dark", min_distance=30.0, edge=7.0, max_per_micrograph=5)
    settled = settle(given, must_not_be_asked, must_not_be_asked)
    assert (settled.diameter, settled.contrast) == (90.0, "dark")
    assert (settled.selection.min_distance, settled.selection.edge, settled.selection.max_picks) == (30.0, 7.0, 5)
    assert settled.selection.rule == ExpectedF1()


def test_the_settings_that_repeat_the_run_say_what_was_decided_and_not_how_long_it_waited(tmp_path):
    asked = PickConfig(watch=True, stop_after=5.0, threshold=0.4, edge=3.0)
    settled = settle(asked, estimate=lambda: 120.0, is_bright=lambda diameter: True)
    settled.save(tmp_path / "config.toml")
    assert settled.config == replace(asked, watch=False, stop_after=None, diameter=120.0, contrast="bright")
    assert read_settled(tmp_path / "config.toml") == settled


def test_settings_without_a_diameter_are_those_of_no_run(tmp_path):
    (tmp_path / "config.toml").write_text('threshold = 0.5\ndiameter = "auto"\n')
    with pytest.raises(ConfigError, match=r"config\.toml: says diameter = auto"):
        read_settled(tmp_path / "config.toml")


def test_a_changed_threshold_changes_the_picks_key_and_nothing_about_the_candidates():
    settled = settle(PickConfig(diameter=90.0), must_not_be_asked, lambda diameter: False)
    changed = settled.changed(threshold=0.7)
    assert changed.selection.rule == Threshold(0.7)
    assert (changed.diameter, changed.contrast) == (settled.diameter, settled.contrast)
    assert changed.picks_key("a") != settled.picks_key("a") != settled.picks_key("b")
    assert settled.changed(images=False).picks_key("a") == settled.picks_key("a")
    assert settled.changed(expected_count=9).selection.rule == ExpectedCount(9)


def test_box_files_are_written_if_both_settings_say_so():
    settled = settle(PickConfig(diameter=90.0, formats=("relion", "box")), must_not_be_asked, lambda diameter: False)
    assert settled.formats == ("relion", "box")
    assert settled.changed(boxes=False).formats == ("relion",)
