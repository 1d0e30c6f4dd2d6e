"""Every setting once: its type, limits, help and default; TOML in and out.

Importing this module is cheap. pydantic is imported when settings are checked, not before.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform, get_type_hints

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from cryotx_cli.errors import ConfigError

T = TypeVar("T")

Auto = Literal["auto"]
Length = Annotated[float, Gt(0)]
Probability = Annotated[float, Ge(0), Le(1)]
DenoisingPipeline = Literal["paper", "original"]
MicrographFormat = Literal["relion", "box", "cbox", "csv", "eman"]
"""Coordinate formats with one file a micrograph."""
CoordinateFormat = Literal["star", "relion", "box", "cbox", "csv", "eman", "topaz", "cryosparc"]
Device = Annotated[str, Doc("Where the network runs: auto, cpu, cuda or cuda:INDEX.")]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a class of settings: a frozen dataclass with keyword-only fields that refuses unknown TOML keys."""
    cls.__pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


@settings
class PickConfig:
    """Settings of ``cryotx pick``."""

    pixel_size: Annotated[Length | None, Doc("Å per pixel; needed where neither STAR file nor header knows it.")] = None
    diameter: Annotated[Length | Auto, Doc("Particle diameter in Å, or auto to estimate it.")] = "auto"
    contrast: Annotated[
        Literal["auto", "dark", "bright"], Doc("Particles are dark, as recorded, or bright, as after an inversion.")
    ] = "auto"
    weights: Annotated[str, Doc("Model: the name of a bundled one or a file of weights.")] = "default"
    on_film: Annotated[bool, Doc("Pick on support film and in large ice crystals, too.")] = False
    threshold: Annotated[Probability | Auto, Doc("Smallest score a pick may have, 0 to 1, or auto.")] = "auto"
    percentile: Annotated[float | None, Ge(0), Le(100), Doc("Drop this percentage of each image's candidates.")] = None
    expected_count: Annotated[int | None, Ge(1), Doc("Keep this many best candidates of each micrograph.")] = None
    max_per_micrograph: Annotated[
        int | None, Ge(1), Doc("Keep at most this many of the picks of each micrograph, the best ones.")
    ] = None
    selection: Annotated[
        Literal["auto", "probability", "legacy"],
        Doc("legacy: as the original program, for its weights; auto: only where they have no probabilities."),
    ] = "auto"
    min_distance: Annotated[Length | None, Doc("Smallest distance between picks in Å; unset: half a diameter.")] = None
    edge: Annotated[float, Ge(0), Doc("Drop picks closer than this to the image border, in Å.")] = 0.0
    device: Annotated[
        str, Doc("Where the network runs: auto, cpu, cuda or cuda:INDEX; several with commas: cuda:0,1.")
    ] = "auto"
    scheduler: Annotated[
        str | None, Doc("Address of a Dask scheduler: its workers pick, and --device is where on each of them.")
    ] = None
    formats: Annotated[
        tuple[Literal[MicrographFormat, "topaz"], ...],
        Doc("Formats to write beside the merged STAR file: relion, box, cbox, csv, eman, topaz."),
    ] = ("relion", "box")
    exposures: Annotated[
        Path | None, Doc("CryoSPARC exposures (.cs) of these micrographs: writes particles.cs, too.")
    ] = None
    images: Annotated[bool, Doc("Write a picture of each micrograph with its picks.")] = True
    boxes: Annotated[bool, Doc("Write an EMAN box file for each micrograph, if box is among the formats.")] = True
    report: Annotated[bool, Doc("Write report.html: the whole run in one page, with a threshold to try.")] = True
    restart: Annotated[bool, Doc("Pick everything again instead of continuing where the last run stopped.")] = False
    watch: Annotated[bool, Doc("Go on and pick what arrives, until Ctrl-C or until OUT/stop appears.")] = False
    stop_after: Annotated[float | None, Gt(0), Doc("End --watch after so many seconds without a new one.")] = None

    def __post_init__(self) -> None:
        _refuse_together(self, {"threshold": "auto", "percentile": None, "expected_count": None})
        _refuse_together(self, {"watch": False, "exposures": None})
        _refuse_together(self, {"watch": False, "scheduler": None})
        if len(device_names(self.device)) > 1:
            _refuse_together(self, {"device": "auto", "watch": False})
            _refuse_together(self, {"device": "auto", "scheduler": None})
        if self.stop_after is not None and not self.watch:
            raise ValueError("stop_after needs watch")
        if self.selection == "legacy":
            _refuse_together(self, {"threshold": "auto", "selection": "auto"})
            _refuse_together(self, {"expected_count": None, "selection": "auto"})


