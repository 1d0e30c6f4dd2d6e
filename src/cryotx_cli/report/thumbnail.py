"""Small grey pictures of micrographs that fit a number of bytes: the gallery of the report is made of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.files.whole_file import whole_path

_LONG_SIDES_PX = (1000, 800, 720, 640, 560, 480, 400, 320, 240)
_QUALITY = 60
_SMOOTHING_PX = 1.3  # shot noise is what JPEG spends its bytes on: without it half as many hold every particle


def write_thumbnail(path: Path, grey: NDArray[np.uint8], max_bytes: int) -> None:
    """Write a grey JPEG of at most `max_bytes` bytes, as large as that allows and never larger than `grey`.

    Parameters
    ----------
    path
        File to write, whole or not at all; its folder is made.
    grey
        (height, width) grey levels, as `cryotx_cli.report.annotated_image.grey_picture` makes them.
    max_bytes
        A picture of 240 px is the smallest, even if it takes more.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    with whole_path(path) as unfinished:
        unfinished.write_bytes(_encoded(grey, max_bytes))


def read_thumbnail(path: Path, max_bytes: int) -> bytes | None:
    """Return a thumbnail's JPEG, made smaller where it has more than `max_bytes` bytes; None where there is none."""
    try:
        jpeg = path.read_bytes()
    except OSError:
        return None
    if len(jpeg) <= max_bytes:
        return jpeg
    grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    return None if grey is None else _encoded(np.asarray(grey, np.uint8), max_bytes)


def _encoded(grey: NDArray[np.uint8], max_bytes: int) -> bytes:
    height, width = grey.shape
    jpeg = b""
    for long_side in _LONG_SIDES_PX:
        scale = min(1.0, long_side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.GaussianBlur(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), (0, 0), _SMOOTHING_PX)
        options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        jpeg = cv2.imencode(".jpg", small, options)[1].tobytes()
        if len(jpeg) <= max_bytes:
            break
    return jpeg
