"""The page in Chromium: what people do with it, and that nothing of it is lost."""

import json
import random
from pathlib import Path

import pytest

from averaged_runs import CLASSES, average
from cryotx_cli.coordinates.formats.star import read_particles_star
from reviewed_page import Page
from reviewed_run import Served, stand_in, write_micrographs

pytestmark = pytest.mark.slow
AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"


@pytest.fixture
def page(chromium, served):
    found = Page(chromium, served.url())
    yield found
    assert not found.problems
    found.context.close()


def test_a_click_adds_and_a_click_on_a_pick_removes_it(page, run, served):
    best = page.candidates()[0]
    page.has(20)
    page.click(99, 101)  # between the candidates
    page.has(21)
    page.click(best[0] + 4, best[1] - 4)
    page.has(20)
    page.tab.click("#write")
    page.until(lambda: page.text("#saved").startswith("Wrote"))
    (first, *_) = read_particles_star(run / "review/particles.star").values()
    assert len(first) == 20
    assert abs(first.centres[0] - (99, 101)).max() < 1.5  # a pixel of the window
    assert best[:2] not in first.centres.tolist()


def test_undo_goes_back_to_the_first_change_and_redo_forth_to_the_last(page):
    page.click(99, 101)
    page.has(21)
    page.click(199, 101)
    page.has(22)
    page.key("b")
    page.drag((2, 70), (798, 320))  # clear of the buttons
    page.key("Delete")
    page.until(lambda: page.picks < 20)
    page.saved()
    left = page.picks
    for picks in (22, 21, 20):
        page.key("Control+z")
        page.has(picks)
    assert page.tab.is_disabled("#undo")
    for picks in (21, 22, left):
        page.key("Control+Shift+z")
        page.has(picks)
    assert page.tab.is_disabled("#redo")


def test_dragging_erases_what_the_eraser_passes_over(page):
    inside = [one for one in page.candidates()[:20] if one[1] == 150]
    assert inside
    page.key("e")
    page.drag((30, 150), (400, 152), (770, 150))
    page.has(20 - len(inside))
    # A lower threshold brings nothing back there.
    page.tab.locator("#threshold").fill("0")
    page.has(40 - 8)


def test_the_slider_moves_the_picks_and_the_counts_of_all_micrographs(page):
    page.tab.locator("#threshold").fill("0.9")
    page.until(lambda: page.picks == 3)
    page.until(lambda: page.tab.locator("#micrographs .count").all_inner_texts() == ["3", "3", "3"])
    page.saved()
    page.tab.click("#as-run")
    page.has(20)
    page.tab.locator("#distance").fill("205")
    page.until(lambda: page.picks < 20)


def test_a_micrograph_that_is_done_keeps_its_picks_and_the_next_open_one_follows(page):
    page.key("d")
    page.until(lambda: page.tab.get_attribute("#done", "aria-pressed") == "true")
    page.tab.locator("#threshold").fill("0.1")
    page.until(lambda: page.tab.locator("#micrographs .count").all_inner_texts() == ["20", "37", "37"])
    assert page.picks == 20
    page.saved()
    page.key("u")
    page.until(lambda: "m1" in page.text("#name"))
    page.key("x")
    page.until(lambda: page.tab.get_attribute("#bad", "aria-pressed") == "true")
    page.saved()
    page.key("u")
    page.until(lambda: "m2" in page.text("#name"))
    assert "1 done" in page.text("#progress")


def test_the_picture_is_enlarged_and_moved_by_mouse_and_keys(page):
    page.settle()
    scale = page.place[0]
    page.tab.mouse.move(*page.window(400, 300))
    page.tab.mouse.wheel(0, -300)
    page.until(lambda: page.place[0] > 1.15 * scale)
    page.settle()
    larger, left, _ = page.place
    page.key("ArrowRight")
    page.until(lambda: page.place[1] < left - 30)
    page.key("+")
    page.until(lambda: page.place[0] > 1.2 * larger)
    page.key("0")
    page.until(lambda: abs(page.place[0] - scale) < 0.03 * scale)
    page.settle()
    before = page.place
    page.key("v")
    page.drag((400, 300), (300, 300))
    page.until(lambda: page.place[1] < before[1] - 20)
    assert page.picks == 20


def test_keys_alone_add_erase_and_take_back(page):
    page.settle()
    page.tab.locator("#room").focus()
    page.key("Enter")  # the middle lies between the candidates
    page.has(21)
    page.key("Enter")
    page.has(20)
    for _ in range(8):
        page.key("]")
    page.key("Delete")
    page.until(lambda: page.picks < 18)
    page.saved()
    page.key("Control+z")
    page.has(20)


