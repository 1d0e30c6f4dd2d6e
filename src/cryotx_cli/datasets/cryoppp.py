"""The CryoPPP folder layout: micrographs, and the labels of those that experts have labelled.

One data set is ``<EMPIAR id>/micrographs/*`` with ``<EMPIAR id>/ground_truth/particle_coordinates/<stem>.csv``; the
tree is one such folder or a folder of several (Dhakal et al., Scientific Data 10:392, 2023).

The y of a label depends on the micrograph beside it: CryoPPP writes y = ny - r, counted from the last stored row of the
MRC file, r being the row and ny the height; labels are therefore turned round on reading, r = ny - y, exactly as they
were made (mirroring an image about its middle would be ny - 1 - r: half a pixel of either is below the labels'
precision). PNG and JPG copies of the data sets hold the image already turned, and their labels fit it as they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.formats.csv import CRYOPPP_LABELS, read_csv, write_csv
from cryotx_cli.coordinates.formats.reading import read_particles
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import DatasetError
from cryotx_cli.events import Tell, warn
from cryotx_cli.micrographs.micrograph import (
    PICTURE_SUFFIXES,
    MicrographFile,
    find_micrographs,
    read_header,
    without_micrograph_suffix,
)


@dataclass(frozen=True)
class CryopppMicrograph:
    """A micrograph of a CryoPPP tree and the file of its labels, if it has been labelled.

    Parameters
    ----------
    dataset
        Name of its data set's folder, the EMPIAR id.
    file
        The micrograph.
    labels
        Its CSV file. None: nobody has labelled it, which does not mean that it is empty.
    """

    dataset: str
    file: MicrographFile
    labels: Path | None

    @property
    def stem(self) -> str:
        """The name that micrograph and label file share."""
        return without_micrograph_suffix(self.file.path.name)

    def read_particles(self) -> Particles:
        """Read the labels in the frame of the image as `read_micrograph` returns it.

        Returns
        -------
        Particles
            Scores are 1; diameters are the experts' in pixels; the pixel size is that of the MRC header, NaN where the
            header does not know it.

        Raises
        ------
        DatasetError
            If the micrograph is not labelled.
        ParticleFileError
            If the labels cannot be read.
        MicrographError
            If the header cannot be read.
        """
        if self.labels is None:
            raise DatasetError(
                f"{self.file.path}: has no labels in {CRYOPPP_LABELS}", "Leave it out: unlabelled is not empty."
            )
        labels = read_csv(self.labels)
        if _is_picture(self.file.path):
            return labels
        header = read_header(self.file.path)
        return replace(
            labels,
            centres=_turned(labels.centres, header.height),
            pixel_size=header.pixel_size or np.nan,
            shape=(header.height, header.width),
        )


def cryoppp_tree(path: str | Path) -> Path | None:
    """Return the CryoPPP tree that `path` is, or the data set whose folder or file of labels it is; else None."""
    path = Path(path)
    if _datasets(path):
        return path
    folder = (path if path.is_dir() else path.parent).absolute()
    dataset = folder.parent.parent
    return dataset if folder == dataset / CRYOPPP_LABELS and (dataset / "micrographs").is_dir() else None


def cryoppp_sets(path: str | Path) -> list[Path]:
    """Return the folders of the data sets in a tree, or the folder itself if it is one; none if it is no such tree."""
    return _datasets(Path(path))


def find_labelled_micrographs(path: str | Path, tell: Tell = lambda _: None) -> list[CryopppMicrograph]:
    """List all micrographs of a CryoPPP tree, labelled or not.

    Parameters
    ----------
    path
        The folder of one data set, or one of several data sets.
    tell
        Takes what is left out: other versions of micrographs than those that are labelled, or the best.

    Raises
    ------
    DatasetError
        If it is not a CryoPPP tree, or two micrographs of a data set share a stem and so their labels.
    MicrographError
        If a data set holds no micrographs.
    """
    datasets = _datasets(Path(path))
    if not datasets:
        raise DatasetError(
            f"{path}: not a CryoPPP folder",
            f"Looked for micrographs/ and {CRYOPPP_LABELS}/<stem>.csv in it and in the folders in it.",
        )
    return [micrograph for dataset in datasets for micrograph in _micrographs(dataset, tell)]


def read_coordinates(path: str | Path, tell: Tell = warn) -> dict[str, Particles]:
    """Read coordinates in any format, the labels of CryoPPP in the frames of their micrographs.

    Parameters
    ----------
    path
        As for `read_particles`; or a CryoPPP tree, a folder of labels in one, or one file of labels.
    tell
        Takes what is odd.

    Returns
    -------
    dict of str to Particles
        By micrograph name; of a CryoPPP tree those that are labelled.

    Raises
    ------
    DatasetError, ParticleFileError, MicrographError
        If they cannot be read; labels of CryoPPP need their micrographs.
    """
    tree = cryoppp_tree(path)
    if tree is None:
        return read_particles(path, tell)
    micrographs = [micrograph for micrograph in find_labelled_micrographs(tree, tell) if micrograph.labels]
    path = Path(path)
    if path.is_file():
        micrographs = [one for one in micrographs if one.labels and one.labels.samefile(path)]
    return {one.file.name: one.read_particles() for one in micrographs}


def write_labels(dataset: str | Path, micrograph: str | Path, particles: Particles, height: int) -> Path:
    """Write the labels of one micrograph where and as CryoPPP keeps them.

    Parameters
    ----------
    dataset
        The data set's folder.
    micrograph
        The micrograph's file in ``<dataset>/micrographs``, which may not exist yet; its suffix decides whether y is
        turned.
    particles
        In the pixels of the micrograph, y down the rows as `read_micrograph` returns them.
    height
        Of the micrograph in pixels.

    Returns
    -------
    Path
        The CSV file.

    Raises
    ------
    ParticleFileError
        If it cannot be written.
    """
    micrograph = Path(micrograph)
    labels = Path(dataset) / CRYOPPP_LABELS / f"{without_micrograph_suffix(micrograph.name)}.csv"
    if not _is_picture(micrograph):
        particles = replace(particles, centres=_turned(particles.centres, height))
    write_csv(labels, particles)
    return labels


def _datasets(path: Path) -> list[Path]:
    """Return the data sets' folders: `path` itself, or those in it."""
    folders = [path, *sorted(path.iterdir())] if path.is_dir() else []
    found = [folder for folder in folders if (folder / "micrographs").is_dir() and (folder / CRYOPPP_LABELS).is_dir()]
    return found[:1] if path in found else found


def _micrographs(dataset: Path, tell: Tell) -> Iterator[CryopppMicrograph]:
    seen: dict[str, Path] = {}
    labelled = [file.stem for file in (dataset / CRYOPPP_LABELS).glob("*.csv")]
    for file in find_micrographs([dataset / "micrographs"], tell, labelled):
        stem = without_micrograph_suffix(file.path.name)
        if stem in seen:
            raise DatasetError(f"{file.path} and {seen[stem]} share the labels of {stem}", "Remove one of the two.")
        seen[stem] = file.path
        labels = dataset / CRYOPPP_LABELS / f"{stem}.csv"
        yield CryopppMicrograph(dataset.resolve().name, file, labels if labels.is_file() else None)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES


def _turned(centres: NDArray[np.float64], height: int) -> NDArray[np.float64]:
    return np.column_stack([centres[:, 0], height - centres[:, 1]])
