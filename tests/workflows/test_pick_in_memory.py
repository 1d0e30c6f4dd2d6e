"""Picking from Python: what goes in, what comes out, and that it is what the command line finds."""

import inspect
import typing
import warnings
from dataclasses import fields
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cryotx_cli.config import PickConfig, SimulateConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.load_picker import LoadedPicker
from cryotx_cli.errors import ConfigError, MicrographError
from cryotx_cli.events import Event
from cryotx_cli.micrographs.micrograph import Micrograph, read_micrograph, write_micrograph
from cryotx_cli.workflows import pick_in_memory
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.pick_in_memory import Settings, pick
from cryotx_cli.workflows.simulate import simulate
from quick_picker import QuickPicker

ABOUT_FILES = {
    "box",
    "boxes",
    "classes",
    "no_classes",
    "scheduler",
    "formats",
    "exposures",
    "images",
    "report",
    "restart",
    "watch",
    "stop_after",
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One micrograph of 512 px at 4 Å with particles of 209 Å."""
    folder = tmp_path_factory.mktemp("simulated")
    (written,) = simulate(folder, SimulateConfig(micrographs=1, size=512, pixel_size=4.0, seed=3))
    return written.path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates that depend on the pixels alone, without a network."""
    monkeypatch.setattr(pick_in_memory, "load_picker", lambda config: LoadedPicker(QuickPicker(), config, (), ""))


@pytest.fixture
def mics(tmp_path: Path) -> Path:
    for number in (1, 2, 10):
        pixels = np.random.default_rng(number).normal(size=(200, 240)).astype(np.float32)
        write_micrograph(tmp_path / "mics" / f"m{number}.mrc", pixels, 2.0)
    return tmp_path / "mics"


def assert_same(first: Particles, second: Particles) -> None:
    assert_array_equal(first.to_structured(), second.to_structured())
    assert first.pixel_size == second.pixel_size
    assert len(first)


@pytest.mark.parametrize(
    "settings",
    [
        {"diameter": 209.0, "decoys": 1},
        pytest.param({"diameter": 209.0}, marks=pytest.mark.slow),
        pytest.param({"diameter": "auto"}, marks=pytest.mark.slow),
        pytest.param({"diameter": 180.0, "threshold": 0.5, "edge": 100.0, "on_film": True}, marks=pytest.mark.slow),
    ],
)
def test_an_array_a_file_and_the_command_line_give_the_same_picks(
    simulated: Path, tmp_path: Path, settings: typing.Any
) -> None:
    config = PickConfig(**settings, device="cpu", images=False, report=False, formats=())
    (by_command,) = start_pick([simulated], tmp_path / "out.star", config)
    with mrcfile.open(simulated) as mrc:
        pixels = mrc.data.copy()
        stored = float(mrc.voxel_size.x)

    assert by_command.particles is not None
    assert_same(pick(pixels, pixel_size=stored, device="cpu", **settings), by_command.particles)
    assert_same(pick(simulated, device="cpu", **settings), by_command.particles)


def test_bright_particles_are_noticed_in_an_array_as_in_a_file(simulated: Path) -> None:
    image = read_micrograph(simulated).image

    with pytest.warns(UserWarning, match="bright"):
        inverted = pick(-image, pixel_size=4.0, diameter=209, decoys=1, device="cpu")

    dark = pick(image, pixel_size=4.0, diameter=209, decoys=1, device="cpu", contrast="dark")
    assert_same(inverted, dark)


@pytest.mark.usefixtures("quick")
def test_one_image_gives_particles_however_it_is_given(mics: Path) -> None:
    micrograph = read_micrograph(mics / "m1.mrc")
    alone = pick(mics / "m1.mrc", diameter=60)

    assert isinstance(alone, Particles)
    for given in (str(mics / "m1.mrc"), micrograph):
        assert_same(pick(given, diameter=60), alone)  # type: ignore[arg-type]
    for image in (micrograph.image, micrograph.image.astype(np.float64), np.asfortranarray(micrograph.image)):
        assert_same(pick(image, pixel_size=2.0, diameter=60), alone)


@pytest.mark.usefixtures("quick")
def test_a_list_gives_a_list_in_its_order_and_a_folder_or_a_pattern_a_dict_by_name(mics: Path) -> None:
    files = [mics / "m10.mrc", mics / "m1.mrc", mics / "m10.mrc"]

    listed = pick(files, diameter=60)
    by_name = pick(mics, diameter=60)
    some = pick(f"{mics}/m1*.mrc", diameter=60)

    assert isinstance(listed, list)
    assert isinstance(by_name, dict)
    assert isinstance(some, dict)
    assert list(by_name) == [str(mics / f"m{number}.mrc") for number in (1, 2, 10)]
    assert list(some) == [str(mics / f"m{number}.mrc") for number in (1, 10)]
    for file, particles in zip(files, listed, strict=True):
        assert_same(particles, by_name[str(file)])
    mixed = pick((read_micrograph(files[0]), str(files[1])), diameter=60)
    assert_same(mixed[0], listed[0])
    assert_same(mixed[1], listed[1])
    assert pick([]) == []


@pytest.mark.usefixtures("quick")
def test_a_star_file_gives_the_names_and_pixel_sizes_in_it(mics: Path, tmp_path: Path) -> None:
    star = tmp_path / "micrographs.star"
    star.write_text(
        "data_micrographs\nloop_\n_rlnMicrographName #1\n_rlnMicrographPixelSize #2\nmics/m1.mrc 2.5\nmics/m2.mrc 2.5\n"
    )

    found = pick(star, diameter=60)

    assert isinstance(found, dict)
    assert {name: particles.pixel_size for name, particles in found.items()} == {"mics/m1.mrc": 2.5, "mics/m2.mrc": 2.5}


@pytest.mark.usefixtures("quick")
def test_a_stated_pixel_size_replaces_that_of_a_file_and_of_a_micrograph(mics: Path) -> None:
    micrograph = read_micrograph(mics / "m1.mrc")

    assert pick(mics / "m1.mrc", pixel_size=3.0, diameter=60).pixel_size == 3.0  # type: ignore[union-attr]
    assert pick(micrograph, pixel_size=3.0, diameter=60).pixel_size == 3.0
    assert pick([micrograph, micrograph.image], pixel_size=3.0, diameter=60)[1].pixel_size == 3.0


@pytest.mark.usefixtures("quick")
def test_nothing_is_written_and_the_array_stays_as_it_is(
    mics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    image = read_micrograph(mics / "m1.mrc").image
    image[3, 4] = np.nan
    copy = image.copy()

    pick(mics, diameter=60)
    found = pick(image, pixel_size=2.0, diameter=60)

    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert_array_equal(image, copy)
    image[3, 4] = np.nanmedian(image)  # what a file with a NaN in it gets
    assert_same(found, pick(image, pixel_size=2.0, diameter=60))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("given", "settings", "error", "message"),
    [
        (np.ones((64, 64)), {}, ConfigError, "pixel_size: an array does not know its own"),
        (np.ones((64, 64)), {"pixel_size": 2.0}, MicrographError, "array: the image is constant"),
        (np.zeros((3, 64, 64)), {"pixel_size": 2.0}, MicrographError, r"array of shape \(3, 64, 64\)"),
        (np.zeros((64, 64), complex), {"pixel_size": 2.0}, MicrographError, "type complex128"),
        (np.eye(64), {"pixel_size": -1.0}, ConfigError, "pixel_size: should be greater than 0"),
        (np.eye(64), {"pixel_size": 2.0, "threshold": 7}, ConfigError, "threshold: should be less"),
        (np.eye(64), {"pixel_size": 2.0, "device": "cuda:0,1"}, ConfigError, "works on one"),
        ("nowhere/a.mrc", {}, MicrographError, "^nowhere/a.mrc: no such file"),
        (["nowhere/a.mrc"], {}, MicrographError, "^nowhere/a.mrc: no such file"),
    ],
)
def test_what_cannot_be_picked_is_named(
    given: typing.Any, settings: typing.Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pick(given, **settings)


@pytest.mark.usefixtures("quick")
def test_a_folder_within_a_list_is_refused(mics: Path) -> None:
    with pytest.raises(ConfigError, match="in a list stands for one micrograph"):
        pick([mics])


def test_what_there_is_to_know_about_the_weights_is_a_warning_at_the_line_of_the_caller(
    mics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = (Event("These weights are old."),)
    monkeypatch.setattr(pick_in_memory, "load_picker", lambda config: LoadedPicker(QuickPicker(), config, events, ""))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pick(mics / "m1.mrc", diameter=60)

    assert [(str(one.message), one.filename) for one in caught] == [("These weights are old.", __file__)]


@pytest.mark.usefixtures("quick")
def test_a_diameter_that_does_not_fit_what_is_found_is_a_warning(mics: Path) -> None:
    ten = [read_micrograph(mics / "m1.mrc")] * 10  # whose picks measure 54 to 66 Å

    with pytest.warns(UserWarning, match=r"measure about (59|60|61) Å, not 120 Å"):
        pick(ten, diameter=120)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pick(ten, diameter=60)


def test_settings_are_those_of_the_command() -> None:
    parameters = dict(inspect.signature(pick).parameters)
    del parameters["micrographs"]
    defaults = {field.name: field.default for field in fields(PickConfig) if field.name not in ABOUT_FILES}

    assert {name: parameter.default for name, parameter in parameters.items()} == defaults
    assert list(Settings.__annotations__) == list(parameters)


def test_a_micrograph_of_an_array_is_what_its_file_holds(mics: Path) -> None:
    from_file = read_micrograph(mics / "m1.mrc")

    made = Micrograph.of(from_file.image.astype(np.float64), 2.0, "mine")

    assert_array_equal(made.image, from_file.image)
    assert (made.image.dtype, made.pixel_size, str(made.source)) == (np.float32, 2.0, "mine")
    assert not np.shares_memory(Micrograph.of(from_file.image, 2.0).image, from_file.image)
