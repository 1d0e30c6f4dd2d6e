"""Which settings of `cryotx train` belong to which way of training, and what is refused."""

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from annotated_doc import Doc

from cryotx_cli.config import (
    TRAIN_SETTINGS,
    AdaptConfig,
    CenterTrainConfig,
    CryotransformerConfig,
    CryotransformerTrainConfig,
    FilmTrainConfig,
    RefitConfig,
    TrainConfig,
    load_train_config,
    save_config,
)
from cryotx_cli.errors import ConfigError

WAYS = typing.get_args(TrainConfig)
DATA = Path("labels")
PAPER = {"model": "cryotransformer", "data": DATA}


def write(folder: Path, text: str) -> Path:
    (folder / "run.toml").write_text(text)
    return folder / "run.toml"


# ---- the way of training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "config"),
    [
        ({"simulate": True}, CenterTrainConfig()),
        ({"data": DATA}, AdaptConfig(data=DATA)),
        ({"model": "film", "simulate": True}, FilmTrainConfig()),
        (PAPER, CryotransformerTrainConfig(data=DATA)),
        ({**PAPER, "refit_head": True, "init": "x.pth"}, RefitConfig(data=DATA, init="x.pth")),
    ],
)
def test_the_class_of_settings_is_the_way_of_training(given: dict[str, Any], config: TrainConfig) -> None:
    assert load_train_config(None, given) == config


@pytest.mark.parametrize("steps", [800, 20_000])
def test_steps_are_as_given_whatever_the_default_is(steps: int) -> None:
    for given in ({"simulate": True}, {"data": DATA}, {"model": "film", "simulate": True}):
        assert load_train_config(None, {**given, "steps": steps}).steps == steps  # type: ignore[union-attr]


def test_each_way_has_defaults_of_its_own() -> None:
    center, adapt, film = CenterTrainConfig(), AdaptConfig(data=DATA), FilmTrainConfig()
    paper = CryotransformerTrainConfig(data=DATA)
    assert (center.steps, adapt.steps, film.steps) == (20_000, 800, 20_000)
    assert (center.validate_every, adapt.validate_every, film.validate_every) == (500, 50, 500)
    assert [one.learning_rate for one in (center, adapt, film, paper)] == [1e-3, 1e-4, 2e-3, 1e-4]
    assert [one.batch_size for one in (center, adapt, film, paper)] == [8, 8, 8, 2]
    assert [one.init for one in (center, adapt, film, paper)] == [None, "default", "default", "imagenet"]


def test_the_help_of_a_setting_tells_the_default_of_every_way() -> None:
    for name in {one.name for config_class in WAYS for one in dataclasses.fields(config_class)}:
        having = [one for one in TRAIN_SETTINGS if name in {f.name for f in dataclasses.fields(one)}]
        defaults = [next(f.default for f in dataclasses.fields(one) if f.name == name) for one in having]
        hint = typing.get_type_hints(having[0], include_extras=True)[name]
        text = next(note.documentation for note in typing.get_args(hint) if isinstance(note, Doc))
        for config_class, default in zip(having[1:], defaults[1:], strict=True):
            same = default == defaults[0] or isinstance(default, bool) or default is dataclasses.MISSING
            told = f"{default:g}" if isinstance(default, float) else f"{default}"
            assert same or re.search(rf"\b{told}\b", text), (config_class, name)


def test_what_several_ways_know_is_of_one_kind() -> None:
    kinds: dict[str, set[Any]] = {}
    for config_class in WAYS:
        for name, kind in typing.get_type_hints(config_class).items():
            kinds.setdefault(name, set()).add(kind)
    differing = {name for name, found in kinds.items() if len(found) > 1}
    assert differing == {"model", "init"}  # of which `init` may be None in one


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "--simulate"),
        ({"diameter": 160.0}, "--data"),
        ({"simulate": True, "data": DATA}, "Leave out --simulate"),
        ({"model": "film"}, "Add --simulate"),
        ({"refit_head": True}, "--model cryotransformer"),
        ({"model": "cryotransformer"}, "--data DIR"),
        ({**PAPER, "simulate": True}, "cryotx simulate"),
        ({**PAPER, "refit_head": True}, "--init FILE.pth"),
        ({**PAPER, "refit_head": True, "init": "imagenet"}, "--init FILE.pth"),
    ],
)
def test_settings_that_do_not_say_what_to_learn_from_are_refused(given: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_train_config(None, given)
    assert word in caught.value.hint


@pytest.mark.parametrize(
    ("given", "flag", "way"),
    [
        ({"data": DATA, "epochs": 300}, "--epochs", "adapting center to labels"),
        ({"data": DATA, "workers": 1}, "--workers", "adapting center to labels"),
        ({"simulate": True, "diameter": 160.0}, "--diameter", "training center on simulated micrographs"),
        ({"simulate": True, "epochs": 3}, "--epochs", "training center on simulated micrographs"),
        ({"simulate": True, "backbone": "resnet50"}, "--backbone", "training center on simulated micrographs"),
        ({"data": DATA, "cryotransformer.lr_drop": 3}, "--cryotransformer.lr-drop", "adapting center to labels"),
        ({"model": "film", "data": DATA}, "--data", "--model film"),
        ({"model": "film", "simulate": True, "diameter": 100.0}, "--diameter", "--model film"),
        ({**PAPER, "steps": 100}, "--steps", "--model cryotransformer"),
        ({**PAPER, "structures": Path("pdb")}, "--structures", "--model cryotransformer"),
        ({**PAPER, "diameter": 160.0}, "--diameter", "--model cryotransformer"),
        ({**PAPER, "refit_head": True, "init": "x.pth", "resume": True}, "--resume", "--refit-head"),
        ({**PAPER, "refit_head": True, "init": "x.pth", "epochs": 3}, "--epochs", "--refit-head"),
    ],
)
def test_what_a_way_does_not_know_is_refused_by_name(given: dict[str, Any], flag: str, way: str) -> None:
    with pytest.raises(ConfigError, match=f"^{flag}: not a setting of {way}") as caught:
        load_train_config(None, given)
    assert caught.value.hint.startswith("Leave it out: it is for ")


def test_the_same_goes_for_a_file_which_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, 'data = "labels"\nsteps = 9\nepochs = 3\nbackbone = "resnet50"\n')
    with pytest.raises(ConfigError, match=rf"^backbone in {file}, epochs in {file}: not a setting of adapting"):
        load_train_config(file)


