"""Reviews as files: what corrections become, that a run stays as it was, and that nothing is lost."""

import csv
import json
import os
from pathlib import Path
from uuid import uuid4

import mrcfile
import numpy as np
import pytest

from cryotx_cli.config import AdaptConfig, PickConfig, ReviewConfig, ThresholdConfig
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.errors import ConfigError, CryotxError, MicrographError
from cryotx_cli.review.changes import parsed_change
from cryotx_cli.review.labels import labels_of_review
from cryotx_cli.review.subject import Cut
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.review import review
from cryotx_cli.workflows.threshold import threshold
from reviewed_run import DIAMETER, HEIGHT, PIXEL_SIZE, WIDTH, GridPicker, copied_run, make_run, write_micrographs


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


def picked_anew(run, move):
    """Replace micrographs of a run and pick it anew."""
    mics = run.parent / "mics"
    move(mics)
    config = PickConfig(diameter=DIAMETER, threshold=0.5, min_distance=110.0, images=False, report=False)
    list(start_pick([mics], run.with_suffix(".star"), config, GridPicker()))


def swap(mics):
    (mics / "m0.mrc").rename(mics / "m")
    (mics / "m1.mrc").rename(mics / "m0.mrc")
    (mics / "m").rename(mics / "m1.mrc")


