"""Classes of a run on its page."""

import cv2
import numpy as np
import pytest

from asking_page import asking_page
from averaged_runs import CLASSES, average
from cryotx_cli.averages.choice import read_classes
from cryotx_cli.review.server import Server
from cryotx_cli.review.tiles import Tiles


@pytest.fixture
def page(opened):
    return asking_page(Server(opened.session, Tiles(), dict))


def test_a_run_without_classes_shows_none(page):
    assert page.get("/api/classes").json() == []
    assert page.get("/api/micrographs/0").json()["classes"] == []
    assert page.get("/classes/1").status_code == 422


def test_classes_that_are_made_meanwhile_are_shown_with_the_picks_that_are_in_them(page, run):
    assert page.get("/api/classes").json() == []
    average(run)
    rows = page.get("/api/classes").json()
    assert [row["number"] for row in rows] == list(range(1, CLASSES + 1))
    assert rows[-1]["resolution"] is None
    told = page.get("/api/micrographs/0").json()
    wanted = read_classes(run).numbers[told["name"]]
    assert sorted(filter(None, told["classes"])) == sorted(wanted.tolist())
    assert len(told["classes"]) == len(told["candidates"])
    assert all(number for number in told["classes"][: told["chosen"]])


def test_an_average_is_a_picture_and_there_are_no_others(page, run):
    average(run)
    pictures = [page.get(f"/classes/{number}") for number in range(1, CLASSES + 1)]
    shapes = [cv2.imdecode(np.frombuffer(one.content, np.uint8), cv2.IMREAD_UNCHANGED).shape for one in pictures]
    assert shapes == [(64, 64)] * CLASSES
    assert page.get("/classes/0").status_code == page.get(f"/classes/{CLASSES + 1}").status_code == 422


def test_damaged_classes_are_none(page, run):
    average(run)
    (run / "classes/classes.json").write_text("{]")
    assert page.get("/api/classes").json() == []
    (run / "classes/classes.mrcs").write_bytes(b"no stack")
    assert page.get("/classes/1").status_code == 422
