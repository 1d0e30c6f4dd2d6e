"""Nobody's file is overwritten by a run of picking."""

import shutil
from pathlib import Path

import pytest

from cryotx_cli.config import PickConfig, ThresholdConfig
from cryotx_cli.errors import ConfigError
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.threshold import threshold
from made_up_runs import noise
from quick_picker import QuickPicker

CONFIG = PickConfig(diameter=30.0, threshold=0.5)
RELION = """
# version 50001

data_optics

loop_
_rlnOpticsGroup #1
_rlnMicrographPixelSize #2
1 1.2

data_particles

loop_
_rlnMicrographName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
mics/a.mrc 10 20
"""


@pytest.fixture(autouse=True)
def micrographs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        write_micrograph(tmp_path / "mics" / f"{'ab'[number]}.mrc", noise(64, 64, number), 1.2)


def pick(out="particles.star"):
    return list(start_pick("mics", out, CONFIG, QuickPicker()))


def test_a_star_file_of_another_program_is_kept():
    Path("particles.star").write_text(RELION)

    with pytest.raises(ConfigError, match=r"--out particles\.star: there already, and no run of cryotx pick"):
        pick()

    assert Path("particles.star").read_text() == RELION
    assert not Path("particles").exists()


def test_one_that_has_taken_the_place_of_a_run_s_is_kept():
    pick()
    Path("particles.star").write_text(RELION)

    with pytest.raises(ConfigError, match="not what the run beside it has written"):
        pick()
    with pytest.raises(ConfigError, match="not what the run beside it has written"):
        threshold("particles", ThresholdConfig(threshold=0.3))

    assert Path("particles.star").read_text() == RELION


def test_one_whose_run_is_no_longer_there_is_kept():
    pick()
    shutil.rmtree("particles")

    with pytest.raises(ConfigError, match=r"particles\.star: there already"):
        pick()


def test_a_run_goes_on_with_its_own_file():
    pick()

    assert all(result.resumed for result in pick())


@pytest.mark.parametrize(
    "name", ["config.toml", "box/m1.box", "png/drawing.png", "report.html", "classes/it25.mrcs", "dropped.json"]
)
def test_files_of_others_in_the_folder_beside_it_are_kept(name):
    theirs = Path("particles") / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text('title = "another program"\n')

    with pytest.raises(ConfigError, match=f"would replace what is in particles/{name.partition('/')[0]}, which no run"):
        pick()

    assert theirs.read_text() == 'title = "another program"\n'
    assert [path for path in Path("particles").rglob("*") if path.is_file()] == [theirs]


def test_a_folder_of_micrographs_may_become_that_of_the_run_with_a_word_of_warning():
    told = []
    assert len(list(start_pick("mics", "mics.star", CONFIG, QuickPicker(), told.append))) == 2
    assert [event.text for event in told if "among the micrographs" in event.text and event.level == "warning"] == [
        "The run writes into mics, among the micrographs. --out mics_picks.star would keep them apart."
    ]

    told.clear()
    assert len(list(start_pick("mics", "mics.star", CONFIG, QuickPicker(), told.append))) == 2
    assert not any("among the micrographs" in event.text for event in told)  # said once


@pytest.mark.parametrize("left", [[], ["config.toml"], ["diameter.json"]])
def test_a_run_that_was_stopped_at_its_beginning_goes_on(left):
    pick()
    kept = {name: Path("particles", name).read_text() if Path("particles", name).exists() else "{}" for name in left}
    shutil.rmtree("particles")
    Path("particles.star").unlink()
    Path("particles").mkdir()
    for name, content in kept.items():
        Path("particles", name).write_text(content)

    assert len(pick()) == 2
