"""A COCO dataset folder: write it, open it, check it.

::

    annotations/instances_<split>.json
    images/<split>/<data set>/<micrograph>.png

The files are those of https://cocodataset.org/#format-data with one category, ``particle``, of id 1. Boxes are
``[x - d / 2, y - d / 2, d, d]`` of the labels' centres (x, y) and diameters d, in pixels with their fractions, cut off
at the border of the image. What a box cannot tell is in extra keys: of an annotation ``centre`` and ``diameter``, of an
image ``pixel_size`` (Å per pixel, null if unknown), ``dataset`` and ``source``, of ``info`` whether the images are
``denoised``.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.coco_checks import boxes_by_coco, problems_of, read_annotations
from cryotx_cli.errors import DatasetError
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.micrographs.image import clip_outliers
from cryotx_cli.wording import some_of

SPLITS = ("train", "val", "test")
CATEGORY_ID = 1
_CATEGORY = {"id": CATEGORY_ID, "name": "particle", "supercategory": ""}
_PROBLEMS_SHOWN = 3


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One image of a dataset and its particles.

    Parameters
    ----------
    file_name
        Path below ``images/<split>``, with ``/`` between its parts.
    height, width
        Of the image in pixels.
    particles
        Their true centres, also of those whose boxes are cut; scores are 1; the pixel size is NaN if unknown.
    boxes
        (n, 4) float64 x, y, width and height in pixels, inside the image; in the order of `particles`.
    dataset
        EMPIAR id; empty if unknown.
    source
        Name of the micrograph's file; empty if unknown.
    """

    file_name: str
    height: int
    width: int
    particles: Particles
    boxes: NDArray[np.float64]
    dataset: str = ""
    source: str = ""


@dataclass(frozen=True, eq=False)
class CocoDataset:
    """One split of a dataset folder, every image and box of which has been checked.

    Parameters
    ----------
    folder
        The dataset.
    split
        ``train``, ``val`` or ``test``.
    images
        In the order of the file.
    denoised
        Whether `write_coco` was told that the images are denoised; None where the file does not say.
    """

    folder: Path
    split: str
    images: tuple[CocoImage, ...]
    denoised: bool | None

    def __len__(self) -> int:
        return len(self.images)

    def path(self, image: CocoImage) -> Path:
        """Return the file of one of the images."""
        return image_file(self.folder, self.split, image.file_name)


def annotation_file(folder: str | Path, split: str) -> Path:
    """Return the path of the annotations of a split."""
    return Path(folder, "annotations", f"instances_{split}.json")


def image_file(folder: str | Path, split: str, file_name: str) -> Path:
    """Return the path of an image by its name in the annotations."""
    return Path(folder, "images", split, file_name)


def labelled_image(
    file_name: str, shape: tuple[int, int], labels: Particles, dataset: str = "", source: str = ""
) -> CocoImage:
    """Put a box around every labelled particle whose centre lies on an image of `shape` (height, width).

    Raises
    ------
    DatasetError
        If a label has no diameter.
    """
    if not (labels.diameters > 0).all():
        raise DatasetError(
            f"{source or file_name}: the labels have no particle diameters",
            "Their CSV file needs a column Diameter in pixels.",
        )
    inside = labels.inside(*shape)
    half = inside.diameters[:, None] / 2
    low = np.clip(inside.centres - half, 0, shape[::-1])
    size = np.clip(inside.centres + half, 0, shape[::-1]) - low
    whole = (size > 0).all(axis=1)
    boxes = np.hstack([low, size])[whole]
    return CocoImage(file_name, *shape, inside.select(whole), boxes, dataset, source)


