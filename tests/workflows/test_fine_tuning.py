"""`cryotx train --data` for the default model in miniature: what it reads, writes and says, and what stops it.

Micrographs are 200 px of noise with dark discs, crops 64 px and few, so that a step is quick.
"""

import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from cryotx_cli.averages.output import Assigned, ClassRow, write_classes
from cryotx_cli.config import AdaptConfig, PickConfig, load_train_config
from cryotx_cli.coordinates.formats.csv import write_csv
from cryotx_cli.coordinates.formats.entry import Alignments
from cryotx_cli.coordinates.formats.star import read_particles_star, write_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import write_labels
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.errors import CheckpointError, ConfigError, DatasetError
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.runs.stored import read_run
from cryotx_cli.training import run as run_module
from cryotx_cli.training.center import adapt as fine_tuning
from cryotx_cli.training.center import adapt_data
from cryotx_cli.training.center.data import simulated_crop
from cryotx_cli.training.progress import FineTuned
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.train import train
from quick_picker import PickerWithoutNetwork

SIZE, DIAMETER_PX, PIXEL_SIZE = 200, 24, 5.0


@pytest.fixture(autouse=True)
def miniature(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def small(structures, rng, size=256, *arguments):
        return simulated_crop(structures, rng, 64, *arguments)

    monkeypatch.setattr(adapt_data, "simulated_crop", small)
    monkeypatch.setattr(adapt_data, "_SIMULATED_CROPS", 3)
    monkeypatch.setattr(run_module, "LOG_EVERY", 1)
    monkeypatch.setattr(fine_tuning, "_SAVE_SECONDS", -1.0)  # after every step
    yield
    torch.set_num_threads(threads)


def discs(rng):
    """A micrograph with dark discs, and where they are."""
    image = rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    y, x = np.mgrid[:SIZE, :SIZE]
    centres = np.stack(np.meshgrid([40, 100, 160], [40, 100, 160]), -1).reshape(-1, 2) + rng.uniform(-8, 8, (9, 2))
    for cx, cy in centres:
        image -= 2.0 * ((x - cx) ** 2 + (y - cy) ** 2 < (DIAMETER_PX / 2) ** 2)
    return image, Particles(centres, np.ones(9), np.full(9, float(DIAMETER_PX)), PIXEL_SIZE)


def write_tree(folder, count=4, labelled=3):
    """CryoPPP tree; the last micrographs have no labels."""
    for number in range(count):
        image, particles = discs(np.random.default_rng(number))
        path = folder / "lab" / "micrographs" / f"m{number}.mrc"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_micrograph(path, image, PIXEL_SIZE)
        if number < labelled:
            write_labels(folder / "lab", path, particles, SIZE)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def config(tree):
    return AdaptConfig(
        data=tree, steps=4, batch_size=2, seed=5, device="cpu", procedural_structures=2, validate_every=2
    )


@pytest.fixture(scope="module")
def finished():
    """Folder and reports of a run that nobody disturbed; filled by the first who asks."""
    return {}


@pytest.fixture
def whole(finished, config, tmp_path_factory):
    if not finished:
        out = tmp_path_factory.mktemp("whole") / "run"
        finished.update(out=out, reports=list(train(out, config)))
    return finished


def steps_of(run, count):
    """Take so many steps of a run and drop it, as an interruption does."""
    reports = [next(run) for _ in range(count)]
    run.close()
    return reports


# --- what a run says and writes --------------------------------------------------------------------------------------


def test_a_run_reports_every_step_and_ends_with_what_it_was_good_for(whole):
    *steps, end = whole["reports"]
    assert [report.step for report in steps] == [1, 2, 3, 4]
    assert all(math.isfinite(report.loss) and report.loss > 0 for report in steps)
    assert [report.f1 is not None for report in steps] == [False, True, False, True]
    assert isinstance(end, FineTuned)
    assert end.micrographs == ("m1.mrc",)
    assert end.before.counts.truth == end.after.counts.truth == 9
    assert 0 < end.before.average_precision <= 1


def test_a_run_says_what_it_learns_from(whole):
    first, *others = whole["reports"]
    assert first.event.text.startswith(
        "Learning from 18 labels on 2 of 3 micrographs; held back: m1.mrc; diameter 120 Å"
    )
    assert first.event.text.endswith("; micrographs left out: 1 without labels")
    assert not any(report.event for report in others)


def test_a_run_leaves_its_settings_log_weights_and_state(whole, config):
    out = whole["out"]
    names = {"config.toml", "log.csv", "state.pt", "best.safetensors", "last.safetensors"}
    assert {path.name for path in out.iterdir()} == names
    assert load_train_config(out / "config.toml") == config
    with (out / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    for row, report in zip(rows, whole["reports"], strict=False):
        terms = [float(row[k]) for k in ("heat", "offset", "radius", "score", "centre", "size")]
        assert sum(terms) == pytest.approx(report.loss, abs=1e-3)
        assert (row["f1"] != "") == (report.f1 is not None)


def test_the_weights_have_moved_and_pick_with_probabilities_of_their_own(whole):
    initial, last = load_checkpoint("default"), load_checkpoint(whole["out"] / "last.safetensors")
    assert not torch.equal(last.weights["dense_head.1.weight"], initial.weights["dense_head.1.weight"])
    assert last.calibration != initial.calibration
    assert last.training["fine_tuned_steps"] == 4
    assert "/" not in last.training["settings"]["data"]  # a checkpoint does not tell where files lay
    found = Picker(last).detect(np.random.default_rng(0).normal(size=(64, 80)).astype(np.float32))
    assert np.isfinite(found.centres).all()


def test_batch_statistics_stay_those_of_the_first_training(whole):
    initial, last = load_checkpoint("default"), load_checkpoint(whole["out"] / "last.safetensors")
    for name, value in initial.weights.items():
        if "running" in name:
            assert_allclose(last.weights[name], value, rtol=2e-3, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_weights_that_agree_worse_are_not_kept_as_the_best(config, tmp_path, monkeypatch):
    picks_nothing = replace(load_checkpoint("default").calibration, probabilities=(0.0,) * 22)
    monkeypatch.setattr(
        fine_tuning,
        "recalibrated",
        lambda calibration, seen: replace(picks_nothing, logits=tuple(range(22))),
    )
    *_, end = train(tmp_path / "run", config)
    initial, best = load_checkpoint("default"), load_checkpoint(tmp_path / "run" / "best.safetensors")
    assert not end.helped
    assert end.after.counts.f1 < end.before.counts.f1  # of the weights that were tried and not kept
    assert best.calibration == initial.calibration
    for name, value in initial.weights.items():
        assert torch.equal(best.weights[name], value), name


def saying(monkeypatch, scores):
    """F1 on the held-back micrographs, before the first step and after each; the last goes on."""
    left = list(scores)
    monkeypatch.setattr(fine_tuning, "best_f1", lambda seen: left.pop(0) if len(left) > 1 else left[0])


@pytest.mark.slow
def test_a_run_that_gets_worse_ends_early(config, tmp_path, monkeypatch):
    saying(monkeypatch, [0.5, 0.4])
    monkeypatch.setattr(fine_tuning, "_PATIENCE", 2)
    *steps, end = train(tmp_path / "run", replace(config, steps=50, validate_every=1))
    assert [report.step for report in steps] == [1, 2]
    assert end.step == 2


@pytest.mark.slow
@pytest.mark.parametrize(("scores", "best"), [([0.5, 0.499, 0.497, 0.498], 3), ([0.5, 0.51, 0.506, 0.504], 2)])
def test_of_weights_that_agree_equally_well_but_for_chance_the_last_count(config, tmp_path, monkeypatch, scores, best):
    saying(monkeypatch, scores)
    for _ in steps_of(train(tmp_path / "run", replace(config, steps=4, validate_every=1)), 3):
        pass
    assert load_checkpoint(tmp_path / "run" / "best.safetensors").training["fine_tuned_steps"] == best


# --- stopping and going on -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(whole, config, tmp_path):
    out = tmp_path / "run"
    before = steps_of(train(out, config), 2)
    torch.manual_seed(999)  # another process has other random numbers
    after = list(train(out, replace(config, resume=True)))

    assert [(r.step, r.loss, r.f1) for r in [*before, *after][:4]] == [
        (r.step, r.loss, r.f1) for r in whole["reports"][:4]
    ]
    assert after[-1].after == whole["reports"][-1].after
    resumed, straight = (load_checkpoint(o / "last.safetensors") for o in (out, whole["out"]))
    assert resumed.calibration == straight.calibration
    for name, value in straight.weights.items():
        assert torch.equal(resumed.weights[name], value), name


@pytest.mark.slow
def test_a_run_out_of_time_leaves_weights_and_goes_on_later(config, tmp_path):
    out = tmp_path / "run"
    only, end = train(out, replace(config, minutes=1e-9))
    assert only.step == end.step == 1
    assert load_checkpoint(out / "last.safetensors").training["fine_tuned_steps"] == 1
    (later,) = steps_of(train(out, replace(config, resume=True)), 1)
    assert later.step == 2


def test_the_gain_is_that_of_the_weights_on_the_same_parts(whole):
    end = whole["reports"][-1]
    assert len(end.before.parts) == len(end.after.parts) == 9  # of one micrograph
    assert 0 <= end.gain.spread < 1
    if end.helped:
        assert end.gain.difference == pytest.approx(end.after.counts.f1 - end.before.counts.f1)
    else:
        assert end.gain.difference <= 0
    assert 0 <= end.before.chance <= 1
    assert 0 < end.before.dice <= 1


@pytest.mark.slow
def test_a_run_that_has_ended_says_again_what_it_was_good_for(whole, config):
    (end,) = train(whole["out"], replace(config, resume=True))
    assert end.before == whole["reports"][-1].before


# --- what it learns from ---------------------------------------------------------------------------------------------


def relion_labels(tmp_path, tree, stated=None):
    """Particles of RELION, which have no diameters; those of a table that states them if `stated`."""
    particles = [(f"m{number}.mrc", discs(np.random.default_rng(number))[1]) for number in range(2)]
    if stated is None:
        write_particles_star(tmp_path / "particles.star", particles)
        return tmp_path / "particles.star"
    for name, one in particles:
        diameters = np.full(len(one), float(stated))
        path = tmp_path / "tables" / f"{Path(name).stem}.csv"
        path.parent.mkdir(exist_ok=True)
        write_csv(path, Particles(one.centres, one.scores, diameters, one.pixel_size))
    return tmp_path / "tables"


@pytest.mark.parametrize(
    ("given", "stated", "expected"),
    [
        (None, None, "diameter 140 Å (estimated)"),
        (None, 26, "130 Å (of the labels)"),
        pytest.param(110.0, 26, "110 Å (given)", marks=pytest.mark.slow),
    ],
)
def test_the_diameter_is_given_or_stated_or_estimated(config, tree, tmp_path, monkeypatch, given, stated, expected):
    monkeypatch.setattr(Picker, "estimate_diameter", lambda picker, micrographs: 140.0)
    data = relion_labels(tmp_path, tree, stated)
    config = replace(config, data=data, micrographs=tree / "lab" / "micrographs", diameter=given)
    (first,) = steps_of(train(tmp_path / "run", config), 1)
    assert expected in first.event.text


def test_each_of_several_proteins_has_its_own_diameter(config, tree, tmp_path):
    data = relion_labels(tmp_path, tree, stated=20)
    one = discs(np.random.default_rng(1))[1]
    write_csv(data / "m1.csv", Particles(one.centres, one.scores, np.full(len(one), 40.0), one.pixel_size))
    config = replace(config, data=data, micrographs=tree / "lab" / "micrographs")
    (first,) = steps_of(train(tmp_path / "run", config), 1)
    assert "diameter 100 to 200 Å (of the labels)" in first.event.text


@pytest.mark.parametrize(
    ("columns", "note", "kept", "labels"),
    [
        pytest.param(0, "", True, 18, marks=pytest.mark.slow),
        (1, "; labels left out because they lie on support film: 3", True, 16),
        pytest.param(3, "; 33% of the labels lie on support film: so will picks", False, 18, marks=pytest.mark.slow),
    ],
)
def test_few_labels_on_film_are_left_out_and_many_are_followed(
    config, tmp_path, monkeypatch, columns, note, kept, labels
):
    def film(_, image):
        """Film over the upper part of each micrograph: over so many of the three labels of the first row."""
        cells = np.zeros((image.shape[0] // 4, image.shape[1] // 4), np.float32)
        cells[: round(0.36 * len(cells)), : round((0.05 + columns * 0.3) * len(cells))] = 0.9
        return cells

    monkeypatch.setattr(adapt_data, "film_probability", film)
    reports = list(train(tmp_path / "run", config))
    assert reports[0].event.text.endswith("1 without labels" + note)
    assert reports[0].event.text.startswith(f"Learning from {labels} labels on 2 of 3 micrographs")
    for name in ("best", "last"):
        assert bool(load_checkpoint(tmp_path / "run" / f"{name}.safetensors").film) == kept


@pytest.mark.slow
def test_nothing_was_labelled_nearer_to_a_border_than_the_nearest_label(config, tree, tmp_path):
    nearest = min(
        min(p.centres.min() + 0.5, SIZE - 0.5 - p.centres.max())
        for p in (discs(np.random.default_rng(number))[1] for number in range(3))
    )
    (first,) = steps_of(train(tmp_path / "run", config), 1)
    assert f"within {nearest:.0f} px of a border" in first.event.text


def test_the_settings_that_were_used_repeat_the_run(whole, tmp_path):
    resolved = load_train_config(whole["out"] / "config.toml")
    (first,) = steps_of(train(tmp_path / "run", resolved), 1)
    assert first.loss == whole["reports"][0].loss


# --- the picks of a run -----------------------------------------------------------------------------------------------


class PicksDiscs(PickerWithoutNetwork):
    """Picks every disc, and as many places between them."""

    fingerprint = "discs"

    def locate(self, prepared, micrograph):
        seed = int(micrograph.source.stem.removeprefix("m"))
        centres = discs(np.random.default_rng(seed))[1].centres
        places = np.concatenate([centres, centres[:4] + 30.0]) if seed < 4 else centres[:4] + 30.0
        return Located(Particles(places, np.full(len(places), 0.9), np.full(len(places), 24.0), PIXEL_SIZE))


@pytest.fixture(scope="module")
def picked(tree, tmp_path_factory):
    """A run whose class 1 holds discs, and class 2 what lies between them; on one micrograph there is nothing else."""
    folder = tmp_path_factory.mktemp("picked")
    shutil.copytree(tree / "lab/micrographs", folder / "mics")
    write_micrograph(folder / "mics/m4.mrc", discs(np.random.default_rng(4))[0], PIXEL_SIZE)
    config = PickConfig(diameter=120.0, threshold=0.5, decoys=0, images=False, report=False)
    list(start_pick([folder / "mics"], folder / "p.star", config, PicksDiscs()))
    run = read_run(folder / "p.star")
    picks = []
    for row in run.picked:
        particles = run.picks(row, run.candidates(row)[1]).particles
        true = discs(np.random.default_rng(int(row.stem[1])))[1].centres
        on_disc = np.linalg.norm(particles.centres[:, None] - true, axis=2).min(1) < 1
        nothing = np.zeros(len(particles))
        picks.append(
            Assigned(row.micrograph, particles, Alignments(2 - on_disc, nothing, np.zeros((len(particles), 2))))
        )
    rows = [ClassRow(number, 40, 0.5, 0.9, 20.0, 0.5) for number in (1, 2)]
    write_classes(run.folder.path, "classes/classes.mrcs", np.zeros((2, 64, 64)), 2.5, rows, picks, {}, {})
    return folder / "p"


def test_the_classes_of_a_run_are_learned_from(picked, config, tmp_path):
    first, *_, end = train(tmp_path / "run", replace(config, data=picked, keep_classes="1"))

    # Three of the four with labels are learned from, and the one where all picks are no particles.
    assert first.event.text.startswith(
        "Learning from 27 labels on 4 of 5 micrographs; held back: m2.mrc; diameter 120 Å"
    )
    assert first.event.text.endswith("; known to be no particles: 16 picks")
    assert isinstance(end, FineTuned)
    assert end.before.counts.truth == 9
    assert load_train_config(tmp_path / "run/config.toml").keep_classes == "1"


def test_the_folder_of_a_run_gives_all_its_picks(picked, config, tmp_path):
    (first,) = steps_of(train(tmp_path / "run", replace(config, data=picked)), 1)
    assert first.event.text.startswith("Learning from 43 labels on 4 of 5 micrographs")
    assert "no particles" not in first.event.text


def test_classes_that_are_not_there_stop_before_anything_is_written(picked, config, tmp_path):
    with pytest.raises(ConfigError, match="is no class of this run"):
        next(train(tmp_path / "run", replace(config, data=picked, keep_classes="7")))
    assert not (tmp_path / "run").exists()


# --- what is refused -------------------------------------------------------------------------------------------------


def test_one_labelled_micrograph_is_too_few(config, tmp_path):
    alone = write_tree(tmp_path / "tree", count=3, labelled=1)
    with pytest.raises(DatasetError, match="1 labelled micrograph, where at least 2"):
        next(train(tmp_path / "run", replace(config, data=alone)))
    assert not (tmp_path / "run").exists()


def test_labels_of_larger_micrographs_are_refused(config, tree, tmp_path):
    particles = [(f"m{n}.mrc", discs(np.random.default_rng(n))[1].scaled(4.0)) for n in range(2)]
    write_particles_star(tmp_path / "particles.star", particles)
    config = replace(config, data=tmp_path / "particles.star", micrographs=tree / "lab" / "micrographs")
    with pytest.raises(DatasetError, match=r"m0\.mrc: \d of its 9 labels lie outside of its 200 x 200 px") as caught:
        next(train(tmp_path / "run", config))
    assert "--scale" in caught.value.hint
    assert len(read_particles_star(tmp_path / "particles.star")) == 2


def test_a_run_is_never_overwritten(whole, config):
    content = {path.name: path.read_bytes() for path in whole["out"].iterdir()}
    with pytest.raises(DatasetError, match="holds a run already"):
        next(train(whole["out"], config))
    assert {path.name: path.read_bytes() for path in whole["out"].iterdir()} == content


def test_there_must_be_a_run_to_resume(config, tmp_path):
    with pytest.raises(CheckpointError, match="no run to resume"):
        next(train(tmp_path / "run", replace(config, resume=True)))


def test_a_loss_that_is_not_finite_stops_the_run(config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        adapt_data, "labelled_crop", lambda *a: replace(whole_crop(*a), image=whole_crop(*a).image * math.nan)
    )
    with pytest.raises(DatasetError, match="not finite"):
        next(train(tmp_path / "run", config))


whole_crop = adapt_data.labelled_crop


# --- real micrographs ------------------------------------------------------------------------------------------------

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real" / "10017"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs the labelled micrographs of EMPIAR-10017")
def test_a_short_run_on_real_labels_helps(tmp_path):
    """Labels there miss faint particles and a border of 131 px, and more picks than labels are what it starts with."""
    for link in ("micrographs", "ground_truth/particle_coordinates"):
        (tmp_path / "tree" / link).mkdir(parents=True)
        for file in sorted((REAL / link).iterdir())[:3]:
            (tmp_path / "tree" / link / file.name).symlink_to(file)
    config = AdaptConfig(data=tmp_path / "tree", pixel_size=1.77, steps=10, batch_size=4, device="cpu")

    first, *_, end = train(tmp_path / "run", config)

    assert "diameter 191 Å (of the labels)" in first.event.text
    assert "within 130 px of a border" in first.event.text or "within 131 px of a border" in first.event.text
    assert end.helped
    assert end.after.counts.f1 > end.before.counts.f1 + 0.005
    assert end.after.counts.precision > end.before.counts.precision
