"""What a run says of its picks as a whole."""

from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.events import Event
from cryotx_cli.runs.diagnosis import Diagnosis, keep_diagnosis
from cryotx_cli.runs.false_discovery import FalseDiscovery, false_discovery
from cryotx_cli.runs.folder import LedgerRow
from cryotx_cli.runs.settled import settle
from cryotx_cli.runs.verdict import verdict

SCORES = [np.linspace(0.02, 0.98, 60)]
NOISE = false_discovery(SCORES, SCORES, 1.0)
CLEAR = false_discovery(SCORES, [np.full(20, 0.03)], 1.0)


def said(
    *picks_and_false: tuple[int, float | None],
    found: FalseDiscovery | None = CLEAR,
    threshold: float | None = None,
    folder: Path = Path("my/particles"),
) -> list[Event]:
    config = PickConfig(diameter=100.0, threshold="auto" if threshold is None else threshold)
    settled = settle(config, lambda: 0.0, lambda diameter: False).with_cut(found)
    rows = [
        LedgerRow(i, f"m{i}.mrc", f"m{i}.mrc", f"m{i}", "key", candidates=60, picks=picks, expected_false=false)
        for i, (picks, false) in enumerate(picks_and_false)
    ]
    return list(verdict(rows, found, settled, folder))


def test_a_run_of_which_most_is_right_has_nothing_to_say() -> None:
    assert said((10, 1.0), (20, 8.0)) == []


def test_noise_is_a_warning_and_empty_micrographs_are_not_counted_beside_it() -> None:
    (event,) = said((0, 0.0), (0, 0.0), found=NOISE)

    assert event.level == "warning"
    assert "no more candidates than in noise" in event.text


def test_picks_of_a_run_that_is_noise_as_a_whole_may_be_dirt() -> None:
    (event,) = said((0, 0.0), (10, 1.0), (0, 0.0), found=NOISE)

    assert event.level == "warning"
    assert event.text.startswith(
        "2 of 3 micrographs show no more than noise of the same spectrum. In the others 10 pick"
    )


def test_what_a_look_has_said_of_noise_is_not_said_again_in_other_words(tmp_path: Path) -> None:
    keep_diagnosis(tmp_path, Diagnosis("noise", "This run shows no more than noise. The exception: 10 picks."), "key")

    (event,) = said((0, 0.0), (10, 1.0), (0, 0.0), found=NOISE, folder=tmp_path)

    assert event.text.startswith("This run shows no more than noise.")


def test_picks_that_hardly_convince_in_every_micrograph_are_beside_noise() -> None:
    (event,) = said((10, 1.0), found=NOISE)

    assert event.text.startswith("There is little more than noise of the same spectrum: 10 picks")


def test_micrographs_without_picks_are_counted() -> None:
    (event,) = said((0, 0.0), (10, 1.0), (0, 0.0))

    assert event.level == "note"
    assert event.text.startswith("2 of 3 micrographs show ")


def test_one_micrograph_without_picks_shows_nothing() -> None:
    (event,) = said((0, 0.0))

    assert event.text.startswith("1 of 1 micrograph shows nothing")


@pytest.mark.parametrize("found", [NOISE, CLEAR])
def test_a_threshold_of_the_user_is_not_argued_with(found: FalseDiscovery) -> None:
    assert said((0, 0.0), (10, 4.0), found=found, threshold=0.5) == []


def test_more_false_picks_than_right_ones_are_told_with_the_command_that_keeps_fewer() -> None:
    (event,) = said((10, 6.0), (10, 5.0), threshold=0.1)

    assert event.level == "warning"
    assert "11 of 20" in event.text
    assert "cryotx threshold my/particles --fdr 0.2" in event.text
    assert said((10, 5.0), (10, 5.0), threshold=0.1) == []


def test_without_decoys_nothing_is_said_of_false_picks() -> None:
    assert said((10, None), (10, None), found=None) == []
