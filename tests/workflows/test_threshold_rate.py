"""The rate of false picks that is asked for, of what is left when classes are dropped."""

from pathlib import Path

import pytest

from averaged_runs import picked_and_averaged
from cryotx_cli.config import ThresholdConfig
from cryotx_cli.workflows.threshold import threshold


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rate")
    picked_and_averaged(folder)
    return folder


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("classes", ["none", "1", "2", "3", "1,2"])
def test_the_rate_holds_for_the_picks_that_are_left(folder: Path, rate: float, classes: str) -> None:
    done = threshold(folder / "p", ThresholdConfig(fdr=rate, drop_classes=classes))

    assert done.expected_false is not None
    assert done.expected_false / done.after <= rate
    # Nor is it far from it; of few picks, one more that is false would exceed it.
    assert done.expected_false > min(0.85 * rate * done.after, rate * (done.after + 1) - 1)


def test_the_same_picks_come_back(folder: Path) -> None:
    before = threshold(folder / "p", ThresholdConfig(fdr=0.2, drop_classes="none"))
    dropped = threshold(folder / "p", ThresholdConfig(drop_classes="1"))
    after = threshold(folder / "p", ThresholdConfig(drop_classes="none"))

    assert dropped.after < before.after == after.after
    assert dropped.expected_false <= 0.2 * dropped.after