def test_everything_is_there_after_the_server_was_killed_in_the_middle(page, run, served, chromium):
    page.click(99, 101)
    page.has(21)
    page.key("e")
    page.drag((30, 250), (770, 250))
    page.until(lambda: page.picks < 21)
    page.saved()
    page.key("PageDown")
    page.until(lambda: "m1" in page.text("#name"))
    page.key("d")
    page.until(lambda: page.tab.get_attribute("#done", "aria-pressed") == "true")
    page.saved()
    page.key("PageUp")
    page.until(lambda: "m0" in page.text("#name"))
    before = page.picks
    served.kill()
    page.key("p")
    page.click(199, 301)  # nobody takes it any more, and the page says so
    page.until(lambda: "1 change not saved" in page.text("#saved"))
    page.context.close()
    page.problems.clear()  # what the browser says of a server that is gone
    again = Served(run)
    try:
        back = Page(chromium, again.url())
        assert back.picks == before
        assert "1 done" in back.text("#progress")
        assert not back.problems
        back.context.close()
        assert again.interrupt() == 0
        assert "Wrote" in again.process.stdout.read()
    finally:
        again.kill()
    assert (run / "review/labels.star").exists()


def test_a_micrograph_that_cannot_be_shown_does_not_stop_one_from_going_on(page, run):
    write_micrographs(run.parent / "others", 1)
    (run.parent / "others/m0.mrc").replace(run.parent / "mics/m1.mrc")
    page.key("PageDown")
    page.until(lambda: "another file than the run has picked" in page.text("#problem"))
    page.key("PageDown")
    page.until(lambda: "m2" in page.text("#name") and not page.tab.is_visible("#problem"))
    page.key("PageDown")
    page.key("PageDown")
    page.key("PageDown")  # faster than micrographs are shown
    page.until(lambda: "m2" in page.text("#name"))
    page.problems.clear()  # the browser says that it was refused


def test_a_micrograph_that_is_gone_is_told_of_and_others_are_shown(page, run):
    (run.parent / "mics/m1.mrc").unlink()
    page.key("PageDown")
    page.until(lambda: page.tab.is_visible("#problem") and "m1.mrc: No such file" in page.text("#problem"))
    page.key("PageDown")
    page.until(lambda: "m2" in page.text("#name") and not page.tab.is_visible("#problem"))
    page.problems.clear()  # the browser says of each tile that it was refused


def test_two_pages_see_what_the_other_changes(page, chromium, served):
    other = Page(chromium, served.url(1))
    other.click(99, 101)
    other.has(21)
    page.until(lambda: page.picks == 21, 5)
    page.click(99, 101)
    page.has(20)
    other.until(lambda: other.picks == 20, 5)
    page.tab.locator("#threshold").fill("0.9")
    other.until(lambda: other.picks == 3, 6)
    assert not other.problems
    other.context.close()


def test_circles_of_a_class_are_hidden_in_the_gallery_of_classes(page, run):
    assert not page.tab.is_visible("#classes-button")
    average(run)
    page.tab.reload()
    page.until(lambda: page.tab.is_visible("#classes-button"))
    page.key("g")
    page.until(lambda: page.tab.locator("#class-list button").count() == CLASSES)
    first = page.tab.locator("#class-list button").first
    first.click()
    assert first.get_attribute("aria-pressed") == "false"
    assert page.text("#classes-words") == "To drop these: cryotx threshold p.star --drop-classes 1"
    page.key("Escape")
    page.until(lambda: not page.tab.is_visible("#classes"))
    assert page.picks == 20  # hidden is not removed
    page.until(lambda: "hidden with their classes" in page.text("#facts"))


def test_nobody_vouches_for_picks_that_are_hidden(page, run):
    average(run)
    page.tab.reload()
    page.until(lambda: page.tab.is_visible("#classes-button"))
    page.key("g")
    page.until(lambda: page.tab.locator("#class-list button").count() == CLASSES)
    for one in page.tab.locator("#class-list button").all():
        one.click()
    page.key("Escape")
    page.until(lambda: "hidden with their classes" in page.text("#facts"))
    x, y = page.candidates()[0][:2]
    page.click(x, y)
    page.until(lambda: "hidden" not in page.text("#facts"))
    assert page.picks == 20
    assert page.text("#saved").startswith("Picks of hidden classes were there")
    page.key("g")
    page.tab.locator("#class-list button").first.click()
    page.key("Escape")
    page.key("d")
    page.until(lambda: "hidden" not in page.text("#facts"))
    assert page.tab.get_attribute("#done", "aria-pressed") == "false"
    page.key("d")
    page.until(lambda: page.tab.get_attribute("#done", "aria-pressed") == "true")


def test_many_changes_on_two_pages_leave_both_with_the_same_picks(page, chromium, served, run):
    other = Page(chromium, served.url(1))
    rng, pages = random.Random(1), (page, other)
    for number in range(150):
        one, what = pages[number % 2], rng.random()
        if what < 0.75:
            one.click(rng.uniform(60, 740), rng.uniform(110, 540))
        else:
            one.key("Control+z" if what < 0.9 else "Control+Shift+z" if what < 0.95 else "d")
    for one in pages:
        one.saved()
    page.until(lambda: page.text("#facts") == other.text("#facts"), 10)
    lines = [json.loads(line) for line in (run / "review/journal.jsonl").read_text().splitlines()[1:]]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert len({line["id"] for line in lines}) == len(lines) > 100
    server = page.answer("/api/review")
    assert server["micrographs"][0]["picks"] == page.picks == other.picks
    assert not other.problems
    other.context.close()


