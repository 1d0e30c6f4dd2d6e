"""Settings of ``cryotx train``: a class for each way of training, with what it knows and defaults of its own."""

from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from pathlib import Path
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from cryotx_cli.config.fields import Device, Length, Panel, settings
from cryotx_cli.config.toml import checked_settings, merged_settings
from cryotx_cli.errors import ConfigError


@settings
class CryotransformerConfig:
    """How ``cryotx train --model cryotransformer`` trains: the schedule of the paper and its loss."""

    backbone_learning_rate: Annotated[float, Gt(0), Doc("Learning rate of the ResNet.")] = 1e-5
    lr_drop: Annotated[int, Ge(1), Doc("Epochs after which the learning rates fall to a tenth.")] = 200
    weight_decay: Annotated[float, Ge(0), Doc("Weight decay of AdamW.")] = 1e-4
    clip_norm: Annotated[float, Gt(0), Doc("Largest norm of the gradient.")] = 0.1
    accumulate: Annotated[int, Ge(1), Doc("Batches whose gradients make one step.")] = 1
    no_object_weight: Annotated[float, Gt(0), Le(1), Doc("Weight of queries without a particle in the loss.")] = 0.1
    l1_weight: Annotated[float, Ge(0), Doc("Weight of the distance of boxes in loss and matching.")] = 5.0
    giou_weight: Annotated[float, Ge(0), Doc("Weight of the overlap of boxes in loss and matching.")] = 2.0
    flip: Annotated[bool, Doc("Mirror half of the images left to right.")] = True
    crop: Annotated[bool, Doc("Cut a random part out of half of the images.")] = True
    short_sides: Annotated[
        tuple[int, int],
        Doc("Shortest and longest short side in px, drawn in steps of 32; picking and validation use the longest."),
    ] = (480, 800)
    long_side: Annotated[int, Ge(32), Doc("Largest long side in px; the short side shrinks to keep it.")] = 1333

    def __post_init__(self) -> None:
        low, high = self.short_sides
        if not 32 <= low <= high <= self.long_side:
            raise ValueError(f"short_sides: {low},{high} should rise from 32 at least to long_side at most")


_INPUT, _MODEL, _LEARNING, _RUNS, _OUTPUT = map(Panel, ("Input", "Model", "Learning", "Where it runs", "Output"))
_LABELS = Panel("Adapting center to labels")
_SIMULATION = Panel("Simulated micrographs, for center and film")
_PAPER = Panel("Model cryotransformer")

# Several ways of training have these, each with its own default. The help tells of the first one's, and of the others
# by what is written here.
_ModelDoc = Doc("What to train; film: what keeps center's picks off support film; cryotransformer: the paper's model.")
_Simulate = Annotated[bool, _INPUT, Doc("Train center or film on simulated micrographs.")]
_Data = Annotated[
    Path,
    _INPUT,
    Doc("Labels: a CryoPPP tree or a folder of make-coco; center: also coordinates in any format, or a run."),
]
_Init = Doc(
    "Start from these weights: default or a file; unset: none, with --data default; film: the weights that it is for, "
    "unset: default; cryotransformer: imagenet, scratch or a file, unset: imagenet."
)
_Steps = Annotated[int, Ge(1), _LEARNING, Doc("Optimiser steps of the whole run; with --data 800.")]
_BatchSize = Annotated[int, Ge(1), _LEARNING, Doc("Tiles a step; cryotransformer: micrographs a step and process, 2.")]
_LearningRate = Annotated[
    float, Gt(0), _LEARNING, Doc("Of AdamW, at its peak; with --data 0.0001, film 0.002, cryotransformer 0.0001.")
]
_ValidateEvery = Annotated[int, Ge(1), _LEARNING, Doc("Steps between validations; with --data 50.")]
_Structures = Annotated[Path | None, _SIMULATION, Doc("Folder of PDB, mmCIF or MRC files: 40 % of the particles.")]
_ProceduralStructures = Annotated[
    int, Ge(1), _SIMULATION, Doc("How many invented structures to train on; with --data 150.")
]
_Workers = Annotated[int, Ge(0), _RUNS, Doc("Processes that prepare images beside the training; 0: none.")]
_RefitHead = Annotated[bool, _MODEL, Doc("cryotransformer: refit only the class layer of the weights in --init.")]
_Device = Annotated[Device, _RUNS]
_Minutes = Annotated[float | None, Gt(0), _LEARNING, Doc("Stop, resumable, after this many minutes.")]
_Seed = Annotated[int, Ge(0), _LEARNING, Doc("Seed of the initial weights, of simulated images and of augmentation.")]
_Resume = Annotated[bool, _OUTPUT, Doc("Continue the run that is in the output folder.")]


