"""The report of picks against the truth: its numbers against `evaluate`, its pictures, its work in a browser."""

import base64
import json
import shutil
from dataclasses import replace

import cv2
import mrcfile
import numpy as np
import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.csv import write_csv
from cryotx_cli.coordinates.formats.star import read_particles_star, write_particles_star
from cryotx_cli.coordinates.formats.topaz import write_topaz
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.report.crop import CROP_DIAMETERS
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.evaluate import evaluate, evaluation_report
from cryotx_cli.workflows.pick import start_pick
from quick_picker import PickerWithoutNetwork
from report_in_browser import Page

DIAMETER = 24.0  # px; 2 Å each
SHAPE = (400, 560)
NAMES = ["m0", "m1", "m2", "m3", "m4"]


def true_centres(i):
    grid = np.array([[x, y] for x in range(50, 540, 60) for y in range(50, 380, 60)], float)
    return grid + np.random.default_rng(i).uniform(-8, 8, grid.shape)


class StubPicker(PickerWithoutNetwork):
    """Finds most of the particles and as much else, known by the brightness of the micrograph."""

    fingerprint = "stub"

    def locate(self, prepared, micrograph):
        i = round(float(np.median(prepared)) / 100)
        rng, true = np.random.default_rng(100 + i), true_centres(i)
        near = true[rng.random(len(true)) < 0.9]
        points = np.vstack([near + rng.normal(0, 4, near.shape), rng.uniform(0, SHAPE[::-1], (50, 2))])
        scores = np.concatenate([rng.beta(5, 2, len(near)), rng.beta(2, 5, 50)])
        if i == 4:
            points, scores = points[:3], np.full(3, 0.01)  # a micrograph without a pick
        return Located(Particles(points, scores, np.full(len(points), DIAMETER), micrograph.pixel_size))


