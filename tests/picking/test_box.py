"""One number, the side of the boxes, gives what is dropped at the edge, the box files and what to extract."""

from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.config import CheckConfig, PickConfig, ThresholdConfig
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.workflows.check import check
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.threshold import threshold
from made_up_runs import noise
from quick_picker import QuickPicker

SIDE = 200


@pytest.fixture(autouse=True)
def micrographs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        write_micrograph(f"mics/{number}.mrc", noise(SIDE, SIDE, number), 1.5)


def pick(out="p.star", **settings):
    run = start_pick("mics", out, PickConfig(diameter=30.0, threshold=0.0, **settings), QuickPicker())
    list(run)
    return run


def margins(star="p.star"):
    """How far each pick is from the edge, in pixels, at least; pixels are centred on whole numbers."""
    centres = np.vstack([one.centres for one in read_particles(Path(star)).values()])
    return np.minimum(centres + 0.5, SIDE - 0.5 - centres).min(axis=1)


def test_picks_without_room_for_a_box_are_dropped_and_box_files_have_it():
    run = pick(box=64)

    assert margins().min() >= 32
    sides = {tuple(line.split()[2:]) for path in Path("p/box").iterdir() for line in path.read_text().splitlines()}
    assert sides == {("64", "64")}
    assert run.summary.box == 64
    assert run.summary.dropped_at_border > 0
    assert not [event for event in run.events if "edge" in event.text]


def test_without_it_boxes_are_one_and_a_half_diameters_and_the_warning_says_what_to_type():
    run = pick()

    assert run.summary.box == 30  # 1.5 times 30 Å of 1.5 Å each
    (warning,) = [event.text for event in run.events if "nearer to the edge than half a box of 30 px" in event.text]
    assert "cryotx threshold p --edge 22.5 removes them" in warning
    near = int((margins() < 15).sum())
    assert f"{near} of {len(margins())} picks" in warning
    list(threshold("p", ThresholdConfig(edge=22.5)))
    assert len(margins()) > 0
    assert margins().min() >= 15


def test_a_run_that_is_thresholded_with_a_box_is_the_run_that_picks_with_it():
    pick()
    list(threshold("p", ThresholdConfig(box=64)))
    pick("q.star", box=64)

    assert Path("p.star").read_text() == Path("q.star").read_text()
    assert pick(box=64).summary.resumed == 2


def test_the_check_of_a_run_knows_its_diameter_and_its_box():
    pick()
    findings = {one.check: one for one in check("p.star", "mics", CheckConfig()).findings}
    assert "half a box of 30 px" in findings["edge"].summary
    assert "cryotx threshold p --edge 22.5" in findings["edge"].advice

    pick(box=64)
    findings = {one.check: one for one in check("p", "mics", CheckConfig()).findings}
    assert findings["edge"].level == "pass"
    assert "a box of 64 px" in findings["edge"].summary


def test_what_is_asked_for_goes_before_what_the_run_knows():
    pick(box=64)

    (edge,) = [one for one in check("p", "mics", CheckConfig(box=120)).findings if one.check == "edge"]

    assert "half a box of 120 px" in edge.summary
