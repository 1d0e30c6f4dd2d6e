"""The averages of a report in a browser: what dropping and pointing at them does."""

import re
from dataclasses import replace

import numpy as np
import pytest

from cryotx_cli.report.model import ReportMicrograph
from cryotx_cli.report.page import write_report
from cryotx_cli.report.thumbnail import write_thumbnail
from made_up_runs import CONFIG, classes_of, compared, micrograph, noise, run_of
from report_in_browser import require_browser

require_browser()

NAMES = [f"mics/m{i}.mrc" for i in range(8)]


def with_classes(classes, folder):
    """Eight micrographs whose candidates are in classes, and one skipped."""
    write_thumbnail(folder / "t.jpg", noise(300, 400), 10**5)
    made = []
    for i, name in enumerate(NAMES):
        one = micrograph(name, 80, i, thumbnail=folder / "t.jpg")
        numbers = classes.numbers_of(name, one.candidates)
        chosen = one.candidates.scores >= 0.5
        picks = int(np.count_nonzero(chosen & ~np.isin(numbers, [*classes.dropped])))
        made.append(replace(one, classes=numbers, picks=picks, chosen=int(np.count_nonzero(chosen))))
    return [*made[:3], ReportMicrograph("bad.mrc", error="damaged"), *made[3:]]


@pytest.fixture
def show(browser, tmp_path):
    """Open a report; return the browser and its micrographs."""

    def opened(dropped=(), **settings):
        classes = classes_of(NAMES, dropped=dropped)
        micrographs = with_classes(classes, tmp_path)
        found = compared([one for one in micrographs if one.candidates])
        run = run_of(replace(CONFIG, **settings), classes=classes, found=found)
        write_report(tmp_path / "report.html", run, micrographs)
        browser.open(tmp_path / "report.html")
        browser.settle()
        return browser, [one for one in micrographs if one.candidates], found

    yield opened
    for event in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
        assert not browser.of(event)


def kept(micrographs, dropped, cut=0.5):
    return [(one.candidates.scores >= cut) & ~np.isin(one.classes, dropped) for one in micrographs]


def number_in(text):
    return int(re.search(r"[\d,]+", text).group().replace(",", ""))


def tick(browser, number):
    browser.run(f"document.querySelector('#classes [aria-label=\"Drop class {number}\"]').click()")
    browser.settle()


def slide(browser, cut):
    browser.run(
        f"(() => {{ const cut = document.getElementById('cut'); cut.value = {cut};"
        "cut.dispatchEvent(new Event('input')); })()"
    )
    browser.settle()


def of_cards(browser, selector):
    return browser.run(f"[...document.querySelectorAll('#classes {selector}')].map(one => one.textContent)")


@pytest.mark.slow
def test_the_gallery_shows_each_average_with_its_numbers(show):
    browser, micrographs, _ = show()

    numbers = np.concatenate(
        [one.classes[picked] for one, picked in zip(micrographs, kept(micrographs, []), strict=True)]
    )
    assert of_cards(browser, ".which") == ["518 Å", "421 Å", "324 Å", "227 Å", "1noise"]
    order = [5, 4, 3, 2, 1]
    picks = [int(np.sum(numbers == number)) for number in order]
    assert of_cards(browser, ".facts:nth-child(3)") == [
        f"{count} picks{100 * count / sum(picks):.0f} %" for count in picks
    ]
    assert of_cards(browser, ".facts:nth-child(4)") == [f"score{0.45 + 0.05 * n:.2f}" for n in order]
    assert of_cards(browser, ".suggested") == ["auto would drop it"]
    assert of_cards(browser, ".bar") == ["5 nm"] * 5  # averages are 19.2 nm wide
    bar, picture = browser.run(
        "['.bar', '.average'].map(one => document.querySelector(`#classes ${one}`).getBoundingClientRect().width)"
    )
    assert bar / picture == pytest.approx(5 / 19.2, abs=0.01)
    assert browser.run("[...document.querySelectorAll('#classes img')].every(one => one.naturalWidth === 64)")
    told = browser.text("#classes-told")
    assert "4 of 5 classes are more than noise. None is dropped." in told
    assert f"{np.sum(numbers == 0)} picks are in no class." in told