class PickerInNoise(StubPicker):
    """The same, and little in noise, which has the brightness of no micrograph."""

    compares_with_noise = True

    def locate(self, prepared, micrograph):
        if prepared.std() < 2:
            found = Particles([[30.0, 30.0], [90.0, 90.0]], [0.05, 0.3], [DIAMETER] * 2, micrograph.pixel_size)
            return Located(found)
        return super().locate(prepared, micrograph)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Five micrographs of dark discs, their truth, and a run that picked them."""
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "mics").mkdir()
    rows, columns = np.indices(SHAPE)
    for i, name in enumerate(NAMES):
        image = np.random.default_rng(i).normal(100 * i, 4, SHAPE)
        for x, y in true_centres(i):
            image[np.hypot(columns - x, rows - y) < DIAMETER / 2] -= 12
        with mrcfile.new(folder / f"mics/{name}.mrc") as mrc:
            mrc.set_data(image.astype(np.float32))
            mrc.voxel_size = 2.0
        truth = Particles(true_centres(i), np.ones(54), np.full(54, DIAMETER), 2.0)
        write_csv(folder / f"truth/{name}.csv", truth)
    pick(folder, folder / "p.star", threshold=0.5)
    return folder


def pick(data, out, **settings):
    settings = {"diameter": DIAMETER * 2, "images": False, **settings}
    list(start_pick([data / "mics"], out, replace(PickConfig(), **settings), StubPicker()))


def reported(out, picks, truth, **more):
    """Write a report; return its page, the evaluation and the messages."""
    result = evaluate(picks, truth)
    report = evaluation_report(result, out, picks, truth, **more)
    names = list(report)
    assert len(names) == len(report)
    return Page(out), result, [event.text for event in report.events]


def hits_at_cuts(page):
    return np.frombuffer(base64.b64decode(page.data["truth"]["hits_at_cuts"]), "<u2").reshape(-1, 101)


def crops_of(page, kind):
    return [crop for crop in json.loads(page.script(id="crop-data"))["crops"] if crop["kind"] == kind]


# ---- what the file holds ---------------------------------------------------------------------------------------------


def test_hits_at_every_threshold_are_those_of_evaluating_a_run_with_it(data, tmp_path):
    page, result, messages = reported(tmp_path / "r.html", data / "p.star", data / "truth")
    assert not messages
    assert page.data["truth"]["hits"] == [row.counts.matched for row in result.micrographs]
    assert page.data["picks"] == [row.counts.picks for row in result.micrographs]
    assert page.data["truth"]["labels"] == [54] * 5
    assert page.data["truth"]["hits"][4] == 0
    for k in (13, 50, 77):
        pick(data, tmp_path / "q.star", threshold=k / 100, report=False)
        expected = [row.counts.matched for row in evaluate(tmp_path / "q.star", data / "truth").micrographs]
        assert hits_at_cuts(page)[:, k].tolist() == expected
        assert sum(expected) > 0
    assert page.data["command"] == f"cryotx threshold {data / 'p'} --threshold"


def test_the_summary_tells_the_numbers_without_a_script(data, tmp_path):
    page, result, _ = reported(tmp_path / "r.html", data / "p.star", data / "truth")
    words = " ".join(page.text.split())
    for name, value in (("F1", result.counts.f1), ("Precision", result.counts.precision),
                        ("Recall", result.counts.recall), ("Average precision", result.average_precision)):  # fmt: skip
        assert f"{name} {value:.3f}" in words
    assert "Labels 270" in words
    assert "up to 0.5 diameters apart" in words
    assert "Labels are seldom complete" in words


def test_crops_show_every_miss_and_false_pick_where_it_is(data, tmp_path):
    page, result, _ = reported(tmp_path / "r.html", data / "p.star", data / "truth")
    counts = result.counts
    misses, false = crops_of(page, "miss"), crops_of(page, "false")
    assert len(misses) == min(120, counts.truth - counts.matched)
    assert len(false) == counts.picks - counts.matched
    assert [one["score"] for one in false] == sorted((one["score"] for one in false), reverse=True)
    known = [one["score"] for one in misses if one["score"] is not None]
    assert known == sorted(known, reverse=True)
    assert max(known) < 0.5
    picks = read_particles_star(data / "p.star")
    for one in false:
        centres = picks[page.data["full_names"][one["position"]].replace("m", f"{data}/mics/m", 1) + ".mrc"].centres
        assert np.linalg.norm(centres - (one["x"], one["y"]), axis=1).min() < 0.2
    rows, columns = (np.indices((120, 120)) - 59.5) * CROP_DIAMETERS / 120
    inside, outside = np.hypot(rows, columns) < 0.4, np.hypot(rows, columns) > 0.6
    darker = []
    for one in misses:
        assert np.linalg.norm(true_centres(one["position"]) - (one["x"], one["y"]), axis=1).min() < 0.1
        grey = cv2.imdecode(np.frombuffer(base64.b64decode(one["jpeg"]), np.uint8), cv2.IMREAD_GRAYSCALE)
        darker.append(grey[outside].mean() - grey[inside].mean())
    assert min(darker) > 60  # each of them shows a dark disc in its middle


def test_the_folder_of_a_run_stands_for_its_star_file(data, tmp_path):
    reported(tmp_path / "a.html", data / "p.star", data / "truth")
    reported(tmp_path / "b.html", data / "p", data / "truth")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_picks_that_were_edited_are_shown_without_the_candidates_of_the_run(data, tmp_path):
    shutil.copytree(data / "p", tmp_path / "p")
    picks = read_particles_star(data / "p.star")
    edited = {name: found.select(np.arange(20)) if "m1" in name else found for name, found in picks.items()}
    write_particles_star(tmp_path / "p.star", list(edited.items()))
    page, result, messages = reported(tmp_path / "r.html", tmp_path / "p.star", data / "truth")
    assert [message[:3] for message in messages] == ["m1:"]
    assert page.data["picks"] == [row.counts.picks for row in result.micrographs]
    assert page.counts()[1].sum() == 20
    assert page.counts()[0].sum() > page.data["picks"][0]


def test_a_run_need_not_be_writable_and_stays_as_it_is(data, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    reported(tmp_path / "r.html", data / "p.star", data / "truth")
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_micrographs_are_found_where_the_user_says(data, tmp_path):
    picks = [(f"elsewhere/{name}.mrc", found) for name, found in zip(NAMES, map(_picks, range(5)), strict=True)]
    write_particles_star(tmp_path / "q.star", picks)
    bare, _, messages = reported(tmp_path / "bare.html", tmp_path / "q.star", data / "truth")
    assert len(messages) == 1
    assert "5 of 5 micrographs are without a picture" in messages[0]
    assert not any(crop["jpeg"] for crop in crops_of(bare, "miss"))
    page, _, messages = reported(
        tmp_path / "r.html", tmp_path / "q.star", data / "truth", micrographs=data / "mics", pixel_size=2.0
    )
    assert not messages
    assert all(crop["jpeg"] for crop in crops_of(page, "miss"))
    assert all(page.script(id=f"m{i}") for i in range(5))
    assert [(entry["width"], entry["height"]) for entry in page.data["gallery"]] == [SHAPE[::-1]] * 5
    assert page.data["gallery"][0]["pixel_size"] == 2.0


def _picks(i, scores=None):
    rng, points = np.random.default_rng(i), true_centres(i)[10:] + 3
    points = np.vstack([points, rng.uniform(0, SHAPE[0], (9, 2))])
    return Particles(points, rng.random(len(points)) if scores is None else scores(rng, len(points)), points[:, 0], 2.0)


def test_a_micrograph_of_another_size_is_not_shown(data, tmp_path):
    shutil.copytree(data / "mics", tmp_path / "mics")
    with mrcfile.new(tmp_path / "mics/m2.mrc", overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(0).normal(0, 1, (200, 280)).astype(np.float32))
    page, _, messages = reported(tmp_path / "r.html", data / "p.star", data / "truth", micrographs=tmp_path / "mics")
    assert len(messages) == 1
    assert "m2.mrc: has 280 x 200 px, the picks are on 560 x 400 px" in messages[0]
    # The small picture of the run stands in.
    assert all(crop["jpeg"] for crop in crops_of(page, "miss"))


def test_scores_that_are_no_probabilities_have_a_slider_of_their_own(data, tmp_path):
    write_topaz(
        tmp_path / "t.txt", [(name, _picks(i, lambda rng, n: rng.normal(-1, 3, n))) for i, name in enumerate(NAMES)]
    )
    page, result, _ = reported(tmp_path / "r.html", tmp_path / "t.txt", data / "truth", micrographs=data / "mics")
    scores = np.concatenate([row.picks.scores for row in result.micrographs])
    assert page.data["scores"] == [scores.min(), scores.max()]
    assert page.data["command"] is None
    assert page.data["adjustable"]
    at_least = page.counts()[:, ::-1].cumsum(axis=1)[:, ::-1].sum(axis=0)
    low, high = page.data["scores"]
    for k in (0, 25, 60, 100):
        cut = low + (high - low) * k / 100 if k < 100 else high
        assert at_least[k] == np.count_nonzero(scores >= cut)


def test_picks_without_scores_have_no_slider(data, tmp_path):
    picks = [(f"{name}.mrc", _picks(i, lambda _, n: np.ones(n))) for i, name in enumerate(NAMES)]
    write_particles_star(tmp_path / "q.star", picks)
    page, _, _ = reported(tmp_path / "r.html", tmp_path / "q.star", data / "truth", micrographs=data / "mics")
    assert not page.data["adjustable"]
    assert [tag for tag, given in page.tags if given.get("id") == "rates-section" and "hidden" in given]


def test_what_is_on_one_side_only_is_named(data, tmp_path):
    shutil.copytree(data / "truth", tmp_path / "truth")
    (tmp_path / "truth/m3.csv").unlink()
    page, _, _ = reported(tmp_path / "r.html", data / "p.star", tmp_path / "truth")
    words = " ".join(page.text.split())
    assert "Left out" in words
    assert "mics/m3.mrc picks, but no labels" in words
    assert page.data["names"] == ["m0", "m1", "m2", "m4"]


def test_names_are_text_and_never_markup(data, tmp_path):
    hostile = "<img src=x onerror=alert(1)>&amp;"
    write_csv(tmp_path / f"truth/{hostile}.csv", _picks(0))
    write_particles_star(tmp_path / "q.star", [(f"{hostile}.mrc", _picks(0)), (f"{hostile}2.mrc", _picks(1))])
    page, _, _ = reported(tmp_path / "r.html", tmp_path / "q.star", tmp_path / "truth")
    assert not [tag for tag, _ in page.tags if tag == "img" and "src" in dict(_)]
    assert page.data["full_names"] == [hostile]


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, data, tmp_path):
    page, result, _ = reported(tmp_path / "r.html", data / "p.star", data / "truth")
    browser.open(tmp_path / "r.html")
    browser.settle()
    yield browser, page, result
    assert not browser.of("Runtime.exceptionThrown")
    assert not browser.of("Runtime.consoleAPICalled")
    assert not browser.of("Log.entryAdded")


def set_cut(browser, value):
    browser.run(
        f"(() => {{ const cut = document.getElementById('cut'); cut.value = {value};"
        "cut.dispatchEvent(new Event('input')); cut.dispatchEvent(new Event('change')); })()"
    )
    browser.settle()


def rates(browser):
    return [float(browser.text(f"#now-{name}")) for name in ("precision", "recall", "f1")]


def visible(browser, gallery):
    return browser.run(f"[...document.querySelectorAll('#{gallery} li')].filter(one => one.checkVisibility()).length")


@pytest.mark.slow
def test_rates_table_and_galleries_follow_the_slider(opened, data, tmp_path):
    browser, _, result = opened
    counts = result.counts
    assert rates(browser) == pytest.approx([counts.precision, counts.recall, counts.f1], abs=6e-4)
    assert visible(browser, "false") == counts.picks - counts.matched
    for threshold in (0.35, 0.7):
        set_cut(browser, threshold)
        pick(data, tmp_path / "q.star", threshold=threshold, report=False)
        there = evaluate(tmp_path / "q.star", data / "truth")
        assert rates(browser) == pytest.approx([there.counts.precision, there.counts.recall, there.counts.f1], abs=6e-4)
        table = browser.run(
            "[...document.querySelectorAll('#agreement tbody tr')].map(row => [...row.cells].map(c => c.textContent))"
        )
        assert [row[0] for row in table] == NAMES
        for row, expected in zip(table, there.micrographs, strict=True):
            n = expected.counts
            assert [int(cell) for cell in row[1:6]] == [
                n.truth, n.picks, n.matched, n.truth - n.matched, n.picks - n.matched,
            ]  # fmt: skip
            assert float(row[8]) == pytest.approx(n.f1, abs=6e-4)
        # What a lower threshold finds is no miss any more, what a higher one drops no false pick.
        shown = [visible(browser, "misses"), visible(browser, "false")]
        assert (shown[0] < counts.truth - counts.matched) == (threshold < 0.5)
        assert (shown[1] < counts.picks - counts.matched) == (threshold > 0.5)
    browser.run("document.getElementById('reset').click()")
    browser.settle()
    assert rates(browser)[2] == pytest.approx(counts.f1, abs=6e-4)


@pytest.mark.slow
def test_the_highest_f1_is_where_the_button_leads(opened):
    browser, page, _ = opened
    hits = hits_at_cuts(page).sum(axis=0, dtype=int)
    picks = page.counts()[:, ::-1].cumsum(axis=1)[:, ::-1].sum(axis=0)
    f1 = 2 * hits / (picks + 270)
    browser.run("document.getElementById('best').click()")
    browser.settle()
    assert browser.text("#cut-value") == f"{np.argmax(f1) / 100:.2f}"
    assert rates(browser)[2] == pytest.approx(f1.max(), abs=6e-4)
    assert f"{f1.max():.3f}" in browser.text("#best")
    assert browser.text("#command").endswith(f"--threshold {np.argmax(f1) / 100:.2f}")


@pytest.mark.slow
def test_pictures_tell_hits_misses_and_false_picks_apart(opened):
    browser, _, _ = opened
    browser.run("document.getElementById('gallery').scrollIntoView()")
    browser.settle()
    near = browser.run(
        "(() => { const c = document.querySelector('#gallery canvas'), d = document.createElement('canvas');"
        "[d.width, d.height] = [c.width, c.height]; const x = d.getContext('2d', {willReadFrequently: true});"
        "x.drawImage(c, 0, 0); const p = x.getImageData(0, 0, c.width, c.height).data;"
        "const style = getComputedStyle(document.documentElement);"
        "return ['hit', 'false', 'miss'].map(name => { const n = parseInt(style.getPropertyValue('--' + name)"
        ".trim().slice(1), 16), rgb = [n >> 16, n >> 8 & 255, n & 255]; let found = 0;"
        "for (let i = 0; i < p.length; i += 4)"
        "found += p[i + 3] > 200 && rgb.every((v, j) => Math.abs(v - p[i + j]) < 60); return found; }); })()"
    )
    assert min(near) > 20
    browser.run("document.getElementById('show').value = 'picks'")
    browser.run("document.getElementById('show').dispatchEvent(new Event('change'))")
    browser.settle()
    assert browser.run("document.getElementById('score-key').checkVisibility()")
    assert not browser.run("document.getElementById('agreement-key').checkVisibility()")


@pytest.mark.slow
def test_the_galleries_are_within_reach_of_the_keyboard(opened):
    browser, _, result = opened
    stops = "[...document.querySelectorAll('#{} button')].filter(one => one.tabIndex === 0).length"
    for gallery in ("misses", "false"):
        assert browser.run(stops.format(gallery)) == 1
    browser.run("document.querySelector('#false button').focus()")
    browser.press("ArrowRight")
    second = browser.run("document.activeElement === document.querySelectorAll('#false button')[1]")
    assert second
    label = browser.run("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("False pick on m")
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    browser.press("Enter")
    assert browser.run("document.getElementById('viewer').open")
    assert f" {label.split()[3].rstrip(',')}.mrc" in " " + browser.text("#viewer-name").replace("/", " ") + ".mrc"
    assert "hits" in browser.text("#viewer-facts")
    browser.press("Escape")
    assert browser.run("document.activeElement.getAttribute('aria-label')") == label
    # A heading of the table sorts, worst first.
    browser.run("[...document.querySelectorAll('#agreement th button')].at(-1).focus()")
    browser.press("Enter")
    order = browser.run("[...document.querySelectorAll('#agreement tbody tr')].map(row => row.cells[0].textContent)")
    f1 = {row.name: row.counts.f1 for row in result.micrographs}
    assert order == sorted(f1, key=f1.get)
    assert (
        browser.run("[...document.querySelectorAll('#agreement th')].at(-1).getAttribute('aria-sort')") == "ascending"
    )


@pytest.mark.slow
def test_scores_of_another_program_move_the_slider_without_a_command(browser, data, tmp_path):
    write_topaz(
        tmp_path / "t.txt", [(name, _picks(i, lambda rng, n: rng.normal(-1, 3, n))) for i, name in enumerate(NAMES)]
    )
    _, result, _ = reported(tmp_path / "r.html", tmp_path / "t.txt", data / "truth")
    browser.open(tmp_path / "r.html")
    browser.settle()
    set_cut(browser, 0.6)
    scores = np.concatenate([row.picks.scores for row in result.micrographs])
    cut = scores.min() + 0.6 * np.ptp(scores)
    assert browser.text("#total") == f"{np.count_nonzero(scores >= cut)}"
    assert float(browser.text("#cut-value").replace("−", "-")) == pytest.approx(cut, abs=0.006)
    assert not browser.run("document.getElementById('command').checkVisibility()")
    assert not browser.run("document.getElementById('reliability-section').checkVisibility()")
    assert not browser.of("Runtime.exceptionThrown")


@pytest.mark.slow
def test_the_precision_that_decoys_promise_stands_beside_the_true_one(browser, data, tmp_path):
    config = PickConfig(diameter=DIAMETER * 2, images=False, threshold=0.5)
    list(start_pick([data / "mics"], tmp_path / "p.star", config, PickerInNoise()))
    page, result, _ = reported(tmp_path / "r.html", tmp_path / "p.star", data / "truth")
    run = read_run(tmp_path / "p.star")
    scores = np.concatenate([run.available(row)[0].scores[: row.picks] for row in run.picked])
    expected = 1 - run.false_discovery.rate(scores)
    assert f"Precision {result.counts.precision:.3f} expected from decoys: {expected:.3f}" in " ".join(
        page.text.split()
    )
    browser.open(tmp_path / "r.html")
    browser.settle()
    assert browser.text("#expected-precision") == f"(expected {expected:.3f})"
    browser.run("document.getElementById('cut').focus()")
    browser.press("ArrowRight")
    expected = 1 - run.false_discovery.rate(scores[scores >= 0.51])
    assert browser.text("#expected-precision") == f"(expected {expected:.3f})"
    assert not browser.of("Runtime.exceptionThrown")


def test_a_run_without_decoys_promises_no_precision(data, tmp_path):
    page, *_ = reported(tmp_path / "r.html", data / "p.star", data / "truth")
    assert "expected" not in page.text
