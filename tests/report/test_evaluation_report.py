"""The report of picks against the truth: its numbers against `evaluate` and its pictures."""

import base64
import json
import shutil

import cv2
import mrcfile
import numpy as np
from typer.testing import CliRunner

from cryotx_cli.cli.app import app
from cryotx_cli.coordinates.formats.csv import write_csv
from cryotx_cli.coordinates.formats.star import read_particles_star, write_particles_star
from cryotx_cli.coordinates.formats.topaz import write_topaz
from cryotx_cli.report.crop import CROP_DIAMETERS
from cryotx_cli.runs.stored import not_in_run
from cryotx_cli.workflows.evaluate import evaluate
from runs_with_truth import NAMES, SHAPE, hits_at_cuts, other_picks, pick, reported, true_centres


def crops_of(page, kind):
    return [crop for crop in json.loads(page.script(id="crop-data"))["crops"] if crop["kind"] == kind]


# ---- what the file holds ---------------------------------------------------------------------------------------------


def test_hits_at_every_threshold_are_those_of_evaluating_a_run_with_it(data, tmp_path):
    page, result, messages = reported(tmp_path / "r.html", data / "p.star", data / "truth")
    assert not messages
    assert page.data["truth"]["hits"] == [row.counts.matched for row in result.micrographs]
    assert page.data["picks"] == [row.counts.picks for row in result.micrographs]
    assert page.data["truth"]["labels"] == [54] * 5
    assert page.data["truth"]["hits"][4] == 0
    for k in (13, 50, 77):
        pick(data, tmp_path / "q.star", threshold=k / 100, report=False)
        expected = [row.counts.matched for row in evaluate(tmp_path / "q.star", data / "truth").micrographs]
        assert hits_at_cuts(page)[:, k].tolist() == expected
        assert sum(expected) > 0
    assert page.data["command"] == f"cryotx threshold {data / 'p'}"


def test_the_summary_tells_the_numbers_without_a_script(data, tmp_path):
    page, result, _ = reported(tmp_path / "r.html", data / "p.star", data / "truth")
    words = " ".join(page.text.split())
    for name, value in (("F1", result.counts.f1), ("Precision", result.counts.precision),
                        ("Recall", result.counts.recall), ("Average precision", result.average_precision)):  # fmt: skip
        assert f"{name} {value:.3f}" in words
    assert "Labels 270" in words
    assert "up to 0.5 diameters apart" in words
    assert "Labels are seldom complete" in words


def test_crops_show_every_miss_and_false_pick_where_it_is(data, tmp_path):
    page, result, _ = reported(tmp_path / "r.html", data / "p.star", data / "truth")
    counts = result.counts
    misses, false = crops_of(page, "miss"), crops_of(page, "false")
    assert len(misses) == min(120, counts.truth - counts.matched)
    assert len(false) == counts.picks - counts.matched
    assert [one["score"] for one in false] == sorted((one["score"] for one in false), reverse=True)
    known = [one["score"] for one in misses if one["score"] is not None]
    assert known == sorted(known, reverse=True)
    assert max(known) < 0.5
    picks = read_particles_star(data / "p.star")
    for one in false:
        centres = picks[page.data["full_names"][one["position"]].replace("m", f"{data}/mics/m", 1) + ".mrc"].centres
        assert np.linalg.norm(centres - (one["x"], one["y"]), axis=1).min() < 0.2
    rows, columns = (np.indices((120, 120)) - 59.5) * CROP_DIAMETERS / 120
    inside, outside = np.hypot(rows, columns) < 0.4, np.hypot(rows, columns) > 0.6
    darker = []
    for one in misses:
        assert np.linalg.norm(true_centres(one["position"]) - (one["x"], one["y"]), axis=1).min() < 0.1
        grey = cv2.imdecode(np.frombuffer(base64.b64decode(one["jpeg"]), np.uint8), cv2.IMREAD_GRAYSCALE)
        darker.append(grey[outside].mean() - grey[inside].mean())
    assert min(darker) > 60  # each of them shows a dark disc in its middle