def device_names(device: str) -> tuple[str, ...]:
    """Split ``cuda:0,1`` or ``cuda:0,cuda:1`` into the devices that it names; a single one is not looked at.

    Raises
    ------
    ValueError
        Several are named, and one of them is not a device.
    """
    if "," not in device:
        return (device,)
    names: list[str] = []
    for part in device.replace(" ", "").split(","):
        name = f"cuda:{part}" if part.isdecimal() and names and names[-1].startswith("cuda:") else part
        kind, _, index = name.partition(":")
        if name != "cpu" and not (kind == "cuda" and index.isdecimal()):
            raise ValueError(f"device = {device}: {part!r} cannot be one of several; write cuda:0,1 or cpu,cpu")
        names.append(name)
    return tuple(names)


@settings
class ThresholdConfig:
    """Settings of ``cryotx threshold``; what is unset stays as it was in the run."""

    threshold: Annotated[Probability | Auto | None, Doc("Smallest score a pick may have, 0 to 1, or auto.")] = None
    percentile: Annotated[float | None, Ge(0), Le(100), Doc("Drop this percentage of each image's candidates.")] = None
    expected_count: Annotated[int | None, Ge(1), Doc("Keep this many best candidates of each micrograph.")] = None
    max_per_micrograph: Annotated[
        int | None, Ge(1), Doc("Keep at most this many of the picks of each micrograph, the best ones.")
    ] = None
    min_distance: Annotated[Length | None, Doc("Smallest distance between picks in Å.")] = None
    edge: Annotated[float | None, Ge(0), Doc("Drop picks closer than this to the image border, in Å.")] = None
    formats: Annotated[
        tuple[Literal[MicrographFormat, "topaz"], ...] | None,
        Doc("Formats to write beside the merged STAR file: relion, box, cbox, csv, eman, topaz."),
    ] = None
    exposures: Annotated[
        Path | None, Doc("CryoSPARC exposures (.cs) of these micrographs: writes particles.cs, too.")
    ] = None
    images: Annotated[bool, Doc("Draw the pictures of the run anew, if the micrographs are still there.")] = True

    def __post_init__(self) -> None:
        _refuse_together(self, {"threshold": None, "percentile": None, "expected_count": None})


@settings
class ConvertConfig:
    """Settings of ``cryotx convert``."""

    to: Annotated[CoordinateFormat | None, Doc("Format to write; unset: what the suffix of OUT says.")] = None
    flip_y: Annotated[bool, Doc("Turn the micrographs upside down: row 0 becomes the last one.")] = False
    scale: Annotated[float, Gt(0), Doc("Multiply coordinates: 4 for those of micrographs binned by 4.")] = 1.0
    box: Annotated[int | None, Ge(1), Doc("Side of the boxes in pixels of OUT; unset: those of IN.")] = None
    micrographs: Annotated[
        Path | None, Doc("Micrographs that OUT belongs to, a folder or a STAR file: gives names and heights.")
    ] = None
    exposures: Annotated[Path | None, Doc("CryoSPARC exposures (.cs) of the micrographs; .cs output needs it.")] = None
    overwrite: Annotated[bool, Doc("Replace files that are there.")] = False


@settings
class DoctorConfig:
    """Settings of ``cryotx doctor``."""

    weights: Annotated[str, Doc("Model: the name of a bundled one or a file of weights.")] = "default"
    device: Device = "auto"
    out: Annotated[Path, Doc("Folder that picks will go to: is there room?")] = Path()


@settings
class EvaluateConfig:
    """Settings of ``cryotx evaluate``."""

    diameter: Annotated[Length | None, Doc("Particle diameter in Å; needed where neither file states one.")] = None
    pixel_size: Annotated[Length | None, Doc("Å per pixel; needed where neither file states one.")] = None
    radius: Annotated[float, Gt(0), Doc("A pick within this fraction of a diameter of a true centre is a hit.")] = 0.5


@settings
class CheckConfig:
    """Settings of ``cryotx check``."""

    diameter: Annotated[Length | None, Doc("Particle diameter in Å, where the picks do not state one.")] = None
    box: Annotated[int | None, Ge(1), Doc("Side of the boxes to extract in pixels; unset: 1.5 diameters.")] = None
    sample: Annotated[int, Ge(0), Doc("How many micrographs, those with most picks, to look at as images.")] = 10