def mark_done(page, *names):
    """Mark the micrographs of these names as done, one after the other, and go on to the next."""
    for name in names:
        page.until(lambda name=name: name in page.text("#name"))
        page.key("d")
        page.until(lambda: page.tab.get_attribute("#done", "aria-pressed") == "true")
        page.saved()
        page.key("PageDown")


def test_adapting_shows_how_far_it_is_and_how_the_picks_have_changed(run, chromium, tmp_path):
    (tmp_path / "wait").touch()
    served = Served(run, python=stand_in(run, tmp_path))
    try:
        page = Page(chromium, served.url())
        page.key("a")
        page.until(lambda: "two micrographs at least" in page.text("#adapt-words"))
        assert page.tab.is_disabled("#adapt-start")
        page.key("Escape")
        mark_done(page, "m0", "m1")
        page.key("a")
        page.until(lambda: page.tab.is_enabled("#adapt-start"))
        page.tab.click("#adapt-start")
        page.until(lambda: page.text("#adapt-phase").endswith("40 of 800"))
        assert "cryotx train --data" in page.text("#adapt-commands")
        (tmp_path / "wait").unlink()
        page.until(lambda: page.text("#adapt-phase") == "Done")
        assert page.text("#adapt-verdict").startswith("Adapting did not help")
        assert page.tab.locator("#adapt-table tr").nth(2).inner_text().split()[:2] == ["after", "687"]
        assert page.tab.locator("#adapt-difference tr").nth(1).inner_text().split() == ["All", "60", "9", "0", "51"]
        assert not page.problems
        page.context.close()
        assert served.interrupt() == 0
    finally:
        served.kill()


def test_a_page_that_slept_while_another_went_on_says_which_changes_were_not_taken(run, chromium, tmp_path):
    served = Served(run, python=stand_in(run, tmp_path))
    try:
        page = Page(chromium, served.url())
        mark_done(page, "m0", "m1")
        asleep = Page(chromium, served.url(1))
        asleep.key("PageDown")
        asleep.key("PageDown")
        asleep.until(lambda: "m2" in asleep.text("#name"))
        asleep.settle()
        asleep.context.set_offline(True)
        asleep.click(99, 101)
        asleep.key("d")
        asleep.until(lambda: "2 changes not saved" in asleep.text("#saved"))
        page.key("a")
        page.until(lambda: page.tab.is_enabled("#adapt-start"))
        page.tab.click("#adapt-start")
        page.until(lambda: page.text("#adapt-phase") == "Done")
        page.tab.click("#adapt-show")
        page.until(lambda: page.text("#title") == "p_adapted1.star")
        page.until(lambda: page.text("#progress") == "3 micrographs, 2 done")
        asleep.context.set_offline(False)
        asleep.until(lambda: asleep.text("#title") == "p_adapted1.star")
        assert "2 changes of this page came after" in asleep.text("#turned")
        assert "m2" in asleep.text("#turned-names")
        asleep.tab.reload()  # it stays until somebody has seen it
        asleep.until(lambda: "2 changes of this page came after" in asleep.text("#turned"))
        asleep.tab.click("#turned button")
        asleep.tab.reload()
        asleep.until(lambda: asleep.text("#progress") == "3 micrographs, 2 done")
        assert not asleep.tab.is_visible("#turned")
        lines = (run.with_name("p_adapted1") / "review/journal.jsonl").read_text().splitlines()
        assert [json.loads(line)["mark"] for line in lines[1:]] == ["done", "done"]
        for one in (page, asleep):
            one.context.close()
        assert served.interrupt() == 0
    finally:
        served.kill()


def test_picking_by_hand_begins_with_nothing(run, chromium):
    served = Served(run.parent / "mics", "--diameter", "60", "--out", run.parent / "by_hand")
    try:
        page = Page(chromium, served.url())
        assert page.picks == 0
        assert not page.tab.is_visible("#choice")
        page.click(200, 210)
        page.has(1)
        page.click(300, 310)
        page.has(2)
        assert not page.problems
        page.context.close()
        assert served.interrupt() == 0
    finally:
        served.kill()
    (found,) = read_particles_star(run.parent / "by_hand/particles.star").values()
    assert len(found) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 800])
def test_axe_finds_no_serious_fault(chromium, served, run, scheme, width):
    if not AXE.exists():
        pytest.skip("no axe-core: npm ci")
    average(run)
    page = Page(chromium, served.url(), color_scheme=scheme)
    page.tab.set_viewport_size({"width": width, "height": 900})
    for opener in (None, "#help-button", "#adapt-button", "#classes-button", "#list-button"):
        if opener and page.tab.is_visible(opener):
            page.tab.click(opener)
        page.tab.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.tab.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = {one["id"]: one["nodes"][0]["html"] for one in found if one["impact"] in ("serious", "critical")}
        assert not serious, json.dumps(serious, indent=1)
        page.key("Escape")
    page.context.close()
