"""TIFF micrographs, with limits on what a damaged or hostile file can cost.

The specification: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

from __future__ import annotations

import logging
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.limits import require_sensible_expansion, require_sensible_size
from cryotx_cli.micrographs.picture import decoded, luminance

# tifffile logs every oddity of a file; where nobody listens Python would print that to the terminal.
_UNHEARD = logging.NullHandler()
_PLAIN, _DEFLATE = (1,), (8, 32946)
_OF_OPENCV = (5, 7, 32773)  # LZW, JPEG and PackBits: OpenCV unpacks no more of them than the image needs
_MAX_DIRECTORIES = 4096


@dataclass(frozen=True)
class Tiff:
    """The only image of an open TIFF file: tifffile's series, and the page that it consists of."""

    path: Path
    series: Any
    page: Any
    height: int
    width: int

    @property
    def segment_bytes(self) -> int:
        """What one strip or tile unpacks to."""
        return math.prod(map(int, self.page.chunks)) * int(self.page.dtype.itemsize)


@contextmanager
def open_tiff(path: Path) -> Iterator[Tiff]:
    """Yield the only image of a TIFF file, all of whose pixels are there."""
    import tifffile

    logging.getLogger("tifffile").addHandler(_UNHEARD)
    _require_few_directories(path)
    try:
        with tifffile.TiffFile(path) as tiff:
            image = _only_image(path, tiff)
            _require_all_segments(image, tiff.filehandle.size)
            yield image
    except (MicrographError, OSError, MemoryError):
        raise
    except Exception as error:  # tifffile has no error of its own for most damage: its arithmetic fails in many ways
        raise MicrographError(f"{path}: cannot be read as TIFF: {error}", "Copy or download it again.") from error


def _require_few_directories(path: Path) -> None:
    """Refuse endless chains of images before tifffile follows them."""
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "<" if file.read(2) == b"II" else ">"
        big = file.read(2) in (b"+\0", b"\0+")
        count_type, entry_bytes, offset_type = ("Q", 20, "Q") if big else ("H", 12, "I")
        file.seek(8 if big else 4)
        for _ in range(_MAX_DIRECTORIES):
            raw = file.read(struct.calcsize(offset_type))
            if len(raw) < struct.calcsize(offset_type) or not any(raw):
                return  # the end, or damage that tifffile will name
            offset = struct.unpack(order + offset_type, raw)[0]
            if offset > size:
                return
            file.seek(offset)
            raw = file.read(struct.calcsize(count_type))
            if len(raw) < struct.calcsize(count_type):
                return
            entries = struct.unpack(order + count_type, raw)[0]
            if entries > size:
                return
            file.seek(entries * entry_bytes, os.SEEK_CUR)
    raise MicrographError(
        f"{path}: a stack or movie of more than {_MAX_DIRECTORIES} images, not one micrograph",
        "Movies must be aligned and averaged first.",
    )


def _only_image(path: Path, tiff: Any) -> Tiff:
    series = tiff.series[0]
    sides = dict(zip(series.axes, series.shape, strict=True))
    sections = math.prod(n for axis, n in sides.items() if axis not in "YXS")
    if sections != 1 or len(tiff.series) > 1 or len(series.pages) > 1:
        raise MicrographError(
            f"{path}: a stack or movie of {max(sections, len(tiff.series))} images, not one micrograph",
            "Movies must be aligned and averaged first.",
        )
    height, width = sides.get("Y", 0), sides.get("X", 0)
    require_sensible_size(path, height, width)
    if series.dtype is None or series.dtype.kind not in "biuf" or sides.get("S", 1) > 4:
        raise MicrographError(
            f"{path}: TIFF pixels of type {series.dtype} x {sides.get('S', 1)} are not a micrograph that can be read",
            "Save it with one real number or integer a pixel.",
        )
    page = series.keyframe
    if page.compression not in (*_PLAIN, *_DEFLATE, *_OF_OPENCV):
        raise MicrographError(
            f"{path}: cannot be read as TIFF: its compression is number {int(page.compression)}",
            "Save it without compression, or with LZW or deflate.",
        )
    return Tiff(path, series, page, height, width)


def _require_all_segments(image: Tiff, file_bytes: int) -> None:
    """Compare what the strips or tiles promise with the size of the file, before anything is given memory."""
    page, path = image.page, image.path
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    stored = sum(page.databytecounts)
    if not ends or min(page.databytecounts) < 1 or max(ends) > file_bytes:
        reach = f"its pixels reach to byte {max(ends)}" if ends and max(ends) > file_bytes else "pixels are missing"
        raise MicrographError(f"{path}: truncated: {reach}, the file has {file_bytes}", "Copy or download it again.")
    needed = int(image.series.size) * int(page.dtype.itemsize)
    # Bytes that several tiles share, and tiles far larger than the image, are made to be unpacked again and again.
    sensible = stored <= file_bytes and image.segment_bytes <= 4 * needed + (1 << 20)
    if not sensible or (page.compression in _PLAIN and 8 * stored < int(image.series.size) * page.bitspersample):
        raise MicrographError(
            f"{path}: truncated or damaged: {image.width} x {image.height} pixels need {needed} bytes, its "
            f"{len(ends)} strips or tiles of {image.segment_bytes} bytes have {stored}",
            "Copy or download it again.",
        )
    if page.compression not in _PLAIN:
        require_sensible_expansion(path, needed, file_bytes)


def has_channels(path: Path) -> bool:
    """Whether a TIFF file has several values a pixel, as colours are; what cannot be read has not."""
    try:
        with open_tiff(path) as image:
            return "S" in image.series.axes
    except (MicrographError, OSError):
        return False


def read_tiff(path: Path) -> NDArray[np.float32]:
    """Return the pixels of a TIFF file as (height, width) grey values, in the order of an MRC file: flipped.

    Raises
    ------
    MicrographError
        If it is not one whole two-dimensional image.
    """
    with open_tiff(path) as image:
        if image.page.compression in _DEFLATE:
            _require_bounded_segments(image)
        if image.page.compression in (*_PLAIN, *_DEFLATE):
            pixels, axes = image.series.asarray(), image.series.axes
            if "S" in axes:
                pixels = np.moveaxis(pixels, axes.index("S"), -1)
            grey = luminance(pixels.reshape(image.height, image.width, -1))
        else:
            grey = decoded(np.fromfile(path, np.uint8), path)
    if grey.shape != (image.height, image.width):
        raise MicrographError(f"{path}: damaged: its size is not that of its pixels", "Copy or download it again.")
    return np.ascontiguousarray(grey[::-1])


def _require_bounded_segments(image: Tiff) -> None:
    """Refuse strips and tiles that unpack to more than their pixels; tifffile would give all of it memory."""
    with image.path.open("rb") as file:
        for offset, count in zip(image.page.dataoffsets, image.page.databytecounts, strict=True):
            file.seek(offset)
            unpacked = zlib.decompressobj().decompress(file.read(count), image.segment_bytes + 1)
            if len(unpacked) > image.segment_bytes:
                raise MicrographError(
                    f"{image.path}: damaged: the strip or tile at byte {offset} unpacks to more than its pixels",
                    "Copy or download it again.",
                )
