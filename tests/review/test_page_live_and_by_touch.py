"""The page under fingers, and beside a session of picking that goes on."""

import threading

import pytest

from cryotx_cli.config import PickConfig
from cryotx_cli.runs import arrivals
from cryotx_cli.workflows import pick as workflow
from cryotx_cli.workflows.pick import start_pick
from reviewed_page import Page
from reviewed_run import DIAMETER, GridPicker, Served, write_micrographs

pytestmark = pytest.mark.slow


@pytest.fixture
def touched(chromium, served):
    found = Page(chromium, served.url(), has_touch=True)
    yield found
    assert not found.problems
    found.context.close()


class Fingers:
    """One finger or two on the screen, in pixels of the micrograph."""

    def __init__(self, page):
        self.page, self.session = page, page.context.new_cdp_session(page.tab)

    def drag(self, *ways):
        """Move each finger along its way, all at once."""
        frames = [self.page.window(*point) for way in ways for point in way]
        steps = [frames[i :: len(ways[0])] for i in range(len(ways[0]))]
        for number, places in enumerate(steps):
            touches = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
            kind = "touchMove" if number else "touchStart"
            self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
            self.page.tab.wait_for_timeout(30)
        self.session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        self.page.settle()


def way(start, end, steps=8):
    return [
        (start[0] + (end[0] - start[0]) * i / steps, start[1] + (end[1] - start[1]) * i / steps)
        for i in range(steps + 1)
    ]


def test_a_tap_adds_and_a_tap_on_a_pick_removes_it(touched):
    best = touched.candidates()[0]
    touched.tab.touchscreen.tap(*touched.window(199, 301))
    touched.has(21)
    touched.tab.touchscreen.tap(*touched.window(best[0] + 4, best[1] - 4))
    touched.has(20)


def test_fingers_that_move_or_enlarge_the_picture_change_no_picks(touched):
    fingers, before = Fingers(touched), touched.place
    fingers.drag(way((400, 300), (250, 240)))
    assert touched.place[1] < before[1] - 50
    before = touched.place
    fingers.drag(way((350, 300), (200, 300)), way((450, 300), (600, 300)))
    assert touched.place[0] > 1.5 * before[0]
    assert touched.picks == 20
    assert touched.tab.is_disabled("#undo")


def test_a_finger_erases_what_it_passes_over(touched):
    gone = sum(one[1] == 150 for one in touched.candidates()[:20])
    touched.tab.tap("#modes [data-mode=erase]")
    Fingers(touched).drag(way((30, 150), (770, 150), 20))
    touched.has(20 - gone)


def test_the_page_follows_a_session_of_picking_by_itself(chromium, tmp_path, monkeypatch):
    for module, name, seconds in (
        (arrivals, "LOOK_SECONDS", 0.05),
        (arrivals, "STILL_SECONDS", 0.2),
        (workflow, "IDLE_SECONDS", 0.05),
    ):
        monkeypatch.setattr(module, name, seconds)
    folder, star = write_micrographs(tmp_path / "mics", 1), tmp_path / "p.star"
    config = PickConfig(
        diameter=DIAMETER,
        threshold=0.5,
        min_distance=110.0,
        watch=True,
        stop_after=120.0,
        images=False,
        no_classes=True,
    )
    run = start_pick([folder], star, config, GridPicker())
    session = threading.Thread(target=lambda: list(run))
    session.start()
    while not (tmp_path / "p/ledger.jsonl").exists():
        session.join(0.1)
    served = Served(tmp_path / "p")
    try:
        page = Page(chromium, served.url())
        assert page.text("#progress") == "1 micrograph, 0 done"
        page.click(99, 101)
        page.has(21)
        write_micrographs(tmp_path / "new", 3)
        for name in ("m1.mrc", "m2.mrc"):
            (tmp_path / "new" / name).replace(folder / name)
        page.until(lambda: page.text("#progress").startswith("3 micrographs"))
        page.until(lambda: page.tab.locator("#micrographs .count").all_inner_texts() == ["21", "20", "20"])
        page.key("PageDown")
        page.until(lambda: "m1" in page.text("#name"))
        assert page.picks == 20
        assert not page.problems
        page.context.close()
        assert served.interrupt() == 0
    finally:
        served.kill()
        run.stop()
        session.join(60)
