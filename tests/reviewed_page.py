"""A tab of Chromium that shows a review, driven in pixels of the micrograph."""

from __future__ import annotations

import time

SECONDS = 30
_ASK = """async ([path, body]) => {
    const answered = async (...of) => (await fetch(...of)).json();
    const { run } = await answered("/api/review");
    return answered(`${path}?run=${run}`, body === null ? {} : { method: "POST", body });
}"""


class Page:
    """A tab that shows a review, driven in pixels of the micrograph."""

    def __init__(self, browser, url, width=1400, **context):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.tab = self.context.new_page()
        self.problems = []
        self.tab.on("console", self._note)
        self.tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.tab.goto(url)
        self.until(lambda: "picks" in self.text("#facts"))
        self.until(lambda: self.tab.get_attribute("#circles", "data-place"))
        self.settle()

    def _note(self, one):
        # A tile that comes after the picture has changed is no fault: the viewer says that it leaves it out.
        if one.type in ("error", "warning") and "loaded before reset" not in one.text:
            self.problems.append(one.text)

    def until(self, condition, seconds=SECONDS):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.text("#facts"), self.text("#saved"), self.problems)
            self.tab.wait_for_timeout(30)

    def text(self, selector):
        return self.tab.inner_text(selector)

    @property
    def picks(self):
        return int(self.text("#facts").split()[0].replace(",", ""))

    def saved(self):
        self.until(lambda: self.text("#saved") == "All changes are saved")

    def has(self, picks):
        self.until(lambda: self.picks == picks)
        self.saved()

    @property
    def place(self):
        return [float(one) for one in self.tab.get_attribute("#circles", "data-place").split()]

    def settle(self):
        """Wait until the picture stands still."""
        seen = [None]
        while seen != [self.place] * 5:  # a machine that is busy draws seldom
            seen = [*seen[-4:], self.place]
            self.tab.wait_for_timeout(120)

    def window(self, x, y):
        scale, left, top = self.place
        room = self.tab.locator("#room").bounding_box()
        return room["x"] + scale * x + left, room["y"] + scale * y + top

    def click(self, x, y):
        self.tab.mouse.click(*self.window(x, y))

    def drag(self, *points):
        self.tab.mouse.move(*self.window(*points[0]))
        self.tab.mouse.down()
        for point in points[1:]:
            self.tab.mouse.move(*self.window(*point), steps=4)
        self.tab.mouse.up()

    def key(self, key):
        self.tab.keyboard.press(key)

    def candidates(self):
        return self.answer("/api/micrographs/0")["candidates"]

    def answer(self, path, body=None):
        """Return what the server answers the page; with a body to what is sent."""
        return self.tab.evaluate(_ASK, [path, body])