def test_a_default_of_another_way_is_refused_in_a_file_as_well(tmp_path: Path) -> None:
    file = write(tmp_path, 'model = "cryotransformer"\ndata = "labels"\nsteps = 800\n')
    with pytest.raises(ConfigError, match=r"steps in .*: not a setting of --model cryotransformer"):
        load_train_config(file)


def test_what_nobody_knows_and_what_is_out_of_range_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "simulate = true\nstep = 9\nbatch_size = 0\n")
    with pytest.raises(ConfigError) as caught:
        load_train_config(file)
    assert "step: unknown setting" in caught.value.message
    assert "batch_size: should be greater than or equal to 1, found 0" in caught.value.message
    with pytest.raises(ConfigError, match=r"model: .*found 'crayon'"):
        load_train_config(None, {"model": "crayon"})


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        CenterTrainConfig(steps=7, structures=Path("pdb"), init="default"),
        AdaptConfig(data=DATA, micrographs=Path("mics"), diameter=160.0, steps=20_000),
        FilmTrainConfig(learning_rate=1e-2, validate_every=9),
        CryotransformerTrainConfig(data=DATA, cryotransformer=CryotransformerConfig(lr_drop=3), backbone="resnet18"),
        RefitConfig(data=DATA, init="published.pth", device="cpu"),
    ],
    ids=lambda config: type(config).__name__,
)
def test_saved_settings_choose_their_way_again(tmp_path: Path, config: TrainConfig) -> None:
    save_config(config, tmp_path / "config.toml")
    assert load_train_config(tmp_path / "config.toml") == config


FLAT = """
model = "{model}"
epochs = 300
refit_head = false
steps = {steps}
batch_size = 8
learning_rate = {rate}
seed = 4
workers = 1
device = "cpu"
resume = false
procedural_structures = {structures}
validate_every = {every}
{more}

[cryotransformer]
backbone_learning_rate = 1e-05
lr_drop = 200
weight_decay = 0.0001
clip_norm = 0.1
accumulate = 1
no_object_weight = 0.1
l1_weight = 5.0
giou_weight = 2.0
flip = true
crop = true
short_sides = [480, 800]
long_side = 1333
"""
"""A file that lists every setting of every way of training, as runs of earlier versions left it."""


@pytest.mark.parametrize(
    ("values", "flags", "config"),
    [
        (
            {"model": "center", "steps": 900, "rate": 0.001, "structures": 30, "every": 60, "more": ""},
            {"simulate": True},
            CenterTrainConfig(steps=900, seed=4, device="cpu", procedural_structures=30, validate_every=60),
        ),
        (
            {
                "model": "center",
                "steps": 800,
                "rate": 0.0001,
                "structures": 400,
                "every": 50,
                "more": 'init = "default"\ndata = "labels"',
            },
            {},
            AdaptConfig(data=DATA, seed=4, device="cpu", procedural_structures=400),
        ),
        (
            {
                "model": "cryotransformer",
                "steps": 20000,
                "rate": 0.0001,
                "structures": 400,
                "every": 500,
                "more": 'data = "labels"',
            },
            {"batch_size": 2},
            CryotransformerTrainConfig(data=DATA, seed=4, device="cpu"),
        ),
    ],
    ids=["center", "adapting", "cryotransformer"],
)
def test_files_that_list_everything_still_work(
    tmp_path: Path, values: dict[str, Any], flags: dict[str, Any], config: TrainConfig
) -> None:
    assert load_train_config(write(tmp_path, FLAT.format(**values)), flags) == config


@pytest.mark.parametrize(("name", "config_class"), [("default", CenterTrainConfig), ("film", FilmTrainConfig)])
def test_recipes_say_what_they_train(name: str, config_class: type) -> None:
    recipe = load_train_config(Path(__file__).parents[2] / "docs" / "recipes" / f"{name}.toml")
    assert isinstance(recipe, config_class)
    assert recipe.steps in (9500, 5500)
