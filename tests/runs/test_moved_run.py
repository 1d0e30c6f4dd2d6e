"""A run that is moved or copied together with its project goes on where it lies now."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.config import PickConfig, ThresholdConfig
from cryotx_cli.coordinates.formats.star import read_coordinate_index
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.threshold import threshold
from made_up_runs import noise
from quick_picker import QuickPicker

CONFIG = PickConfig(diameter=30.0, threshold=0.5)
STAR = "CtfFind/job003/micrographs_ctf.star"
RUN = "External/job010/particles.star"
NAMES = [f"MotionCorr/job002/Movies/m{number}.mrc" for number in range(3)]


class Counted(QuickPicker):
    """Counts what the network sees."""

    seen = 0

    def locate(self, prepared, micrograph):
        type(self).seen += 1
        return super().locate(prepared, micrograph)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A RELION project, its micrographs picked."""
    folder = tmp_path / "projA"
    for number, name in enumerate(NAMES):
        write_micrograph(folder / name, noise(64, 64, number), 1.2)
    (folder / STAR).parent.mkdir(parents=True)
    (folder / STAR).write_text("data_micrographs\n\nloop_\n_rlnMicrographName #1\n" + "\n".join(NAMES) + "\n")
    monkeypatch.chdir(folder)
    pick()
    return folder


def pick():
    Counted.seen = 0
    list(start_pick(STAR, RUN, CONFIG, Counted()))
    return Counted.seen


def redraw(**settings):
    run = threshold(RUN, ThresholdConfig(**settings))
    return [picture.error for picture in run]


def moved(project, monkeypatch, how):
    place = project.parent / "projB"
    match how:
        case "moved":
            project.rename(place)
        case "copied with its times":
            shutil.copytree(project, place)
        case "copied":
            shutil.copytree(project, place, copy_function=shutil.copyfile)
            shutil.rmtree(project)
    monkeypatch.chdir(place)
    return place


WAYS = ["moved", "copied with its times", "copied"]


@pytest.mark.parametrize("how", WAYS)
def test_pictures_and_names_are_those_of_the_new_place(project, monkeypatch, how):
    before = {path.name: path.read_bytes() for path in Path("External").rglob("*.png")}
    place = moved(project, monkeypatch, how)

    assert redraw(threshold=0.7) == [None, None, None]

    after = {path.name: path.read_bytes() for path in Path("External").rglob("*.png")}
    assert before.keys() == after.keys()
    index = Path("External/job010/particles/relion/autopick.star")
    assert str(place.parent) not in index.read_text()
    assert [name for name, _ in read_coordinate_index(index)] == NAMES
    run = read_run(Path(RUN), to_read=True)
    assert [run.folder.micrograph_of(row) for row in run.picked] == [place / name for name in NAMES]


@pytest.mark.parametrize("how", WAYS)
def test_the_network_does_not_run_again(project, monkeypatch, how):
    before = Path(RUN).read_text()
    moved(project, monkeypatch, how)

    assert pick() == 0
    assert Path(RUN).read_text() == before


def test_a_micrograph_of_the_same_size_and_time_with_another_image_is_picked_anew(project, monkeypatch):
    place = moved(project, monkeypatch, "copied with its times")
    file = place / NAMES[1]
    times = file.stat()
    write_micrograph(file, noise(64, 64, 9), 1.2)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert pick() == 1


def test_the_same_name_elsewhere_is_another_micrograph(project, monkeypatch):
    """Of another day, with files of the same second: the picks are those of the other images."""
    other = project.parent / "projC"
    shutil.copytree(project / "CtfFind", other / "CtfFind")
    for number, name in enumerate(NAMES):
        write_micrograph(other / name, noise(64, 64, 10 + number), 1.2)
        times = (project / name).stat()
        os.utime(other / name, ns=(times.st_atime_ns, times.st_mtime_ns))
    monkeypatch.chdir(other)
    Counted.seen = 0

    list(start_pick(STAR, project / RUN, CONFIG, Counted()))

    assert Counted.seen == 3


def test_pictures_that_cannot_be_drawn_stay_where_the_picks_do(project):
    shutil.rmtree("MotionCorr")
    before = {path: path.read_bytes() for path in Path("External").rglob("*.png")}

    assert redraw(edge=0.0) == [None, None, None]
    assert {path: path.read_bytes() for path in Path("External").rglob("*.png")} == before
    assert all("no such file" in error for error in redraw(threshold=0.9))
    assert not list(Path("External").rglob("*.png"))


def test_old_ledgers_are_looked_up_by_name(project, monkeypatch):
    place = moved(project, monkeypatch, "moved")
    ledger = read_run(Path(RUN)).folder.ledger
    ledger.start([replace(row, from_run=None) for row in ledger.read().values()])

    run = read_run(Path(RUN), to_read=True)

    assert [run.folder.micrograph_of(row) for row in run.picked] == [place / name for name in NAMES]


def test_links_that_lead_to_themselves_are_skipped_with_a_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_micrograph("mics/a.mrc", np.asarray(noise(64, 64)), 1.2)
    Path("mics/loop.mrc").symlink_to("loop.mrc")

    results = {result.file.name: result.error for result in start_pick("mics", "p.star", CONFIG, QuickPicker())}

    assert results == {
        "mics/a.mrc": None,
        "mics/loop.mrc": "mics/loop.mrc: no such file, but a link that leads nowhere",
    }


def test_a_name_that_is_no_text_is_picked_drawn_and_read_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"mics/caf\xe9.mrc")
    write_micrograph(name, noise(64, 64), 1.2)

    (result,) = start_pick("mics", "p.star", CONFIG, QuickPicker())

    assert (result.file.name, result.error) == (name, None)
    assert list(Path("p/png").iterdir()) == [Path(os.fsdecode(b"p/png/caf\xe9.png"))]
    assert redraw_of("p") == [None]


def redraw_of(run):
    return [picture.error for picture in threshold(run, ThresholdConfig(threshold=0.1))]