def test_the_folder_of_a_run_stands_for_its_star_file(data, tmp_path):
    reported(tmp_path / "a.html", data / "p.star", data / "truth")
    reported(tmp_path / "b.html", data / "p", data / "truth")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_picks_that_were_edited_are_shown_without_the_candidates_of_the_run(data, tmp_path):
    shutil.copytree(data / "p", tmp_path / "p")
    picks = read_particles_star(data / "p.star")
    edited = {name: found.select(np.arange(20)) if "m1" in name else found for name, found in picks.items()}
    write_particles_star(tmp_path / "p.star", list(edited.items()))
    page, result, messages = reported(tmp_path / "r.html", tmp_path / "p.star", data / "truth")
    assert [message[:3] for message in messages] == ["m1:"]
    assert page.data["picks"] == [row.counts.picks for row in result.micrographs]
    assert page.counts()[1].sum() == 20
    assert page.counts()[0].sum() > page.data["picks"][0]


def test_a_run_need_not_be_writable_and_stays_as_it_is(data, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    reported(tmp_path / "r.html", data / "p.star", data / "truth")
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_micrographs_are_found_where_the_user_says(data, tmp_path):
    picks = [(f"elsewhere/{name}.mrc", found) for name, found in zip(NAMES, map(other_picks, range(5)), strict=True)]
    write_particles_star(tmp_path / "q.star", picks)
    bare, _, messages = reported(tmp_path / "bare.html", tmp_path / "q.star", data / "truth")
    assert len(messages) == 1
    assert "5 of 5 micrographs are without a picture" in messages[0]
    assert not any(crop["jpeg"] for crop in crops_of(bare, "miss"))
    page, _, messages = reported(
        tmp_path / "r.html", tmp_path / "q.star", data / "truth", micrographs=data / "mics", pixel_size=2.0
    )
    assert not messages
    assert all(crop["jpeg"] for crop in crops_of(page, "miss"))
    assert all(page.script(id=f"m{i}") for i in range(5))
    assert [(entry["width"], entry["height"]) for entry in page.data["gallery"]] == [SHAPE[::-1]] * 5
    assert page.data["gallery"][0]["pixel_size"] == 2.0


def test_a_micrograph_of_another_size_is_not_shown(data, tmp_path):
    shutil.copytree(data / "mics", tmp_path / "mics")
    with mrcfile.new(tmp_path / "mics/m2.mrc", overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(0).normal(0, 1, (200, 280)).astype(np.float32))
    page, _, messages = reported(tmp_path / "r.html", data / "p.star", data / "truth", micrographs=tmp_path / "mics")
    assert len(messages) == 1
    assert "m2.mrc: has 280 x 200 px, the picks are on 560 x 400 px" in messages[0]
    # The small picture of the run stands in.
    assert all(crop["jpeg"] for crop in crops_of(page, "miss"))


def test_scores_that_are_no_probabilities_have_a_slider_of_their_own(data, tmp_path):
    write_topaz(
        tmp_path / "t.txt",
        [(name, other_picks(i, lambda rng, n: rng.normal(-1, 3, n))) for i, name in enumerate(NAMES)],
    )
    page, result, _ = reported(tmp_path / "r.html", tmp_path / "t.txt", data / "truth", micrographs=data / "mics")
    scores = np.concatenate([row.picks.scores for row in result.micrographs])
    assert page.data["scores"] == [scores.min(), scores.max()]
    assert page.data["command"] is None
    assert page.data["adjustable"]
    at_least = page.counts()[:, ::-1].cumsum(axis=1)[:, ::-1].sum(axis=0)
    low, high = page.data["scores"]
    for k in (0, 25, 60, 100):
        cut = low + (high - low) * k / 100 if k < 100 else high
        assert at_least[k] == np.count_nonzero(scores >= cut)


def test_picks_without_scores_have_no_slider(data, tmp_path):
    picks = [(f"{name}.mrc", other_picks(i, lambda _, n: np.ones(n))) for i, name in enumerate(NAMES)]
    write_particles_star(tmp_path / "q.star", picks)
    page, _, _ = reported(tmp_path / "r.html", tmp_path / "q.star", data / "truth", micrographs=data / "mics")
    assert not page.data["adjustable"]
    assert [tag for tag, given in page.tags if given.get("id") == "rates-section" and "hidden" in given]


def test_what_is_on_one_side_only_is_named(data, tmp_path):
    shutil.copytree(data / "truth", tmp_path / "truth")
    (tmp_path / "truth/m3.csv").unlink()
    page, _, _ = reported(tmp_path / "r.html", data / "p.star", tmp_path / "truth")
    words = " ".join(page.text.split())
    assert "Left out" in words
    assert "mics/m3.mrc picks, but no labels" in words
    assert page.data["names"] == ["m0", "m1", "m2", "m4"]


def test_micrographs_without_picks_are_named_for_they_lower_recall(data, tmp_path):
    page, result, _ = reported(tmp_path / "r.html", data / "p.star", data / "truth")
    missed = list(result.truth_without_picks)
    assert missed
    assert f"Without picks, all their particles counted as missed: {', '.join(missed)}." in " ".join(page.text.split())
    (tmp_path / "all").mkdir()
    for i, name in enumerate(NAMES):
        write_csv(tmp_path / f"all/{name}.csv", other_picks(i))
    page, _, _ = reported(tmp_path / "all.html", tmp_path / "all", data / "truth")
    assert "Without picks" not in page.text


def test_names_are_text_and_never_markup(data, tmp_path):
    hostile = "<img src=x onerror=alert(1)>&amp;"
    write_csv(tmp_path / f"truth/{hostile}.csv", other_picks(0))
    write_particles_star(tmp_path / "q.star", [(f"{hostile}.mrc", other_picks(0)), (f"{hostile}2.mrc", other_picks(1))])
    page, _, _ = reported(tmp_path / "r.html", tmp_path / "q.star", tmp_path / "truth")
    assert not [tag for tag, _ in page.tags if tag == "img" and "src" in dict(_)]
    assert page.data["full_names"] == [hostile]


def test_a_run_without_decoys_promises_no_precision(data, tmp_path):
    page, *_ = reported(tmp_path / "r.html", data / "p.star", data / "truth")
    assert "expected" not in page.text


def test_micrographs_that_a_run_has_not_picked_are_no_measure_of_the_others(data, tmp_path):
    (tmp_path / "mics").mkdir()
    for name in ("m0", "m4"):  # on the second nothing is found
        shutil.copy(data / f"mics/{name}.mrc", tmp_path / "mics")
    pick(tmp_path, tmp_path / "p.star", threshold=0.5)

    page, result, _ = reported(tmp_path / "r.html", tmp_path / "p.star", data / "truth")

    words = " ".join(page.text.split())
    assert "Without picks, all their particles counted as missed: m4." in words
    assert "Not picked by this run, all their particles counted as missed: m1, m2 and 1 more." in words
    assert page.data["unpicked"] == [1, 2, 3]
    assert not_in_run(tmp_path / "p.star", result.truth_without_picks) == ["m1", "m2", "m3"]
    said = " ".join(CliRunner().invoke(app, ["evaluate", f"{tmp_path / 'p.star'}", f"{data / 'truth'}"]).stderr.split())
    assert "1 micrograph without picks, counted as missed: m4" in said
    assert "3 micrographs not picked by this run at all, counted as missed: m1, m2, m3" in said
    assert {crop["position"] for crop in crops_of(page, "miss")} == {0, 4}
    picked = [row.counts for row in result.micrographs if row.name in ("m0", "m4")]
    f1 = 2 * sum(one.matched for one in picked) / sum(one.picks + one.truth for one in picked)
    assert f"Without them F1 is {f1:.3f}." in words
    with (tmp_path / "p/config.toml").open("a") as settings:
        settings.write("of_another_version = 3\n")
    again = CliRunner().invoke(app, ["evaluate", f"{tmp_path / 'p.star'}", f"{data / 'truth'}"])
    assert again.exit_code == 0
    assert "4 micrographs without picks, counted as missed: m1, m2, m3, ..." in " ".join(again.stderr.split())


def test_of_files_of_another_program_nobody_knows_what_was_picked(data, tmp_path):
    write_csv(tmp_path / "q/m0.csv", other_picks(0))
    page, _, _ = reported(tmp_path / "r.html", tmp_path / "q", data / "truth")
    assert page.data["unpicked"] == []
    assert {crop["position"] for crop in crops_of(page, "miss")} == {0, 1, 2, 3, 4}
