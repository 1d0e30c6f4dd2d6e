"""Settings of ``cryotx pick`` and of choosing again among its candidates."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from cryotx_cli.config.fields import (
    Auto,
    Length,
    Panel,
    Precision,
    Probability,
    RunFormatName,
    refuse_together,
    settings,
)

# What both commands know.
_Fdr = Annotated[
    float | None, Gt(0), Le(1), Doc("Keep as many as give this share of false picks in the whole run, 0 to 1.")
]
_Percentile = Annotated[
    float | None, Ge(0), Le(100), Doc("Drop this percentage of each image's candidates that are not improbable.")
]
_ExpectedCount = Annotated[int | None, Ge(1), Doc("Keep this many best candidates of each micrograph.")]
_MaxPerMicrograph = Annotated[
    int | None, Ge(1), Doc("Keep at most this many of the picks of each micrograph, the best ones.")
]
_Box = Annotated[
    int | None, Ge(1), Doc("Side in pixels of the boxes to extract: box files have it, picks without room for it go.")
]
_Exposures = Annotated[Path | None, Doc("CryoSPARC exposures (.cs) of these micrographs: writes particles.cs, too.")]
_THRESHOLD = Doc("Smallest score a pick may have, 0 to 1, or auto.")
_UNSURE = "With threshold auto, picks far less sure than their fellows"
_EDGE = Doc("Drop picks closer than this to the image border, in Å.")
_FORMATS = Doc(f"Formats to write beside the merged STAR file: {', '.join(get_args(RunFormatName))}.")


@settings
class PickConfig:
    """Settings of ``cryotx pick``."""

    pixel_size: Annotated[
        Length | None, Panel("Input"), Doc("Å per pixel; needed where neither STAR file nor header knows it.")
    ] = None
    diameter: Annotated[Length | Auto, Doc("Particle diameter in Å, or auto to estimate it.")] = "auto"
    contrast: Annotated[
        Literal["auto", "dark", "bright"], Doc("Particles are dark, as recorded, or bright, as after an inversion.")
    ] = "auto"
    weights: Annotated[str, Panel("Model"), Doc("Name of a bundled model, or a file of weights.")] = "default"
    on_film: Annotated[bool, Panel("Choice of picks"), Doc("Pick on support film and in large ice crystals, too.")] = (
        False
    )
    threshold: Annotated[Probability | Auto, _THRESHOLD] = "auto"
    unsure: Annotated[
        Literal["auto", "drop", "keep"],
        Doc(f"{_UNSURE}; auto: keep those of adapted weights."),
    ] = "auto"
    fdr: _Fdr = None
    percentile: _Percentile = None
    expected_count: _ExpectedCount = None
    max_per_micrograph: _MaxPerMicrograph = None
    selection: Annotated[
        Literal["auto", "probability", "legacy"],
        Doc("legacy: as the original program, for its weights; auto: only where they have no probabilities."),
    ] = "auto"
    min_distance: Annotated[Length | None, Doc("Smallest distance between picks in Å; unset: half a diameter.")] = None
    edge: Annotated[float, Ge(0), _EDGE] = 0.0
    box: _Box = None
    decoys: Annotated[
        int,
        Ge(0),
        Doc(
            "Compare so many micrographs at most with noise, in a small run each with up to four images of it; 0: none."
        ),
    ] = 10
    device: Annotated[
        str,
        Panel("Where it runs"),
        Doc("Where the network runs: auto, cpu, cuda or cuda:INDEX; several with commas: cuda:0,1."),
    ] = "auto"
    scheduler: Annotated[
        str | None, Doc("Address of a Dask scheduler: its workers pick, and --device is where on each of them.")
    ] = None
    precision: Annotated[
        Precision,
        Doc("Numbers that the network computes with: bfloat16 is faster where the hardware has it, and less exact."),
    ] = "float32"
    formats: Annotated[
        tuple[RunFormatName, ...],
        Panel("Output"),
        _FORMATS,
    ] = ("relion", "box")
    exposures: _Exposures = None
    images: Annotated[bool, Doc("Write a picture of each micrograph with its picks.")] = True
    boxes: Annotated[bool, Doc("Write an EMAN box file for each micrograph, if box is among the formats.")] = True
    report: Annotated[bool, Doc("Write report.html: the whole run in one page, with a threshold to try.")] = True
    classes: Annotated[
        int | None, Ge(1), Doc("About how many classes the report averages the picks in; unset: by their number.")
    ] = None
    no_classes: Annotated[bool, Doc("Leave out class averages.")] = False
    restart: Annotated[bool, Doc("Pick everything again instead of continuing where the last run stopped.")] = False
    watch: Annotated[
        bool, Panel("Input"), Doc("Go on and pick what arrives, until Ctrl-C or until OUT/stop appears.")
    ] = False
    stop_after: Annotated[float | None, Gt(0), Doc("End --watch after so many seconds without a new one.")] = None

    def __post_init__(self) -> None:
        refuse_together(self, {"threshold": "auto", "fdr": None, "percentile": None, "expected_count": None})
        refuse_together(self, {"watch": False, "exposures": None})
        refuse_together(self, {"classes": None, "no_classes": False})
        if self.fdr is not None and not self.decoys:
            raise ValueError("fdr needs decoys")
        if len(device_names(self.device)) > 1:
            refuse_together(self, {"device": "auto", "scheduler": None})
        if self.stop_after is not None and not self.watch:
            raise ValueError("stop_after needs --watch")
        if self.selection == "legacy":
            refuse_together(self, {"threshold": "auto", "selection": "auto"})
            refuse_together(self, {"fdr": None, "selection": "auto"})
            refuse_together(self, {"expected_count": None, "selection": "auto"})


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

    threshold: Annotated[Probability | Auto | None, Panel("Choice of picks"), _THRESHOLD] = None
    unsure: Annotated[Literal["drop", "keep"] | None, Doc(f"{_UNSURE}.")] = None
    fdr: _Fdr = None
    percentile: _Percentile = None
    expected_count: _ExpectedCount = None
    max_per_micrograph: _MaxPerMicrograph = None
    drop_classes: Annotated[
        str | None,
        Doc("Drop the picks in these classes of cryotx classes, 3,7; auto: those most likely dirt; or none."),
    ] = None
    keep_classes: Annotated[str | None, Doc("Drop the picks in all other classes.")] = None
    min_distance: Annotated[Length | None, Doc("Smallest distance between picks in Å.")] = None
    edge: Annotated[float | None, Ge(0), _EDGE] = None
    box: _Box = None
    formats: Annotated[
        tuple[RunFormatName, ...] | None,
        Panel("Output"),
        _FORMATS,
    ] = None
    exposures: _Exposures = None
    images: Annotated[
        bool | None,
        Doc("Draw the pictures anew, if the micrographs are still there; unset: if the run has pictures."),
    ] = None

    def __post_init__(self) -> None:
        refuse_together(self, {"threshold": None, "fdr": None, "percentile": None, "expected_count": None})
        refuse_together(self, {"drop_classes": None, "keep_classes": None})
        if (idle := idle_unsure(self)) is not None:
            raise ValueError(f"{idle}, give only one")


def idle_unsure(config: PickConfig | ThresholdConfig) -> str | None:
    """Say that `unsure` is for the automatic threshold, where something else chooses picks; None where it counts."""
    given = {name: getattr(config, name) for name in ("threshold", "fdr", "percentile", "expected_count")}
    others = [f"{name} = {value:g}" for name, value in given.items() if value not in (None, "auto")]
    if config.unsure in (None, "auto") or not others:
        return None
    return f"unsure = {config.unsure} is for threshold auto and does nothing beside {others[0]}"
