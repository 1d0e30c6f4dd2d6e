"""Picking what arrives: files that grow, lists that grow, stops of every kind, and carrying on."""

import json
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.errors import MicrographError
from cryotx_cli.picking import overview
from cryotx_cli.runs import arrivals
from cryotx_cli.workflows import pick as workflow
from cryotx_cli.workflows.pick import start_pick
from quick_picker import PickerWithoutNetwork

WATCH = PickConfig(diameter=60.0, threshold=0.5, watch=True, stop_after=20.0, images=False, no_classes=True)


class StubPicker(PickerWithoutNetwork):
    """Candidates that depend on the pixels alone."""

    fingerprint = "stub"

    def __init__(self, interrupt_on=""):
        self.seen, self.interrupt_on = [], interrupt_on

    def locate(self, prepared, micrograph):
        if micrograph.source.name == self.interrupt_on:
            raise KeyboardInterrupt
        self.seen.append(micrograph.source.name)
        rng = np.random.default_rng(zlib.crc32(prepared.tobytes()))
        height, width = prepared.shape
        return Located(
            Particles(rng.uniform(0, (width, height), (30, 2)), rng.uniform(0, 1, 30), np.full(30, 30.0), 2.0)
        )

    def estimate_diameter(self, micrographs):
        return 50.0 + float(micrographs[0].image.std() > 0)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(arrivals, "STILL_SECONDS", 0.1)
    monkeypatch.setattr(workflow, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(overview, "_MERGE_SECONDS", 0.0)


def mrc_bytes(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.parent / f".{path.name}.tmp"
    with mrcfile.new(whole, overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(seed).normal(0, 1, (64, 96)).astype(np.float32))
        mrc.voxel_size = 2.0
    content = whole.read_bytes()
    whole.unlink()
    return content


def write_mrc(path, seed=0):
    path.write_bytes(mrc_bytes(path, seed))
    return path


def names(star):
    return [Path(name).name for name in read_particles_star(star)]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "p.star"


@pytest.fixture
def mics(tmp_path):
    write_mrc(tmp_path / "mics/a.mrc", 1)
    return tmp_path / "mics"


def test_what_arrives_is_picked_when_it_is_whole_and_the_star_file_follows(mics, out):
    content = mrc_bytes(mics / "c.mrc", 3)
    come, followed = [], []
    run = start_pick([mics], out, WATCH, StubPicker())
    for result in run:
        assert result.error is None
        come.append(result.file.path.name)
        followed.append(names(out) if out.exists() else [])
        if come == ["a.mrc"]:
            (mics / "c.mrc").write_bytes(content[:-100])  # still growing
            write_mrc(mics / "b.mrc", 2)
        elif come == ["a.mrc", "b.mrc"]:
            assert run.waiting == 1
            (mics / "c.mrc").write_bytes(content)
        elif len(come) == 3:
            run.stop_file.touch()
    assert come == ["a.mrc", "b.mrc", "c.mrc"]
    assert followed == [[], ["a.mrc"], ["a.mrc", "b.mrc"]]
    assert names(out) == come
    assert (run.summary.micrographs, run.summary.skipped, run.summary.left) == (3, (), 0)
    assert not run.stop_file.exists()
    assert (out.parent / "p/report.html").exists()
    assert not list(out.parent.rglob("*.tmp"))


def test_the_same_command_goes_on_and_a_plain_run_agrees(mics, out, tmp_path):
    brief = replace(WATCH, stop_after=0.5)
    list(start_pick([mics], out, brief, StubPicker()))
    write_mrc(mics / "b.mrc", 2)
    picker = StubPicker()
    results = list(start_pick([mics], out, brief, picker))
    assert [(result.file.path.name, result.resumed) for result in results] == [("a.mrc", True), ("b.mrc", False)]
    assert picker.seen == ["b.mrc"]
    watched = out.read_bytes()
    plain = replace(WATCH, watch=False, stop_after=None)
    picker = StubPicker()
    assert [result.resumed for result in start_pick([mics], out, plain, picker)] == [True, True]
    list(start_pick([mics], tmp_path / "fresh/p.star", plain, StubPicker()))
    assert (out.parent / "p/config.toml").read_bytes() == (tmp_path / "fresh/p/config.toml").read_bytes()
    assert watched == out.read_bytes() == (tmp_path / "fresh/p.star").read_bytes()


def test_folders_that_come_later_keep_their_names(mics, out):
    write_mrc(mics / "square1/a.mrc", 4)
    for result in (run := start_pick([mics], out, WATCH, StubPicker())):
        if result.file.path == mics / "square1/a.mrc":
            write_mrc(mics / "square2/a.mrc", 5)
        elif result.file.path == mics / "square2/a.mrc":
            run.stop()
    boxes = {path.relative_to(out.parent / "p/box").as_posix() for path in out.parent.rglob("*.box")}
    assert boxes == {"a.box", "square1/a.box", "square2/a.box"}


def test_a_file_that_never_becomes_whole_is_named_at_the_end(mics, out):
    (mics / "cut.mrc").write_bytes(mrc_bytes(mics / "cut.mrc")[:5000])
    run = start_pick([mics], out, replace(WATCH, stop_after=0.5), StubPicker())
    results = list(run)
    assert [result.file.path.name for result in results if result.error] == ["cut.mrc"]
    assert "cut.mrc: truncated" in run.summary.skipped[0].error
    assert names(out) == ["a.mrc"]


def test_a_file_that_stands_still_too_long_is_skipped_and_gets_another_chance(mics, out, monkeypatch):
    monkeypatch.setattr(arrivals, "PATIENCE_SECONDS", 0.3)
    content = mrc_bytes(mics / "late.mrc", 7)
    (mics / "late.mrc").write_bytes(content[:5000])
    errors = []
    for result in (run := start_pick([mics], out, WATCH, StubPicker())):
        if result.file.path.name == "late.mrc":
            errors.append(result.error)
            (mics / "late.mrc").write_bytes(content)
            if len(errors) == 2:
                run.stop()
    assert "truncated" in errors[0]
    assert errors[1] is None
    assert run.summary.skipped == ()
    assert names(out) == ["a.mrc", "late.mrc"]


def test_a_replaced_micrograph_is_picked_again_and_counts_once(mics, out):
    counts = []
    for result in (run := start_pick([mics], out, WATCH, StubPicker())):
        counts.append(len(result.particles))
        if len(counts) == 1:
            time.sleep(0.02)  # another time of modification
            write_mrc(mics / "a.mrc", 99)
        else:
            run.stop()
    assert run.summary.micrographs == 1
    assert run.summary.particles == counts[1] == len(next(iter(read_particles_star(out).values())))


def test_a_star_list_that_grows(tmp_path, mics, out):
    header = "data_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnDefocusU #2\n"
    star = tmp_path / "micrographs_ctf.star"
    star.write_text(header + "mics/a.mrc 10000\n")
    write_mrc(mics / "unlisted.mrc", 5)
    come = []
    for result in (run := start_pick([star], out, WATCH, StubPicker())):
        come.append(result.file.name)
        if len(come) == 1:
            write_mrc(mics / "b.mrc", 2)
            star.write_text(header + "mics/a.mrc 10000\nmics/b.mrc 12000\nmics/never.mrc 12000\n")
        else:
            run.stop()
            break
    assert come == ["mics/a.mrc", "mics/b.mrc"]
    rows = [json.loads(line) for line in (out.parent / "p/ledger.jsonl").read_text().splitlines()]
    assert [row["defocus"] for row in rows] == [10000.0, 12000.0]


def test_a_listed_micrograph_that_does_not_come_is_named(tmp_path, mics, out):
    star = tmp_path / "micrographs.star"
    star.write_text("data_\nloop_\n_rlnMicrographName #1\nmics/a.mrc\nmics/never.mrc\n")
    run = start_pick([star], out, replace(WATCH, stop_after=0.5), StubPicker())
    assert [result.error for result in run] == [None, "mics/never.mrc: no such file"]


@pytest.mark.parametrize("how", ["interrupt", "stop", "file"])
def test_a_stop_leaves_everything_in_order(mics, out, how):
    for seed, name in enumerate("bcdefgh"):
        write_mrc(mics / f"{name}.mrc", seed)
    run = start_pick([mics], out, WATCH, StubPicker("c.mrc" if how == "interrupt" else ""))
    done = []
    for result in run:
        done.append(result.file.path.name)
        if how == "stop":
            run.stop()
        elif how == "file":
            run.stop_file.touch()
    picked = names(out)
    assert set(done) <= set(picked)
    assert 1 <= len(picked) < 8
    assert run.summary.left == 8 - len(picked)
    assert any("Not picked yet" in message for message in map(str, run.events))
    assert run.summary.skipped == ()
    assert not list(out.parent.rglob("*.tmp"))


def test_nothing_came(tmp_path, out):
    (tmp_path / "mics").mkdir()
    run = start_pick([tmp_path / "mics", str(tmp_path / "*.mrc")], out, replace(WATCH, stop_after=0.2), StubPicker())
    assert list(run) == []
    assert (run.summary.micrographs, run.summary.left) == (0, 0)
    assert not out.exists()


def test_a_folder_that_does_not_exist_is_an_error(tmp_path, out):
    with pytest.raises(MicrographError, match="nowhere"):
        start_pick([tmp_path / "nowhere"], out, WATCH, StubPicker())


def test_previews_and_own_pictures_are_no_micrographs(mics):
    (mics / "b.png").write_bytes(b"a preview whose micrograph has not come yet")
    run = start_pick([mics], mics / "p.star", replace(WATCH, stop_after=0.5, images=True), StubPicker())
    assert [result.file.path.name for result in run] == ["a.mrc"]


def test_two_micrographs_that_topaz_cannot_tell_apart(mics, out):
    for result in (run := start_pick([mics], out, replace(WATCH, formats=("topaz",)), StubPicker())):
        if result.error is None:
            write_mrc(mics / "sub/a.mrc", 3)
        else:
            run.stop()
    assert "sub/a.mrc" in run.summary.skipped[0].error
    assert names(out) == ["a.mrc"]


def test_a_disk_that_is_full_for_a_while_does_not_end_the_watch(mics, out, monkeypatch):
    write = workflow.PickFolder.write_merged
    full = [True, True]

    def full_at_first(self, *args):
        if full:
            full.pop()
            raise OSError(28, "No space left on device")
        write(self, *args)

    monkeypatch.setattr(workflow.PickFolder, "write_merged", full_at_first)
    run = start_pick([mics], out, replace(WATCH, stop_after=1.0), StubPicker())
    assert [result.error for result in run] == [None]
    assert any("No space left" in message for message in map(str, run.events))
    assert names(out) == ["a.mrc"]


def test_the_diameter_is_estimated_from_the_first_and_kept(mics, out):
    auto = replace(WATCH, diameter="auto", stop_after=0.5)
    later = threading.Timer(0.2, write_mrc, (mics / "b.mrc", 2))
    later.start()
    run = start_pick([mics], out, auto, StubPicker())
    assert [result.file.path.name for result in run] == ["a.mrc", "b.mrc"]
    assert (run.diameter, run.estimate.tried) == (51.0, 2)
    picker = StubPicker()
    picker.estimate_diameter = None  # is not asked again
    write_mrc(mics / "c.mrc", 3)
    run = start_pick([mics], out, auto, picker)
    assert [result.resumed for result in run] == [True, True, False]
    assert run.diameter == 51.0


def test_nothing_to_estimate_from(tmp_path, out):
    (tmp_path / "mics").mkdir()
    with pytest.raises(MicrographError, match="no micrograph has arrived"):
        start_pick([tmp_path / "mics"], out, replace(WATCH, diameter="auto", stop_after=0.2), StubPicker())


def test_a_change_of_level_is_said_once(mics, out, monkeypatch):
    locate = StubPicker.locate

    def fewer_later(self, prepared, micrograph):
        found = locate(self, prepared, micrograph)
        return found if micrograph.source.stem < "m50" else Located(found.particles.select(np.arange(1)))

    monkeypatch.setattr(StubPicker, "locate", fewer_later)
    for i in range(10, 65):
        write_mrc(mics / f"m{i}.mrc", i)
    run = start_pick([mics], out, replace(WATCH, stop_after=0.5, report=False, formats=()), StubPicker())
    said = []
    run.events.listen(lambda event: said.append(event) if event.level == "warning" else None)
    said_after = [result.file.path.name for result in run if said and said.pop(0)]
    assert len(said_after) == 1
    assert "m50.mrc" < said_after[0] < "m60.mrc"
    (event,) = [event for event in run.events if "fell" in event.text]
    assert event.level == "warning"
    assert "m50.mrc" < Path(event.micrograph).name < "m60.mrc"
