"""The report of a run, as `cryotx pick` writes it."""

import json
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.config import PickConfig, ThresholdConfig
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import DiameterEstimate, Located
from cryotx_cli.picking import decide
from cryotx_cli.report.run_report import write_run_report
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.threshold import threshold as choose_anew
from quick_picker import PickerWithoutNetwork
from report_in_browser import Page


class StubPicker(PickerWithoutNetwork):
    """Candidates that depend on the pixels alone."""

    fingerprint = "stub"

    def locate(self, prepared, micrograph):
        rng = np.random.default_rng(zlib.crc32(prepared.tobytes()))
        height, width = prepared.shape
        centres = rng.uniform((0, 0), (width, height), (60, 2))
        return Located(Particles(centres, rng.uniform(0, 1, 60), np.full(60, 10.0), micrograph.pixel_size))


def folder_of(tmp_path, count=3):
    (tmp_path / "mics").mkdir()
    for i in range(count):
        with mrcfile.new(tmp_path / f"mics/m{i}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(i).normal(0, 1, (96, 128)).astype(np.float32))
            mrc.voxel_size = 2.0
    return tmp_path / "mics"


def pick(inputs, out, **settings):
    run = start_pick(inputs, out, replace(PickConfig(diameter=20.0, no_classes=True), **settings), StubPicker())
    list(run)
    return run


@pytest.mark.parametrize(
    "more", [{}, {"edge": 20.0, "min_distance": 25.0}, pytest.param({"max_per_micrograph": 7}, marks=pytest.mark.slow)]
)
def test_the_counts_of_a_report_are_the_picks_of_a_run_with_that_threshold(tmp_path, more):
    mics = folder_of(tmp_path)
    pick([mics], tmp_path / "p.star", **more)
    page = Page(tmp_path / "p" / "report.html")
    for k in (0, 13, 42, 77, 100):
        pick([mics], tmp_path / "q.star", threshold=k / 100, report=False, **more)
        picks = read_particles_star(tmp_path / "q.star")
        expected = [len(picks.get(name, ())) for name in page.data["full_names"]]
        assert page.counts()[:, k:].sum(axis=1).tolist() == expected
    assert page.data["picks"] == [len(found) for found in read_particles_star(tmp_path / "p.star").values()]
    assert page.data["names"] == ["m0", "m1", "m2"]


class PickerInNoise(StubPicker):
    """Finds particles with better scores in micrographs than in noise, which has no brightness."""

    compares_with_noise = True

    def locate(self, prepared, micrograph):
        found = super().locate(prepared, micrograph).particles
        scores = found.scores ** (40 if abs(np.median(prepared)) < 5 else 1)
        return Located(Particles(found.centres, scores, found.diameters, found.pixel_size))


@pytest.fixture
def compared(tmp_path):
    """A run that was compared with noise."""
    mics = tmp_path / "mics"
    mics.mkdir()
    for i in range(3):
        with mrcfile.new(mics / f"m{i}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(i).normal(50, 1, (256, 320)).astype(np.float32))
            mrc.voxel_size = 2.0
    list(start_pick([mics], tmp_path / "p.star", PickConfig(diameter=20.0, no_classes=True), PickerInNoise()))
    return tmp_path / "p"


def test_expected_false_picks_are_those_that_the_threshold_command_tells(compared):
    page = Page(compared / "report.html")
    of_scores = page.data["expected_false"]["of_scores"]
    rows = read_run(compared).picked
    assert page.data["expected_false"]["written"] == pytest.approx(sum(row.expected_false for row in rows), abs=0.02)
    assert 0 < page.data["expected_false"]["automatic"] < 1
    assert page.data["threshold"] is None  # each micrograph has one of its own
    for k in (0, 20, 55, 90):
        chosen = choose_anew(compared, ThresholdConfig(threshold=k / 100, images=False))
        assert sum(of_scores[k:]) == pytest.approx(chosen.expected_false, abs=0.05)
        assert page.counts()[:, k:].sum() == chosen.after


@pytest.mark.parametrize(
    ("chosen", "shown"), [({}, "auto"), ({"expected_count": 12}, "best 12"), ({"percentile": 30.0}, "−30 %")]
)
def test_the_slider_names_what_chose_the_picks(tmp_path, chosen, shown):
    pick([folder_of(tmp_path)], tmp_path / "p.star", **chosen)
    page = Page(tmp_path / "p/report.html")
    assert (page.data["threshold"], page.data["own_cuts"]) == (None, shown)


def test_a_run_without_decoys_has_no_rate(tmp_path):
    pick([folder_of(tmp_path)], tmp_path / "p.star")
    page = Page(tmp_path / "p/report.html")
    assert page.data["expected_false"] is None
    assert "false" not in page.text.lower()


@pytest.mark.slow
def test_what_the_terminal_says_of_the_picks_is_in_the_report(compared):
    run = start_pick([compared.parent / "mics"], compared.with_suffix(".star"), PickConfig(diameter=20.0), Noise())
    list(run)
    (told,) = [event.text for event in run.events if "than in noise" in event.text]
    page = Page(compared / "report.html")
    assert told in page.text
    assert page.data["keeps_nothing"]
    assert page.data["threshold"] is None
    assert sum(page.data["picks"]) == 0
    before = (compared / "report.html").read_bytes()
    choose_anew(compared, ThresholdConfig(threshold="auto"))
    assert (compared / "report.html").read_bytes() == before


class Noise(StubPicker):
    """Finds the same in micrographs and in noise."""

    compares_with_noise = True
    fingerprint = "noise"


def test_skipped_micrographs_and_their_reasons_are_in_the_report(tmp_path):
    mics = folder_of(tmp_path)
    (mics / "m1.mrc").write_text("no image")
    pick([mics], tmp_path / "p.star")
    page = Page(tmp_path / "p" / "report.html")
    assert (page.data["positions"], page.data["skipped"]) == ([0, 2], [1])
    assert f"{mics}/m1.mrc: truncated" in page.text


def test_defocus_comes_from_the_micrographs_star(tmp_path, monkeypatch):
    folder_of(tmp_path, 4)
    star = tmp_path / "micrographs_ctf.star"
    star.write_text(
        "data_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnDefocusU #2\n"
        "mics/m0.mrc 12345.6\nmics/m1.mrc nan\nmics/m2.mrc 20000\nmics/m3.mrc inf\n"
    )
    monkeypatch.chdir(tmp_path)
    pick([star], tmp_path / "p.star")
    assert Page(tmp_path / "p" / "report.html").data["defocus"] == [12345.6, None, 20000.0, None]


def test_a_run_that_goes_on_ends_with_the_report_of_one_that_was_never_stopped(tmp_path, monkeypatch):
    folder_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    pick(["mics"], "p.star")
    whole = Path("p/report.html").read_bytes()
    shutil.rmtree("p")
    Path("p.star").unlink()
    run = start_pick(["mics"], "p.star", PickConfig(diameter=20.0), StubPicker())
    next(iter(run))
    del run
    Path("p/thumbnails/m0.jpg").unlink(missing_ok=True)
    pick(["mics"], "p.star")
    assert Path("p/report.html").read_bytes() == whole
    assert sorted(path.name for path in Path("p/thumbnails").iterdir()) == ["m0.jpg", "m1.jpg", "m2.jpg"]


def test_a_thumbnail_never_outlives_its_micrograph(tmp_path):
    mics = folder_of(tmp_path, 1)
    pick([mics], tmp_path / "p.star")
    before = (tmp_path / "p/thumbnails/m0.jpg").read_bytes()
    with mrcfile.new(mics / "m0.mrc", overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(9).normal(0, 1, (96, 130)).astype(np.float32))
        mrc.voxel_size = 2.0
    pick([mics], tmp_path / "p.star", report=False)
    assert not (tmp_path / "p/thumbnails/m0.jpg").exists()
    assert not (tmp_path / "p/report.html").exists()  # it would show the picks of another image
    pick([mics], tmp_path / "p.star", images=False)
    assert (tmp_path / "p/thumbnails/m0.jpg").read_bytes() != before


def test_own_thumbnails_are_not_picked(tmp_path):
    mics = folder_of(tmp_path)
    pick([mics], mics / "p.star")
    assert pick([mics], mics / "p.star").summary.micrographs == 3


def test_the_folder_is_enough_to_write_the_report_again(tmp_path):
    mics = folder_of(tmp_path)
    pick([mics], tmp_path / "p.star")
    report = tmp_path / "p/report.html"
    before = report.read_bytes()
    report.unlink()
    shutil.rmtree(mics)
    write_run_report(read_run(tmp_path / "p"))
    assert report.read_bytes() == before


def test_the_report_tells_when_where_and_by_which_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path)
    pick(["mics"], Path("out/p.star"))
    unknown = Page(tmp_path / "out/p/report.html").text
    assert f"Folder {tmp_path}/out/p " in " ".join(unknown.split())
    assert "started on" not in unknown
    assert "Command" not in unknown
    start = {"day": "2026-03-01", "folder": str(tmp_path), "command": "cryotx pick mics --out 'out/p.star' <b>"}
    (tmp_path / "out/p/start.json").write_text(json.dumps(start))
    choose_anew(Path("out/p"), ThresholdConfig(threshold=0.7), "cryotx threshold out/p --threshold 0.7")
    page = Page(tmp_path / "out/p/report.html")
    said = " ".join(page.text.split())
    assert ", started on 1 March 2026 " in said
    assert f"Started in {tmp_path} Command cryotx pick mics --out 'out/p.star' <b> " in said
    assert "Picks chosen by cryotx threshold out/p --threshold 0.7 " in said
    assert "b" not in [tag for tag, _ in page.tags]
    first = (tmp_path / "out/p/report.html").read_bytes()
    write_run_report(read_run(Path("out/p")))
    assert (tmp_path / "out/p/report.html").read_bytes() == first


@pytest.mark.parametrize(("each", "doubtful"), [((19.0, 20.0, 21.0), False), ((10.0, 20.0, 41.0), True)])
def test_how_a_diameter_was_estimated_is_told_and_doubted(tmp_path, monkeypatch, each, doubtful):
    mics = folder_of(tmp_path)
    estimate = DiameterEstimate(20.25, each, 3)
    monkeypatch.setattr(decide, "estimate_diameter", lambda *_: estimate)
    run = pick([mics], tmp_path / "p.star", diameter="auto")
    said = " ".join(Page(tmp_path / "p/report.html").text.split())
    assert f"Diameter estimated {estimate} " in said
    told = [str(event) for event in run.events if "not sure" in str(event)]
    assert len(told) == doubtful
    assert ("not sure" in said) == doubtful
    assert all(text in said for text in told)
    pick([mics], tmp_path / "p.star", diameter=30.0)  # given: what was estimated before does not count
    assert "estimated" not in Page(tmp_path / "p/report.html").text
