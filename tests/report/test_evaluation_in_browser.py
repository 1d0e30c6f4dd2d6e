"""What the report of picks against the truth does in a browser."""

import numpy as np
import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.topaz import write_topaz
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.evaluate import evaluate
from cryotx_cli.workflows.pick import start_pick
from report_in_browser import require_browser
from runs_with_truth import DIAMETER, NAMES, StubPicker, hits_at_cuts, other_picks, pick, reported

require_browser()


class PickerInNoise(StubPicker):
    """The same, and little in noise, which has the brightness of no micrograph."""

    compares_with_noise = True

    def locate(self, prepared, micrograph):
        if prepared.std() < 2:
            found = Particles([[30.0, 30.0], [90.0, 90.0]], [0.05, 0.3], [DIAMETER] * 2, micrograph.pixel_size)
            return Located(found)
        return super().locate(prepared, micrograph)


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
        tmp_path / "t.txt",
        [(name, other_picks(i, lambda rng, n: rng.normal(-1, 3, n))) for i, name in enumerate(NAMES)],
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