@settings
class DenoiseConfig:
    """Settings of ``cryotx denoise``."""

    pipeline: Annotated[
        DenoisingPipeline, Doc("paper: the published equations; original: the pixels of the authors' program.")
    ] = "paper"
    format: Annotated[Literal["mrc", "png", "jpg"], Doc("File format to write.")] = "mrc"
    device: Annotated[str, Doc("Where to denoise: auto, cpu, cuda or cuda:INDEX; the pixels are the same.")] = "auto"
    workers: Annotated[int | None, Ge(1), Doc("Images worked on at the same time; unset: one a core, at most 8.")] = (
        None
    )


@settings
class MakeCocoConfig:
    """Settings of ``cryotx make-coco``."""

    split: Annotated[
        tuple[Probability, Probability, Probability],
        Doc("Shares of train, val and test among the labelled micrographs of each data set."),
    ] = (0.8, 0.1, 0.1)
    seed: Annotated[int, Ge(0), Doc("The same seed gives the same split.")] = 1
    workers: Annotated[int | None, Ge(1), Doc("Images made at the same time; unset: one a CPU core, at most 8.")] = None

    def __post_init__(self) -> None:
        if abs(sum(self.split) - 1) > 1e-6:
            raise ValueError(f"split: the shares add up to {sum(self.split):g}, not to 1")


@settings
class SimulateConfig:
    """Settings of ``cryotx simulate``."""

    micrographs: Annotated[int, Ge(1), Doc("How many micrographs of each macromolecule to write.")] = 10
    size: Annotated[int, Ge(256), Doc("Height and width of each in pixels.")] = 4096
    pixel_size: Annotated[Length, Doc("Å per pixel.")] = 1.2
    seed: Annotated[int, Ge(0), Doc("The same seed gives the same files.")] = 1
    proteins: Annotated[int, Ge(1), Doc("How many data sets, each of another macromolecule.")] = 1
    severity: Annotated[Probability, Doc("0: clean ice at a fair defocus; 1: everything that goes wrong.")] = 0.2
    structures: Annotated[Path | None, Doc("Folder of PDB, mmCIF or MRC files to use as particles.")] = None


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


@settings
class TrainConfig:
    """Settings of ``cryotx train``."""

    model: Annotated[
        Literal["center", "film", "cryotransformer"],
        Doc("What to train; film: what keeps center's picks off support film; cryotransformer: the paper's model."),
    ] = "center"
    data: Annotated[
        Path | None,
        Doc("Labels: a CryoPPP tree or a folder of make-coco; center: also coordinates in any format that is read."),
    ] = None
    micrographs: Annotated[
        Path | None, Doc("center: micrographs of the coordinates in --data, a folder or a STAR file.")
    ] = None
    diameter: Annotated[
        Length | None, Doc("center: particle diameter in Å; unset: what the labels state, or estimated.")
    ] = None
    pixel_size: Annotated[
        Length | None, Doc("center: Å per pixel; needed where neither STAR file nor header knows it.")
    ] = None
    backbone: Annotated[
        Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] | None,
        Doc("ResNet of cryotransformer; unset: resnet152, or that of the weights in --init."),
    ] = None
    epochs: Annotated[int, Ge(1), Doc("cryotransformer: how often it sees the data.")] = 300
    refit_head: Annotated[bool, Doc("cryotransformer: refit only the class layer of the weights in --init.")] = False
    steps: Annotated[int, Ge(1), Doc("center, film: optimiser steps of the whole run; 800 with --data.")] = 20_000
    minutes: Annotated[float | None, Gt(0), Doc("Stop, resumable, after this many minutes.")] = None
    batch_size: Annotated[
        int | None, Ge(1), Doc("Tiles a step, unset: 8; cryotransformer: micrographs a process, unset: 2.")
    ] = None
    learning_rate: Annotated[
        float | None,
        Gt(0),
        Doc("Learning rate of AdamW, unset: 1e-3 at its peak, 1e-4 with --data; film: 2e-3; cryotransformer: 1e-4."),
    ] = None
    seed: Annotated[int, Ge(0), Doc("Seed of the initial weights, of simulated images and of augmentation.")] = 1
    workers: Annotated[int, Ge(0), Doc("Processes that prepare images beside the training; 0: none.")] = 1
    device: Device = "auto"
    resume: Annotated[bool, Doc("Continue the run that is in the output folder.")] = False
    init: Annotated[
        str | None,
        Doc(
            "Start from these weights: default or a file, unset: none, with --data default; "
            "film: the weights that it is for, unset: default; cryotransformer: imagenet, scratch or a file."
        ),
    ] = None
    structures: Annotated[Path | None, Doc("Folder of PDB, mmCIF or MRC files: 40 % of the particles.")] = None
    procedural_structures: Annotated[int, Ge(1), Doc("How many invented structures to train on.")] = 400
    validate_every: Annotated[int, Ge(1), Doc("center, film: steps between validations; 50 with --data.")] = 500
    cryotransformer: CryotransformerConfig = field(default_factory=CryotransformerConfig)


