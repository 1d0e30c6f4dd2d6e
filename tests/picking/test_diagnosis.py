"""What a run says that finds little, or something else than it was told to: by a picker that sees dark discs."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from cryotx_cli.cli.app import app
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.load_picker import LoadedPicker
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.image import normalise, rescale
from cryotx_cli.runs.diagnosis import kept_diagnosis
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.pick import PickRun, start_pick
from quick_picker import PickerWithoutNetwork

PIXEL_SIZE, SIDE = 2.5, 500


class DiscPicker(PickerWithoutNetwork):
    """Sees dark discs of about the size that it is told, surer of the right size, and is drawn to what it is told."""

    fingerprint = "discs"
    compares_with_noise = True
    film = 0.0

    def __init__(self, sure: float = 4.0) -> None:
        self.sure = sure
        self.located = 0

    def prepare(self, micrograph, diameter):
        factor = 24 * micrograph.pixel_size / diameter
        if min(micrograph.image.shape) * factor < 32 or factor > 8:
            raise MicrographError("does not fit")
        return normalise(rescale(micrograph.image, factor))

    def locate(self, prepared, micrograph):
        self.located += 1
        regions, count = ndimage.label(prepared < -2.5)
        index = np.arange(1, count + 1)
        radii = np.sqrt(np.asarray(ndimage.sum_labels(np.ones_like(prepared), regions, index)) / np.pi)
        centres = np.array(ndimage.center_of_mass(np.ones_like(prepared), regions, index)).reshape(-1, 2)[:, ::-1]
        known = (radii > 6) & (radii < 24)
        apart = np.log(radii[known] / 12)
        scale = micrograph.image.shape[0] / prepared.shape[0]
        found = Particles(
            (centres[known] + 0.5) * scale - 0.5,
            1 / (1 + np.exp(-(self.sure - 4 * np.abs(apart)))),
            24 * np.exp(0.36 * np.tanh(2.4 * apart)) * scale,
            micrograph.pixel_size,
        )
        return Located(found.sorted_by_score())

    def film_share(self, prepared):
        return self.film


def write(folder: Path, name: str, diameter: float, discs: int, header: float = PIXEL_SIZE, bright=False) -> None:
    rng = np.random.default_rng(len(name) + discs)
    image = rng.normal(100, 0.4, (SIDE, SIDE))
    radius = diameter / PIXEL_SIZE / 2
    rows, columns = np.indices((SIDE, SIDE))
    places = np.arange(1.2 * radius, SIDE - radius, 3.6 * radius)
    grid = np.stack(np.meshgrid(places, places), -1).reshape(-1, 2)
    for x, y in rng.permutation(grid)[:discs]:
        image -= np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1)
    folder.mkdir(exist_ok=True)
    with mrcfile.new(folder / name) as mrc:
        mrc.set_data((-image if bright else image).astype(np.float32))
        mrc.voxel_size = header


def run_on(folder: Path, out: Path, picker: DiscPicker | None = None, **settings) -> PickRun:
    config = PickConfig(**{"contrast": "dark", "images": False, "formats": ()} | settings)
    run = start_pick([folder], out, config, picker or DiscPicker())
    for _ in run:
        pass
    return run


def said(run: PickRun) -> str:
    """All warnings but those of the check of what was written and of class averages, which few picks have not got."""
    texts = [event.text for event in run.events if event.level == "warning"]
    return " ".join(text for text in texts if not text.startswith(("Check of", "No class averages")))


@pytest.fixture(scope="module")
def discs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("diagnosis") / "mics"
    for number in range(2):
        write(folder, f"m{number}.mrc", 100.0, 40 + number)
    return folder


@pytest.mark.parametrize(
    "factor", [pytest.param(one, marks=[pytest.mark.slow] * (one != 2.5)) for one in (0.2, 0.4, 2.5, 4.5)]
)
def test_a_wrong_diameter_is_named_with_the_right_one_and_the_pixel_size_that_would_explain_it(discs, tmp_path, factor):
    run = run_on(discs, tmp_path / "p.star", diameter=100 * factor)

    text = said(run)
    named = float(re.search(r"--diameter (\d+)", text)[1])
    assert named == pytest.approx(100, rel=0.2)
    pixel_size = float(re.search(r"--pixel-size ([\d.]+)$", text)[1])
    assert pixel_size == pytest.approx(PIXEL_SIZE * 100 * factor / named, rel=0.05)
    assert f"--diameter {named:.0f}" in (tmp_path / "p/report.html").read_text()


def test_another_size_in_one_micrograph_alone_is_not_told_as_the_size_of_the_particles(tmp_path):
    write(tmp_path / "mics", "lumps.mrc", 100.0, 40)
    write(tmp_path / "mics", "none.mrc", 100.0, 0)

    run = run_on(tmp_path / "mics", tmp_path / "p.star", diameter=250)

    assert said(run).startswith("One of 2 micrographs that were looked at shows something of about ")
    assert "--pixel-size" not in said(run)


@pytest.mark.slow
def test_a_pixel_size_that_contradicts_the_files_is_the_culprit(discs, tmp_path):
    run = run_on(discs, tmp_path / "p.star", diameter=100, pixel_size=3 * PIXEL_SIZE)

    assert "The micrographs themselves say 2.5 Å per pixel" in said(run)
    assert said(run).endswith("--pixel-size 2.5")
    assert "--diameter" not in said(run)


def test_with_the_right_diameter_nobody_looks(discs, tmp_path):
    picker = DiscPicker()
    run = run_on(discs, tmp_path / "p.star", picker, diameter=100, decoys=1)

    assert said(run) == ""
    assert picker.located < 10
    assert not (tmp_path / "p/diagnosis.json").exists()


def test_noise_is_told_as_such_and_nothing_is_advised_that_adds_picks(tmp_path):
    write(tmp_path / "mics", "m.mrc", 100, 0)

    run = run_on(tmp_path / "mics", tmp_path / "p.star", diameter=100)

    text = said(run)
    assert run.summary.particles == 0
    assert text.startswith(
        "This run shows no more than noise: there are no more candidates than in noise of the same spectrum, at no "
        "size from 12 to 800 Å. What the eye may see there does not look like particles to the network. "
    )
    assert text.endswith(f"cryotx review {tmp_path / 'p'}")
    assert "cryotx pick" not in text
    assert "cryotx threshold" not in text


def test_beside_noise_the_micrographs_that_have_picks_are_named_as_the_exception(tmp_path):
    for number in range(3):
        write(tmp_path / "mics", f"m{number}.mrc", 100, 2 * (number == 1))

    run = run_on(tmp_path / "mics", tmp_path / "p.star", diameter=100)

    assert run.summary.particles == 2
    assert said(run).startswith("This run shows no more than noise: there are no more candidates than in noise")
    assert "The exception: 2 picks in 1 of 3 micrographs (m1), which may be dirt. If you see particles" in said(run)


def test_noise_with_another_pixel_size_in_the_header_names_it(tmp_path):
    write(tmp_path / "mics", "m.mrc", 100, 0, header=5.0)

    run = run_on(tmp_path / "mics", tmp_path / "p.star", diameter=100, pixel_size=PIXEL_SIZE)

    diagnosis = kept_diagnosis(tmp_path / "p")
    assert diagnosis is not None
    assert (diagnosis.fault, len(diagnosis.commands)) == ("noise", 1)
    assert diagnosis.commands[0].endswith("--pixel-size 5")
    assert (
        f"themselves say 5 Å per pixel, which is not what was used. If that is right:\n{diagnosis.commands[0]}\n"
        in (said(run))
    )


@pytest.mark.slow
def test_film_alone_is_told_as_such(tmp_path):
    write(tmp_path / "mics", "m.mrc", 100, 0)
    picker = DiscPicker()
    picker.film = 0.8

    text = said(run_on(tmp_path / "mics", tmp_path / "p.star", picker, diameter=100))

    assert "80% of what is in these micrographs looks like support film or large ice crystals" in text
    assert "cryotx" not in text
    assert "--" not in text


@pytest.mark.slow
def test_bright_particles_of_another_size_are_named(tmp_path):
    for number in range(2):
        write(tmp_path / "mics", f"m{number}.mrc", 100, 40, bright=True)

    text = said(run_on(tmp_path / "mics", tmp_path / "p.star", diameter=300))

    assert "--contrast bright --diameter" in text
    assert float(re.search(r"--diameter (\d+)", text)[1]) == pytest.approx(100, rel=0.15)


@pytest.mark.slow
def test_few_particles_of_the_right_size_are_no_fault(tmp_path):
    for number in range(2):
        write(tmp_path / "mics", f"m{number}.mrc", 100, 4)

    assert said(run_on(tmp_path / "mics", tmp_path / "p.star", diameter=100)) == ""


def test_faint_particles_are_told_with_what_to_look_at_and_how_to_teach_the_model(tmp_path):
    class HalfSure(DiscPicker):
        def locate(self, prepared, micrograph):
            found = super().locate(prepared, micrograph).particles
            scores = np.where(np.arange(len(found)) % 2, 0.45, 0.97) * found.scores
            return Located(replace(found, scores=scores).sorted_by_score())

    for number in range(3):
        write(tmp_path / "mics", f"m{number * '0'}.mrc", 100, 7)  # no two alike

    run = run_on(tmp_path / "mics", tmp_path / "p.star", HalfSure(), diameter=100)

    told = kept_diagnosis(tmp_path / "p")
    assert told.fault == "faint"
    assert told.commands == (f"cryotx threshold {tmp_path / 'p'} --fdr 0.2",)
    lines = said(run).split("\n")
    assert lines[1] == told.commands[0]
    assert lines[3].startswith(f"cryotx train --data LABELS --micrographs {tmp_path / 'mics'} --diameter 100 ")
    best = int(re.search(r"Look at the best (\d+)", lines[0])[1])
    type_in(told.commands[0])
    assert sum(row.picks for row in read_run(tmp_path / "p").picked) == best


def test_the_same_run_again_says_the_same_and_does_not_look(tmp_path, discs):
    first = run_on(discs, tmp_path / "p.star", diameter=400)
    picker = DiscPicker()
    again = run_on(discs, tmp_path / "p.star", picker, diameter=400)

    assert said(again) == said(first) != ""
    assert picker.located == 0


@pytest.mark.slow
def test_a_run_that_is_put_right_says_nothing_more(tmp_path, discs):
    run_on(discs, tmp_path / "p.star", diameter=400)
    assert (tmp_path / "p/diagnosis.json").exists()

    assert said(run_on(discs, tmp_path / "p.star", diameter=100)) == ""
    assert not (tmp_path / "p/diagnosis.json").exists()


@pytest.mark.parametrize("settings", [{"threshold": 0.9}, {"expected_count": 2}])
def test_a_choice_of_picks_that_was_given_is_not_questioned(discs, tmp_path, settings):
    picker = DiscPicker()
    run_on(discs, tmp_path / "p.star", picker, diameter=400, decoys=0, **settings)

    assert picker.located == 2


@pytest.mark.slow
def test_one_micrograph_of_twenty_grey_levels_is_enough(tmp_path):
    write(tmp_path / "mics", "m.mrc", 100, 40)
    with mrcfile.open(tmp_path / "mics/m.mrc", mode="r+") as mrc:
        levels = mrc.data - mrc.data.min()
        mrc.set_data(np.round(levels / levels.max() * 19).astype(np.float32))
        mrc.voxel_size = PIXEL_SIZE

    text = said(run_on(tmp_path / "mics", tmp_path / "p.star", diameter=300))

    assert float(re.search(r"--diameter (\d+)", text)[1]) == pytest.approx(100, rel=0.15)


def test_a_micrograph_that_is_gone_by_then_is_left_out(discs, tmp_path):
    folder = tmp_path / "mics"
    folder.mkdir()
    for file in discs.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = PickConfig(contrast="dark", images=False, report=False, formats=(), diameter=400)
    run = start_pick([folder], tmp_path / "p.star", config, DiscPicker())
    for count, _ in enumerate(run):
        if count == 1:
            for file in folder.iterdir():
                file.unlink()

    assert run.summary.micrographs == 2


def type_in(command: str) -> None:
    """Run a command as if it had been typed in this folder."""
    name, *words = shlex.split(command)
    assert name == "cryotx"
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("which", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_the_commands_that_are_told_run_as_they_stand(discs, tmp_path, monkeypatch, which):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(discs, tmp_path / "my mics")
    monkeypatch.setattr(
        "cryotx_cli.workflows.pick.load_picker", lambda config: LoadedPicker(DiscPicker(), config, (), "")
    )

    first = "cryotx pick 'my mics' --out 'my picks.star' --diameter 400 --contrast dark --no-images --formats csv"
    type_in(first)
    told = kept_diagnosis(Path("my picks"))
    assert told is not None
    assert all(command in told.text.split("\n") for command in told.commands)

    type_in(told.commands[which])

    run = read_run(Path("my picks"))
    assert sum(row.picks for row in run.picked) > 65
    assert run.settled.config.formats == ("csv",)
    assert kept_diagnosis(Path("my picks")) is None
    size = run.available(run.picked[0])[0].pixel_size
    assert run.settled.diameter / size == pytest.approx(100 / PIXEL_SIZE, rel=0.15)


@pytest.mark.slow
def test_a_file_that_knows_the_pixel_size_gives_a_command_that_runs(discs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(discs, tmp_path / "mics")
    monkeypatch.setattr(
        "cryotx_cli.workflows.pick.load_picker", lambda config: LoadedPicker(DiscPicker(), config, (), "")
    )

    type_in("cryotx pick mics --out p.star --diameter 100 --pixel-size 7.5 --contrast dark --no-images")
    (command,) = kept_diagnosis(Path("p")).commands
    type_in(command)

    assert sum(row.picks for row in read_run(Path("p")).picked) > 65


@pytest.mark.slow
def test_an_estimate_that_is_not_sure_is_told_at_once_and_in_the_report_of_runs_that_use_it(tmp_path):
    for number in range(2):
        write(tmp_path / "mics", f"m{number}.mrc", 100, 5)

    run = run_on(tmp_path / "mics", tmp_path / "p.star", diameter="auto")

    assert "The diameter is not sure (" in said(run)
    assert "The diameter is not sure (" in (tmp_path / "p/report.html").read_text()
    run_on(tmp_path / "mics", tmp_path / "p.star", diameter=120)
    assert "not sure" not in (tmp_path / "p/report.html").read_text()
