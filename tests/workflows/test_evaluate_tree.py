"""Several pickers over a tree of data sets: a row a set and the mean over sets, and what only one side has."""

import json
import shutil

import numpy as np
import pytest

from cryotx_cli.coordinates.formats.csv import write_csv
from cryotx_cli.coordinates.formats.star import write_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ConfigError, DatasetError, ParticleFileError
from cryotx_cli.workflows.evaluate import evaluate, evaluate_sets

FIRST = [[100, 100], [200, 200], [300, 300], [400, 400]]
SECOND = [[60, 60], [260, 60]]


def particles(points, diameter=np.nan):
    points = np.reshape(points, (-1, 2))
    return Particles(points, np.ones(len(points)), np.full(len(points), float(diameter)), np.nan)


def star(path, **micrographs):
    write_particles_star(path, [(f"{name}.mrc", particles(points)) for name, points in micrographs.items()])
    return path


@pytest.fixture
def tree(tmp_path):
    """A CryoPPP tree: set A with one labelled micrograph and one without labels, set B with two; 40 and 20 px wide."""
    for name, micrographs, diameter in (("A", {"a1": FIRST}, 40), ("B", {"b1": SECOND, "b2": SECOND[:1]}, 20)):
        for micrograph, points in micrographs.items():
            image = tmp_path / "tree" / name / "micrographs" / f"{micrograph}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
            labels = tmp_path / "tree" / name / "ground_truth/particle_coordinates" / f"{micrograph}.csv"
            write_csv(labels, particles(points, diameter))
    (tmp_path / "tree/A/micrographs/a2.png").touch()
    return tmp_path / "tree"


@pytest.fixture
def pickers(tmp_path):
    """Good: three of four on A, one of them 15 px off, and all three on B with one false. Poor: two on A, none on B."""
    for name in ("good", "poor"):
        (tmp_path / name).mkdir()
    star(tmp_path / "good/A.star", a1=[*FIRST[:2], [315, 300]])
    star(tmp_path / "good/B.star", b1=[*SECOND, [400, 400]], b2=SECOND[:1])
    star(tmp_path / "poor/A.star", a1=[FIRST[0], [700, 700]])
    return {name: tmp_path / name for name in ("good", "poor")}


def test_every_picker_has_a_row_for_every_set_and_sets_count_alike_in_the_mean(tree, pickers):
    result = evaluate_sets(pickers, tree)

    assert result.sets == ["A", "B"]
    counts = {picker: [one.counts for one in of_sets.values()] for picker, of_sets in result.results.items()}
    assert [(c.picks, c.truth, c.matched) for c in counts["good"]] == [(3, 4, 3), (4, 3, 3)]
    assert [(c.picks, c.truth, c.matched) for c in counts["poor"]] == [(2, 4, 1), (0, 3, 0)]
    mean = result.mean("good")
    assert mean["precision"] == pytest.approx((1 + 3 / 4) / 2)
    assert mean["recall"] == pytest.approx((3 / 4 + 1) / 2)
    assert mean["f1"] == pytest.approx((6 / 7 + 6 / 7) / 2)
    # Discs of 40 px: two cover each other, two are 15 px apart, one is alone. Of 20 px: three cover, one is alone.
    r, apart = 20.0, 15.0
    lens = 2 * r**2 * np.arccos(apart / 2 / r) - apart / 2 * np.sqrt(4 * r**2 - apart**2)
    dice = [2 * (2 + lens / np.pi / r**2) / 7, 2 * 3 / 7]
    assert mean["dice"] == pytest.approx(np.mean(dice), abs=0.005)
    # A set without picks counts as missed: nothing found, in the mean as well.
    assert result.mean("poor")["f1"] == pytest.approx((2 / 6 + 0) / 2)
    assert result.without_picks == {"good": [], "poor": ["B"]}
    assert result.mean("poor")["chance"] == pytest.approx(result.results["poor"]["A"].chance / 2)


def test_a_set_of_the_tree_is_what_it_is_alone(tree, pickers):
    of_sets = evaluate_sets(pickers, tree).results["good"]

    for name, result in of_sets.items():
        assert result.to_dict() == evaluate(pickers["good"] / f"{name}.star", tree / name).to_dict()
    assert [name.rsplit("/", 1)[-1] for name in of_sets["A"].unlabelled] == ["a2.png"]