def binned(mics):
    with mrcfile.new(mics / "m0.mrc", overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(7).normal(0, 1, (HEIGHT // 2, WIDTH // 2)).astype(np.float32))
        mrc.voxel_size = 2 * PIXEL_SIZE


@pytest.fixture
def done(tmp_path):
    """A run whose first micrograph is done, with a pick added; it can be picked anew."""
    run = make_run(tmp_path)
    opened = review([str(run)], ReviewConfig())
    change(opened, kind="add", micrograph=names(opened)[0], points=[[799.0, 599.0]])
    change(opened, kind="mark", micrograph=names(opened)[0], mark="done")
    opened.write()
    opened.close()
    return run


@pytest.mark.parametrize("replace", [swap, binned])
def test_corrections_of_an_image_that_was_replaced_are_left_out_with_a_warning(done, replace):
    journal = (done / "review/journal.jsonl").read_bytes()
    picked_anew(done, replace)
    opened = review([str(done)], ReviewConfig())
    first = names(opened)[0]
    (event,) = [event for event in opened.events if event.level == "warning"]
    assert event.text.startswith(f"{first}: has changed since it was corrected: its corrections are left out.")
    written = opened.write()
    assert written.done == 0
    assert not (done / "review/labels.star").exists()
    after, of_run = read_particles_star(written.star), read_particles_star(done.with_suffix(".star"))
    assert all(np.array_equal(after[name].centres, of_run[name].centres) for name in of_run)
    told = []
    found = labels_of_review(AdaptConfig(data=done / "review"), told.append)
    assert (found.micrographs, found.changed, [one.text for one in told]) == ((), (first,), [event.text])
    assert (done / "review/journal.jsonl").read_bytes() == journal
    opened.close()


def test_corrections_count_for_the_image_on_which_they_were_made_and_return_with_it(done):
    picked_anew(done, swap)
    opened = review([str(done)], ReviewConfig())
    first = names(opened)[0]
    change(opened, kind="undo", micrograph=first)  # there is nothing to undo on the new image
    change(opened, kind="add", micrograph=first, points=[[1.0, 2.0]])
    opened.close()
    again = review([str(done)], ReviewConfig())
    assert not [event for event in again.events if event.level == "warning"]
    assert again.session.view(0, None)["corrections"]["added"] == [(1.0, 2.0)]
    again.close()
    picked_anew(done, swap)
    back = review([str(done)], ReviewConfig())
    assert back.session.view(0, None)["corrections"]["mark"] == "done"
    assert back.session.view(0, None)["corrections"]["added"] == [(799.0, 599.0)]
    back.close()


def test_a_copy_of_a_micrograph_and_a_journal_that_knows_no_files_keep_their_corrections(done):
    picked_anew(done, lambda mics: os.utime(mics / "m0.mrc", (1, 1)))
    assert len(labels_of_review(AdaptConfig(data=done / "review")).micrographs) == 1
    journal = done / "review/journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines[1].pop("of")["size"] == (done.parent / "mics/m0.mrc").stat().st_size
    assert all("of" not in line for line in lines)
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    picked_anew(done, swap)
    opened = review([str(done)], ReviewConfig())
    assert opened.write().done == 1
    opened.close()


def test_corrections_by_hand_do_not_go_to_another_image_either(tmp_path, monkeypatch):
    mics = write_micrographs(tmp_path / "mics", 2)
    monkeypatch.chdir(tmp_path)
    opened = review(["mics"], ReviewConfig(diameter=80.0))
    change(opened, kind="add", micrograph=names(opened)[0], points=[[10.5, 20.25]])
    opened.close()
    os.utime(mics / "m0.mrc", (1, 1))
    opened = review(["mics"], ReviewConfig(diameter=80.0))
    assert opened.write().picks == 1
    opened.close()
    swap(mics)
    opened = review(["mics"], ReviewConfig(diameter=80.0))
    assert [event.text for event in opened.events if event.level == "warning"]
    assert opened.write().picks == 0
    opened.close()


def test_what_a_run_chooses_anew_while_its_review_is_open_is_in_the_files(run):
    opened = review([str(run)], ReviewConfig())
    assert opened.write().picks == 60
    assert opened.is_written
    list(threshold(run, ThresholdConfig(threshold=0.9)))
    assert not opened.is_written
    written = opened.write()
    assert opened.is_written
    of_run, after = read_particles_star(run.with_suffix(".star")), read_particles_star(written.star)
    assert written.picks == sum(map(len, of_run.values())) < 60
    assert all(np.array_equal(after[name].centres, of_run[name].centres) for name in of_run)
    opened.close()


def test_the_journal_of_another_run_is_refused_and_a_run_that_was_moved_keeps_its_own(done, tmp_path):
    other = make_run(tmp_path / "other")
    journal = (done / "review/journal.jsonl").read_bytes()
    with pytest.raises(CryotxError, match=f"the review of {done}$"):
        review([str(other)], ReviewConfig(out=done / "review"))
    with pytest.raises(CryotxError, match=f"the review of {done}$"):
        review([str(tmp_path / "mics")], ReviewConfig(diameter=60.0, out=done / "review"))
    review([str(tmp_path / "mics")], ReviewConfig(diameter=60.0, out=tmp_path / "by_hand")).close()
    with pytest.raises(CryotxError, match="micrographs that no run has picked"):
        review([str(other)], ReviewConfig(out=tmp_path / "by_hand"))
    assert (done / "review/journal.jsonl").read_bytes() == journal
    (tmp_path / "moved").mkdir()
    for name in ("p", "p.star", "mics"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    for run in (tmp_path / "moved/p", tmp_path / "link/p"):
        opened = review([str(run)], ReviewConfig())
        assert opened.write().done == 1
        opened.close()


def test_an_edition_holds_only_the_files_of_its_micrographs_and_formats(done):
    opened = review([str(done)], ReviewConfig(formats=("relion", "box", "csv")))
    opened.write()
    opened.close()
    box = done / "review/particles/box"
    (box / "mine.box").write_text("1 2 3 4\n")
    first = names(opened)[0]
    picked_anew(done, lambda mics: (mics / "m0.mrc").unlink())
    opened = review([str(done)], ReviewConfig(formats=("box",)))
    texts = [event.text for event in opened.events if event.level == "warning"]
    assert texts == [f"Left out: labels of 1 micrograph that this run no longer has: {first}. The journal keeps them."]
    opened.write()
    opened.close()
    assert {path.name for path in (done / "review/particles").rglob("*") if path.is_file()} == {
        "mine.box",
        "m1.box",
        "m2.box",
    }
    assert not (done / "review/labels.star").exists()
