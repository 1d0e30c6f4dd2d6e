"""What an image file may claim before its pixels are given memory."""

from __future__ import annotations

from pathlib import Path

from cryotx_cli.errors import MicrographError

MAX_PIXELS = 1 << 30
"""Four times the 16384 x 16384 of a camera's super-resolution."""

MAX_EXPANSION = 250
"""Times its own size that a compressed image may unpack to; noise reaches a few times, an empty image 1,000 times."""

_SMALL = 1 << 26  # bytes; up to here any expansion is harmless


def require_sensible_size(path: Path, height: int, width: int) -> None:
    """Refuse an image of no pixels, or of more than any camera has.

    Raises
    ------
    MicrographError
        If it claims to be one.
    """
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        amount = "none" if min(height, width) < 1 else "more than any camera has"
        raise MicrographError(
            f"{path}: truncated or damaged: claims {width} x {height} pixels, {amount}", "Copy or download it again."
        )


def require_sensible_expansion(path: Path, unpacked_bytes: int, stored_bytes: int) -> None:
    """Refuse a compressed image that claims to unpack to far more than a micrograph in a file of its size.

    Raises
    ------
    MicrographError
        If it does.
    """
    if unpacked_bytes > max(_SMALL, MAX_EXPANSION * stored_bytes):
        raise MicrographError(
            f"{path}: truncated or damaged: {stored_bytes} bytes claim to unpack to {unpacked_bytes}, and no "
            "micrograph compresses that well",
            "Copy or download it again; if it is what it claims, save it uncompressed.",
        )
