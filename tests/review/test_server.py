"""What pages are told and what they change, as a browser asks for it."""

import json
from threading import Thread
from uuid import uuid4

import cv2
import numpy as np
import pytest

from asking_page import asking_page
from cryotx_cli.review.changes import parsed_change
from cryotx_cli.review.histories import Histories
from cryotx_cli.review.server import Server
from cryotx_cli.review.tiles import Tiles
from cryotx_cli.runs.stored import read_run
from reviewed_run import HEIGHT, WIDTH, write_micrographs


@pytest.fixture
def page(opened):
    return asking_page(Server(opened.session, Tiles(), dict))


def change(page, **what):
    return page.post("/api/changes", json={"id": uuid4().hex, **what})


def names(page):
    return [one["name"] for one in page.get("/api/review").json()["micrographs"]]


def test_the_page_and_all_that_it_names_are_there(page):
    text = page.get("/").text
    for path in ("/web/program/main.js", "/web/style/page.css", "/web/openseadragon/openseadragon.min.js"):
        assert path in text
        assert page.get(path).status_code == 200
    assert "Redistribution" in page.get("/web/openseadragon/LICENSE.txt").text


def test_the_list_says_of_each_micrograph_what_the_ledger_says(page, run):
    told = page.get("/api/review").json()
    rows = read_run(run, to_read=True).rows
    assert told["title"] == "p.star"
    assert [one["name"] for one in told["micrographs"]] == list(rows)
    assert [one["picks"] for one in told["micrographs"]] == [row.picks for row in rows.values()]
    assert told["diameter"] == 60.0


def test_candidates_are_those_of_the_run_best_first_to_the_last_bit(page, run):
    stored = read_run(run, to_read=True)
    (row, *_) = stored.rows.values()
    available, _ = stored.available(row)
    told = page.get("/api/micrographs/0").json()
    assert [one[:2] for one in told["candidates"]] == available.centres.tolist()
    assert [one[2] for one in told["candidates"]] == available.scores.tolist()
    assert told["chosen"] == row.picks == 20
    assert (told["height"], told["width"], told["diameter"]) == (HEIGHT, WIDTH, 30.0)


def test_counts_for_a_threshold_are_those_that_cryotx_threshold_would_write(page, run):
    stored = read_run(run, to_read=True)
    for cut in (0.0, 0.3, 0.72, 1.0):
        wanted = [int((stored.available(row)[0].scores >= cut).sum()) for row in stored.rows.values()]
        assert page.get(f"/api/counts?threshold={cut}&distance=").json() == wanted
    assert page.get("/api/counts").json() == [20, 20, 20]
    assert page.get("/api/counts?threshold=0&distance=300").json()[0] < 20


def test_a_change_is_answered_with_what_it_adds_up_to_and_is_in_the_journal(page, opened):
    (name, *_) = names(page)
    answer = change(page, kind="add", micrograph=name, points=[[1.5, 2.5]]).json()
    assert answer["corrections"]["added"] == [[1.5, 2.5]]
    assert answer["picks"] == 21
    assert (answer["seq"], answer["undo"], answer["redo"]) == (1, 1, 0)
    assert change(page, kind="undo", micrograph=name).json()["picks"] == 20
    assert change(page, kind="undo", micrograph=name).json()["seq"] == 2  # there is nothing left to undo
    assert change(page, kind="redo", micrograph=name).json()["picks"] == 21
    text = (opened.folder / "journal.jsonl").read_text()
    assert len(text.splitlines()) == 4


def test_a_change_that_is_sent_twice_counts_once(page, opened):
    (name, *_) = names(page)
    body = {"id": "same", "kind": "box", "micrograph": name, "box": [0, 0, 300, 300]}
    first, second = page.post("/api/changes", json=body).json(), page.post("/api/changes", json=body).json()
    assert first == second
    assert opened.session.last == 1