def png_pixels(image: NDArray[np.float32]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the pixels of a micrograph (height, width) as PNG can hold them.

    Whole numbers from 0 to 65535 stay as they are, in 8 bits where they fit. Others are limited to 10 robust standard
    deviations around the median, as picking does first of all, and stretched to 16 bits: the steps are at most 0.0004
    standard deviations wide.
    """
    if image.min() >= 0 and image.max() <= 65535 and (image == np.rint(image)).all():
        return image.astype(np.uint8) if image.max() <= 255 else image.astype(np.uint16)
    image = clip_outliers(image)
    low, high = image.min(), image.max()
    stretched = (image - low) * (np.float32(65535) / (high - low))
    rounded: NDArray[np.uint16] = np.rint(stretched).clip(0, 65535).astype(np.uint16)
    return rounded


def write_coco(folder: str | Path, split: str, images: Sequence[CocoImage], denoised: bool) -> Path:
    """Write the annotations of a split, whole or not at all; the images' files are the caller's.

    The same images give the same bytes.

    Raises
    ------
    CryotxError
        If the file cannot be written.
    """
    annotations = (
        {
            "image_id": number,
            "category_id": CATEGORY_ID,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "segmentation": [],
            "centre": centre,
            "diameter": diameter,
        }
        for number, image in enumerate(images, 1)
        for box, centre, diameter in zip(
            image.boxes.tolist(), image.particles.centres.tolist(), image.particles.diameters.tolist(), strict=True
        )
    )
    content = {
        "info": {"description": "Particles in cryo-EM micrographs", "split": split, "denoised": denoised},
        "licenses": [],
        "categories": [_CATEGORY],
        "images": [{"id": number, **_image_entry(image)} for number, image in enumerate(images, 1)],
        # From 1: pycocotools takes the id 0 of a matched annotation for "no match".
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)],
    }
    path = annotation_file(folder, split)
    with whole_file(path) as file:
        json.dump(content, file, allow_nan=False)
        file.write("\n")
    return path


def open_coco(folder: str | Path, split: str) -> CocoDataset:
    """Open a split of a dataset folder and check all of it.

    Folders of other programs are read too: where the extra keys are missing, a particle lies in the middle of its box,
    has the longer side as diameter, and its pixel size is not known.

    Raises
    ------
    DatasetError
        If there is no such split, its file is not of the COCO format, it holds no images, an image is missing,
        truncated or of another size, or a box is not one of a particle inside its image. The message names the first
        few problems and counts the others.
    """
    folder = Path(folder)
    path = annotation_file(folder, split)
    content = read_annotations(path)
    if not content["images"]:
        raise DatasetError(f"{path}: holds no images", "Give this split a larger share: cryotx make-coco --split.")
    of_image = defaultdict(list)
    for annotation in content["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    problems = list(problems_of(content, folder / "images" / split))
    if problems:
        more = f"; and {len(problems) - _PROBLEMS_SHOWN} more problems" if len(problems) > _PROBLEMS_SHOWN else ""
        raise DatasetError(
            f"{path}: {'; '.join(problems[:_PROBLEMS_SHOWN])}{more}",
            "Repair the dataset, or make it anew with cryotx make-coco.",
        )
    images = tuple(_opened_image(entry, of_image[entry["id"]]) for entry in content["images"])
    return CocoDataset(folder, split, images, content.get("info", {}).get("denoised"))


def require_coco(folder: str | Path, split: str, images: Sequence[CocoImage]) -> None:
    """Check that pycocotools reads what `write_coco` has written: each image and its boxes.

    Raises
    ------
    DatasetError
        If it reads something else, or cannot read the file.
    """
    path = annotation_file(folder, split)
    found = boxes_by_coco(path)
    written = {image.file_name: image.boxes for image in images}
    wrong = [name for name in written if not np.array_equal(found.get(name, np.nan), written[name])]
    wrong += [name for name in found if name not in written]
    if wrong:
        raise DatasetError(
            f"{path}: pycocotools reads other boxes than were written, of {some_of(wrong)}",
            "Make the dataset anew, in a folder that nothing else writes to.",
        )


def _image_entry(image: CocoImage) -> dict[str, Any]:
    pixel_size = image.particles.pixel_size
    return {
        "file_name": image.file_name,
        "width": image.width,
        "height": image.height,
        "pixel_size": pixel_size if math.isfinite(pixel_size) else None,
        "dataset": image.dataset,
        "source": image.source,
    }


def _opened_image(entry: dict[str, Any], annotations: list[dict[str, Any]]) -> CocoImage:
    boxes = np.array([annotation["bbox"] for annotation in annotations], np.float64).reshape(-1, 4)
    centres = [a.get("centre", middle) for a, middle in zip(annotations, boxes[:, :2] + boxes[:, 2:] / 2, strict=True)]
    diameters = [a.get("diameter", side) for a, side in zip(annotations, boxes[:, 2:].max(axis=1), strict=True)]
    pixel_size = entry.get("pixel_size")
    particles = Particles(
        np.array(centres), np.ones(len(boxes)), np.array(diameters), math.nan if pixel_size is None else pixel_size
    )
    return CocoImage(
        entry["file_name"],
        entry["height"],
        entry["width"],
        particles,
        boxes,
        entry.get("dataset", ""),
        entry.get("source", ""),
    )