@pytest.mark.slow
def test_dropping_moves_counts_pictures_and_the_command(show):
    browser, micrographs, found = show()
    picture = browser.run("document.querySelector('#where canvas').toDataURL()")
    for dropped, cut in (([2], None), ([2, 5], None), ([2, 5], 0.71), ([2, 4, 5], 0.3)):
        if cut is not None:
            slide(browser, cut)
        here = {number_in(text) for text in browser.run(
            "[...document.querySelectorAll('#classes input:checked')].map(one => one.ariaLabel)")}  # fmt: skip
        for number in set(dropped) ^ here:
            tick(browser, number)
        masks = kept(micrographs, dropped, cut or 0.5)
        total = sum(map(np.sum, masks))
        assert number_in(browser.text("#total")) == total
        shown = browser.run("[...document.querySelectorAll('#gallery .count')].map(one => parseInt(one.textContent))")
        assert shown == [int(mask.sum()) for mask in masks]
        scores = np.concatenate([one.candidates.scores[mask] for one, mask in zip(micrographs, masks, strict=True)])
        assert number_in(browser.text("#false-total")) == pytest.approx(found.of(scores).sum(), abs=0.51)
        label = browser.run("document.getElementById('scores').ariaLabel")
        assert label == f"Histogram of 640 candidates by score, {total} of them picks."
        threshold = "" if cut is None else f" --threshold {cut:.2f}"
        words = ",".join(map(str, dropped))
        assert browser.text("#command") == f"cryotx threshold particles{threshold} --drop-classes {words}"
        assert browser.run("document.querySelector('#where canvas').toDataURL()") != picture
    lost = sum(np.sum((one.candidates.scores >= 0.3) & np.isin(one.classes, [2, 4, 5])) for one in micrographs)
    told = browser.text("#classes-told")
    assert f"Dropped: 2, 4, 5, with {lost} picks. Of 4 classes that are more than noise 1 is kept." in told
    browser.run("document.getElementById('reset').click()")
    browser.settle()
    assert browser.run("document.querySelector('#where canvas').toDataURL()") == picture
    assert not browser.run("document.getElementById('as-picked').hidden")


@pytest.mark.slow
def test_classes_that_are_out_are_ticked_and_can_come_back(show):
    browser, micrographs, found = show(dropped=[3, 5])
    assert number_in(browser.text("#total")) == sum(map(np.sum, kept(micrographs, [3, 5])))
    assert browser.run("document.getElementById('other').hidden")
    scores = np.concatenate(
        [one.candidates.scores[mask] for one, mask in zip(micrographs, kept(micrographs, [3, 5]), strict=True)]
    )
    assert number_in(browser.text("#false-total")) == pytest.approx(found.of(scores).sum(), abs=0.51)
    slide(browser, 0.8)  # the classes that are out stay so without being named
    assert browser.text("#command") == "cryotx threshold particles --threshold 0.80"
    assert number_in(browser.text("#total")) == sum(map(np.sum, kept(micrographs, [3, 5], 0.8)))
    browser.run("document.getElementById('reset').click()")
    tick(browser, 3)
    tick(browser, 5)
    assert browser.text("#command") == "cryotx threshold particles --drop-classes none"
    everything = kept(micrographs, [])
    assert number_in(browser.text("#total")) == sum(map(np.sum, everything))
    scores = np.concatenate([one.candidates.scores[mask] for one, mask in zip(micrographs, everything, strict=True)])
    assert number_in(browser.text("#false-total")) == pytest.approx(found.of(scores).sum(), abs=0.51)


@pytest.mark.slow
def test_suggestions_are_dropped_when_the_reader_says_so(show):
    browser, micrographs, _ = show()
    assert browser.run("document.querySelectorAll('#classes input:checked').length") == 0
    assert browser.text("#drop-suggested") == "Drop 1, as auto would"
    browser.run("document.getElementById('drop-suggested').click()")
    browser.settle()
    assert browser.text("#command") == "cryotx threshold particles --drop-classes 1"
    assert number_in(browser.text("#total")) == sum(map(np.sum, kept(micrographs, [1])))
    assert browser.run("document.getElementById('drop-suggested').hidden")
    browser.run("document.getElementById('drop-as-written').click()")
    browser.settle()
    assert browser.run("document.getElementById('other').hidden")


MARKED = (
    "(selector => { const c = document.querySelector(selector), copy = document.createElement('canvas');"
    "[copy.width, copy.height] = [c.width, c.height];"
    "const context = copy.getContext('2d', {willReadFrequently: true}); context.drawImage(c, 0, 0);"
    "const d = context.getImageData(0, 0, c.width, c.height).data; const found = [];"
    "for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 150 && d[i] > 200 && d[i + 1] < 140 && d[i + 2] > 160)"
    "found.push([(i / 4 % c.width + 0.5) / c.width, (Math.floor(i / 4 / c.width) + 0.5) / c.height]);"
    "return found; })"
)


def marked(browser, selector, one):
    """Which candidates of a micrograph have the colour of marks around them."""
    points = np.array(browser.run(f"{MARKED}('{selector}')")).reshape(-1, 2) * (one.width, one.height)
    pixel = one.width / browser.run(f"document.querySelector('{selector}').width")
    found = one.candidates
    gaps = np.linalg.norm(points[None] - found.centres[:, None], axis=2) - found.diameters[:, None] / 2
    return (np.abs(gaps) < 1.5 * pixel).sum(axis=1) > 0.25 * np.pi * found.diameters / pixel


