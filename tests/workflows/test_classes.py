"""``cryotx classes`` on runs of made-up micrographs."""

import json
import math
import os
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile

from cryotx_cli.config import ClassesConfig, PickConfig, ThresholdConfig
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.classes import classes
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.threshold import threshold
from particle_images import placed, shape
from quick_picker import PickerWithoutNetwork

PIXEL, DIAMETER, EACH = 2.0, 80.0, 49
CONFIG = PickConfig(diameter=DIAMETER, threshold=0.5, decoys=0, images=False, report=False)


class OnGrid(PickerWithoutNetwork):
    """Picks the places where `micrograph` puts particles, whatever it sees."""

    fingerprint = "grid"

    def __init__(self, step: float = 70.0, diameter: float = 40.0) -> None:
        self.step, self.diameter = step, diameter

    def locate(self, prepared, micrograph) -> Located:
        places = grid(micrograph.image.shape, self.step)
        scores = np.linspace(0.99, 0.6, len(places))
        return Located(Particles(places, scores, np.full(len(places), self.diameter), micrograph.pixel_size))


def grid(image_shape, step=70.0) -> np.ndarray:
    y, x = (np.arange(step / 2, size - step / 2 + 1, step) for size in image_shape)
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def micrograph(path: Path, seed: int, side: int = 490, particles: bool = True, pixel_size: float = PIXEL) -> None:
    """Two shapes, dark, one in every cell of a grid, in noise."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (side, side))
    for number, (x, y) in enumerate(grid(image.shape) if particles else ()):
        crop = placed(shape(number % 2), rng.uniform(0, 2 * math.pi), rng.uniform(-1.5, 1.5, 2))
        # The pixel at the pick is half a pixel beyond the middle of an even number of them.
        image[int(y) - 32 : int(y) + 32, int(x) - 32 : int(x) + 32] -= placed(crop, 0.0, (0.5, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(image.astype(np.float32))
        mrc.voxel_size = pixel_size


def pick(folder: Path, picker: OnGrid | None = None, config: PickConfig = CONFIG) -> Path:
    list(start_pick([folder / "mics"], folder / "p.star", config, picker or OnGrid()))
    return folder / "p.star"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for seed in range(4):
        micrograph(folder / "mics" / f"m{seed}.mrc", seed)
    pick(folder)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run that may be changed."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.mark.slow
def test_a_run_is_averaged(run: Path) -> None:
    read = []

    made = classes(run / "p.star", ClassesConfig(classes=2), read=lambda: read.append(1))

    assert made.picks == 4 * EACH
    assert len(read) == 4
    assert sum(row.picks for row in made.rows) == made.picks
    assert sum(row.share for row in made.rows) == pytest.approx(1)
    assert [row.picks for row in made.rows] == sorted((row.picks for row in made.rows), reverse=True)
    assert sum(row.picks for row in made.rows if row.resolution is not None) > made.picks / 2
    with mrcfile.open(run / "p" / "classes" / "classes.mrcs") as mrc:
        assert mrc.data.shape == (len(made.rows), 64, 64)
        assert float(mrc.voxel_size.x) == pytest.approx(DIAMETER / 40)


@pytest.mark.slow
def test_classes_are_of_one_shape_each(run: Path) -> None:
    made = classes(run / "p.star", ClassesConfig(classes=4))

    found = starfile.read(made.folder / "particles.star")["particles"]
    shapes = np.arange(len(found)) % EACH % 2  # in the order of the grid
    assert found["rlnMicrographName"].nunique() == 4
    pure = sum(np.bincount(shapes[found["rlnClassNumber"] == row.number]).max() for row in made.rows)
    assert pure / len(found) > 0.9


@pytest.mark.slow
def test_the_stack_is_named_as_relion_has_to_read_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    list(start_pick(["mics"], "q.star", CONFIG, OnGrid()))

    classes("q.star", ClassesConfig(classes=2))

    names = starfile.read(run / "q" / "classes" / "classes.star")["rlnReferenceImage"]
    assert names.iloc[0] == "000001@q/classes/classes.mrcs"


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(run: Path) -> None:
    first = {path.name: path.read_bytes() for path in classes(run / "p", ClassesConfig(classes=3)).folder.iterdir()}

    again = {path.name: path.read_bytes() for path in classes(run / "p", ClassesConfig(classes=3)).folder.iterdir()}

    assert again == first


@pytest.mark.slow
def test_a_sample_makes_the_classes_of_all_picks(run: Path) -> None:
    made = classes(run / "p.star", ClassesConfig(sample=120))

    assert (made.trained, made.picks) == (120, 4 * EACH)


@pytest.mark.slow
def test_a_micrograph_that_has_gone_or_changed_is_left_out_and_told(tmp_path: Path) -> None:
    for seed in range(4):
        micrograph(tmp_path / "mics" / f"m{seed}.mrc", seed)
    star = pick(tmp_path)
    (tmp_path / "mics" / "m0.mrc").unlink()
    micrograph(tmp_path / "mics" / "m1.mrc", 1, side=560)
    micrograph(tmp_path / "mics" / "m2.mrc", 9)  # of the same size
    os.utime(tmp_path / "mics" / "m3.mrc", (1, 1))  # as of a copy
    told = []

    made = classes(star, ClassesConfig(), told.append)

    assert made.picks == EACH
    (event,) = told
    assert event.text.startswith("3 micrographs left out, for example ")
    assert "m0.mrc" in event.text


@pytest.mark.slow
def test_what_was_there_stays_where_all_micrographs_are_gone(tmp_path: Path) -> None:
    micrograph(tmp_path / "mics" / "m0.mrc", 0)
    star = pick(tmp_path)
    folder = classes(star, ClassesConfig()).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(tmp_path / "mics")
    shutil.rmtree(tmp_path / "p" / "crops")

    with pytest.raises(CryotxError, match=r"nothing to average: .*m0\.mrc"):
        classes(star, ClassesConfig())

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_too_few_picks_are_refused_in_one_line(tmp_path: Path) -> None:
    micrograph(tmp_path / "mics" / "m.mrc", 0, side=350)  # 25 picks

    with pytest.raises(CryotxError, match=r"25 picks .* too few to average"):
        classes(pick(tmp_path), ClassesConfig())


@pytest.mark.slow
def test_one_micrograph_is_enough(tmp_path: Path) -> None:
    micrograph(tmp_path / "mics" / "m.mrc", 0, side=700)

    made = classes(pick(tmp_path), ClassesConfig())

    assert made.picks == 100
    assert len(made.rows) <= 3


@pytest.mark.slow
def test_noise_is_called_noise(tmp_path: Path) -> None:
    for seed in range(3):
        micrograph(tmp_path / "mics" / f"m{seed}.mrc", seed, side=700, particles=False)

    made = classes(pick(tmp_path), ClassesConfig())

    assert [row.resolution for row in made.rows] == [None] * len(made.rows)
    assert "999" in (made.folder / "classes.star").read_text()


@pytest.mark.slow
def test_pixel_sizes_may_differ(tmp_path: Path) -> None:
    for seed in range(4):
        micrograph(tmp_path / "mics" / f"m{seed}.mrc", seed, side=700, pixel_size=2.0 if seed % 2 else 2.2)

    made = classes(pick(tmp_path), ClassesConfig(classes=2))

    tables = starfile.read(made.folder / "particles.star")
    size_of = tables["optics"].set_index("rlnOpticsGroup")["rlnMicrographPixelSize"]
    names, groups = tables["particles"]["rlnMicrographName"], tables["particles"]["rlnOpticsGroup"]
    assert sorted(size_of) == pytest.approx([2.0, 2.2])
    assert sorted(groups.unique()) == [1, 2]
    for name, group in zip(names, groups, strict=True):
        assert size_of[group] == pytest.approx(2.0 if int(name[-5]) % 2 else 2.2)


@pytest.mark.slow
def test_a_particle_of_six_pixels(tmp_path: Path) -> None:
    for seed in range(2):
        micrograph(tmp_path / "mics" / f"m{seed}.mrc", seed)

    made = classes(
        pick(tmp_path, OnGrid(20.0, 6.0), PickConfig(diameter=12.0, threshold=0.5, decoys=0, no_classes=True)),
        ClassesConfig(),
    )

    assert made.picks == 2 * 24**2


@pytest.mark.slow
def test_a_run_of_an_older_version(run: Path) -> None:
    ledger = run / "p" / "ledger.jsonl"
    old = ("expected_false", "from_run", "size", "modified", "checksum", "relion")
    rows = [{k: v for k, v in json.loads(line).items() if k not in old} for line in ledger.read_text().splitlines()]
    ledger.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    assert classes(run / "p.star", ClassesConfig(classes=2)).picks == 4 * EACH


@pytest.mark.slow
def test_picks_at_the_border_take_part_in_the_end_only(tmp_path: Path) -> None:
    for seed in range(3):
        micrograph(tmp_path / "mics" / f"m{seed}.mrc", seed, side=490)

    made = classes(pick(tmp_path, OnGrid(40.0)), ClassesConfig(classes=2))

    at_border = 12**2 - 11**2  # nearer than 24 px: 20 of the particle, 4 by which a pick may be off
    assert (made.picks, made.trained) == (3 * 12**2, 3 * (12**2 - at_border))


@pytest.mark.slow
def test_the_picks_of_the_run_count_whatever_would_be_chosen_now(run: Path) -> None:
    ledger = run / "p" / "ledger.jsonl"
    rows = [{**json.loads(line), "picks": 30} for line in ledger.read_text().splitlines()]
    ledger.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    made = classes(run / "p.star", ClassesConfig(classes=1))

    assert made.picks == 4 * 30
    scores = starfile.read(made.folder / "particles.star")["particles"]["rlnAutopickFigureOfMerit"]
    assert scores.min() == pytest.approx(np.linspace(0.99, 0.6, EACH)[29], abs=1e-6)  # the best


# --- dropping classes ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    for seed in range(3):
        micrograph(folder / "mics" / f"m{seed}.mrc", seed)
    classes(pick(folder), ClassesConfig(classes=3))
    return folder


@pytest.fixture
def with_classes(in_classes: Path, tmp_path: Path) -> Path:
    return shutil.copytree(in_classes, tmp_path / "run")


def places(star: Path) -> set[tuple[str, float, float]]:
    return {(name, *centre) for name, found in read_particles_star(star).items() for centre in found.centres.tolist()}


def of_classes(run: Path, *numbers: int, others: bool = False) -> set[tuple[str, float, float]]:
    """The picks in these classes, or in all others."""
    table = starfile.read(run / "p" / "classes" / "particles.star")["particles"]
    some = table[table["rlnClassNumber"].isin(numbers) != others]
    return set(zip(some["rlnMicrographName"], some["rlnCoordinateX"], some["rlnCoordinateY"], strict=True))


def drop(run: Path, **settings):
    return threshold(run / "p.star", ThresholdConfig(**settings))


def test_the_picks_of_classes_are_dropped_everywhere(with_classes: Path) -> None:
    run = with_classes
    shutil.rmtree(run / "mics")  # no micrograph is needed
    gone = of_classes(run, 2)
    before = places(run / "p.star")
    assert gone and gone < before  # noqa: PT018

    done = drop(run, drop_classes="2")

    assert places(run / "p.star") == before - gone
    assert done.after == len(before) - len(gone)
    boxes = sum(len(path.read_text().splitlines()) for path in (run / "p" / "box").rglob("*.box"))
    relion = sum(len(found) for path in (run / "p" / "relion").rglob("*_autopick.star")
                 for found in read_particles_star(path).values())  # fmt: skip
    assert boxes == relion == done.after
    assert sum(row.picks for row in read_run(run / "p.star").picked) == done.after


def test_classes_to_keep_are_the_others_to_drop(with_classes: Path) -> None:
    drop(with_classes, keep_classes="1,3")

    assert places(with_classes / "p.star") == of_classes(with_classes, 1, 3)


def test_another_choice_of_classes_takes_the_place_of_the_first_and_none_brings_all_back(with_classes: Path) -> None:
    before = (with_classes / "p.star").read_bytes()
    drop(with_classes, drop_classes="1")

    drop(with_classes, drop_classes="3")
    assert places(with_classes / "p.star") == of_classes(with_classes, 3, others=True)

    drop(with_classes, drop_classes="none")
    assert (with_classes / "p.star").read_bytes() == before
    assert not (with_classes / "p" / "dropped.json").exists()


def test_what_is_out_is_counted_and_a_run_without_picks_says_why(with_classes: Path) -> None:
    picks = len(places(with_classes / "p.star"))
    assert drop(with_classes).out_with_classes == 0
    assert drop(with_classes, drop_classes="1").out_with_classes == len(of_classes(with_classes, 1))

    numbers = starfile.read(with_classes / "p" / "classes" / "particles.star")["particles"]["rlnClassNumber"]
    done = drop(with_classes, drop_classes=",".join(map(str, sorted(set(numbers)))))

    assert (done.out_with_classes, done.after) == (picks, 0)
    (text,) = [event.text for event in done.events if event.text.startswith("No pick is left")]
    assert f"cryotx threshold {with_classes / 'p'} --drop-classes none brings them back" in text


def test_what_is_out_are_picks_of_the_new_choice_only_and_that_it_stays_out_is_said(with_classes: Path) -> None:
    drop(with_classes, drop_classes="1")
    few = drop(with_classes, expected_count=1)
    told = [event.text for event in few.events if "stays out" in event.text]

    assert few.out_with_classes == few.micrographs - few.after  # one of each micrograph, without those of class 1
    assert len(told) == 1
    assert f"cryotx threshold {with_classes / 'p'} --drop-classes none" in told[0]
    assert not [event for event in drop(with_classes, drop_classes="none").events if "stays out" in event.text]


def test_dropped_picks_stay_out_when_another_threshold_is_chosen(with_classes: Path) -> None:
    drop(with_classes, drop_classes="1")

    drop(with_classes, threshold=0.2)

    assert places(with_classes / "p.star") == of_classes(with_classes, 1, others=True)


def test_a_neighbour_does_not_take_the_place_of_a_dropped_pick(with_classes: Path) -> None:
    """Beside each pick lies a worse candidate, which the smallest distance keeps out; it stays out."""
    for path in (with_classes / "p" / "candidates").glob("*.csv"):
        lines = path.read_text().splitlines()
        beside = [f"{float(x) + 3!r},{y},0.55,{size}" for x, y, _, size in (line.split(",") for line in lines[2:])]
        path.write_text("\n".join([*lines, *beside]) + "\n")

    drop(with_classes, drop_classes="1")

    assert places(with_classes / "p.star") == of_classes(with_classes, 1, others=True)


@pytest.mark.slow
def test_classes_made_anew_are_of_what_is_left(with_classes: Path) -> None:
    drop(with_classes, drop_classes="1")
    left = places(with_classes / "p.star")

    classes(with_classes / "p.star", ClassesConfig(classes=2))
    drop(with_classes, drop_classes="none")

    assert places(with_classes / "p.star") == left  # what was dropped before is in none of them


def test_picking_again_brings_dropped_picks_back(with_classes: Path) -> None:
    before = (with_classes / "p.star").read_bytes()
    drop(with_classes, drop_classes="1")

    run = start_pick([with_classes / "mics"], with_classes / "p.star", CONFIG, OnGrid())
    list(run)

    assert any("taken out with their classes come back" in event.text for event in run.events)
    assert not any("have changed" in event.text for event in run.events)
    assert len(read_particles_star(with_classes / "p.star")) == 3
    assert len((with_classes / "p.star").read_bytes().splitlines()) == len(before.splitlines())
    assert not (with_classes / "p" / "dropped.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop_classes": "3,seven"}, r"--drop-classes 3,seven: 'seven' is no class of this run, which has 1 to \d"),
        ({"keep_classes": "0"}, "--keep-classes 0: '0' is no class"),
        ({"drop_classes": ""}, "'' is no class"),
    ],
)
def test_classes_that_are_none_are_refused(with_classes: Path, settings: dict, message: str) -> None:
    before = (with_classes / "p.star").read_bytes()

    with pytest.raises(ConfigError, match=message):
        drop(with_classes, **settings)

    assert (with_classes / "p.star").read_bytes() == before


def test_without_classes_the_command_to_make_them_is_told(finished: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        drop(finished, drop_classes="1")

    assert "cryotx classes" in refused.value.hint


def test_classes_of_other_picks_are_refused(with_classes: Path) -> None:
    for path in (with_classes / "p" / "candidates").glob("*.csv"):
        lines = path.read_text().splitlines()
        moved = [f"{float(x) + 3!r},{rest}" for x, rest in (line.split(",", 1) for line in lines[2:])]
        path.write_text("\n".join([*lines[:2], *moved]) + "\n")

    with pytest.raises(ConfigError, match="its classes are those of other picks"):
        drop(with_classes, drop_classes="1")


@pytest.mark.parametrize(
    ("scores", "resolutions", "dropped"),
    [
        ((0.9, 0.01, 0.95), (12.0, None, None), {2}),  # class 3 is noise and scores high: perhaps a rare view
        ((0.9, 0.01, 0.01), (12.0, 30.0, None), {3}),  # what is more than noise is never dropped
        ((0.9, 0.01, 0.01), (None, None, None), set()),
    ],
)
def test_what_auto_drops(with_classes: Path, scores: tuple, resolutions: tuple, dropped: set[int]) -> None:
    path = with_classes / "p" / "classes" / "classes.json"
    content = json.loads(path.read_text())
    shown = content["classes"][:3]
    assert len(content["classes"]) >= 3
    for row, score, resolution in zip(shown, scores, resolutions, strict=True):
        row |= {"mean_score": score, "resolution": resolution, "verdict": "noise" if resolution is None else "agrees"}
    content["classes"] = shown
    path.write_text(json.dumps(content))
    expected = places(with_classes / "p.star") - of_classes(with_classes, *dropped)

    done = drop(with_classes, drop_classes="auto")

    assert places(with_classes / "p.star") == expected
    (event,) = done.events
    assert event.text.startswith(f"Classes dropped: {', '.join(map(str, sorted(dropped))) or 'none'}. ")
    assert event.level == "note"


def test_dropping_a_view_is_a_warning(with_classes: Path) -> None:
    (event,) = drop(with_classes, drop_classes="1").events

    assert event.level == "warning"
    assert "views more than noise before" in event.text
