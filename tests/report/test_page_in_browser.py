"""What a report does in a browser."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.events import Event
from cryotx_cli.report.model import ReportMicrograph
from cryotx_cli.report.page import write_report
from cryotx_cli.report.thumbnail import write_thumbnail
from cryotx_cli.runs.false_discovery import false_discovery
from cryotx_cli.runs.start import Start
from made_up_runs import CONFIG, HOSTILE, compared, micrograph, noise, run_of
from report_in_browser import Page, require_browser

require_browser()


@pytest.fixture
def micrographs(tmp_path):
    """Twelve, of 80 candidates but for one of 700, one with a name that would run if it could, and one skipped."""
    write_thumbnail(tmp_path / "t.jpg", noise(300, 400), 10**5)
    names = [HOSTILE, *(f"mics/m{i}.mrc" for i in range(1, 12))]
    shown = [
        micrograph(name, 700 if i == 5 else 80, i, thumbnail=tmp_path / "t.jpg", defocus=8000.0 + 900 * i)
        for i, name in enumerate(names)
    ]
    return [*shown[:7], ReportMicrograph(HOSTILE, error=HOSTILE), *shown[7:]]


@pytest.fixture
def opened(browser, micrographs, tmp_path):
    write_report(tmp_path / "report.html", run_of(folder="my run"), micrographs)
    browser.open(tmp_path / "report.html")
    browser.settle()
    yield browser
    assert not browser.of("Runtime.exceptionThrown")
    assert not browser.of("Runtime.consoleAPICalled")
    assert not browser.of("Log.entryAdded")
    requests = [one["request"]["url"] for one in browser.of("Network.requestWillBeSent")]
    assert [url for url in requests if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
    assert browser.run("window.hacked") is None


def counts_at(micrographs, threshold):
    return np.array([np.count_nonzero(one.candidates.scores >= threshold) for one in micrographs if not one.error])


def outliers(counts):
    """The rule as the page states it."""
    median = np.median(counts)
    spread = max(1.4826 * np.median(np.abs(counts - median)), np.sqrt(median), 1)
    return np.abs(counts - median) > 3.5 * spread


# Read from a copy: Chromium warns of a canvas that is read again and again, and the page itself never does.
PIXELS = (
    "(() => { const c = document.querySelector('#gallery canvas'), copy = document.createElement('canvas');"
    "[copy.width, copy.height] = [c.width, c.height];"
    "const context = copy.getContext('2d', {willReadFrequently: true});"
    "context.drawImage(c, 0, 0); return context.getImageData(0, 0, c.width, c.height).data; })()"
)


def drawn(browser):
    """The picture of the first card, and how many of its pixels have colour."""
    return browser.run(
        f"(() => {{ const d = {PIXELS}; let n = 0;"
        "for (let i = 0; i < d.length; i += 4) n += Math.abs(d[i] - d[i + 2]) > 40;"
        "return [document.querySelector('#gallery canvas').toDataURL(), n]; })()"
    )


@pytest.mark.slow
def test_the_slider_moves_count_picture_and_command(opened, micrographs):
    written_counts = counts_at(micrographs, 0.5)
    assert opened.text("#total") == f"{written_counts.sum():,}"
    assert not opened.run("document.getElementById('as-picked').hidden")
    assert opened.run("document.getElementById('other').hidden")
    before, coloured = drawn(opened)
    assert coloured > 500
    opened.run("document.getElementById('cut').focus()")
    for step in range(1, 21):
        opened.press("ArrowRight")
        expected = counts_at(micrographs, (50 + step) / 100)
        assert opened.text("#total") == f"{expected.sum():,}"
    assert opened.text("#command") == "cryotx threshold 'my run' --threshold 0.70"
    assert opened.text("#cut-value") == "0.70"
    assert opened.text("#change").strip() == f"(−{written_counts.sum() - expected.sum():,})"
    shown = opened.run("[...document.querySelectorAll('#gallery .count')].map(one => parseInt(one.textContent))")
    assert shown == expected.tolist()
    after, fewer = drawn(opened)
    assert after != before
    assert 0 < fewer < coloured
    opened.run("document.getElementById('reset').click()")
    opened.settle()
    assert opened.text("#total") == f"{written_counts.sum():,}"
    assert drawn(opened)[0] == before


@pytest.mark.slow
def test_expected_false_picks_follow_the_slider(browser, micrographs, tmp_path):
    found = compared(micrographs)
    write_report(tmp_path / "report.html", run_of(found=found), micrographs)
    browser.open(tmp_path / "report.html")
    browser.settle()
    scores = np.concatenate([one.candidates.scores for one in micrographs if one.candidates])

    def said(threshold):
        kept = scores[scores >= threshold]
        return f"{found.of(kept).sum():,.0f}", f"({found.of(kept).mean():.1%})".replace("%", " %")

    assert (browser.text("#false-total"), browser.text("#false-share")) == said(0.5)
    browser.run("document.getElementById('cut').focus()")
    for step in range(1, 6):
        browser.press("ArrowLeft")
        assert (browser.text("#false-total"), browser.text("#false-share")) == said((50 - step) / 100)
    assert browser.text("#command") == "cryotx threshold particles --threshold 0.45"
    assert browser.text("#automatic-cut") == f"automatic cuts ▲ around {found.automatic_cut():.2f}"
    # The mark lies where the middle of the thumb would be if it stood there.
    place = browser.run(
        "(() => { const [mark, track] = ['.automatic', '.track'].map(one => document.querySelector(`#bar ${one}`)"
        ".getBoundingClientRect()); return (mark.x + mark.width / 2 - track.x - 8) / (track.width - 16); })()"
    )
    assert place == pytest.approx(found.automatic_cut(), abs=0.01)
    browser.run("document.getElementById('reset').click()")
    browser.settle()
    assert (browser.text("#false-total"), browser.text("#false-share")) == said(0.5)
    assert not browser.of("Runtime.exceptionThrown")


@pytest.mark.slow
def test_without_decoys_nothing_is_said_of_false_picks(opened):
    assert "expected to be false" not in opened.run("document.body.innerText").lower()
    assert "automatic cut" not in opened.run("document.body.innerText")
    assert opened.run("[...document.querySelectorAll('.automatic')].every(one => !one.checkVisibility())")


@pytest.mark.slow
def test_a_run_that_keeps_nothing_shows_none_and_its_candidates(browser, micrographs, tmp_path):
    none = [replace(one, picks=0) for one in micrographs]
    noise = false_discovery(*2 * [[one.candidates.scores for one in none if one.candidates]], 1.0)
    run = run_of(replace(CONFIG, threshold="auto"), found=noise)
    run = replace(
        run, settled=run.settled.with_cut(noise), events=(Event("No more than in noise.", "warning"), Event("A note."))
    )
    write_report(tmp_path / "report.html", run, none)
    browser.open(tmp_path / "report.html")
    browser.settle()
    assert browser.text("#cut-value") == "none"
    assert browser.text("#total") == browser.text("#false-total") == "0"
    assert "none" in browser.text("#automatic-cut")
    assert browser.run("document.querySelector('.remark.warning').checkVisibility()")
    assert "No more than in noise." in browser.text(".remark.warning")
    height, line = "getBoundingClientRect().height", "getComputedStyle(document.querySelector('.remark')).lineHeight"
    lines = browser.run(f"[...document.querySelectorAll('.remark')].map(one => one.{height} / parseFloat({line}))")
    assert lines == [pytest.approx(1, abs=0.05)] * 2  # nothing else has their style
    browser.run("document.getElementById('cut').focus()")
    browser.press("ArrowLeft")
    assert int(browser.text("#total").replace(",", "")) > 0
    assert not browser.of("Runtime.exceptionThrown")


@pytest.mark.slow
def test_circles_lie_at_the_picks(browser, tmp_path):
    found = Particles([[1000.0, 700.0], [3000.0, 2000.0]], [0.9, 0.2], [400.0, 400.0], 1.5)
    write_report(tmp_path / "report.html", run_of(), [ReportMicrograph("m.mrc", found, 3000, 4000, 1)])
    browser.open(tmp_path / "report.html")
    browser.settle()
    points = browser.run(
        f"(() => {{ const c = document.querySelector('#gallery canvas'), d = {PIXELS}, found = [];"
        "for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200)"
        "found.push([(i / 4 % c.width + 0.5) / c.width, (Math.floor(i / 4 / c.width) + 0.5) / c.height]);"
        "return found; })()"
    )
    centre = np.array([1000.5, 700.5])
    radii = np.linalg.norm(np.array(points) * (4000, 3000) - centre, axis=1)
    pixel = 4000 / browser.run("document.querySelector('#gallery canvas').width")
    assert len(points) > 50
    assert np.abs(radii - 200).max() < 2.5 * pixel  # one circle, where and as large as the pick is, and no other


def test_film_is_outlined_where_it_is(browser, tmp_path):
    corner = np.array([[-0.5, -0.5], [1999.5, -0.5], [-0.5, 1499.5]])
    hole = np.array([[200.0, 200.0], [200.0, 500.0], [500.0, 500.0], [500.0, 200.0]])
    none = Particles.empty(1.5)
    shown = [
        ReportMicrograph("film.mrc", none, 3000, 4000, film=Region((corner, hole))),
        ReportMicrograph("clean.mrc", none, 3000, 4000, film=Region()),
        ReportMicrograph("older.mrc", none, 3000, 4000),
    ]
    write_report(tmp_path / "report.html", run_of(), shown)
    browser.open(tmp_path / "report.html")
    browser.settle()
    points = np.array(
        browser.run(
            f"(() => {{ const c = document.querySelector('#gallery canvas'), d = {PIXELS}, found = [];"
            "for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200 && d[i] - d[i + 2] > 100)"
            "found.push([(i / 4 % c.width + 0.5) / c.width, (Math.floor(i / 4 / c.width) + 0.5) / c.height]);"
            "return found; })()"
        )
    ) * (4000, 3000)
    pixel = 4000 / browser.run("document.querySelector('#gallery canvas').width")
    beyond = (points[:, 0] / 2000 + points[:, 1] / 1500 - 1) / np.hypot(1 / 2000, 1 / 1500)
    assert len(points) > 300
    assert beyond.max() < 3 * pixel
    assert (np.abs(beyond) < 2 * pixel).sum() > 0.8 * np.hypot(2000, 1500) / pixel  # all along the edge
    in_the_hole = (np.abs(points - 350.5) < 150 - 3 * pixel).all(1)
    assert not in_the_hole.any()  # where it is not hatched
    assert (np.abs(points - 350.5) < 150 + 2 * pixel).all(1).any()
    film = (2000 * 1500 / 2 - 300**2) / (4000 * 3000)
    labels = browser.run("[...document.querySelectorAll('#gallery button')].map(one => one.ariaLabel)")
    assert labels == [f"film, 0 picks, film or ice on {100 * film:.0f} %", "clean, 0 picks", "older, 0 picks"]
    figures = browser.run("document.querySelector('.figures').innerText")
    assert "Film or ice left out\n1 of 2 micrographs" in figures  # nobody has looked for it on the older one
    browser.run("document.getElementById('show').value = 'none'")
    browser.run("document.getElementById('show').dispatchEvent(new Event('change'))")
    assert not browser.run(f"{PIXELS}.some(value => value)")
    assert not browser.of("Runtime.exceptionThrown")


@pytest.mark.slow
def test_outliers_follow_the_rule_that_the_page_states(opened, micrographs):
    names = [one.name for one in micrographs if not one.error]
    for threshold in (0.5, 0.9, 0.99):
        opened.run(
            f"(() => {{ const cut = document.getElementById('cut'); cut.value = {threshold};"
            "cut.dispatchEvent(new Event('input')); })()"
        )
        opened.settle()
        marked = opened.run("[...document.querySelectorAll('#gallery .count')].map(one => one.matches('.flag'))")
        assert marked == outliers(counts_at(micrographs, threshold)).tolist()
    assert outliers(counts_at(micrographs, 0.5)).tolist() == [name == "mics/m5.mrc" for name in names]
    opened.run("document.getElementById('reset').click(); document.getElementById('only-outliers').click()")
    opened.settle()
    assert opened.run("[...document.querySelectorAll('#gallery .name')].map(one => one.textContent)") == ["mics/m5"]
    assert "mics/m5 " in opened.text("#outliers")


@pytest.mark.slow
def test_everything_is_within_reach_of_the_keyboard(opened):
    focused = "document.activeElement.dataset.position || document.activeElement.id"
    opened.run("document.querySelector('#gallery button').focus()")
    opened.press("ArrowRight")
    assert opened.run(focused) == "1"
    opened.press("ArrowDown")
    columns = opened.run("getComputedStyle(document.getElementById('gallery')).gridTemplateColumns.split(' ').length")
    assert opened.run(focused) == str(1 + columns)
    opened.press("End")
    assert opened.run(focused) == "12"
    assert opened.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    opened.press("Enter")
    assert opened.run("document.getElementById('viewer').open")
    assert opened.text("#viewer-name") == "mics/m11.mrc"
    opened.press("ArrowLeft")
    assert opened.text("#viewer-name") == "mics/m10.mrc"
    assert "defocus 1.70 µm" in opened.text("#viewer-facts")
    opened.run("document.getElementById('viewer-cut').focus()")
    opened.press("ArrowRight")
    assert opened.text("#viewer-name") == "mics/m10.mrc"
    assert opened.text("#command").endswith("--threshold 0.51")
    opened.press("Escape")
    assert not opened.run("document.getElementById('viewer').open")
    assert opened.run(focused) == "11"
    opened.run("document.getElementById('order').value = 'most'")
    opened.run("document.getElementById('order').dispatchEvent(new Event('change'))")
    assert opened.text("#gallery .name") == "mics/m5"
    reachable = opened.run("[...document.querySelectorAll('#gallery button')].filter(one => one.tabIndex === 0).length")
    assert reachable == 1


@pytest.mark.slow
def test_light_and_dark_follow_the_system_until_the_reader_chooses(opened):
    page = "getComputedStyle(document.body).backgroundColor"
    colours = {}
    for scheme in ("light", "dark"):
        opened.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colours[scheme] = opened.run(page)
    assert colours["light"] != colours["dark"]
    opened.run("document.getElementById('theme').click()")
    assert opened.run(page) == colours["light"]
    opened.run("document.getElementById('theme').click()")
    assert opened.run(page) == colours["dark"]
    opened.call("Emulation.setEmulatedMedia", features=[])


@pytest.mark.slow
def test_picks_that_no_threshold_chose_get_no_slider(browser, micrographs, tmp_path):
    run = run_of(replace(CONFIG, threshold="auto", selection="legacy", percentile=25.0))
    write_report(tmp_path / "report.html", run, micrographs)
    browser.open(tmp_path / "report.html")
    browser.settle()
    assert browser.run("[...document.querySelectorAll('input.cut')].every(one => !one.checkVisibility())")
    assert browser.run("document.getElementById('gallery').checkVisibility()")
    assert "as the original program" in Page(tmp_path / "report.html").text


@pytest.mark.slow
def test_a_cut_for_each_micrograph_is_shown_as_it_was_until_the_slider_moves(browser, micrographs, tmp_path):
    best_ten = [replace(one, picks=10) if one.candidates else one for one in micrographs]
    run = run_of(replace(CONFIG, threshold="auto", expected_count=10))
    write_report(tmp_path / "report.html", run, best_ten)
    browser.open(tmp_path / "report.html")
    browser.settle()
    assert browser.text("#total") == "120"
    assert browser.text("#cut-value") == "best 10"
    nearest = float(browser.run("document.getElementById('cut').value"))
    totals = {k: abs(counts_at(micrographs, k / 100).sum() - 120) for k in range(101)}
    assert totals[round(nearest * 100)] == min(totals.values())


AXIS_LABELS = """
window.drawn = [];
const fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  const axis = { "center top": "across", "right middle": "up" }[`${this.textAlign} ${this.textBaseline}`];
  if (this.canvas.id === "series" && axis) window.drawn.push([axis, text]);
  return fillText.call(this, text, ...place);
};
"""


@pytest.fixture
def axes_of_series(browser, tmp_path):
    """Show a report with micrographs of that many picks; return the labels of the axes of picks per micrograph."""
    hook = browser.call("Page.addScriptToEvaluateOnNewDocument", source=AXIS_LABELS)

    def labels(counts):
        shown = [replace(micrograph(f"m{i}.mrc", 20, i), picks=picks) for i, picks in enumerate(counts)]
        write_report(tmp_path / "report.html", run_of(), shown)
        browser.open(tmp_path / "report.html")
        browser.settle()
        found = {"across": [], "up": []}
        for axis, text in browser.run("window.drawn"):
            found[axis] += [text] * (text not in found[axis])  # a plot that changes its size is drawn again
        return found["across"], found["up"]

    yield labels
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=hook["identifier"])


@pytest.mark.slow
def test_axes_that_count_are_labelled_with_whole_numbers(axes_of_series):
    for count in range(1, 8):
        assert axes_of_series([9] * count)[0] == [str(i) for i in range(1, count + 1)]
    assert axes_of_series([9] * 8)[0] == ["2", "4", "6", "8"]
    assert axes_of_series([9] * 10)[0] == ["2", "4", "6", "8", "10"]
    for few in range(3):
        assert axes_of_series([few])[1] == ["0", "1", "2", "3", "4"]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "named"), [(4, False), (5, True)])
def test_the_band_of_outliers_is_named_where_it_is_drawn(browser, tmp_path, count, named):
    write_report(tmp_path / "report.html", run_of(), [micrograph(f"m{i}.mrc", 20, i) for i in range(count)])
    browser.open(tmp_path / "report.html")
    browser.settle()
    assert ("outside the band" in browser.run("document.body.innerText")) == named


@pytest.mark.parametrize("width", [800, 500])
def test_a_narrow_window_folds_nothing_but_words(browser, micrographs, tmp_path, width):
    folder = f"/data/a folder with a name/{'of_many_letters_' * 5}"
    command = f"cryotx pick '{folder}/mics' --out {folder}/particles.star --diameter 160 --min-distance 90"
    start = Start("2026-11-30", folder, command, f"cryotx threshold {folder}/particles --expected-count 300")
    run = replace(run_of(found=compared(micrographs)), folder=Path(folder) / "particles", start=start)
    write_report(tmp_path / "report.html", run, micrographs)
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.open(tmp_path / "report.html")
    browser.run("document.getElementById('cut').focus()")
    browser.press("ArrowRight")  # the command is shown as well
    overflowing = browser.run(
        "[...document.querySelectorAll('body *')].filter(one => one.checkVisibility() && "
        f"!one.closest('#command, .scroll') && one.getBoundingClientRect().right > {width})"
        ".map(one => one.outerHTML.slice(0, 80))"
    )
    assert overflowing == []
    assert browser.run("document.documentElement.scrollWidth") == width
    # A flag is never parted at its hyphens, nor a number from its name.
    lines = browser.run(
        "[...document.querySelectorAll('.origin span, .legend, .figures dd, #cut-value')].map(one => {"
        "const range = document.createRange(); range.selectNodeContents(one);"
        "const tops = [...range.getClientRects()].map(({ bottom }) => Math.round(bottom / 8));"
        "return [one.textContent.trim(), Math.max(...tops) - Math.min(...tops) > 1]; })"
    )
    parted = [text for text, is_parted in lines if is_parted]
    assert [text for text in parted if "of_many_letters_" not in text] == []
    assert ["--min-distance", False] in lines
    browser.call("Emulation.clearDeviceMetricsOverride")
    assert not browser.of("Runtime.exceptionThrown")
