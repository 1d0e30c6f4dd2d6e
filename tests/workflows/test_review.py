"""Reviews as files: what corrections become, that a run stays as it was, and that nothing is lost."""

import csv
import json
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from cryotx_cli.config import ReviewConfig, ThresholdConfig
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.errors import ConfigError, CryotxError, MicrographError
from cryotx_cli.review.changes import parsed_change
from cryotx_cli.review.subject import Cut
from cryotx_cli.workflows.review import review
from cryotx_cli.workflows.threshold import threshold
from reviewed_run import copied_run, make_run, write_micrographs


@pytest.fixture(scope="module")
def picked(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("picked"))


@pytest.fixture
def run(picked, tmp_path):
    return copied_run(picked, tmp_path / "work")


def change(opened, **what):
    return opened.session.change(parsed_change(json.dumps({"id": uuid4().hex, **what}).encode()))


def names(opened):
    return [one.name for one in opened.session.subjects.all()]


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_without_a_correction_the_edition_has_the_picks_of_the_run(run):
    opened = review([str(run)], ReviewConfig())
    written = opened.write()
    before, after = read_particles_star(run.with_suffix(".star")), read_particles_star(written.star)
    assert list(before) == list(after)
    assert all(np.array_equal(before[name].centres, after[name].centres) for name in before)
    assert (written.micrographs, written.picks, written.done, written.bad) == (3, 60, 0, 0)
    opened.close()


def test_corrections_are_in_every_format_and_the_files_of_the_run_stay_as_they_were(run):
    before = files(run.parent)
    opened = review([str(run)], ReviewConfig(formats=("relion", "box", "cbox", "csv", "eman", "topaz")))
    first, second, third = names(opened)
    top = opened.session.view(0, None)["candidates"][0]
    change(opened, kind="remove", micrograph=first, points=[top[:2]])
    change(opened, kind="add", micrograph=first, points=[[123.25, 456.5], [321, 45]])
    change(opened, kind="mark", micrograph=second, mark="bad")
    change(opened, kind="mark", micrograph=third, mark="done")
    opened.write()
    opened.close()
    folder = run / "review"
    picks = read_particles_star(folder / "particles.star")
    assert list(picks) == [first, third]
    assert len(picks[first]) == 21
    places = set(map(tuple, picks[first].centres.tolist()))
    assert {(123.25, 456.5), (321.0, 45.0)} < places
    assert tuple(top[:2]) not in places
    assert list(read_particles_star(folder / "labels.star")) == [third]
    for name in ("box", "cbox", "csv"):
        told = read_particles(folder / "particles" / name)
        (here,) = [particles for stem, particles in told.items() if Path(stem).stem.startswith("m0")]
        assert len(here) == 21
        assert len(told) == 2  # and none of the bad one
    rows = list(csv.DictReader((folder / "micrographs.csv").open()))
    assert [(row["mark"], row["picks"]) for row in rows] == [("", "21"), ("bad", "20"), ("done", "20")]
    now = files(run.parent)
    assert {path: now[path] for path in before} == before
    assert {path.parts[:2] for path in set(now) - set(before)} == {("p", "review")}


def test_what_was_corrected_is_there_when_the_review_is_opened_again(run):
    opened = review([str(run)], ReviewConfig())
    first, second, _ = names(opened)
    change(opened, kind="box", micrograph=first, box=[0, 0, 400, 300])
    change(opened, kind="stroke", micrograph=second, points=[[0, 50], [800, 50]], radius=10)
    change(opened, kind="undo", micrograph=second)
    change(opened, kind="cut", threshold=0.3, distance=None)
    before = opened.session.listing()
    opened.close()
    again = review([str(run)], ReviewConfig())
    assert {**again.session.listing(), "version": 0} == {**before, "version": 0}
    assert again.is_written is False
    again.write()
    assert again.is_written
    again.close()


def test_labels_of_a_micrograph_that_is_done_survive_a_run_that_is_chosen_anew(run):
    opened = review([str(run)], ReviewConfig())
    first, second, _ = names(opened)
    change(opened, kind="add", micrograph=first, points=[[7, 8]])
    change(opened, kind="add", micrograph=second, points=[[7, 8]])
    change(opened, kind="mark", micrograph=first, mark="done")
    opened.close()
    list(threshold(run, ThresholdConfig(threshold=0.9)))
    again = review([str(run)], ReviewConfig())
    counts = [one["picks"] for one in again.session.listing()["micrographs"]]
    assert counts[0] == 21
    assert 1 < counts[1] < 10
    again.close()


def test_micrographs_that_a_run_adds_appear_in_a_review_that_is_open(run):
    opened = review([str(run)], ReviewConfig())
    ledger = run / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    opened.close()
    ledger.write_text("".join(lines[:2]))
    opened = review([str(run)], ReviewConfig())
    assert len(names(opened)) == 2
    version = opened.session.since(0)["version"]
    ledger.write_text("".join(lines))
    assert opened.session.since(0)["version"] > version
    assert len(names(opened)) == 3
    opened.close()


def test_picking_by_hand_begins_with_nothing_and_ends_with_coordinates(tmp_path, monkeypatch):
    write_micrographs(tmp_path / "mics", 2)
    monkeypatch.chdir(tmp_path)
    opened = review(["mics"], ReviewConfig(diameter=80.0))
    assert opened.session.view(0, None)["diameter"] == 40.0
    change(opened, kind="add", micrograph=names(opened)[1], points=[[10.5, 20.25]])
    written = opened.write()
    opened.close()
    assert written.star == Path("review/particles.star")
    (found,) = read_particles(written.star).values()
    assert found.centres.tolist() == [[10.5, 20.25]]
    assert (tmp_path / "review/particles/relion").is_dir()


@pytest.mark.parametrize(
    ("inputs", "config", "error", "message"),
    [
        (["mics"], ReviewConfig(), ConfigError, "--diameter has to say how large"),
        (["nowhere"], ReviewConfig(), MicrographError, "nowhere"),
        (["p", "p"], ReviewConfig(), ConfigError, "one run at a time"),
        (["p"], ReviewConfig(diameter=10.0), ConfigError, "--diameter: p is a run"),
        (["p"], ReviewConfig(out=Path("foreign")), ConfigError, "no review of cryotx has written it"),
        (["p"], ReviewConfig(out=Path()), CryotxError, "particles.star"),
    ],
)
def test_what_cannot_be_reviewed_is_told_of(run, monkeypatch, inputs, config, error, message):
    monkeypatch.chdir(run.parent)
    Path("foreign").mkdir()
    Path("foreign/particles.star").write_text("data_\n\nloop_\n_rlnCoordinateX\n1\n")
    Path("particles.star").write_bytes(Path("p.star").read_bytes())
    with pytest.raises(error, match=message):
        review(inputs, config)


def test_a_run_whose_candidates_are_missing_is_told_of_and_others_are_still_shown(run):
    opened = review([str(run)], ReviewConfig())
    for path in (run / "candidates").rglob("m0.csv"):
        path.unlink()
    with pytest.raises(CryotxError, match="missing or damaged"):
        opened.session.view(0, None)
    assert opened.session.view(1, None)["chosen"] == 20
    assert [one["picks"] for one in opened.session.listing()["micrographs"]][1:] == [20, 20]
    assert opened.session.counts(Cut(threshold=0.9)) == [0, 3, 3]
    with pytest.raises(CryotxError, match="missing or damaged"):
        opened.write()
    opened.close()
