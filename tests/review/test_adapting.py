"""Adapting from the page: the commands that are run, what is told of them, and what comes of them."""

import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest

from asking_page import asking_page
from cryotx_cli.config import AdaptConfig, ReviewConfig
from cryotx_cli.errors import CryotxError
from cryotx_cli.review.adapting import Adapting
from cryotx_cli.review.changes import RemovePicks, SetMark
from cryotx_cli.review.labels import labels_of_review
from cryotx_cli.review.server import Server
from cryotx_cli.review.tiles import Tiles
from cryotx_cli.workflows.review import review
from reviewed_run import stand_in


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Stage:
    """An `Adapting` whose commands are those of `PROGRAM`."""

    def __init__(self, opened, run, folder, monkeypatch, code=0):
        self.log, self.wait = folder / "log", folder / "wait"
        monkeypatch.setattr(sys, "executable", str(stand_in(run, folder, code)))
        self.adapting = Adapting(opened.session, opened.session.subjects, opened.folder)

    def ended(self):
        until(lambda: self.adapting.status()["phase"] not in ("training", "picking"))
        return self.adapting.status()


def mark(opened, *positions):
    for position in positions:
        name = opened.session.subject(position).name
        opened.session.change(SetMark(id=f"m{position}", kind="mark", micrograph=name, mark="done"))


@pytest.fixture
def stage(opened, run, tmp_path, monkeypatch):
    mark(opened, 0, 1)
    return Stage(opened, run, tmp_path, monkeypatch)


def test_it_trains_on_the_review_and_picks_the_same_micrographs_again(stage, run, opened):
    stage.adapting.start(300)
    status = stage.ended()
    train, pick = map(shlex.split, stage.log.read_text().splitlines())
    assert [" ".join(train), " ".join(pick)] == [one.removeprefix("cryotx ") for one in status["commands"]]
    assert train == ["train", "--data", f"{opened.folder}", "--out", f"{opened.folder}/adapted1", "--steps", "300"]
    assert pick[0] == "pick"
    assert pick[pick.index("--weights") + 1] == f"{opened.folder}/adapted1/best.safetensors"
    assert pick[pick.index("--config") + 1] == f"{run}/config.toml"
    assert pick[pick.index("--out") + 1] == f"{run}_adapted1.star"
    listed = Path(pick[1]).read_text()
    assert [one.path.name in listed for one in opened.session.subjects.all()] == [True] * 3


def test_it_tells_the_table_and_how_the_picks_have_changed(stage, run):
    stage.adapting.start(None)
    status = stage.ended()
    assert status["phase"] == "done"
    assert [(one["weights"], one["picks"], one["f1"]) for one in status["table"]] == [
        ("before", 669, 0.849),
        ("after", 687, 0.851),
    ]
    assert status["verdict"] == "Adapting did not help on the held-back micrographs (9 s): its words"
    differences = [(one["before"], one["after"], one["kept"]) for one in status["difference"]["micrographs"]]
    assert differences == [(20, 3, 3)] * 3
    assert status["difference"]["command"] == f"cryotx review {run}_adapted1"
    assert run.with_name("p.star").exists()


def test_the_review_goes_on_with_the_adapted_picks_and_what_is_done_stays_done(stage, run, opened, tmp_path):
    first, second, third = opened.session.subjects.all()
    best = tuple(opened.session.picks(first).centres[0].tolist())
    opened.session.change(RemovePicks(id="r", kind="remove", micrograph=first.name, points=[best]))
    opened.session.change(SetMark(id="b", kind="mark", micrograph=third.name, mark="bad"))
    labels = [opened.session.picks(one).centres.tolist() for one in (first, second)]
    stage.adapting.start(None)
    assert stage.ended()["phase"] == "done"
    shutil.rmtree(run.with_name("p_adapted1") / "review")  # of the run that stands in for the new one
    opened.turn_to(Path(stage.adapting.status()["run"]))
    assert opened.folder == run.with_name("p_adapted1") / "review"
    assert (run / "review/particles.star").exists()  # what was changed before is written
    marks = [one["mark"] for one in opened.session.listing()["micrographs"]]
    assert marks == ["done", "done", "bad"]
    assert [opened.session.picks(one).centres.tolist() for one in opened.session.subjects.all()[:2]] == labels
    found = labels_of_review(AdaptConfig(data=opened.folder))
    assert [one.labels.centres.tolist() for one in found.micrographs] == labels
    again = review([str(run)], ReviewConfig())  # the journal of the first is free
    assert again.session.last == 4
    again.close()


def test_each_start_has_weights_and_a_run_of_its_own(stage, run, opened):
    (opened.folder / "adapted1").mkdir()
    run.with_name("p_adapted2.star").touch()
    run.with_name("p_adapted3").mkdir()
    stage.adapting.start(None)
    assert stage.ended()["phase"] == "done"
    assert f"{opened.folder}/adapted4" in stage.log.read_text()
    assert run.with_name("p_adapted4.star").exists()


def test_progress_is_that_of_the_command_and_it_can_be_stopped(stage):
    stage.wait.touch()
    stage.adapting.start(None)
    until(lambda: (stage.adapting.status()["step"], stage.adapting.status()["steps"]) == (40, 800))
    with pytest.raises(CryotxError, match="under way"):
        stage.adapting.start(None)
    stage.adapting.stop()
    assert stage.ended()["phase"] == "stopped"
    assert len(stage.log.read_text().splitlines()) == 1
    stage.wait.unlink()
    stage.adapting.start(None)
    assert stage.ended()["phase"] == "done"


def test_a_command_that_fails_ends_it_with_its_words(opened, run, tmp_path, monkeypatch):
    mark(opened, 0, 1)
    stage = Stage(opened, run, tmp_path, monkeypatch, code=1)
    stage.adapting.start(None)
    status = stage.ended()
    assert status["phase"] == "failed"
    assert "40/800 steps" in "".join(status["lines"])
    assert len(stage.log.read_text().splitlines()) == 1


def test_one_micrograph_is_too_few(opened):
    mark(opened, 0)
    with pytest.raises(CryotxError, match="two micrographs at least"):
        Adapting(opened.session, opened.session.subjects, opened.folder).start(None)


def test_a_page_starts_and_stops_it(stage, opened):
    page = asking_page(Server(opened.session, Tiles(), dict, stage.adapting))
    assert page.get("/api/adapt").json()["labelled"] == 2
    for wrong in ({"steps": 0}, {"steps": "; rm"}, {"steps": 1, "init": "x"}, []):
        assert page.post("/api/adapt", json=wrong).status_code == 422
    assert not stage.log.exists()
    stage.wait.touch()
    assert page.post("/api/adapt", json={"steps": 5}).json()["phase"] == "training"
    assert page.post("/api/adapt/stop").json()["phase"] == "stopped"


def test_without_a_run_there_is_nothing_to_adapt(run):
    opened = review([str(run.parent / "mics")], ReviewConfig(diameter=60.0, out=run.parent / "by_hand"))
    answer = asking_page(Server(opened.session, Tiles(), dict)).post("/api/adapt", json={})
    assert answer.status_code == 422
    assert "no run to adapt" in answer.json()["error"]
    opened.close()
