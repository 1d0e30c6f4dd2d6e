"""PNG and JPG pictures: checked before they are decoded, because decoders fill what is missing with grey.

PNG: https://www.w3.org/TR/png-3; JPG: https://www.w3.org/Graphics/JPEG/itu-t81.pdf.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.limits import require_sensible_expansion, require_sensible_size

_PNG, _JPG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_MAX_SCANS = 100  # of a progressive JPG, which is decoded anew for each; real ones have about ten
_AGAIN = "Copy or download it again."


def read_picture(path: Path) -> NDArray[np.float32]:
    """Read a PNG or JPG picture, whatever its suffix says: (height, width), rows as stored, colours as luminance.

    Raises
    ------
    MicrographError
        If it is not a whole picture.
    OSError
        If the file cannot be read.
    """
    content = np.fromfile(path, np.uint8)
    height, width = _checked_size(memoryview(content), path)  # type: ignore[arg-type]
    require_sensible_size(path, height, width)
    require_sensible_expansion(path, 3 * height * width, content.size)
    return decoded(content, path)


def decoded(content: NDArray[np.uint8], path: Path) -> NDArray[np.float32]:
    """Decode a picture in memory with OpenCV, (height, width), rows as stored, colours as luminance.

    Raises
    ------
    MicrographError
        If it cannot be decoded.
    """
    import cv2

    # OpenCV prints what it thinks of a damaged file; here that becomes an error. Versions 4 and 5 differ in the place.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)
    try:
        pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MicrographError(f"{path}: cannot be decoded: {error.err or error.msg}", _AGAIN) from error
    if pixels is None or not pixels.size:
        raise MicrographError(f"{path}: not a picture that can be decoded", f"{_AGAIN} Or save it in another format.")
    channels = pixels.reshape(*pixels.shape[:2], -1)
    return luminance(channels[..., 2::-1] if channels.shape[2] >= 3 else channels)  # OpenCV decodes to blue, green, red


def is_coloured(path: Path) -> bool:
    """Whether a PNG, JPG or TIFF picture has colours; what cannot be read has none."""
    import cv2

    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        return False
    if pixels is None or pixels.ndim < 3 or pixels.shape[2] < 3:
        return False
    return not bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all())


def luminance(channels: NDArray[Any]) -> NDArray[np.float32]:
    """Luminance of (height, width, channels); transparency is left out."""
    first = channels[..., 0]
    if channels.shape[2] < 3 or ((first == channels[..., 1]).all() and (first == channels[..., 2]).all()):
        return np.require(first, np.float32, ["C", "A", "W"])
    # ITU-R BT.601, the weights of every common converter; added up channel by channel to need no copy of all three.
    grey = np.multiply(first, np.float32(0.299), dtype=np.float32)
    grey += np.multiply(channels[..., 1], np.float32(0.587), dtype=np.float32)
    grey += np.multiply(channels[..., 2], np.float32(0.114), dtype=np.float32)
    return np.ascontiguousarray(grey)


def _checked_size(content: memoryview, path: Path) -> tuple[int, int]:
    """Return height and width of a picture that ends as it should."""
    if content[:8] == _PNG:
        return _png_size(content, path)
    if content[:3] == _JPG:
        return _jpg_size(bytes(content), path)
    raise MicrographError(
        f"{path}: truncated, or not a PNG or JPG picture: {len(content)} bytes that do not begin like one",
        "Check that the file is what its name says.",
    )


def _png_size(content: memoryview, path: Path) -> tuple[int, int]:
    """Walk through the chunks, each with its checksum, to the end mark; the first one holds the size."""
    at, kind, size = 8, b"", (0, 0)
    while kind != b"IEND":
        if at + 12 > len(content):
            raise MicrographError(f"{path}: truncated: {len(content)} bytes without the end mark of a PNG", _AGAIN)
        length, kind = struct.unpack_from(">I4s", content, at)
        body = content[at + 4 : at + 8 + length]
        end = at + 12 + length
        if end > len(content):
            raise MicrographError(f"{path}: truncated: its pixels reach to byte {end} of {len(content)}", _AGAIN)
        if zlib.crc32(body) != struct.unpack_from(">I", content, end - 4)[0]:
            raise MicrographError(f"{path}: damaged: a checksum of its PNG is wrong near byte {at}", _AGAIN)
        if at == 8:
            if kind != b"IHDR" or length != 13:
                raise MicrographError(f"{path}: damaged: a PNG without the header that says its size", _AGAIN)
            width, height = struct.unpack_from(">2I", body, 4)
            size = height, width
        at = end
    return size


def _jpg_size(content: bytes, path: Path) -> tuple[int, int]:
    """Walk through the segments to the one that begins a frame, which holds the size."""
    at = 2
    if b"\xff\xd9" not in content[-4096:]:
        raise MicrographError(f"{path}: truncated: {len(content)} bytes without the end mark of a JPG", _AGAIN)
    if content.count(b"\xff\xda") > _MAX_SCANS:
        raise MicrographError(f"{path}: a JPG of more than {_MAX_SCANS} scans is no micrograph", _AGAIN)
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker, length = struct.unpack_from(">xBH", content, at)
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">2H", content, at + 5)
            return height, width
        elif length < 2:
            break
        else:
            at += 2 + length
    raise MicrographError(f"{path}: damaged: a JPG without the header that says its size", _AGAIN)