def test_changes_that_come_together_are_answered_together_in_their_order(page, opened):
    first, second, _ = names(page)
    several = [
        {"id": "a", "kind": "add", "micrograph": first, "points": [[1, 2]]},
        {"id": "b", "kind": "mark", "micrograph": second, "mark": "bad"},
        {"id": "c", "kind": "add", "micrograph": first, "points": [[200, 2]]},
        {"id": "d", "kind": "undo", "micrograph": first},
        {"id": "e", "kind": "cut", "threshold": 0.8, "distance": None},
    ]
    answer = page.post("/api/changes", json=several).json()
    assert [one is None for one in answer] == [True, False, True, False, False]
    assert answer[1]["corrections"]["mark"] == "bad"
    assert answer[3]["corrections"]["added"] == [[1, 2]]
    assert answer[4]["cut"] == {"threshold": 0.8, "distance": None}
    lines = [json.loads(line) for line in (opened.folder / "journal.jsonl").read_text().splitlines()[1:]]
    assert [(line["seq"], line["id"]) for line in lines] == list(zip(range(1, 6), "abcde", strict=True))
    assert page.post("/api/changes", json=several).json() == answer  # sent twice they count once
    assert opened.session.last == 5


def test_changes_that_come_together_count_all_or_not_at_all(page, opened):
    (name, *_) = names(page)
    change(page, kind="add", micrograph=name, points=[[1, 2]])
    before = (opened.folder / "journal.jsonl").read_bytes()
    good = {"id": "a", "kind": "add", "micrograph": name, "points": [[100, 200]]}
    for wrong in ({**good, "id": "b", "micrograph": "elsewhere.mrc"}, {**good, "id": "b", "points": []}):
        assert page.post("/api/changes", json=[good, wrong]).status_code == 422
        assert (opened.folder / "journal.jsonl").read_bytes() == before
        assert page.get("/api/micrographs/0").json()["corrections"]["added"] == [[1, 2]]
    assert page.post("/api/changes", json=[good] * 201).status_code == 422
    assert page.post("/api/changes", json=[good]).json()[0]["corrections"]["added"] == [[1, 2], [100, 200]]


def test_another_page_is_told_which_micrographs_have_changed(page):
    name = names(page)[1]
    before = page.get("/api/changes?after=0").json()
    assert before["changed"] == []
    change(page, kind="mark", micrograph=name, mark="bad")
    told = page.get("/api/changes?after=0").json()
    assert [(one["name"], one["mark"]) for one in told["changed"]] == [(name, "bad")]
    assert page.get(f"/api/changes?after={told['seq']}").json()["changed"] == []


def test_a_cut_of_the_run_moves_the_picks_but_not_those_of_a_micrograph_that_is_done(page):
    first, second, _ = names(page)
    change(page, kind="remove", micrograph=first, points=[page.get("/api/micrographs/0").json()["candidates"][0][:2]])
    assert change(page, kind="mark", micrograph=first, mark="done").json()["picks"] == 19
    change(page, kind="add", micrograph=second, points=[[1, 2]])
    change(page, kind="cut", threshold=0.8, distance=None)
    counts = [one["picks"] for one in page.get("/api/review").json()["micrographs"]]
    assert counts[0] == 19
    assert counts[1] == counts[2] + 1 < 20


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"id": "1", "kind": "nothing"},
        {"id": "1", "kind": "add", "micrograph": "elsewhere.mrc", "points": [[1, 2]]},
        {"id": "1", "kind": "add", "micrograph": "NAME", "points": []},
        {"id": "1", "kind": "add", "micrograph": "NAME", "points": [[1]]},
        {"id": "1", "kind": "add", "micrograph": "NAME", "points": [[1, 2]] * 20_001},
        {"id": "1", "kind": "add", "micrograph": "NAME", "points": [[1e300, 2]]},
        {"id": "1", "kind": "add", "micrograph": "NAME", "points": [["a", 2]]},
        {"id": "1", "kind": "add", "micrograph": "NAME", "points": [[1, 2]], "labels": []},
        {"id": "x" * 65, "kind": "undo", "micrograph": "NAME"},
        {"id": "1", "kind": "mark", "micrograph": "NAME", "mark": "perfect"},
        {"id": "1", "kind": "cut", "threshold": 2, "distance": None},
        {"id": "1", "kind": "cut", "threshold": None, "distance": 0},
        {"id": "1", "kind": "stroke", "micrograph": "NAME", "points": [[1, 2]], "radius": -1},
    ],
)
def test_what_is_no_change_is_refused_and_not_written(page, opened, body):
    if isinstance(body, dict) and body.get("micrograph") == "NAME":
        body["micrograph"] = names(page)[0]
    answer = page.post("/api/changes", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert opened.session.last == 0


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"id": NaN}'])
def test_what_is_no_json_is_refused(page, content):
    assert page.post("/api/changes", content=content).status_code == 422