@pytest.mark.slow
def test_pointing_at_a_class_marks_its_picks(show):
    browser, micrographs, _ = show()
    assert browser.run(f"{MARKED}('#where canvas').length") == 0
    for slot, number in ((1, 5), (4, 2)):
        browser.run(f"document.querySelector('#classes li:nth-child({slot})').scrollIntoView({{block: 'center'}})")
        x, y = browser.run(
            f"(({{left, top}}) => [left + 20, top + 20])(document.querySelector('#classes li:nth-child({slot}) img')"
            ".getBoundingClientRect())"
        )
        browser.mouse("Moved", x, y)
        browser.settle()
        most = [
            int(np.sum(mask & (one.classes == number)))
            for one, mask in zip(micrographs, kept(micrographs, []), strict=True)
        ]
        best = int(np.argmax(most))
        caption = browser.text("#where figcaption")
        assert caption == f"Class {number}: {max(most)} of its {sum(most)} picks lie on m{best}."
        one = micrographs[best]
        mine = (one.candidates.scores >= 0.5) & (one.classes == number)
        seen = marked(browser, "#where canvas", one)
        assert np.sum(seen & mine) > 0.8 * mine.sum()  # some lie under others
        assert np.sum(seen & ~mine) <= 1  # one that lies between others
    browser.mouse("Moved", 2, 2)
    browser.settle()
    assert browser.run(f"{MARKED}('#where canvas').length") == 0


@pytest.mark.slow
def test_a_class_that_is_clicked_stays_marked_also_in_the_viewer(show):
    browser, micrographs, _ = show()
    browser.run("document.querySelector('#classes li:nth-child(2) button').click()")
    browser.settle()
    assert browser.run("document.querySelector('#classes li:nth-child(2) button').ariaPressed") == "true"
    mine = (micrographs[0].candidates.scores >= 0.5) & (micrographs[0].classes == 4)
    browser.run("document.getElementById('gallery').scrollIntoView()")
    browser.settle()
    assert np.sum(marked(browser, "#gallery canvas", micrographs[0]) & mine) > 0.8 * mine.sum()
    browser.run("document.querySelector('#gallery button').click()")
    browser.settle()
    assert f"class 4: {mine.sum()} picks" in browser.text("#viewer-facts")
    assert np.sum(marked(browser, "#viewer canvas", micrographs[0]) & mine) > 0.8 * mine.sum()
    select = "document.getElementById('viewer-class')"
    assert browser.run(f"{select}.selectedOptions[0].textContent") == "4, 21 Å"
    browser.run(f"{select}.value = 0; {select}.dispatchEvent(new Event('change'))")
    browser.settle()
    assert not marked(browser, "#viewer canvas", micrographs[0]).any()
    assert "class" not in browser.text("#viewer-facts")
    browser.run("document.getElementById('close').click()")
    assert browser.run("document.querySelectorAll('#classes [aria-pressed=true]').length") == 0


@pytest.mark.slow
def test_the_keyboard_reaches_each_class_and_its_tick(show):
    browser, micrographs, _ = show()
    browser.run("document.querySelector('#classes button').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert browser.run("document.activeElement.ariaLabel").startswith("class 3, 24 Å, ")
    assert browser.text("#where figcaption").startswith("Class 3: ")
    browser.press("Tab")
    assert browser.run("document.activeElement.ariaLabel") == "Drop class 3"
    browser.press(" ")
    assert browser.text("#command") == "cryotx threshold particles --drop-classes 3"
    assert number_in(browser.text("#total")) == sum(map(np.sum, kept(micrographs, [3])))
    assert browser.run("document.querySelectorAll('#classes :is(button, input)[tabindex=\"0\"]').length") == 2
    browser.press("Tab")
    assert browser.run("document.activeElement.closest('#classes')") is None


@pytest.mark.slow
def test_a_touch_marks_a_class_and_another_ends_it(show):
    browser, _, _ = show()
    browser.run("document.querySelector('#classes').scrollIntoView({block: 'center'})")
    x, y = browser.run(
        "(({left, top}) => [left + 30, top + 30])(document.querySelector('#classes img').getBoundingClientRect())"
    )
    for pressed in ("true", "false"):
        for kind, points in (("Start", [{"x": x, "y": y}]), ("End", [])):
            browser.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=points)
        browser.settle()
        assert browser.run("document.querySelector('#classes button').ariaPressed") == pressed
        assert browser.text("#where figcaption").startswith("Class 5: ") == (pressed == "true")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 800, 500])
def test_averages_fit_the_window(show, browser, width):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    show()
    tick(browser, 2)
    assert browser.run("document.documentElement.scrollWidth") == width
    parted = browser.run(
        "[...document.querySelectorAll('#classes .which, #classes .facts')].filter(one => one.clientHeight > 24)"
        ".map(one => one.textContent)"
    )
    assert parted == []
    browser.call("Emulation.clearDeviceMetricsOverride")


@pytest.mark.slow
def test_picks_without_a_threshold_can_be_dropped_by_class(show):
    browser, micrographs, _ = show(threshold="auto", selection="legacy", percentile=25.0)
    assert not browser.run("document.getElementById('cut').checkVisibility()")
    tick(browser, 4)
    assert browser.text("#command") == "cryotx threshold particles --drop-classes 4"
    assert number_in(browser.text("#total")) == sum(map(np.sum, kept(micrographs, [4])))