@settings
class WayOfTraining:
    """What decides which of the other classes the settings are."""

    model: Annotated[Literal["center", "film", "cryotransformer"], _MODEL, _ModelDoc] = "center"
    simulate: _Simulate = False
    refit_head: _RefitHead = False


@settings
class SimulatedTrainConfig:
    """What both trainings from simulated micrographs alone know; each has a model, and defaults, of its own."""

    model: Annotated[str, _MODEL, _ModelDoc]
    simulate: _Simulate = True
    init: Annotated[str | None, _MODEL, _Init] = None
    steps: _Steps = 20_000
    batch_size: _BatchSize = 8
    learning_rate: _LearningRate = 1e-3
    validate_every: _ValidateEvery = 500
    minutes: _Minutes = None
    seed: _Seed = 1
    structures: _Structures = None
    procedural_structures: _ProceduralStructures = 400
    resume: _Resume = False
    device: _Device = "auto"
    workers: _Workers = 1


@settings
class CenterTrainConfig(SimulatedTrainConfig):
    """``cryotx train --simulate``: the default model, from simulated micrographs alone."""

    model: Annotated[Literal["center"], _MODEL, _ModelDoc] = "center"


@settings
class FilmTrainConfig(SimulatedTrainConfig):
    """``cryotx train --model film``: what keeps the picks of ``center`` off support film."""

    model: Annotated[Literal["film"], _MODEL, _ModelDoc] = "film"
    init: Annotated[str, _MODEL, _Init] = "default"
    learning_rate: _LearningRate = 2e-3


@settings
class AdaptConfig:
    """``cryotx train --data``: the default model, adapted to labels."""

    model: Annotated[Literal["center"], _MODEL, _ModelDoc] = "center"
    data: _Data
    micrographs: Annotated[
        Path | None, _LABELS, Doc("Micrographs of the coordinates in --data, a folder or a STAR file.")
    ] = None
    keep_classes: Annotated[
        str | None,
        _LABELS,
        Doc("With a run in --data: numbers of classes with commas; picks of the others are learned as no particles."),
    ] = None
    diameter: Annotated[
        Length | None, _LABELS, Doc("Particle diameter in Å; unset: what the labels state, or estimated.")
    ] = None
    pixel_size: Annotated[
        Length | None, _LABELS, Doc("Å per pixel; needed where neither STAR file nor header knows it.")
    ] = None
    init: Annotated[str, _MODEL, _Init] = "default"
    steps: _Steps = 800
    batch_size: _BatchSize = 8
    learning_rate: _LearningRate = 1e-4
    validate_every: _ValidateEvery = 50
    minutes: _Minutes = None
    seed: _Seed = 1
    structures: _Structures = None
    procedural_structures: _ProceduralStructures = 150
    resume: _Resume = False
    device: _Device = "auto"


@settings
class CryotransformerTrainConfig:
    """``cryotx train --model cryotransformer``: the paper's model, on labelled micrographs."""

    model: Annotated[Literal["cryotransformer"], _MODEL, _ModelDoc] = "cryotransformer"
    data: _Data
    init: Annotated[str, _MODEL, _Init] = "imagenet"
    backbone: Annotated[
        Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] | None,
        _PAPER,
        Doc("ResNet; unset: resnet152, or that of the weights in --init."),
    ] = None
    epochs: Annotated[int, Ge(1), _PAPER, Doc("How often it sees the data.")] = 300
    batch_size: _BatchSize = 2
    learning_rate: _LearningRate = 1e-4
    minutes: _Minutes = None
    seed: _Seed = 1
    resume: _Resume = False
    device: _Device = "auto"
    workers: _Workers = 1
    cryotransformer: Annotated[CryotransformerConfig, _PAPER, Doc("Schedule, loss and augmentation.")] = field(
        default_factory=CryotransformerConfig
    )


@settings
class RefitConfig:
    """``cryotx train --model cryotransformer --refit-head``: the class layer of weights that are there."""

    model: Annotated[Literal["cryotransformer"], _MODEL, _ModelDoc] = "cryotransformer"
    refit_head: _RefitHead = True
    data: _Data
    init: Annotated[str, _MODEL, _Init]
    device: _Device = "auto"


RunConfig = CenterTrainConfig | AdaptConfig | FilmTrainConfig | CryotransformerTrainConfig
"""Settings of a training that takes steps, can be stopped and goes on."""
TrainConfig = RunConfig | RefitConfig
"""Settings of a training: their class is the way of training."""

