"""Settings of the commands that neither pick nor train."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from cryotx_cli.config.fields import (
    CoordinateFormatName,
    DenoisingPipeline,
    Device,
    Length,
    Panel,
    Probability,
    RunFormatName,
    settings,
)


@settings
class ConvertConfig:
    """Settings of ``cryotx convert``."""

    to: Annotated[
        CoordinateFormatName | None, Panel("Output"), Doc("Format to write; unset: what the suffix of OUT says.")
    ] = None
    flip_y: Annotated[bool, Panel("Changes"), Doc("Turn the micrographs upside down: row 0 becomes the last one.")] = (
        False
    )
    scale: Annotated[
        float | None,
        Gt(0),
        Doc("Multiply coordinates: 4 for those of micrographs binned by 4; 1: they fit, whatever pixel sizes say."),
    ] = None
    box: Annotated[int | None, Ge(1), Doc("Side of the boxes in pixels of OUT; unset: those of IN.")] = None
    micrographs: Annotated[
        Path | None,
        Panel("Input"),
        Doc("Micrographs that OUT belongs to, a folder or a STAR file: gives names and heights."),
    ] = None
    exposures: Annotated[Path | None, Doc("CryoSPARC exposures (.cs) of the micrographs; .cs output needs it.")] = None
    overwrite: Annotated[bool, Panel("Output"), Doc("Replace files that are there.")] = False


@settings
class ClassesConfig:
    """Settings of ``cryotx classes``."""

    classes: Annotated[
        int | None,
        Ge(1),
        Panel("Classes"),
        Doc(
            "About how many classes; a view that one half alone shows counts on its own. Unset: half the root of the "
            "number of picks, at most one for 60, up to 50."
        ),
    ] = None
    sample: Annotated[
        int, Ge(30), Doc("Make the classes with so many picks at most; all others are assigned in the end.")
    ] = 10_000
    seed: Annotated[int, Ge(0), Doc("The same seed gives the same classes.")] = 1
    device: Annotated[str, Panel("Where it runs"), Doc("Where to average: auto, cpu, cuda or cuda:INDEX.")] = "auto"


@settings
class DoctorConfig:
    """Settings of ``cryotx doctor``."""

    weights: Annotated[str, Panel("Model"), Doc("Name of a bundled model, or a file of weights.")] = "default"
    device: Annotated[Device, Panel("Where it runs")] = "auto"
    out: Annotated[Path, Panel("Output"), Doc("Folder that picks will go to: is there room?")] = Path()


@settings
class EvaluateConfig:
    """Settings of ``cryotx evaluate``."""

    diameter: Annotated[
        Length | None, Panel("Input"), Doc("Particle diameter in Å; needed where the truth states none.")
    ] = None
    pixel_size: Annotated[Length | None, Doc("Å per pixel; needed where neither file states one.")] = None
    diameters: Annotated[
        Path | None, Doc("CSV table of the data sets of a tree: set, diameter (Å), pixel_size (Å per pixel).")
    ] = None
    radius: Annotated[float, Gt(0), Doc("A pick within this fraction of a diameter of a true centre is a hit.")] = 0.5


@settings
class CheckConfig:
    """Settings of ``cryotx check``."""

    diameter: Annotated[
        Length | None, Panel("Input"), Doc("Particle diameter in Å, where the picks do not state one.")
    ] = None
    box: Annotated[
        int | None, Ge(1), Doc("Side of the boxes to extract in pixels; unset: the picks' own, or 1.5 diameters.")
    ] = None
    sample: Annotated[int, Ge(0), Doc("How many micrographs, those with most picks, to look at as images.")] = 10


@settings
class DenoiseConfig:
    """Settings of ``cryotx denoise``."""

    pipeline: Annotated[
        DenoisingPipeline,
        Panel("Denoising"),
        Doc("paper: the published equations; original: the pixels of the authors' program."),
    ] = "paper"
    format: Annotated[Literal["mrc", "png", "jpg"], Panel("Output"), Doc("File format to write.")] = "mrc"
    device: Annotated[
        str, Panel("Where it runs"), Doc("Where to denoise: auto, cpu, cuda or cuda:INDEX; the pixels are the same.")
    ] = "auto"
    workers: Annotated[int | None, Ge(1), Doc("Images worked on at the same time; unset: one a core, at most 8.")] = (
        None
    )


@settings
class MakeCocoConfig:
    """Settings of ``cryotx make-coco``."""

    split: Annotated[
        tuple[Probability, Probability, Probability],
        Panel("Output"),
        Doc("Shares of train, val and test among the labelled micrographs of each data set."),
    ] = (0.8, 0.1, 0.1)
    seed: Annotated[int, Ge(0), Doc("The same seed gives the same split.")] = 1
    workers: Annotated[
        int | None,
        Ge(1),
        Panel("Where it runs"),
        Doc("Images made at the same time; unset: one a CPU core, at most 8."),
    ] = None

    def __post_init__(self) -> None:
        if abs(sum(self.split) - 1) > 1e-6:
            raise ValueError(f"split: the shares add up to {sum(self.split):g}, not to 1")


@settings
class SimulateConfig:
    """Settings of ``cryotx simulate``."""

    micrographs: Annotated[
        int, Ge(1), Panel("Micrographs"), Doc("How many micrographs of each macromolecule to write.")
    ] = 10
    size: Annotated[int, Ge(256), Doc("Height and width of each in pixels.")] = 4096
    pixel_size: Annotated[Length, Doc("Å per pixel.")] = 1.2
    severity: Annotated[Probability, Doc("0: clean ice at a fair defocus; 1: everything that goes wrong.")] = 0.2
    seed: Annotated[int, Ge(0), Doc("The same seed gives the same files.")] = 1
    proteins: Annotated[int, Ge(1), Panel("Particles"), Doc("How many data sets, each of another macromolecule.")] = 1
    structures: Annotated[Path | None, Doc("Folder of PDB, mmCIF or MRC files to use as particles.")] = None


@settings
class ReviewConfig:
    """Settings of ``cryotx review``."""

    out: Annotated[
        Path | None, Panel("Output"), Doc("Folder of the review; unset: review/ in the run, or here without a run.")
    ] = None
    formats: Annotated[
        tuple[RunFormatName, ...] | None,
        Doc("Formats to write beside the merged STAR file; unset: those of the run, or relion,box."),
    ] = None
    exposures: Annotated[Path | None, Doc("CryoSPARC exposures (.cs): writes particles.cs, too.")] = None
    write: Annotated[bool, Doc("Write the files of the corrected picks and end, without a page.")] = False
    diameter: Annotated[
        Length | None, Panel("Input"), Doc("Particle diameter in Å; needed for micrographs that no run has picked.")
    ] = None
    pixel_size: Annotated[
        Length | None, Doc("Å per pixel, where neither STAR file nor header knows it, without a run.")
    ] = None
    port: Annotated[int, Ge(0), Le(65535), Panel("Where it runs"), Doc("Port to listen on; 0: any that is free.")] = (
        8118
    )
    host: Annotated[
        str, Doc("Address to listen on; any but that of this machine alone lets others try to reach it.")
    ] = "127.0.0.1"


@settings
class RelionTrainConfig:
    """Settings of ``cryotx job relion-train``: those of ``cryotx train --data`` that RELION has no input for."""

    diameter: Annotated[
        Length | None, Panel("Learning"), Doc("Particle diameter in Å; unset: what the labels state, or estimated.")
    ] = None
    pixel_size: Annotated[Length | None, Doc("Å per pixel; needed where neither STAR file nor header knows it.")] = None
    keep_classes: Annotated[
        str | None,
        Doc("With coordinates that cryotx picked: its classes that are particles, 1,2,5; the others are none."),
    ] = None
    steps: Annotated[int, Ge(1), Doc("Optimiser steps of the whole job.")] = 800
    minutes: Annotated[float | None, Gt(0), Doc("Stop after this many minutes; the job goes on when continued.")] = None
    seed: Annotated[int, Ge(0), Doc("Seed of simulated images and of augmentation.")] = 1
    init: Annotated[str, Panel("Model"), Doc("Weights to start from: default, or a file.")] = "default"
    device: Annotated[Device, Panel("Where it runs")] = "auto"
