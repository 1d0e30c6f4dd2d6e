"""Reports as tests see them: the parts of the file, and a headless Chromium that shows it."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
from html.parser import HTMLParser

import numpy as np
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Enter": 13,
    "Escape": 27,
    "Tab": 9,
    "End": 35,
    "PageDown": 34,
    "+": 187,
    "-": 189,
    "0": 48,
    " ": 32,
}


def require_browser():
    """Skip a module whose tests all need a browser."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine", allow_module_level=True)


class Browser:
    """A headless Chromium, spoken to by the DevTools protocol over a pair of pipes."""

    def __init__(self, profile):
        to_browser, self.requests = os.pipe()
        self.answers, from_browser = os.pipe()
        # The protocol is spoken on descriptors 3 and 4; away with ours from there before they are made.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_browser, from_browser)]
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={profile}",
                   "--window-size=1280,900", "--remote-debugging-pipe", "about:blank"]  # fmt: skip
        self.pid = os.posix_spawn(
            CHROMIUM,
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, high[0], 3),
                (os.POSIX_SPAWN_DUP2, high[1], 4),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        for fd in (to_browser, from_browser, *high):
            os.close(fd)
        self.received, self.number, self.session, self.events = b"", 0, None, []
        (target,) = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def receive(self):
        while b"\0" not in self.received:
            assert select.select([self.answers], [], [], 60)[0], "Chromium does not answer"
            part = os.read(self.answers, 1 << 20)
            assert part, "Chromium has ended"
            self.received += part
        message, _, self.received = self.received.partition(b"\0")
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.requests, json.dumps(request).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path):
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not self.of("Page.loadEventFired"):
            self.events.append(self.receive())

    def of(self, method):
        return [event["params"] for event in self.events if event.get("method") == method]

    def run(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key], **text)
        self.settle()

    def mouse(self, kind, x, y, **more):
        """Let the mouse press, move, release, or turn its wheel (`deltaY`) at a place of the window."""
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **more)

    def settle(self):
        """Wait until the page has drawn what is due."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))")

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def close(self):
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        os.close(self.requests)
        os.close(self.answers)


class Page(HTMLParser):
    """The parts of a report that a browser would see: tags, scripts, styles and text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.scripts, self.style, self.text = [], [], "", ""
        self.feed(path.read_text(encoding="utf-8"))
        self.data = json.loads(self.script(id="data"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.text += " "
        if tag == "script":
            self.scripts.append((dict(attributes), ""))

    def handle_data(self, data):
        if self.lasttag == "script":
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + data)
        elif self.lasttag == "style":
            self.style += data
        else:
            self.text += data

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.lasttag = ""

    def script(self, **wanted):
        (found,) = [text for attributes, text in self.scripts if wanted.items() <= attributes.items()]
        return found

    def counts(self):
        """Candidates by micrograph and by hundredths of score, (n, 101)."""
        return np.frombuffer(base64.b64decode(self.data["counts"]), "<u2").reshape(-1, 101)

    def classes(self):
        """Number of the class of each candidate by micrograph, best first, and its score in hundredths; 0: none."""
        stored = self.data["classes"]
        numbers = np.array([0, *(one["number"] for one in stored["list"])])
        places = np.frombuffer(base64.b64decode(stored["of"]), "<u2" if stored["wide"] else "<u1")
        columns = np.split(places, np.cumsum(stored["lengths"])[:-1])
        for column, counts in zip(columns, self.counts(), strict=True):
            scores = np.repeat(np.arange(101)[::-1], counts[::-1])
            yield np.pad(numbers[column], (0, len(scores) - len(column))), scores

    def candidates(self, position):
        """x, y and diameter in pixels and score in hundredths of the micrograph at this place of the input."""
        (entry,) = [entry for entry in self.data["gallery"] if entry["position"] == position]
        attributes = next(attributes for attributes, _ in self.scripts if attributes.get("id") == f"m{position}")
        raw = base64.b64decode(attributes["data-candidates"])
        n = len(raw) // 6
        x, y = np.frombuffer(raw[: 4 * n], "<u2").reshape(2, n) / 65535
        score, diameter = np.frombuffer(raw[4 * n :], np.uint8).reshape(2, n)
        width, height = entry["width"], entry["height"]
        return x * width - 0.5, y * height - 0.5, score, diameter / 255 * entry["diameter"] * width