def test_the_dictionary_is_json_with_a_set_as_it_is_alone(tree, pickers):
    result = evaluate_sets(pickers, tree)

    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))

    assert list(data) == ["radius", "sets", "pickers"]
    assert (data["radius"], data["sets"], list(data["pickers"])) == (0.5, ["A", "B"], ["good", "poor"])
    good, poor = data["pickers"].values()
    assert list(good) == ["mean", "sets", "sets_without_picks", "picks_without_set"]
    assert good["mean"] == pytest.approx(result.mean("good"))
    assert good["sets"]["A"] == evaluate(pickers["good"] / "A.star", tree / "A").to_dict()
    assert (poor["sets_without_picks"], poor["sets"]["B"]["total"]["recall"]) == (["B"], 0)


def test_what_belongs_to_no_set_is_named(tree, pickers):
    star(pickers["good"] / "C.star", c1=SECOND)

    result = evaluate_sets(pickers, tree)

    assert result.without_truth == {"good": ["C.star"], "poor": []}
    assert result.mean("good")["f1"] == pytest.approx(6 / 7)


def test_a_set_in_which_a_picker_has_found_nothing_counts_as_missed(tree, pickers):
    (pickers["good"] / "B.star").unlink()
    (pickers["good"] / "B").mkdir()
    star(pickers["poor"] / "B.star")

    result = evaluate_sets(pickers, tree)

    assert result.without_picks == {"good": ["B"], "poor": ["B"]}
    assert result.mean("good")["f1"] == pytest.approx(6 / 7 / 2)
    (pickers["good"] / "B/notes.star").write_text("data_notes\n_rlnVersion 5\n")
    assert evaluate_sets(pickers, tree).without_picks["good"] == ["B"]


@pytest.mark.parametrize("folders", [True, False])
def test_one_file_may_hold_the_micrographs_of_all_sets(tree, pickers, tmp_path, folders):
    """Names decide; where two sets have a micrograph of one name, their folders do."""
    if folders:
        for path in [*tree.rglob("b1.*")]:
            path.rename(path.with_stem("a1"))
    second = "B/micrographs/a1" if folders else "b1"
    first = "A/micrographs/a1" if folders else "a1"
    micrographs = {first: [*FIRST[:2], [315, 300]], second: [*SECOND, [400, 400]], "b2": SECOND[:1], "c": SECOND}

    result = evaluate_sets({"all": star(tmp_path / "all.star", **micrographs)}, tree)

    counts = [one.counts for one in result.results["all"].values()]
    assert [(one.picks, one.truth, one.matched) for one in counts] == [(3, 4, 3), (4, 3, 3)]
    assert result.without_truth == {"all": ["c.mrc"]}
    lacking = {first: FIRST}
    assert evaluate_sets({"all": star(tmp_path / "some.star", **lacking)}, tree).without_picks == {"all": ["B"]}


def test_a_table_gives_each_set_its_diameter_and_pixel_size(tree, pickers, tmp_path):
    (tmp_path / "sets.csv").write_text("set,diameter,pixel_size\nA,56,2\nZ,5,5\n")

    result = evaluate_sets(pickers, tree, diameters=tmp_path / "sets.csv")

    good = result.results["good"]
    assert good["A"].micrographs[0].diameter_px == 28  # not those 40 px of the labels: 15 px are too far off
    assert good["A"].counts.matched == 2
    assert good["B"].micrographs[0].diameter_px == 20
    assert [event.text for event in result.events] == [
        "1 data set without truth, left out: Z",
        f"1 data set not in {tmp_path / 'sets.csv'}: B",
    ]
    (tmp_path / "sets.csv").write_text("set,diameter\nA,56\n")
    with pytest.raises(ConfigError, match=r"^A: a diameter of 56 Å says nothing about pixels") as caught:
        evaluate_sets(pickers, tree, diameters=tmp_path / "sets.csv")
    assert "--pixel-size 1.06; --diameters takes a table of all sets." in caught.value.hint
    assert evaluate_sets(pickers, tree, None, 2.0, 0.5, tmp_path / "sets.csv").results["good"]["A"].counts.matched == 2


