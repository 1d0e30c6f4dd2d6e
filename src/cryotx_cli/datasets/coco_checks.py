"""What may be wrong with a file of COCO annotations and its images, and what pycocotools makes of it."""

from __future__ import annotations

import io
import json
import math
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import DatasetError, MicrographError
from cryotx_cli.micrographs.micrograph import read_header

_LISTS = ("images", "annotations", "categories")
_BORDER_TOLERANCE_PX = 1e-3


def read_annotations(path: Path) -> dict[str, Any]:
    """Read a file of annotations as far as its form allows to look at each entry.

    Raises
    ------
    DatasetError
        If it cannot be read, or is not of the COCO format.
    """
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


def boxes_by_coco(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return what pycocotools reads: the boxes (n, 4) of each image by its file name, in the order of the file.

    Raises
    ------
    DatasetError
        If pycocotools cannot read the file.
    """
    from pycocotools.coco import COCO

    try:
        with redirect_stdout(io.StringIO()):
            coco = COCO(str(path))
        return {
            image["file_name"]: np.array([one["bbox"] for one in coco.loadAnns(coco.getAnnIds(number))]).reshape(-1, 4)
            for number, image in coco.imgs.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AssertionError) as error:
        raise DatasetError(f"{path}: pycocotools cannot read it: {error!r}", "Make the dataset anew.") from error


def _is_list_of_entries(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(e, dict) and isinstance(e.get("id"), int) for e in value)


def problems_of(content: dict[str, Any], images: Path) -> Iterator[str]:
    """Yield what is wrong with annotations whose images lie in the folder `images`."""
    if len(content["categories"]) != 1:
        yield f"{len(content['categories'])} categories, where particles are the only one"
    for kind in ("images", "annotations"):
        ids = Counter(entry["id"] for entry in content[kind])
        yield from (f"{count} {kind} share the id {number}" for number, count in ids.items() if count > 1)
    names = Counter(str(entry.get("file_name")) for entry in content["images"])
    yield from (f"{name} is listed {count} times" for name, count in names.items() if count > 1)
    sizes = {}
    for entry in content["images"]:
        problem = _image_problem(entry, images)
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


def _image_problem(entry: dict[str, Any], images: Path) -> str | None:
    name, stated = entry.get("file_name"), (entry.get("height"), entry.get("width"))
    if not isinstance(name, str) or not name:
        return "no file_name"
    path = images / name
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
