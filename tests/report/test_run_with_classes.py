"""The report of a run whose picks were averaged: what it says of dropping is what ``cryotx threshold`` does."""

import json
import shutil

import numpy as np
import pytest

from averaged_runs import average, picked_and_averaged
from cryotx_cli.averages.choice import read_classes
from cryotx_cli.config import ThresholdConfig
from cryotx_cli.errors import CryotxError
from cryotx_cli.picking.page import write_page
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.threshold import threshold as choose_anew
from report_in_browser import Page


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged")
    picked_and_averaged(folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run") / "p"


def page_of(run):
    write_page(read_run(run))
    return Page(run / "report.html")


def kept(page, dropped, cut):
    """Count the picks of each micrograph as the page has to, from what the file holds."""
    ends = page.data["classes"]["ends"]
    rows = zip(page.classes(), ends, strict=True)
    return [
        int(np.sum(((np.arange(len(scores)) < end) if cut is None else scores >= cut) & ~np.isin(numbers, dropped)))
        for (numbers, scores), end in rows
    ]


def false_among(page, dropped, cut):
    numbers = [one["number"] for one in page.data["classes"]["list"]]
    total = sum(page.data["expected_false"]["of_scores"][cut:])
    for number, false in zip(numbers, page.data["classes"]["false"], strict=True):
        total -= sum(false["of_scores"][cut:]) if number in dropped else 0
    return total


@pytest.mark.parametrize("dropped", [[2], [1, 3], [4, 2, 1]])
def test_the_page_knows_what_dropping_leaves(run, dropped):
    page = page_of(run)
    words = ",".join(map(str, dropped))

    for cut in (None, 20, 62):
        chosen = choose_anew(
            run, ThresholdConfig(threshold=None if cut is None else cut / 100, drop_classes=words, images=False)
        )
        rows = read_run(run).picked
        assert kept(page, dropped, cut) == [row.picks for row in rows]
        assert sum(row.picks for row in rows) == chosen.after
        if cut is not None:
            assert false_among(page, dropped, cut) == pytest.approx(chosen.expected_false, abs=0.05)


def test_what_was_dropped_stays_in_the_gallery_and_can_come_back(run):
    before = page_of(run)
    everything = kept(before, [], None)

    done = choose_anew(run, ThresholdConfig(drop_classes="3,1", images=False))

    page = Page(run / "report.html")
    assert {one["number"] for one in page.data["classes"]["list"] if one["dropped"]} == {1, 3}
    assert page.data["picks"] == kept(page, [1, 3], None)
    assert sum(page.data["picks"]) == sum(page.data["picked_counts"]) == done.after < sum(everything)
    assert kept(page, [], None) == everything
    assert page.data["expected_false"]["written"] == pytest.approx(done.expected_false, abs=0.02)
    assert "Classes dropped 1, 3" in " ".join(page.text.split())
    choose_anew(run, ThresholdConfig(drop_classes="none", images=False))
    assert Page(run / "report.html").data == before.data


def test_the_best_classes_come_first_and_those_of_auto_are_marked(run):
    shown = page_of(run).data["classes"]["list"]

    assert [one["number"] for one in shown] == [3, 2, 1, 4]
    assert [one["resolution"] for one in shown] == [17, 18, 19, None]
    assert [one["number"] for one in shown if one["suggested"]] == [4]
    assert not any(one["dropped"] for one in shown)
    assert page_of(run).data["classes"]["side"] == 64 * 2.5


def test_picks_dropped_before_the_classes_were_made_are_not_shown(run):
    choose_anew(run, ThresholdConfig(drop_classes="2", images=False))
    average(run)

    page = page_of(run)

    assert not any(one["dropped"] for one in page.data["classes"]["list"])
    assert page.data["picks"] == page.data["classes"]["ends"] == kept(page, [], None)


@pytest.mark.parametrize("spoiled", ["nothing", "json", "stack", "other picks"])
def test_without_classes_that_can_be_used_there_is_no_gallery(run, spoiled):
    if spoiled == "nothing":
        shutil.rmtree(run / "classes")
    elif spoiled == "json":
        (run / "classes/classes.json").write_text("{")
    elif spoiled == "stack":
        (run / "classes/classes.mrcs").write_bytes(b"no stack")
    else:
        text = (run / "classes/particles.star").read_text()
        (run / "classes/particles.star").write_text(text.replace("m0.mrc 1", "m0.mrc 9").replace(" 1", " 3"))

    page = page_of(run)

    assert page.data["classes"] is None
    assert "Class averages" not in page.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean_score", None), ("mean_score", float("nan")), ("resolution", "x"), ("picks", "7"), ("picks", -1),
        ("picks", True), ("picks", 1.5), pytest.param("share", 10**400, id="huge"),
        ("looks", 3), ("number", 2), ("centred", []), ("verdict", "superb"),
    ],
)  # fmt: skip
def test_values_of_a_wrong_type_are_damage_and_cost_the_report_one_section(run, name, value):
    path = run / "classes/classes.json"
    content = json.loads(path.read_text())
    content["classes"][0][name] = value
    path.write_text(json.dumps(content))
    told = []

    write_page(read_run(run), told.append)

    assert Page(run / "report.html").data["classes"] is None
    (event,) = told
    assert event.level == "warning"
    assert f"{path}: damaged" in event.text
    assert f"cryotx classes {run}" in event.text
    done = choose_anew(run, ThresholdConfig(threshold=0.5, images=False))
    assert done.after > 0
    with pytest.raises(CryotxError, match="damaged") as damaged:
        choose_anew(run, ThresholdConfig(drop_classes="auto", images=False))
    assert damaged.value.hint == f"Make the classes again: cryotx classes {run}"


def test_the_command_that_makes_classes_again_may_be_copied(tmp_path):
    with pytest.raises(CryotxError, match="there are no classes") as absent:
        read_classes(tmp_path / "my run")
    assert absent.value.hint == f"Make them: cryotx classes '{tmp_path / 'my run'}'"
