"""What a report gives on paper."""

import base64
import re
from dataclasses import replace

import pytest

from cryotx_cli.report.page import write_report
from cryotx_cli.report.thumbnail import write_thumbnail
from made_up_runs import micrograph, noise, run_of
from report_in_browser import require_browser

require_browser()

pytestmark = pytest.mark.slow

MICROGRAPHS = 40  # more than a window shows


@pytest.fixture
def opened(browser, tmp_path):
    """A report of many micrographs, each with a picture of its own, in a dark system; outliers alone are shown."""
    shown = []
    for i in range(MICROGRAPHS):
        write_thumbnail(tmp_path / f"{i}.jpg", noise(120, 160, seed=i), 10**5)
        one = micrograph(f"m{i}.mrc", 300 if i == 5 else 40, i, thumbnail=tmp_path / f"{i}.jpg")
        shown.append(replace(one, height=3000, width=4000))
    write_report(tmp_path / "report.html", run_of(), shown)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.open(tmp_path / "report.html")
    browser.run("document.getElementById('only-outliers').click()")
    browser.settle()
    yield browser
    assert not browser.of("Runtime.exceptionThrown")
    browser.call("Emulation.setEmulatedMedia", media="", features=[])


def images(pdf):
    """Width and height of the images in a PDF file, those that are masks apart."""
    found = re.findall(rb"<<[^<>]*/Subtype\s*/Image\b[^<>]*>>", pdf)
    sizes = [tuple(int(re.search(rb"/%s\s+(\d+)" % side, one)[1]) for side in (b"Width", b"Height")) for one in found]
    return [size for one, size in zip(found, sizes, strict=True) if b"DeviceGray" not in one or b"DCTDecode" in one]


def test_every_picture_is_printed_with_its_picks_by_day(opened):
    listening = (
        "addEventListener('beforeprint', () => { const cards = document.querySelectorAll('#gallery .picture');"
        "window.printed = { cards: cards.length,"
        "loaded: [...cards].filter(one => one.querySelector('img').naturalWidth === 160).length,"
        "drawn: [...cards].filter(one => one.querySelector('canvas').width > 200).length,"
        "panel: getComputedStyle(document.documentElement).getPropertyValue('--panel') }; })"
    )
    assert opened.run("document.querySelectorAll('#gallery .picture').length") == 1
    opened.run(listening)
    pdf = base64.b64decode(opened.call("Page.printToPDF", printBackground=True)["data"])
    seen = opened.run("window.printed")
    assert seen == {"cards": MICROGRAPHS, "loaded": MICROGRAPHS, "drawn": MICROGRAPHS, "panel": "#ffffff"}
    sizes = images(pdf)
    assert sizes.count((160, 120)) == MICROGRAPHS
    overlays = [size for size in sizes if size[0] / size[1] == pytest.approx(4 / 3, abs=0.02) and size[0] > 200]
    assert len(overlays) == MICROGRAPHS
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 4  # and not all on one sheet


def test_the_screen_is_as_before_when_it_is_printed(opened):
    look = (
        "(() => { const drawn = document.querySelector('#gallery canvas').toDataURL();"
        "return [drawn, document.getElementById('scores').toDataURL(), document.body.outerHTML.length,"
        "getComputedStyle(document.body).backgroundColor, document.querySelectorAll('#gallery li').length]; })()"
    )
    before = opened.run(look)
    opened.run(
        "window.kept = []; const replaceWith = Element.prototype.replaceWith;"
        "Element.prototype.replaceWith = function (other) {"
        "if (this.closest('#gallery')) window.kept.push(this); return replaceWith.call(this, other); }"
    )
    opened.call("Page.printToPDF")
    opened.settle()
    drawn = opened.run(f"window.kept.slice(0, {MICROGRAPHS}).filter(one => one.width > 0).length")
    assert drawn == 1  # hundreds of canvases would hold a lot of memory
    assert opened.run(look) == before
    assert before[-1] == 1
    opened.run("document.getElementById('cut').focus()")
    opened.press("ArrowRight")
    assert opened.run(look)[:2] != before[:2]  # alive


def test_paper_is_light_and_lists_are_whole_without_the_program(opened):
    opened.call(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    colours = opened.run(
        "['--panel', '--text'].map(one => getComputedStyle(document.documentElement).getPropertyValue(one))"
    )
    assert colours == ["#ffffff", "#1c2024"]
    assert not opened.run("['theme', 'cut', 'viewer'].some(one => document.getElementById(one).checkVisibility())")


def test_nothing_is_wider_than_a_sheet(opened):
    opened.call("Emulation.setEmulatedMedia", media="print")
    opened.call("Emulation.setDeviceMetricsOverride", width=717, height=1000, deviceScaleFactor=1, mobile=False)
    opened.settle()
    assert opened.run("document.documentElement.scrollWidth") <= 717
    opened.call("Emulation.clearDeviceMetricsOverride")