@pytest.mark.parametrize(
    "query", ["lowpass=-1", "lowpass=nan", "lowpass=inf", "contrast=x", "lowpass=1e9", "contrast=9e9"]
)
def test_a_look_that_cannot_be_is_refused(page, query):
    assert page.get(f"/tiles/0/0/0/0?{query}").status_code == 422


def test_a_tile_is_a_grey_jpeg(page):
    answer = page.get("/tiles/0/0/1/1?lowpass=20&contrast=0&invert=1")
    tile = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert answer.headers["content-type"] == "image/jpeg"
    assert tile.shape == (HEIGHT - 512, WIDTH - 512)


def test_a_micrograph_that_is_gone_is_told_of(page, opened):
    opened.session.subject(0).path.unlink()
    answer = page.get("/tiles/0/0/0/0")
    assert answer.status_code == 422
    assert "m0.mrc" in answer.text
    assert page.get("/tiles/1/0/0/0").status_code == 200


def test_a_micrograph_that_is_another_file_now_is_told_of_and_left_out_of_the_files(page, opened):
    path = opened.session.subject(1).path
    before = page.get("/api/micrographs/1").json()["image"]
    assert page.get("/api/micrographs/1").json()["image"] == before != page.get("/api/micrographs/0").json()["image"]
    write_micrographs(path.parent / "others", 1)
    (path.parent / "others/m0.mrc").replace(path)
    answer = page.get("/api/micrographs/1")
    assert answer.status_code == 422
    assert "m1.mrc: another file than the run has picked" in answer.json()["error"]
    written = opened.write()
    assert written.micrographs == 2
    assert "m1.mrc" not in written.star.read_text()
    assert sum("another file than the run has picked" in event.text for event in opened.events) == 1


def test_changes_of_many_pages_at_once_are_all_in_the_journal_in_order(opened):
    session, counts = opened.session, [0, 0, 0, 0]
    names = [one.name for one in session.subjects.all()]

    def work(page):
        for number in range(250):
            points = [[page * 100 + number % 90, number]]
            change = {"id": f"{page}-{number}", "micrograph": names[number % 3], "kind": "add", "points": points}
            seq = session.change(parsed_change(json.dumps(change).encode()))["seq"]
            counts[page] += seq > 0

    threads = [Thread(target=work, args=(page,)) for page in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    lines = [json.loads(line) for line in (opened.folder / "journal.jsonl").read_text().splitlines()[1:]]
    assert counts == [250] * 4
    assert [line["seq"] for line in lines] == list(range(1, 1001))
    for page in range(4):  # each page's own changes keep their order
        own = [int(line["id"].split("-")[1]) for line in lines if line["id"].startswith(f"{page}-")]
        assert own == list(range(250))
    added = sum(len(session.history(one).corrections.added) for one in session.subjects.all())
    assert added == len({(line["micrograph"], *line["points"][0]) for line in lines})
    afresh = Histories(lines)  # as if the review had been opened again
    for one in session.subjects.all():
        assert session.history(one).corrections.as_json() == afresh.of(one).corrections.as_json()
