"""Settings of ``cryotx train``."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from cryotx_cli.config.fields import (
    Device,
    Length,
    settings,
)


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
