"""Evaluation: the numbers, the pairing of names, and what happens to micrographs of one side only."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.coordinates.formats.box import write_box
from cryotx_cli.coordinates.formats.cbox import write_cbox
from cryotx_cli.coordinates.formats.csv import write_csv
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.star import write_particles_star
from cryotx_cli.coordinates.formats.table import FORMATS, micrograph_formats, table_formats
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import find_labelled_micrographs, write_labels
from cryotx_cli.errors import ConfigError, ParticleFileError
from cryotx_cli.workflows.evaluate import evaluate

SHARED = Path(__file__).resolve().parents[3] / "shared"

TRUTH = [[100, 100], [200, 200], [300, 300], [400, 400]]
# One exact, one within 20 px, one at 25 px, one duplicate of the first; the last particle is missed.
PICKS = [[100, 100], [212, 216], [315, 320], [104, 100]]
SCORES = [0.9, 0.8, 0.7, 0.6]


def particles_of(points, scores=None, diameter=40.0, pixel_size=2.0):
    n = len(points)
    return Particles(
        np.reshape(points, (n, 2)), np.ones(n) if scores is None else scores, np.full(n, diameter), pixel_size
    )


@pytest.fixture
def picks(tmp_path):
    write_particles_star(tmp_path / "picks.star", [("mics/a.mrc", particles_of(PICKS, SCORES))])
    return tmp_path / "picks.star"


@pytest.fixture
def truth(tmp_path):
    write_csv(tmp_path / "truth/a.csv", particles_of(TRUTH))
    return tmp_path / "truth"


def test_the_numbers_by_hand(picks, truth):
    result = evaluate(picks, truth)  # the diameter of the CSV: 40 px, so a match is within 20 px
    assert (result.counts.picks, result.counts.truth, result.counts.matched) == (4, 4, 2)
    assert result.counts.precision == result.counts.recall == result.counts.f1 == 0.5
    assert result.average_precision == pytest.approx(1 / 4 * 1 + 1 / 4 * 1)
    (row,) = result.micrographs
    assert (row.name, row.diameter_px) == ("a", 40.0)
    assert row.counts == result.counts
    assert row.dice == result.dice


def test_dice_of_shifted_discs(tmp_path):
    r, distance = 50.0, 40.0
    lens = 2 * r**2 * np.arccos(distance / 2 / r) - distance / 2 * np.sqrt(4 * r**2 - distance**2)
    write_particles_star(tmp_path / "p.star", [("a.mrc", particles_of([[500, 500]]))])
    write_csv(tmp_path / "t/a.csv", particles_of([[540, 500]], diameter=100.0))
    assert evaluate(tmp_path / "p.star", tmp_path / "t").dice == pytest.approx(lens / (np.pi * r**2), abs=0.01)


@pytest.mark.parametrize(("radius", "matched"), [(0.0001, 1), (0.5, 2), (0.626, 3), (11.0, 4)])
def test_the_radius_is_a_fraction_of_the_diameter(picks, truth, radius, matched):
    assert evaluate(picks, truth, radius=radius).counts.matched == matched


def test_a_diameter_in_angstroms_needs_a_pixel_size(picks, truth):
    result = evaluate(picks, truth, diameter=100.0, pixel_size=2.0)
    assert result.micrographs[0].diameter_px == 50.0
    assert result.counts.matched == 3
    with pytest.raises(ConfigError, match="pixel size") as caught:
        evaluate(picks, truth, diameter=100.0)
    assert "--pixel-size" in caught.value.hint


def test_without_any_diameter_the_flag_is_named(tmp_path, picks):
    write_particles_star(tmp_path / "truth.star", [("a.mrc", particles_of(TRUTH))])
    with pytest.raises(ConfigError, match="diameter") as caught:
        evaluate(picks, tmp_path / "truth.star")
    assert "--diameter" in caught.value.hint
    assert evaluate(picks, tmp_path / "truth.star", diameter=80.0, pixel_size=2.0).counts.matched == 2


def test_a_pixel_size_in_the_optics_table_is_enough(tmp_path, picks):
    (tmp_path / "truth.star").write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnMicrographPixelSize #2\n1 2.5\n\n"
        "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnOpticsGroup #4\n"
        "Mics/a.mrc 100 100 1\n"
    )
    assert evaluate(picks, tmp_path / "truth.star", diameter=100.0).micrographs[0].diameter_px == 40.0


def test_one_sided_micrographs_are_listed_and_only_the_truth_counts(tmp_path, truth):
    write_csv(truth / "missed.csv", particles_of([[1, 2], [300, 4]]))
    files = [("mics/a.mrc", particles_of(TRUTH)), ("mics/extra.mrc", particles_of([[5, 6]]))]
    write_particles_star(tmp_path / "picks.star", files)
    result = evaluate(tmp_path / "picks.star", truth)
    assert result.truth_without_picks == ["missed"]
    assert result.picks_without_truth == ["mics/extra.mrc"]
    assert (result.counts.picks, result.counts.truth, result.counts.matched) == (4, 6, 4)
    assert result.counts.precision == 1.0
    assert result.counts.recall == pytest.approx(4 / 6)


def test_totals_are_micro_averages(tmp_path, truth):
    write_csv(truth / "b.csv", particles_of([[50, 50]]))
    files = [("a.mrc", particles_of(PICKS, SCORES)), ("b.mrc", particles_of([[50, 50], [500, 500]], [0.95, 0.1]))]
    write_particles_star(tmp_path / "picks.star", files)
    result = evaluate(tmp_path / "picks.star", truth)
    assert result.counts.precision == pytest.approx(3 / 6)
    assert result.counts.recall == pytest.approx(3 / 5)
    # One ranking of both micrographs: three hits, then three misses, of five particles.
    assert result.average_precision == pytest.approx(3 / 5)
    assert [row.counts.f1 for row in result.micrographs] == pytest.approx([0.5, 2 / 3])


def test_no_picks_at_all_are_misses(tmp_path, truth):
    write_particles_star(tmp_path / "picks.star", [])
    result = evaluate(tmp_path / "picks.star", truth)
    assert (result.counts.f1, result.dice, result.average_precision) == (0.0, 0.0, 0.0)
    assert result.truth_without_picks == ["a"]


def in_every_format(folder, particles, box_px):
    """Write the particles of micrograph a in every format; return the files and a folder with each."""
    exposure = Exposure(1, 1, "x/y/a.mrc", 1000, 1000, 2.0)
    for one in micrograph_formats():
        one.write(folder / one.name / one.file_name("a"), particles, box_px)
    for table in table_formats():
        table.write(folder / table.name / f"p{table.suffix}", [("x/y/a.mrc", particles)], {"x/y/a.mrc": exposure})
    (folder / "plain").mkdir()
    (folder / "plain/a.csv").write_text("".join(f"{x},{y}\n" for x, y in particles.centres.tolist()))
    (folder / "estimated").mkdir()  # a cbox whose estimates and boxes are of other sizes
    wide = replace(particles, diameters=particles.diameters * 1.3)
    write_cbox(folder / "estimated/a.cbox", wide, 2 * box_px)
    return [path for path in sorted(folder.rglob("*")) if path.parent != folder or path.is_dir()]


@pytest.mark.parametrize("box_px", [40, 60, 200])  # whatever room people give their boxes
def test_the_same_coordinates_score_the_same_in_every_format(tmp_path, box_px):
    truths = in_every_format(tmp_path / "truth", particles_of(TRUTH), box_px)
    # CryoSPARC's fractions are of single precision: none of these lies on the limit of a pair.
    picked = particles_of([[100, 100], [211, 215], [315, 320], [104, 100]], SCORES)
    picks = in_every_format(tmp_path / "picks", picked, box_px)
    assert len(truths) == 2 * (len(FORMATS) + 2)
    known = evaluate(picks[0], truths[0], diameter=80.0, pixel_size=2.0)
    assert known.counts.f1 == 0.5
    for one in truths:
        result = evaluate(picks[0], one, diameter=80.0, pixel_size=2.0)
        assert (result.counts, result.coco) == (known.counts, known.coco), one
        assert result.dice == pytest.approx(known.dice, abs=1e-4)
    for one in picks:
        result = evaluate(one, truths[0], diameter=80.0, pixel_size=2.0)
        assert result.counts == known.counts, one
        assert result.dice == pytest.approx(known.dice, abs=1e-4)


def test_a_box_is_never_taken_for_the_diameter(tmp_path, picks):
    write_box(tmp_path / "boxes/a.box", particles_of(TRUTH), 40)
    write_cbox(tmp_path / "cboxes/a.cbox", replace(particles_of(TRUTH), diameters=np.full(4, np.nan)), 40)
    for truth in ("boxes", "cboxes"):
        with pytest.raises(ConfigError, match="no particle diameter: the side of a box is none") as caught:
            evaluate(picks, tmp_path / truth)
        assert "--diameter" in caught.value.hint
    write_cbox(tmp_path / "estimated/a.cbox", particles_of(TRUTH), 200)
    assert evaluate(picks, tmp_path / "estimated").micrographs[0].diameter_px == 40


def test_coco_s_figures_stand_beside_ours(tmp_path, picks, truth):
    # Boxes of 40 px: the hit at 20 px overlaps by (28 x 24) / (2 x 1600 - 28 x 24), which no threshold takes.
    result = evaluate(picks, truth)
    one_of_four = 26 / 101  # precision 1 up to a recall of a quarter
    assert (result.coco.average, result.coco.at_half) == pytest.approx((one_of_four, one_of_four))
    total = result.to_dict()["total"]
    assert (total["coco_ap"], total["coco_ap50"]) == (result.coco.average, result.coco.at_half)


@pytest.mark.parametrize(
    ("in_picks", "in_truth"),
    [
        ("mics/a.b.mrc", "a.b"),
        ("a.b", "job/x/a.b.tif"),
        ("012951868257382468663_a.b.mrc", "mics/a.b.mrc"),
        ("a.b.mrc.gz", "a.b.mrc"),
        ("20210903_106_a.mrc", "20210903_106_a"),
    ],
)
def test_names_pair_without_folders_suffixes_and_unique_numbers(tmp_path, in_picks, in_truth):
    write_particles_star(tmp_path / "p.star", [(in_picks, particles_of(TRUTH))])
    write_particles_star(tmp_path / "t.star", [(in_truth, particles_of(TRUTH))])
    assert evaluate(tmp_path / "p.star", tmp_path / "t.star", 80.0, 2.0).counts.f1 == 1.0


def test_a_date_is_not_a_unique_number(tmp_path):
    write_particles_star(tmp_path / "p.star", [("20210903_106_a.mrc", particles_of(TRUTH))])
    write_particles_star(tmp_path / "t.star", [("106_a.mrc", particles_of(TRUTH)), ("a.mrc", particles_of(TRUTH))])
    with pytest.raises(ParticleFileError, match="no micrograph is on both sides") as caught:
        evaluate(tmp_path / "p.star", tmp_path / "t.star", 80.0, 2.0)
    assert "20210903_106_a.mrc" in caught.value.message
    assert "106_a.mrc" in caught.value.message


def test_folders_decide_between_equal_stems(tmp_path):
    other = particles_of([[9, 9]])
    write_particles_star(tmp_path / "t.star", [("one/mics/a.mrc", particles_of(TRUTH)), ("two/mics/a.mrc", other)])
    write_particles_star(tmp_path / "p.star", [("/data/two/mics/a.mrc", other)])
    result = evaluate(tmp_path / "p.star", tmp_path / "t.star", 80.0, 2.0)
    assert result.truth_without_picks == ["one/mics/a.mrc"]
    assert result.micrographs[1].counts.f1 == 1.0
    for name in ("a.mrc", "elsewhere/a.mrc"):
        write_particles_star(tmp_path / "p.star", [(name, other)])
        with pytest.raises(ParticleFileError, match=r"could belong to one/mics/a\.mrc or two/mics/a\.mrc"):
            evaluate(tmp_path / "p.star", tmp_path / "t.star", 80.0, 2.0)


def test_two_micrographs_of_the_picks_cannot_share_one_truth(tmp_path, truth):
    files = [("one/a.mrc", particles_of(TRUTH)), ("two/a.mrc", particles_of(TRUTH))]
    write_particles_star(tmp_path / "p.star", files)
    with pytest.raises(ParticleFileError, match=r"one/a\.mrc.*two/a\.mrc|two/a\.mrc.*one/a\.mrc"):
        evaluate(tmp_path / "p.star", truth)


def cryoppp(tmp_path, names=("a", "b")):
    rng = np.random.default_rng(1)
    for name in names:
        path = tmp_path / f"10999/micrographs/{name}.mrc"
        path.parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(path, rng.normal(size=(600, 500)).astype(np.float32)) as mrc:
            mrc.voxel_size = 2.0
        write_labels(tmp_path / "10999", path, particles_of(TRUTH), 600)
    return tmp_path / "10999"


def test_a_cryoppp_tree_turns_its_labels_to_the_rows_of_the_mrc(tmp_path, picks):
    tree = cryoppp(tmp_path)
    (tree / "ground_truth/particle_coordinates/b.csv").unlink()
    labels = tree / "ground_truth/particle_coordinates"
    for truth in (tree, tmp_path, labels, labels / "a.csv"):
        result = evaluate(picks, truth)
        assert result.counts.matched == 2
        assert [Path(row.name).name for row in result.micrographs] == ["a.mrc"]
    assert [Path(name).name for name in evaluate(picks, tree).unlabelled] == ["b.mrc"]
    # The header's pixel size serves a diameter in Å.
    assert evaluate(picks, tree, diameter=100.0).micrographs[0].diameter_px == pytest.approx(50.0)


def test_a_star_file_inside_a_cryoppp_tree_is_a_star_file(tmp_path, picks):
    tree = cryoppp(tmp_path)
    write_particles_star(tree / "picks.star", [("a.mrc", particles_of(PICKS))])
    assert evaluate(picks, tree / "picks.star", 80.0, 2.0).counts.f1 == 1.0


def test_a_tree_without_labels_and_an_empty_truth_are_refused(tmp_path, picks):
    tree = cryoppp(tmp_path, ["a"])
    (tree / "ground_truth/particle_coordinates/a.csv").unlink()
    with pytest.raises(ParticleFileError, match="none of its 1 micrographs is labelled"):
        evaluate(picks, tree)
    write_particles_star(tmp_path / "empty.star", [])
    with pytest.raises(ParticleFileError, match="holds no particles"):
        evaluate(picks, tmp_path / "empty.star", 80.0, 2.0)


def test_the_dictionary_is_json_with_the_same_numbers(picks, truth):
    result = evaluate(picks, truth)
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["total"] == {
        "picks": 4,
        "truth": 4,
        "matched": 2,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "chance": result.chance,
        "dice": pytest.approx(result.dice),
        "average_precision": 0.5,
        "coco_ap": result.coco.average,
        "coco_ap50": result.coco.at_half,
    }
    assert data["radius"] == 0.5
    assert data["micrographs"][0]["micrograph"] == "a"
    assert data["micrographs"][0]["diameter_px"] == 40.0
    assert data["micrographs"][0]["f1"] == 0.5
    assert data["truth_without_picks"] == data["picks_without_truth"] == data["unlabelled"] == []


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "checks/score_real.py").exists(), reason="needs ../shared/checks/score_real.py")
def test_agrees_with_an_independent_scorer_on_real_labels(tmp_path):
    spec = importlib.util.spec_from_file_location("score_real", SHARED / "checks/score_real.py")
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    folder, rng = SHARED / "data/real/10017", np.random.default_rng(7)
    files = []
    for micrograph in find_labelled_micrographs(folder):
        true = micrograph.read_particles()
        near = true.centres[rng.random(len(true)) < 0.9]
        points = np.vstack([near + rng.normal(0, 30, near.shape), rng.uniform(0, 4096, (60, 2))]).round(3)
        files.append((micrograph.file.name, particles_of(points, rng.random(len(points)).round(6))))
    write_particles_star(tmp_path / "p.star", files)
    result = evaluate(tmp_path / "p.star", folder)
    info = {"diameter_px": 108, "edge_unlabelled_px": -10_000, "size": scorer.image_sizes(folder)}
    expected = scorer.score_set(tmp_path / "p.star", folder, info)
    assert (result.counts.picks, result.counts.truth) == (expected["picks"], expected["labels"])
    assert result.counts.precision == pytest.approx(expected["precision"])
    assert result.counts.recall == pytest.approx(expected["recall"])
    assert result.average_precision == pytest.approx(expected["ap"], rel=1e-3)


def test_sides_on_images_of_two_sizes_are_brought_together():
    truth = Particles([[19.5, 39.5]], [1], [10.0], 1.0, np.nan, (100, 200))
    picks = Particles([[9.5, 19.5]], [1], [5.0], 2.0, np.nan, (50, 100))
    result = evaluate({"a": picks}, {"a": truth})
    assert result.counts.matched == 1
    np.testing.assert_allclose(result.micrographs[0].picks.centres, truth.centres)
    assert "rescaled by 2" in result.events[0].text


def test_sides_in_pixels_of_two_sizes_are_refused():
    truth, picks = particles_of(TRUTH, pixel_size=1.0), particles_of(TRUTH, pixel_size=2.0)
    with pytest.raises(ParticleFileError, match=r"pixels of 2 Å per pixel, and the truth has 1 Å") as caught:
        evaluate({"a": picks}, {"a": truth})
    assert "--scale 2 " in caught.value.hint
    assert evaluate({"a": picks}, {"a": truth}, pixel_size=1.5).counts.matched == len(TRUTH)