@settings
class CenterConfig:
    """Architecture of the default model; stored in every checkpoint of it."""

    widths: Annotated[tuple[int, int, int, int], Doc("Channels of the stem and of strides 4, 8 and 16.")] = (
        24,
        48,
        96,
        192,
    )
    depths: Annotated[tuple[int, int, int], Doc("Residual blocks at strides 4, 8 and 16.")] = (1, 2, 3)
    hidden_dim: Annotated[int, Gt(0), Doc("Width of the transformer.")] = 128
    thin_dim: Annotated[int, Gt(0), Doc("Channels of the feature map at stride 4.")] = 48
    heads: Annotated[int, Gt(0), Doc("Attention heads.")] = 8
    encoder_layers: Annotated[int, Ge(0), Doc("Self-attention layers at stride 16.")] = 1
    decoder_layers: Annotated[int, Ge(0), Doc("Decoder layers; 0 leaves the dense map alone.")] = 2
    radius: Annotated[float, Gt(0), Doc("Particle radius in network pixels that inputs are scaled to.")] = 12.0
    peak_floor: Annotated[Probability, Doc("Peaks of the dense map below this probability are no queries.")] = 0.01


# ---- reading and writing ---------------------------------------------------------------------------------------------


def load_config(
    config_class: type[T], file: str | Path | None = None, overrides: Mapping[str, object] | None = None
) -> T:
    """Merge defaults, a TOML file and flags, the later ones winning, and check the result.

    Parameters
    ----------
    config_class
        One of the settings classes of this module.
    file
        TOML file; tables are nested settings.
    overrides
        Settings by name, those of nested classes with dots: ``{"model.width": 96}``.

    Raises
    ------
    ConfigError
        The file cannot be read, or some settings cannot be used; names all of them at once.
    """
    from pydantic import TypeAdapter, ValidationError

    values = _read_toml(Path(file)) if file is not None else {}
    for name, value in (overrides or {}).items():
        *tables, key = name.split(".")
        table = values
        for part in tables:
            table = table.setdefault(part, {})
        if isinstance(table, dict):  # else the file holds a value where a table belongs, which the check below reports
            table[key] = value
    try:
        return TypeAdapter(config_class).validate_python(values)
    except ValidationError as error:
        where = f"{file}: " if file is not None else ""
        problems = "; ".join(_problems(config_class, error.errors()))
        raise ConfigError(where + problems, "--help lists the settings and what they take.") from None


def save_config(config: Any, path: str | Path) -> None:
    """Write settings as TOML, whole or not at all; ``load_config`` reads them back equal.

    Parameters
    ----------
    config
        An instance of one of the settings classes. Settings that are None are left out: TOML has no null.
    path
        File to write; replaced if it exists.
    """
    import tomli_w

    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(tomli_w.dumps(_plain(asdict(config))), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_together(config: object, defaults: Mapping[str, object]) -> None:
    """Refuse two of the settings away from their defaults: each of them would decide the same thing."""
    given = [
        f"{name} = {getattr(config, name)}" for name, default in defaults.items() if getattr(config, name) != default
    ]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other, give only one")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})", "--config takes a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a TOML file ({error})", "Write one `name = value` a line.") from error


def _problems(config_class: type, errors: list[Any]) -> list[str]:
    """One text a setting: pydantic reports each alternative of a union apart, below the setting itself."""
    reasons: dict[str, list[str]] = {}
    found: dict[str, str] = {}
    for error in errors:
        name = _setting_name(config_class, error["loc"])
        unknown = error["type"] == "unexpected_keyword_argument"
        reason = "unknown setting" if unknown else error["msg"].removeprefix("Value error, ").removeprefix("Input ")
        reasons.setdefault(name, []).append(reason)
        found[name] = f", found {error['input']!r}" if name else ""
    return [f"{name}{': ' if name else ''}{' or '.join(texts)}{found[name]}" for name, texts in reasons.items()]


def _setting_name(config_class: type, path: tuple[str | int, ...]) -> str:
    """Dotted TOML path of a setting, without the types that pydantic appends to it."""
    names: list[str] = []
    inner: Any = config_class
    for part in path:
        if not is_dataclass(inner):
            break
        names.append(str(part))
        inner = get_type_hints(inner).get(str(part))
    return ".".join(names)


def _plain(value: Any) -> Any:
    """Dictionaries, numbers and strings alone, without the settings that are None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return str(value) if isinstance(value, Path) else value
