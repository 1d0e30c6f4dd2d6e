"""Checks of picks against micrographs: names, places, and what the images say about orientation and position."""

import json
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.checks.evidence import MIN_PICKS, ORIENTATIONS, combined, measure_fit
from cryotx_cli.checks.names import PickCheck, check_picks, check_run
from cryotx_cli.checks.target import Target
from cryotx_cli.coordinates.formats.star import write_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import find_labelled_micrographs
from cryotx_cli.micrographs.micrograph import read_micrograph

REAL = Path(__file__).resolve().parents[3] / "shared/data/real"
HEIGHT, WIDTH, DIAMETER = 500, 700, 30
UID = "012951868257382468663_"


def scattered(seed, count=60, height=HEIGHT, width=WIDTH):
    """Random centres, at least one diameter apart and away from the border."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        point = rng.uniform(DIAMETER, (width - DIAMETER, height - DIAMETER))
        if all(np.hypot(*(point - other)) > DIAMETER for other in found):
            found.append(point)
    return np.array(found)


def discs(centres, contrast=-1.0, noise=3.0, seed=0, height=HEIGHT, width=WIDTH):
    image = np.random.default_rng(seed).normal(0, noise, (height, width))
    for x, y in centres:
        left, top = max(0, int(x) - DIAMETER), max(0, int(y) - DIAMETER)
        around = image[top : top + 2 * DIAMETER, left : left + 2 * DIAMETER]
        rows, columns = np.indices(around.shape)
        around[np.hypot(columns + left - x, rows + top - y) <= DIAMETER / 2] += contrast
    return image.astype(np.float32)


def turned(centres, orientation, height=HEIGHT, width=WIDTH):
    x, y = centres.T
    return np.column_stack(
        {
            "as written": (x, y),
            "upside down": (x, height - 1 - y),
            "mirrored": (width - 1 - x, y),
            "swapped": (y, x),
        }[orientation]
    )


def particles(centres, diameter=np.nan, pixel_size=np.nan):
    return Particles(centres, np.ones(len(centres)), np.full(len(centres), diameter), pixel_size)


def at(*points, **known):
    return particles(np.array(points, float), **known)


def target(name, shape=(HEIGHT, WIDTH), pixel_size=None):
    return Target(name, None, shape, pixel_size)


def finding(result: PickCheck, check: str):
    (one,) = [one for one in result.findings if one.check == check]
    return one


def checks(result: PickCheck):
    return [one.check for one in result.findings]


def write_mrc(path, image, pixel_size=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, image) as mrc:
        mrc.voxel_size = pixel_size
    return Target(str(path), path)


# --- evidence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("contrast", "noise"), [(-1, 3), (1, 3), (-1, 0.05)], ids=["dark", "bright", "denoised"])
def test_the_orientation_is_recognised(orientation, contrast, noise):
    centres = scattered(1)

    fit = measure_fit(discs(centres, contrast, noise), turned(centres, orientation))

    assert fit.orientation == orientation
    assert fit.offset is None


def test_swapped_picks_off_the_image_do_not_hide_it():
    """On a wide image a third of the exchanged coordinates lies below it."""
    centres = scattered(2, height=300, width=900)
    image = discs(centres, height=300, width=900)

    assert measure_fit(image, centres[:, ::-1]).orientation == "swapped"


@pytest.mark.parametrize("seed", range(5))
def test_picks_on_nothing_get_no_verdict(seed):
    fit = measure_fit(discs(scattered(3)), scattered(100 + seed))

    assert fit.orientation is None
    assert fit.offset is None


def test_an_image_that_is_its_own_mirror_image_cannot_tell():
    upper = scattered(4, 30)
    upper = upper[upper[:, 1] < HEIGHT / 2 - DIAMETER]
    centres = np.concatenate([upper, turned(upper, "upside down")])

    fit = measure_fit(discs(centres), upper)

    assert fit.evidence["as written"] > 5
    assert fit.evidence["upside down"] > 5
    assert fit.orientation is None


def test_a_ramp_and_hot_pixels_change_nothing():
    centres = scattered(5)
    image = discs(centres) + np.linspace(0, 200, WIDTH, dtype=np.float32)
    image.ravel()[::9973] = 5e4

    assert measure_fit(image, turned(centres, "upside down")).orientation == "upside down"


def test_too_few_picks_are_not_measured():
    centres = scattered(6)

    assert measure_fit(discs(centres), centres[: MIN_PICKS - 1]) is None
    assert measure_fit(discs(centres), centres[:MIN_PICKS]) is not None


def test_corners_taken_for_centres_are_recognised():
    centres = scattered(7)
    half_box = 0.75 * DIAMETER

    fit = measure_fit(discs(centres, noise=1), centres - half_box)

    assert fit.orientation is None
    np.testing.assert_allclose(fit.offset, (half_box, half_box), atol=DIAMETER / 4)


def test_several_weak_micrographs_tell_together():
    fits = []
    for seed in range(12):
        centres = scattered(seed, 12)
        fits.append(measure_fit(discs(centres, noise=6, seed=seed), turned(centres, "upside down")))

    assert combined(fits).orientation == "upside down"
    assert combined(fits).evidence["upside down"] > np.median([fit.evidence["upside down"] for fit in fits]) + 2


# --- names -----------------------------------------------------------------------------------------------------------


def test_relion_wants_names_letter_by_letter():
    picks, targets = {"job1/a.mrc": at((50, 50))}, [target("MotionCorr/job002/a.mrc")]

    assert finding(check_picks(picks, targets, "relion"), "names").level == "fail"
    assert finding(check_picks(picks, targets, "any"), "names").level == "pass"
    assert finding(check_picks({"MotionCorr/job002/a.mrc": at((50, 50))}, targets, "relion"), "names").level == "pass"
    # A box file does not name its micrograph, RELION finds it by the name of the file.
    assert finding(check_picks({"a": at((50, 50))}, targets, "relion"), "names").level == "pass"


def test_a_name_without_a_micrograph_shows_the_nearest_one():
    targets = [target("mics/a_0001.mrc"), target("mics/a_0002.mrc")]

    def of(name):
        return finding(check_picks({"a_0001.mrc": at((50, 50)), name: at((50, 50))}, targets), "names")

    names = of("b_0002.mrc")
    assert names.level == "fail"
    assert names.summary.startswith("1 of 2 names")
    assert names.examples == ("b_0002.mrc: the nearest is mics/a_0002.mrc",)
    assert of("a_0002_tilt.mrc").examples[0].startswith("a_0002_tilt.mrc is mics/a_0002.mrc but for _tilt: ")


def test_names_that_differ_by_endings_alone_match_here_but_not_in_cryosparc():
    picks, targets = {"a_0002_DW.mrc": at((50, 50))}, [target("mics/a_0002.mrc")]
    names = finding(check_picks(picks, targets), "names")
    assert names.level == "pass"
    assert "a_0002_DW.mrc is mics/a_0002.mrc" in names.summary
    for importer in ("relion", "cryosparc"):
        assert finding(check_picks(picks, targets, importer), "names").level == "fail"


def test_where_no_name_matches_nothing_else_is_checked():
    result = check_picks({"x.mrc": at((50, 50))}, [target("completely_different.mrc")])

    assert checks(result) == ["names"]
    assert not result.passed
    assert "no micrograph has a name like it" in result.findings[0].examples[0]


@pytest.mark.parametrize(
    ("pick", "micrograph"), [("a.mrc", f"J1/{UID}a.mrc"), (f"{UID}a.mrc", "mics/a.mrc")], ids=["exposure", "pick"]
)
def test_the_number_of_cryosparc_is_told(pick, micrograph):
    result = check_picks({pick: at((50, 50))}, [target(micrograph)], "cryosparc")

    assert finding(result, "names").level == "pass"
    assert finding(result, "CryoSPARC numbers").level == "warn"


@pytest.mark.parametrize("stem", ["20210903_106_a", "20240131_a", "0129518682573824686639_a", UID.strip("_")])
def test_dates_and_other_digits_are_no_numbers_of_cryosparc(stem):
    result = check_picks({f"{stem}.mrc": at((50, 50))}, [target(f"mics/{stem}.mrc")])
    assert finding(result, "names").level == "pass"
    assert "CryoSPARC numbers" not in checks(result)

    # Nor may they be left out to make a match.
    assert not check_picks({f"{stem}.mrc": at((50, 50))}, [target("mics/a.mrc")]).passed


def test_spaces_are_told():
    result = check_picks({"a 1.mrc": at((50, 50))}, [target("a 1.mrc")])

    assert finding(result, "spaces").level == "warn"
    assert finding(result, "spaces").examples == ("'a 1.mrc'",)


def test_one_file_name_in_two_folders():
    targets = [target("x/a.mrc"), target("y/a.mrc")]

    known = check_picks({"x/a.mrc": at((50, 50)), "y/a.mrc": at((60, 50))}, targets)
    assert known.passed
    assert finding(known, "equal file names").examples == ("x/a.mrc and y/a.mrc",)

    unknown = check_picks({"a": at((50, 50)), "z/b": at((50, 50))}, [*targets, target("b.mrc")])
    assert finding(unknown, "names").level == "fail"
    assert "x/a.mrc or y/a.mrc" in finding(unknown, "names").examples[0]


def test_micrographs_without_picks_are_counted():
    result = check_picks({"a.mrc": at((50, 50)), "b.mrc": at()}, [target("a.mrc"), target("b.mrc"), target("c.mrc")])

    assert finding(result, "picks").level == "warn"
    assert finding(result, "picks").summary == "1 pick on 1 of 3 micrographs"
    assert finding(result, "picks").examples == ("b.mrc: none", "c.mrc: none")
    assert not check_picks({"a.mrc": at()}, [target("a.mrc")]).passed


# --- places ----------------------------------------------------------------------------------------------------------


def test_picks_off_the_image_fail_and_near_its_edge_warn():
    # A box of 1.5 x 20 px reaches 15 px to each side: x = 14.5 is the first place with room for it.
    centres = [(14.5, 250), (14.4, 250), (-0.6, 250), (-0.5, 250), (684.5, 250), (684.6, 250), (700, 250)]

    result = check_picks({"a.mrc": at(*centres, diameter=20)}, [target("a.mrc")])

    assert finding(result, "image").level == "fail"
    assert finding(result, "image").summary.startswith("2 of 7 picks")
    assert finding(result, "edge").level == "warn"
    assert finding(result, "edge").summary.startswith("3 of 5 picks")
    assert "30 px" in finding(result, "edge").summary


def test_picks_near_the_edge_are_told_of_the_micrographs_whose_size_is_known():
    picks = {name: at((3, 250), (250, 250), diameter=20) for name in ("a.mrc", "b.jpg")}

    result = check_picks(picks, [target("a.mrc"), target("b.jpg", shape=None)])

    assert finding(result, "edge").summary.startswith("1 of 2 picks on the 1 micrograph looked at are nearer")


def test_the_box_comes_from_the_flag_then_the_picks_then_the_diameter():
    def box(diameter_px=np.nan, own=np.nan, **known):
        picks = {"a.mrc": replace(at((250, 250), diameter=diameter_px), box_px=own)}
        return finding(check_picks(picks, [target("a.mrc", pixel_size=2.0)], **known), "edge").summary

    assert "64 px" in box(20, box=64, diameter=100)
    assert "64 px" in box(20, own=47, box=64)
    assert "47 px" in box(20, own=47, diameter=100)  # boxes that the picks are in
    assert "30 px" in box(20, diameter=100)
    assert "76 px" in box(diameter=100)  # 1.5 x 50 px, even
    assert "not known" in box()


def test_coordinates_of_binned_micrographs_are_recognised():
    centres = scattered(8) / 4

    result = check_picks({"a.mrc": particles(centres)}, [target("a.mrc")])

    assert finding(result, "scale").level == "fail"
    assert "--scale 4" in finding(result, "scale").advice
    assert "scale" not in checks(check_picks({"a.mrc": particles(centres[:49])}, [target("a.mrc")]))
    assert "scale" not in checks(check_picks({"a.mrc": particles(scattered(8))}, [target("a.mrc")]))


@pytest.mark.parametrize(("of_picks", "level"), [(1.5, "pass"), (1.51, "pass"), (3.0, "fail"), (np.nan, "pass")])
def test_pixel_sizes_are_compared(of_picks, level):
    picks = {"a.mrc": at((50, 50), pixel_size=of_picks)}

    result = check_picks(picks, [target("a.mrc", pixel_size=1.5)])

    assert finding(result, "pixel size").level == level
    assert "--scale 2 " in finding(result, "pixel size").advice or level == "pass"


def test_a_list_and_a_file_with_different_pixel_sizes(tmp_path):
    file = write_mrc(tmp_path / "a.mrc", discs(scattered(9)), 1.1)

    result = check_picks({"a.mrc": at((50, 50))}, [Target("a.mrc", file.path, None, 1.0)])

    assert finding(result, "pixel size").level == "warn"
    assert "list 1 Å, file 1.1 Å" in finding(result, "pixel size").examples[0]


def test_duplicates_are_counted_once():
    centres = [(100, 100), (100, 101.9), (100, 100), (200, 100), (200, 102.1)]

    result = check_picks({"a.mrc": at(*centres, diameter=20)}, [target("a.mrc")])

    assert finding(result, "duplicates").level == "warn"
    assert finding(result, "duplicates").summary.startswith("2 picks within 2 px")
    # Boxes stand for diameters here alone, two thirds of a side, where neither picks nor --diameter tell them.
    boxed = {"a.mrc": replace(at(*centres), box_px=30.0)}
    assert finding(check_picks(boxed, [target("a.mrc")]), "duplicates").summary.startswith("2 picks within 2 px")
    wide = check_picks(boxed, [target("a.mrc", pixel_size=1.0)], diameter=30)
    assert finding(wide, "duplicates").summary.startswith("3 picks within 3 px")


# --- images ----------------------------------------------------------------------------------------------------------


def two_micrographs(folder):
    named = {}
    for i, name in enumerate(("a", "b")):
        centres = scattered(20 + i, 50 + i)
        named[write_mrc(folder / f"{name}.mrc", discs(centres, seed=i), 1.5)] = centres
    return named


def test_picks_upside_down_fail(tmp_path):
    named = two_micrographs(tmp_path)
    picks = {one.name: particles(turned(centres, "upside down"), DIAMETER) for one, centres in named.items()}

    result = check_picks(picks, [*named])

    assert [one.check for one in result.findings if one.level == "fail"] == ["orientation"]
    assert finding(result, "orientation").summary.startswith("these look upside down (measured on 2 of 2 micrographs")
    assert "--flip-y" in finding(result, "orientation").advice
    evidence = json.loads(json.dumps(result.to_dict()))["evidence"]
    assert {row["orientation"] for row in evidence.values()} == {"upside down"}


def test_one_micrograph_upside_down_is_named(tmp_path):
    (a, right), (b, wrong) = two_micrographs(tmp_path).items()

    result = check_picks({a.name: particles(right), b.name: particles(turned(wrong, "upside down"))}, [a, b])

    assert finding(result, "orientation").summary.startswith("1 of 2 micrographs look upside down")
    assert [example.partition(":")[0] for example in finding(result, "orientation").examples] == [b.name]


def test_corners_for_centres_fail(tmp_path):
    named = two_micrographs(tmp_path)
    picks = {one.name: particles(centres - 0.75 * DIAMETER) for one, centres in named.items()}

    result = check_picks(picks, [*named])

    assert finding(result, "position").level == "fail"


def test_picks_that_fit_pass(tmp_path):
    named = two_micrographs(tmp_path)

    result = check_picks({one.name: particles(centres, 20) for one, centres in named.items()}, [*named])

    assert {one.level for one in result.findings} == {"pass"}
    assert result.passed
    assert (result.micrographs, result.matched, result.picks) == (2, 2, 101)


def test_images_are_read_of_the_sample_alone(tmp_path):
    """The header of the other one promises pixels that are not there: only reading the image can tell."""
    (a, few), (b, more) = two_micrographs(tmp_path).items()
    a.path.write_bytes(a.path.read_bytes()[:5000])
    picks = {a.name: particles(few, 20), b.name: particles(more, 20)}

    sampled = check_picks(picks, [a, b], sample=1)
    everything = check_picks(picks, [a, b], sample=2)

    assert [*sampled.fits] == [b.name]
    assert "files" not in checks(sampled)
    assert finding(everything, "files").level == "warn"
    assert "truncated" in finding(everything, "files").examples[0]


def test_a_missing_image_is_told_and_the_rest_checked(tmp_path):
    result = check_picks({"a.mrc": particles(scattered(1))}, [Target("a.mrc", tmp_path / "a.mrc")])

    assert finding(result, "files").level == "warn"
    assert finding(result, "orientation").level == "skip"
    assert finding(result, "image").level == "skip"
    assert result.passed


def test_a_run_is_read_back_and_only_troubles_are_told(tmp_path):
    named = two_micrographs(tmp_path)
    star, flipped, empty = (tmp_path / f"{name}.star" for name in ("picks", "flipped", "empty"))
    write_particles_star(star, [(one.name, particles(centres)) for one, centres in named.items()])
    upside_down = [(one.name, particles(turned(centres, "upside down"))) for one, centres in named.items()]
    write_particles_star(flipped, upside_down)
    write_particles_star(empty, [])
    # The run was told 1.1 Å, the files say 1.5 Å: that is the user's business.
    targets = [Target(one.name, one.path, (HEIGHT, WIDTH), 1.1) for one in named]

    assert check_run(star, targets, diameter=30) == []
    assert [one.check for one in check_run(flipped, targets, diameter=30)] == ["orientation"]
    assert [one.check for one in check_run(empty, targets, diameter=30)] == ["picks"]


def test_known_shapes_and_no_sample_need_no_files():
    targets = [Target("a.mrc", Path("nowhere/a.mrc"), (HEIGHT, WIDTH))]

    result = check_picks({"a.mrc": at((-5, 50), (50, 50))}, targets, sample=0)

    assert finding(result, "image").summary.startswith("1 of 2 picks")
    assert "files" not in checks(result)


# --- real micrographs ------------------------------------------------------------------------------------------------


def verdicts(micrograph):
    """What is said about the labels as they are and upside down."""
    image, centres = read_micrograph(micrograph.file, 1.0).image, micrograph.read_particles().centres
    pair = (centres, turned(centres, "upside down", *image.shape))
    return [measure_fit(image, one).orientation for one in pair]


def labelled():
    found = find_labelled_micrographs(REAL) if REAL.exists() else []
    return [one for one in found if one.labels and len(one.read_particles()) >= 50]


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/real")
def test_real_micrographs_are_judged_rightly_the_first_of_each_set_and_95_percent_of_all():
    judged = [(one.dataset, verdicts(one) == ["as written", "upside down"]) for one in labelled()]
    first = dict(reversed(judged))

    assert len(first) == 5
    assert all(first.values()), first
    assert len(judged) >= 30
    assert sum(right for _, right in judged) >= 0.95 * len(judged)