_WAYS: dict[type[TrainConfig], str] = {
    CenterTrainConfig: "training center on simulated micrographs (--simulate)",
    AdaptConfig: "adapting center to labels (--data)",
    FilmTrainConfig: "--model film",
    CryotransformerTrainConfig: "--model cryotransformer",
    RefitConfig: "--refit-head",
}
TRAIN_SETTINGS = (WayOfTraining, *_WAYS)
"""The classes whose settings are the flags of ``cryotx train``."""


def load_train_config(file: str | Path | None = None, overrides: Mapping[str, object] | None = None) -> TrainConfig:
    """Merge defaults, a TOML file and flags as `load_config` does, and choose the class that they are settings of.

    What the chosen way of training does not know is refused by name. In a file it may stand at its default, as it does
    in files that list everything: there it says nothing.

    Raises
    ------
    ConfigError
        The settings do not say what to learn from, are not known to this way of training, or cannot be used.
    """
    values, given = merged_settings(file, overrides), overrides or {}
    of_way = _names(WayOfTraining)
    way = checked_settings(WayOfTraining, {name: values[name] for name in of_way & values.keys()}, file, given)
    chosen = _class_of(way, values)
    elsewhere = set().union(*map(_names, _WAYS)) - _names(chosen) - of_way
    foreign = [name for name in given if name.partition(".")[0] in elsewhere]
    _refuse(chosen, {f"--{name.replace('_', '-')}": name for name in foreign})
    silent = {name for name in elsewhere & values.keys() if _is_default(name, values[name])}
    _refuse(chosen, {f"{name} in {file}": name for name in sorted(elsewhere & values.keys() - silent)})
    mine = {name: value for name, value in values.items() if name in _names(chosen) or name not in elsewhere | of_way}
    return checked_settings(chosen, mine, file, given)


def _class_of(way: WayOfTraining, values: Mapping[str, object]) -> type[TrainConfig]:
    has_data = values.get("data") is not None
    if way.model == "cryotransformer":
        return _class_of_paper(way, has_data, values.get("init"))
    if way.refit_head:
        raise ConfigError(
            f"--refit-head: {way.model} has no such class layer", "Add --model cryotransformer, or leave it out."
        )
    if way.model == "film":
        if not way.simulate and not has_data:
            raise ConfigError("nothing to train on", "Add --simulate: film is learned from simulated micrographs.")
        return FilmTrainConfig
    if way.simulate and has_data:
        raise ConfigError(
            "--simulate, --data: train on simulated micrographs, or adapt to labelled ones; not both",
            "Leave out --simulate: adapting to --data uses simulated micrographs as well.",
        )
    if not way.simulate and not has_data:
        raise ConfigError(
            "nothing to train on",
            "Give --data DIR or FILE with labels to adapt the default model, or --simulate to train it anew.",
        )
    return AdaptConfig if has_data else CenterTrainConfig


def _class_of_paper(way: WayOfTraining, has_data: bool, init: object) -> type[TrainConfig]:
    if way.simulate:
        raise ConfigError(
            "--simulate: is for --model center and film; cryotransformer learns from files",
            "Write labelled micrographs with cryotx simulate and give their folder to --data.",
        )
    if not has_data:
        raise ConfigError(
            "--data: cryotransformer learns from labelled micrographs, and none are given",
            "Give --data DIR, a CryoPPP tree or a folder of make-coco; cryotx simulate makes a tree.",
        )
    if way.refit_head and init in (None, "imagenet", "scratch"):
        raise ConfigError("--refit-head: needs the weights whose class layer is to be fitted", "Give --init FILE.pth.")
    return RefitConfig if way.refit_head else CryotransformerTrainConfig


def _refuse(chosen: type[TrainConfig], foreign: Mapping[str, str]) -> None:
    """Refuse settings that the chosen way of training does not know, by what people call them."""
    if foreign:
        tables = {name.partition(".")[0] for name in foreign.values()}
        others = [title for one, title in _WAYS.items() if _names(one) & tables]
        raise ConfigError(
            f"{', '.join(foreign)}: not a setting of {_WAYS[chosen]}", f"Leave it out: it is for {', '.join(others)}."
        )


def _names(config_class: type) -> set[str]:
    return {one.name for one in fields(config_class)}


def _is_default(name: str, value: object) -> bool:
    """Whether a setting in a file is what the help calls its default."""
    shown = next(one for config_class in _WAYS for one in fields(config_class) if one.name == name)
    if isinstance(value, dict) and shown.default_factory is not MISSING:
        default = shown.default_factory()
        try:
            return bool(checked_settings(type(default), value) == default)
        except ConfigError:
            return False
    return value == shown.default
