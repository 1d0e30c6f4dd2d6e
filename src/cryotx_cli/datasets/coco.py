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
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import DatasetError, MicrographError
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.micrographs.image import clip_outliers
from cryotx_cli.micrographs.micrograph import read_header

SPLITS = ("train", "val", "test")
CATEGORY_ID = 1
_CATEGORY = {"id": CATEGORY_ID, "name": "particle", "supercategory": ""}

_LISTS = ("images", "annotations", "categories")
_BORDER_TOLERANCE_PX = 1e-3
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
    content = _read(path)
    if not content["images"]:
        raise DatasetError(f"{path}: holds no images", "Give this split a larger share: cryotx make-coco --split.")
    of_image = defaultdict(list)
    for annotation in content["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    problems = list(_problems(content, folder, split))
    if problems:
        more = f"; and {len(problems) - _PROBLEMS_SHOWN} more problems" if len(problems) > _PROBLEMS_SHOWN else ""
        raise DatasetError(
            f"{path}: {'; '.join(problems[:_PROBLEMS_SHOWN])}{more}",
            "Repair the dataset, or make it anew with cryotx make-coco.",
        )
    images = tuple(_opened_image(entry, of_image[entry["id"]]) for entry in content["images"])
    return CocoDataset(folder, split, images, content.get("info", {}).get("denoised"))


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


# ---- checking --------------------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read: {error.strerror or error}", "cryotx make-coco makes dataset folders."
        ) from error
    except ValueError as error:
        raise DatasetError(f"{path}: not a JSON file: {error}", "Make the dataset anew.") from error
    lists = [content.get(key) for key in _LISTS] if isinstance(content, dict) else []
    well_formed = len(lists) == len(_LISTS) and all(map(_is_list_of_entries, lists))
    if not (well_formed and all(isinstance(a.get("image_id"), int) for a in content["annotations"])):
        raise DatasetError(
            f"{path}: not of the COCO format", f"It needs lists of {', '.join(_LISTS)}, each entry with a numeric id."
        )
    if not isinstance(content.get("info", {}), dict):  # the paper's own files have a list there
        del content["info"]
    return dict(content)


def _is_list_of_entries(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(e, dict) and isinstance(e.get("id"), int) for e in value)


def _problems(content: dict[str, Any], folder: Path, split: str) -> Iterator[str]:
    if len(content["categories"]) != 1:
        yield f"{len(content['categories'])} categories, where particles are the only one"
    for kind in ("images", "annotations"):
        ids = Counter(entry["id"] for entry in content[kind])
        yield from (f"{count} {kind} share the id {number}" for number, count in ids.items() if count > 1)
    names = Counter(str(entry.get("file_name")) for entry in content["images"])
    yield from (f"{name} is listed {count} times" for name, count in names.items() if count > 1)
    sizes = {}
    for entry in content["images"]:
        problem = _image_problem(entry, folder, split)
        if problem:
            yield f"image {entry.get('file_name')}: {problem}"
        else:
            sizes[entry["id"]] = entry["width"], entry["height"]
    listed = {entry["id"] for entry in content["images"]}
    categories = [category["id"] for category in content["categories"]]
    for annotation in content["annotations"]:
        image = annotation["image_id"]
        if image not in listed:
            yield f"annotation {annotation['id']}: there is no image {image}"
        elif image in sizes and (problem := _annotation_problem(annotation, sizes[image], categories)):
            yield f"annotation {annotation['id']}: {problem}"


def _image_problem(entry: dict[str, Any], folder: Path, split: str) -> str | None:
    name, stated = entry.get("file_name"), (entry.get("height"), entry.get("width"))
    if not isinstance(name, str) or not name:
        return "no file_name"
    path = image_file(folder, split, name)
    if not path.is_file():
        return f"{path} does not exist"
    try:
        found = _size(path)
    except MicrographError as error:
        return error.message
    if found != stated:
        return f"is {found[1]} x {found[0]} pixels, not {stated[1]} x {stated[0]}"
    pixel_size = entry.get("pixel_size")
    if pixel_size is not None and not (_is_finite(pixel_size) and pixel_size > 0):
        return f"pixel_size {pixel_size} is not a length"
    return None


def _annotation_problem(annotation: dict[str, Any], size: tuple[int, int], categories: list[Any]) -> str | None:
    """Return what is wrong with a box in an image of `size` (width, height)."""
    if annotation.get("category_id") not in categories:
        return f"there is no category {annotation.get('category_id')}"
    if annotation.get("iscrowd", 0) != 0:
        return "iscrowd is not 0: COCO's measures leave such boxes out"
    box = annotation.get("bbox")
    if not _are_finite(box, 4):
        return f"bbox {box} is not four numbers"
    if not _fits(box, size):
        return f"bbox {box} is not inside {size[0]} x {size[1]} px"
    centre, diameter = annotation.get("centre", [0, 0]), annotation.get("diameter", 1)
    if not (_are_finite(centre, 2) and all(-0.5 <= c <= n - 0.5 for c, n in zip(centre, size, strict=True))):
        return f"centre {centre} is not inside {size[0]} x {size[1]} px"
    if not (_is_finite(diameter) and diameter > 0):
        return f"diameter {diameter} is not a length"
    return None


def _fits(box: list[float], size: tuple[int, int]) -> bool:
    return all(
        start >= -_BORDER_TOLERANCE_PX and extent > 0 and start + extent <= end + _BORDER_TOLERANCE_PX
        for start, extent, end in zip(box[:2], box[2:], size, strict=True)
    )


def _are_finite(values: Any, count: int) -> TypeGuard[list[float]]:
    return isinstance(values, list) and len(values) == count and all(_is_finite(value) for value in values)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _size(path: Path) -> tuple[int, int]:
    """Return height and width; of a PNG from its header, because decoding a whole dataset takes many minutes."""
    if path.suffix.lower() != ".png":
        header = read_header(path)
        return header.height, header.width
    with path.open("rb") as file:
        start = file.read(24)
        file.seek(-min(12, path.stat().st_size), 2)
        end = file.read()
    # https://www.w3.org/TR/png-3/: signature, length, IHDR, width, height; the last chunk is an empty IEND.
    if start[:8] != b"\x89PNG\r\n\x1a\n" or end[4:8] != b"IEND":
        raise MicrographError("truncated, or not a PNG file")
    width, height = struct.unpack(">II", start[16:24])
    return height, width
