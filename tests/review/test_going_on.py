"""Going on to another run: what pages of the one before may still ask, and what is there when it goes wrong."""

import json
import os
import signal
from threading import Event, Thread

import pytest

import cryotx_cli.review.images
import cryotx_cli.runs.jobs
from asking_page import asking_page
from cryotx_cli.config import ReviewConfig
from cryotx_cli.errors import CryotxError
from cryotx_cli.review.changes import AddPicks, SetMark
from cryotx_cli.review.server import Server
from cryotx_cli.review.tiles import Tiles
from cryotx_cli.workflows.review import review
from reviewed_run import copied_run

CHANGE = {"kind": "add", "id": "late", "points": [[1, 2]]}


@pytest.fixture
def other(run, tmp_path):
    """A run of the same micrographs without the first, beside `run`."""
    found = copied_run(run, tmp_path / "elsewhere").rename(run.with_name("p_adapted1"))
    (tmp_path / "elsewhere/p.star").rename(run.with_name("p_adapted1.star"))
    lines = (found / "ledger.jsonl").read_text().replace(str(tmp_path / "elsewhere"), str(run.parent)).splitlines(True)
    (found / "ledger.jsonl").write_text("".join(lines[1:]))
    return found


def mark(opened, position, what="done"):
    name = opened.session.subject(position).name
    opened.session.change(SetMark(id=f"m{position}", kind="mark", micrograph=name, mark=what))
    return name


def marks(opened):
    return [one["mark"] for one in opened.session.listing()["micrographs"]]


def test_a_page_of_the_run_before_is_refused_and_changes_nothing(opened, other):
    done = mark(opened, 1)
    server = Server(opened.session, Tiles(), dict)
    stale = asking_page(server)
    image = stale.get("/tiles/1/0/0/0").content
    opened.turn_to(other)
    server.show(opened.session, None)
    assert opened.session.subject(0).name == done
    late = {**CHANGE, "micrograph": done}
    cut = {"kind": "cut", "id": "cut", "threshold": 0.1, "distance": None}
    for body in (late, [late, cut], cut, {"kind": "mark", "id": "mark", "micrograph": done, "mark": None}):
        answer = stale.post("/api/changes", json=body)
        assert answer.status_code == 409
        assert "p_adapted1.star" in answer.json()["error"]
    places = ("micrographs/0", "changes", "counts", "classes", "adapt", "review")
    for place in (*(f"/api/{one}" for one in places), "/tiles/1/0/0/0", "/classes/1"):
        assert stale.get(place).status_code == 409, place
    for place in ("edition", "adapt", "adapt/stop", "adapt/show"):
        assert stale.post(f"/api/{place}", json={}).status_code == 409, place
    stale.run = None  # as a page of a version that says nothing
    assert stale.post("/api/changes", json=late).status_code == 409
    assert opened.session.last == 1
    assert marks(opened) == ["done", None]
    stale.run = stale.get("/api/review").json()["run"]  # loaded anew
    assert stale.get("/tiles/0/0/0/0").content == image
    assert stale.post("/api/changes", json=late).status_code == 200


def test_a_page_that_is_open_while_the_server_starts_again_goes_on(run, opened, tmp_path):
    server = Server(opened.session, Tiles(), dict)
    page = asking_page(server)
    name = mark(opened, 0)
    opened.close()
    (tmp_path / "link").symlink_to(run.parent)
    for number, path in enumerate((run, tmp_path / "link/p")):
        again = review([str(path)], ReviewConfig())
        server.show(again.session, None)
        answer = page.post("/api/changes", json={**CHANGE, "id": f"{number}", "micrograph": name})
        assert answer.status_code == 200
        again.close()


def test_a_review_that_cannot_go_on_stays_with_the_run_that_it_has(opened, other):
    resource = pytest.importorskip("resource")
    first, folder = mark(opened, 1), opened.folder
    opened.write()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))  # as a disk that is full: no mark has room
        with pytest.raises(CryotxError, match=r"p_adapted1/review/journal.jsonl: the change cannot be written"):
            opened.turn_to(other)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert opened.folder == folder
    assert marks(opened) == [None, "done", None]
    opened.session.change(AddPicks(id="a", kind="add", micrograph=first, points=[(1, 2)]))
    assert len((folder / "journal.jsonl").read_text().splitlines()) == 3
    opened.turn_to(other)  # there is room again
    assert marks(opened) == ["done", None]
    lines = (other / "review/journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["micrograph"] for line in lines[1:]] == [first]


class Reading:
    """Notes which files are read for their checksums, and waits where it shall."""

    def __init__(self, monkeypatch):
        self.names, self.begun, self.go_on = [], Event(), Event()
        self.go_on.set()
        self._checksum_of = cryotx_cli.runs.jobs.checksum_of
        for module in (cryotx_cli.runs.jobs, cryotx_cli.review.images):
            monkeypatch.setattr(module, "checksum_of", self, raising=False)

    def __call__(self, path):
        self.names.append(path.name)
        self.begun.set()
        assert self.go_on.wait(30)
        return self._checksum_of(path)


@pytest.fixture
def copied(run):
    """A run whose micrographs were copied without their times."""
    for path in (run.parent / "mics").iterdir():
        os.utime(path, (1, 1))
    return run


def test_copies_without_their_times_are_read_once_and_where_they_are_wanted(copied, other, monkeypatch):
    reading = Reading(monkeypatch)
    opened = review([str(copied)], ReviewConfig())
    assert reading.names == []
    for _ in range(2):
        opened.session.view(1, None)
        assert reading.names == ["m1.mrc"]
    assert opened.write().micrographs == 3
    assert sorted(reading.names) == ["m0.mrc", "m1.mrc", "m2.mrc"]
    mark(opened, 1)
    opened.turn_to(other)
    assert opened.session.view(0, None)["corrections"]["mark"] == "done"
    assert opened.write().micrographs == 2
    assert len(reading.names) == 3
    opened.close()


@pytest.mark.parametrize("work", [lambda opened: opened.session.view(1, None), lambda opened: opened.write()])
def test_pages_go_on_while_a_large_file_is_read(copied, monkeypatch, work):
    reading = Reading(monkeypatch)
    opened = review([str(copied)], ReviewConfig())
    for path in (copied.parent / "mics").iterdir():
        os.utime(path, (2, 2))  # copied once more
    reading.begun.clear()
    reading.go_on.clear()
    reader = Thread(target=work, args=(opened,))
    reader.start()
    assert reading.begun.wait(30)
    changing = Thread(target=mark, args=(opened, 2))
    changing.start()
    changing.join(5)
    waited = changing.is_alive()
    reading.go_on.set()
    for one in (changing, reader):
        one.join()
    assert not waited
    opened.close()