def test_a_table_of_other_sets_is_refused(tree, pickers, tmp_path):
    (tmp_path / "sets.csv").write_text("set,diameter\nEMPIAR-A,56\n")
    with pytest.raises(DatasetError, match=r"sets\.csv: lists EMPIAR-A, and the truth is that of A, B"):
        evaluate_sets(pickers, tree, diameters=tmp_path / "sets.csv")


def test_with_a_table_any_folder_is_a_tree(tmp_path, pickers):
    (tmp_path / "truth").mkdir()
    star(tmp_path / "truth/A.star", a1=FIRST)
    write_csv(tmp_path / "truth/B/b1.csv", particles(SECOND))
    write_csv(tmp_path / "truth/B/b2.csv", particles(SECOND[:1]))
    (tmp_path / "sets.csv").write_text("set,diameter,pixel_size\nA,40,1\nB,20,1\n")

    result = evaluate_sets(pickers, tmp_path / "truth", diameters=tmp_path / "sets.csv")

    assert [one.counts.matched for one in result.results["good"].values()] == [3, 3]
    assert result.without_picks["poor"] == ["B"]


def test_several_pickers_on_one_set(tree, pickers):
    result = evaluate_sets({name: path / "A.star" for name, path in pickers.items()}, tree / "A")

    assert (result.sets, result.is_tree, result.alone) == (["A"], False, None)
    assert [one["A"].counts.matched for one in result.results.values()] == [3, 1]


def test_one_picker_on_one_set_is_as_ever(tree, pickers):
    result = evaluate_sets({"good": pickers["good"] / "A.star"}, tree / "A")

    assert result.alone.to_dict() == evaluate(pickers["good"] / "A.star", tree / "A").to_dict()


def test_a_tree_that_holds_one_set_is_that_set(tree, pickers):
    shutil.rmtree(tree / "B")

    assert evaluate_sets({"good": pickers["good"] / "A.star"}, tree).alone.counts.matched == 3


def test_a_set_that_nobody_has_labelled_is_named_and_left_out(tree, pickers):
    for labels in tree.glob("B/ground_truth/particle_coordinates/*"):
        labels.unlink()

    result = evaluate_sets(pickers, tree)

    assert result.sets == ["A"]
    assert [event.text for event in result.events] == ["B: none of its 2 micrographs is labelled: left out"]
    assert result.without_truth["good"] == ["B.star"]


def test_picks_of_another_set_under_its_name_are_refused_with_the_set(tree, pickers):
    star(pickers["poor"] / "B.star", other=SECOND)
    with pytest.raises(ParticleFileError, match=r"^B: no micrograph is on both sides.*other\.mrc"):
        evaluate_sets(pickers, tree)
    star(pickers["poor"] / "all.star", other=SECOND)
    with pytest.raises(ParticleFileError, match=r"no micrograph is on both sides.*other\.mrc"):
        evaluate_sets({"all": pickers["poor"] / "all.star"}, tree)


def test_an_empty_file_of_picks_means_none_found(tree, pickers):
    star(pickers["poor"] / "B.star")

    result = evaluate_sets(pickers, tree)

    assert result.without_picks["poor"] == ["B"]
    assert result.results["poor"]["B"].counts.f1 == 0


def test_a_run_in_the_folder_of_its_set_is_read_by_its_merged_file(tree, tmp_path):
    """Beside particles.star lies the folder of the run, with the same picks in other files."""
    inner = tmp_path / "mine/A"
    inner.mkdir(parents=True)
    star(inner / "particles.star", a1=FIRST)
    (inner / "particles/relion").mkdir(parents=True)
    (inner / "particles/config.toml").touch()
    (inner / "particles/ledger.jsonl").touch()
    write_particles_star(inner / "particles/relion/a1_autopick.star", [("a1.mrc", particles(SECOND))])

    assert evaluate_sets({"mine": tmp_path / "mine"}, tree).results["mine"]["A"].counts.matched == 4


def test_one_set_has_its_row_in_the_table_too(tree, pickers, tmp_path):
    (tmp_path / "sets.csv").write_text("set,diameter,pixel_size\nA,56,2\nB,40,2\n")

    result = evaluate_sets({"good": pickers["good"] / "A.star"}, tree / "A", diameters=tmp_path / "sets.csv")

    assert result.alone.micrographs[0].diameter_px == 28
