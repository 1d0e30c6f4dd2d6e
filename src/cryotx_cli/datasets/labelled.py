"""A lab's own labels, whatever program they come from, together with the micrographs that they lie on."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.grid import Grid, grid_of, on_grids
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.coco import annotation_file, open_coco
from cryotx_cli.datasets.cryoppp import cryoppp_tree, find_labelled_micrographs
from cryotx_cli.errors import DatasetError, MicrographError
from cryotx_cli.events import Tell, warn
from cryotx_cli.micrographs.find import MicrographFile, find_micrographs
from cryotx_cli.micrographs.micrograph import read_header
from cryotx_cli.micrographs.names import NAMES_AGREE, pair_names
from cryotx_cli.wording import some_of

_OTHER_PIXELS = (
    "cryotx convert LABELS OUT --micrographs FOLDER --scale {factor} turns them into pixels of the micrographs; "
    "--scale 1 says that they are that already."
)


@dataclass(frozen=True, eq=False)
class MicrographLabels:
    """A micrograph and the particles that somebody found on it.

    Parameters
    ----------
    file
        The micrograph; its pixel size is that of the labels where the micrographs' own list has none.
    labels
        In the micrograph's pixels; diameters are NaN where the labels state none.
    negatives
        What somebody has looked at and found to be no particles; None where nobody says.
    """

    file: MicrographFile
    labels: Particles
    negatives: Particles | None = None


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Everything labelled in one place.

    Parameters
    ----------
    micrographs
        Those with labels, in the order of the micrographs.
    unlabelled
        Micrographs without labels: nobody looked at them, which does not mean that they are empty.
    without_micrograph
        Names of labelled micrographs that are not there.
    changed
        Names of those that are not as they were when they were labelled, as far as anybody knows.
    """

    micrographs: tuple[MicrographLabels, ...]
    unlabelled: int = 0
    without_micrograph: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def find_labels(data: str | Path, micrographs: str | Path | None = None, tell: Tell = warn) -> LabelSet:
    """Find labels and their micrographs.

    Parameters
    ----------
    data
        A CryoPPP tree; a COCO folder, of which train and val are taken; or coordinates in any format that
        `read_particles` reads, a file or a folder.
    micrographs
        Where the micrographs of coordinate files are: a folder, a micrographs STAR file, a file or a pattern. Without
        it they are looked for where the coordinates name them, and in the folder `data`.
    tell
        Takes what is odd about coordinate files.

    Raises
    ------
    DatasetError
        If the labels belong to none of the micrographs, or a dataset cannot be used.
    ParticleFileError, MicrographError
        If labels cannot be read, two files hold those of one micrograph, or there are no micrographs.
    """
    data = Path(data)
    if any(annotation_file(data, split).is_file() for split in ("train", "val")):
        found = _in_coco(data)
    elif (tree := cryoppp_tree(data)) is not None:
        found = _in_tree(tree)
    else:
        return _in_coordinate_files(data, micrographs, tell)
    if micrographs is not None:
        raise DatasetError(
            f"--micrographs {micrographs}: {data} brings its own micrographs",
            "Leave out --micrographs, or give --data the files of the labels alone.",
        )
    return found


def _in_coco(folder: Path) -> LabelSet:
    found, unlabelled = [], 0
    for split in ("train", "val"):
        if not annotation_file(folder, split).is_file():
            continue
        dataset = open_coco(folder, split)
        for image in dataset.images:
            size = image.particles.pixel_size
            file = MicrographFile(dataset.path(image), image.file_name, size if size > 0 else None)
            if len(image.particles):
                found.append(MicrographLabels(file, image.particles))
            else:
                unlabelled += 1
    return LabelSet(tuple(found), unlabelled)


def _in_tree(tree: Path) -> LabelSet:
    everything = find_labelled_micrographs(tree)
    labelled = [MicrographLabels(one.file, one.read_particles()) for one in everything if one.labels is not None]
    found = tuple(one for one in labelled if len(one.labels))
    return LabelSet(found, len(everything) - len(found))


def _in_coordinate_files(data: Path, micrographs: str | Path | None, tell: Tell) -> LabelSet:
    labels = {name: particles for name, particles in read_particles(data, tell).items() if len(particles)}
    files = _beside(data, labels) if micrographs is None else find_micrographs([micrographs], named=labels)
    partners = pair_names(labels, [file.name for file in files])
    if not partners:
        where = (
            f"{micrographs} names {some_of(sorted(file.name for file in files))}" if files else f"none lie in {data}"
        )
        raise DatasetError(
            f"{data}: the labels are of {some_of(sorted(labels))}, but of the micrographs {where}",
            "Give the folder or STAR file of the labelled micrographs with --micrographs. " + NAMES_AGREE,
        )
    grids = {partners[file.name]: _grid(file, labels[partners[file.name]]) for file in files if file.name in partners}
    labels = on_grids(labels, grids, "the micrograph", _OTHER_PIXELS, tell)
    found = []
    for file in files:
        if file.name in partners:
            here = labels[partners[file.name]]
            size = file.pixel_size or (here.pixel_size if here.pixel_size > 0 else None)
            found.append(MicrographLabels(replace(file, pixel_size=size), here))
    left = tuple(sorted(set(labels) - set(partners.values())))
    return LabelSet(tuple(found), len(files) - len(found), left)


def _grid(file: MicrographFile, labels: Particles) -> Grid:
    try:
        return grid_of(file, read_header(file.path), labels)
    except MicrographError:  # reading it will say why
        return grid_of(file, None, labels)


def _beside(data: Path, names: Collection[str]) -> list[MicrographFile]:
    """Micrographs that the labels name, relative to a folder above them as in RELION, and those in their folder."""
    folders = [Path(), *([data] if data.is_dir() else []), *data.absolute().parents]
    named = [next((folder / name for folder in folders if (folder / name).is_file()), None) for name in names]
    found = {
        os.path.realpath(path): MicrographFile(path, str(path)) for path in named if path is not None and path.suffix
    }
    with suppress(MicrographError):
        found = (
            {os.path.realpath(file.path): file for file in find_micrographs([data], named=names)} | found
            if data.is_dir()
            else found
        )
    return list(found.values())
