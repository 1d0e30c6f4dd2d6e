"""Micrographs: find them, read them from MRC, TIFF, PNG and JPG, and know their pixel size.

Rows stay in the order in which an MRC file stores them, row 0 first. TIFF stores the same micrograph the other way
up (as RELION, IMOD, EMAN2 and MotionCor2 read and write it), so TIFF rows are flipped on reading; PNG and JPG rows are
taken as stored. User files are only ever opened for reading.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import mrcfile
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotx_cli.errors import MicrographError
from cryotx_cli.files.text_file import is_there
from cryotx_cli.files.whole_file import whole_path
from cryotx_cli.micrographs.find import MicrographFile, find_micrographs
from cryotx_cli.micrographs.mrc import read_mrc, read_mrc_layout, require_all_bytes
from cryotx_cli.micrographs.names import (
    MICROGRAPH_SUFFIXES,
    MRC_SUFFIXES,
    PICTURE_SUFFIXES,
    TIFF_SUFFIXES,
    micrograph_suffix,
    without_micrograph_suffix,
)
from cryotx_cli.micrographs.picture import read_picture
from cryotx_cli.micrographs.tiff import open_tiff, read_tiff

__all__ = [
    "MAX_NON_FINITE_FRACTION",
    "MICROGRAPH_SUFFIXES",
    "MRC_SUFFIXES",
    "PICTURE_SUFFIXES",
    "TIFF_SUFFIXES",
    "Micrograph",
    "MicrographFile",
    "MicrographHeader",
    "find_micrographs",
    "read_header",
    "read_micrograph",
    "read_stored_pixels",
    "require_whole",
    "without_micrograph_suffix",
    "write_micrograph",
]

MAX_NON_FINITE_FRACTION = 0.1
"""A micrograph with a larger share of NaN or infinite pixels is refused; fewer are replaced by the median."""


@dataclass(frozen=True, eq=False)
class Micrograph:
    """One micrograph in memory.

    Parameters
    ----------
    image
        (height, width) float32, finite and not constant; row 0 is the first row that an MRC file stores.
    pixel_size
        Å per pixel.
    source
        The file it was read from, or what messages call it.
    """

    image: NDArray[np.float32]
    pixel_size: float
    source: Path

    @classmethod
    def of(cls, image: ArrayLike, pixel_size: float, name: str = "array") -> Micrograph:
        """Make a micrograph of an array, checked and mended as `read_micrograph` does with a file.

        Parameters
        ----------
        image
            (height, width), numbers of any real type; row 0 is the first row that an MRC file stores. It is copied.
        pixel_size
            Å per pixel.
        name
            What messages call it.

        Raises
        ------
        MicrographError
            If it is not a two-dimensional image with contrast, or the pixel size is not a positive number.
        """
        given, source = np.asarray(image), Path(name)
        if given.ndim != 2 or not given.size or given.dtype.kind not in "iuf":
            raise MicrographError(
                f"{name}: an array of shape {given.shape} and type {given.dtype} is not a micrograph",
                "Give real numbers of shape (height, width): one image at a time, movies summed.",
            )
        if not 0 < pixel_size < math.inf:
            raise MicrographError(f"{name}: a pixel size of {pixel_size} Å", "Give pixel_size in Å per pixel.")
        with np.errstate(over="ignore"):
            pixels = np.array(given, np.float32, order="C")
        _make_finite(pixels, source)
        _require_contrast(pixels, source)
        return cls(pixels, float(pixel_size), source)

    def negative(self) -> Micrograph:
        """Return it with every pixel times -1."""
        return replace(self, image=-self.image)

    def shrunk(self, factor: float) -> NDArray[np.float32]:
        """Return its pixels without hot and dead ones, rescaled so that each side is `factor` times as long."""
        from cryotx_cli.micrographs.image import clipped_and_rescaled

        return clipped_and_rescaled(self.image, factor)

    def without_pixels(self) -> Micrograph:
        """Return what says how large it is and takes no memory: every pixel is 0."""
        return replace(self, image=np.broadcast_to(np.float32(0), self.image.shape))

    def at_pixel_size(self, pixel_size: float) -> Micrograph:
        """Return the same field of view, rescaled to `pixel_size` Å per pixel."""
        from cryotx_cli.micrographs.image import rescale

        return Micrograph(rescale(self.image, self.pixel_size / pixel_size), pixel_size, self.source)


@dataclass(frozen=True)
class MicrographHeader:
    """Height and width in pixels, and Å per pixel as far as the file knows it (None: it does not)."""

    height: int
    width: int
    pixel_size: float | None


def read_micrograph(file: MicrographFile | str | Path, pixel_size: float | None = None) -> Micrograph:
    """Read a micrograph.

    Parameters
    ----------
    file
        MRC (plain, gzip or bzip2), TIFF, PNG or JPG.
    pixel_size
        Å per pixel as the user states it. It stands in where neither STAR file nor header knows (0 or exactly 1.0 in
        an MRC header; every PNG, JPG and TIFF file), and replaces theirs where it differs by more than 1 %.

    Returns
    -------
    Micrograph
        A few NaN or infinite pixels are replaced by the median.

    Raises
    ------
    MicrographError
        If the file is not one whole two-dimensional image with contrast, or its pixel size is not known.
    """
    if not isinstance(file, MicrographFile):
        file = MicrographFile(Path(file), str(file))
    path, in_header, whole_numbers = file.path, None, False
    with _explained(path):
        match _kind(path):
            case "mrc":
                stored, in_header = read_mrc(path)
                # One conversion at most: float32 in this machine's byte order comes through as it is.
                image = np.require(stored, np.float32, ["C", "A", "W"])
                whole_numbers = stored.dtype.kind in "iu"
            case "tiff":
                image = read_tiff(path)
            case "picture":
                image = read_picture(path)
        if not whole_numbers:
            _make_finite(image, path)
        _require_contrast(image, path)
    return Micrograph(image, pixel_size_of(file, in_header, pixel_size), path)


def read_header(path: str | Path) -> MicrographHeader:
    """Read the height, the width and the pixel size of a micrograph; of MRC and TIFF files without the pixels.

    Raises
    ------
    MicrographError
        If the file is not a single two-dimensional image.
    """
    path = Path(path)
    with _explained(path):
        match _kind(path):
            case "mrc":
                mrc = read_mrc_layout(path)
                return MicrographHeader(mrc.height, mrc.width, mrc.pixel_size)
            case "tiff":
                with open_tiff(path) as image:
                    return MicrographHeader(image.height, image.width, None)
            case "picture":
                height, width = read_picture(path).shape
                return MicrographHeader(height, width, None)


def require_whole(path: str | Path) -> None:
    """Check that a file holds all the pixels that its header promises; of plain MRC and of TIFF without reading them.

    Raises
    ------
    MicrographError
        If some are missing, or the file is not one two-dimensional image.
    """
    path = Path(path)
    with _explained(path):
        match _kind(path):
            case "mrc":
                mrc = read_mrc_layout(path)
                if mrc.compressed:
                    read_mrc(path)
                else:
                    require_all_bytes(mrc, path.stat().st_size)
            case "tiff":
                with open_tiff(path):
                    pass
            case "picture":
                read_picture(path)


# --- reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the system and the decompressors raise into a MicrographError that names the file."""
    try:
        yield
    except MemoryError as error:
        raise MicrographError(
            f"{path}: not enough memory to read it", "Free some, or pick on a machine with more."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise MicrographError(f"{path}: cannot be read: {reason}", "Copy or download it again.") from error


def _kind(path: Path) -> Literal["mrc", "tiff", "picture"]:
    if is_there(path) and path.is_dir():
        raise MicrographError(f"{path}: is a folder, not a micrograph", "Give it without a suffix, or its files.")
    if not is_there(path):
        reason = "no such file, but a link that leads nowhere" if os.path.islink(path) else "no such file"  # noqa: PTH114
        raise MicrographError(f"{path}: {reason}", "Check the path.")
    if not path.is_file():  # reading a pipe waits for its other end for ever
        raise MicrographError(f"{path}: a pipe or a device, not a file", "Save the micrograph as a file first.")
    suffix = micrograph_suffix(path)
    if suffix in MRC_SUFFIXES:
        return "mrc"
    if suffix in TIFF_SUFFIXES:
        return "tiff"
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    raise MicrographError(
        f"{path}: {path.suffix or 'a name without a suffix'} is not a micrograph format that cryotx reads",
        f"Files that can be read end in {', '.join(MICROGRAPH_SUFFIXES)}.",
    )


def pixel_size_of(file: MicrographFile, in_header: float | None, stated: float | None) -> float:
    """Return the pixel size in Å that counts, of those that list, header and user have stated.

    Raises
    ------
    MicrographError
        None of them has.
    """
    in_star = file.pixel_size if file.pixel_size and 0 < file.pixel_size < math.inf else None
    known = in_star or in_header
    if stated is not None and (known is None or abs(stated / known - 1) > 0.01):
        return stated
    if known is None:
        raise MicrographError(
            f"{file.path}: the file does not know its pixel size (0, 1.0, or one in x and another in y mean unknown)",
            "Give it in Å per pixel, for example --pixel-size 1.06",
        )
    return known


def _make_finite(image: NDArray[np.float32], path: Path) -> None:
    with np.errstate(all="ignore"):
        total = image.sum()
    if not np.isfinite(total):  # a NaN or an infinity, or finite pixels whose sum overflows
        finite = np.isfinite(image)
        share = 1 - finite.mean()
        if share > MAX_NON_FINITE_FRACTION:
            raise MicrographError(
                f"{path}: {share:.0%} of its pixels are NaN or infinite",
                "Look at what made it: motion correction failed.",
            )
        image[~finite] = np.median(image[finite])


def _require_contrast(image: NDArray[np.float32], path: Path) -> None:
    first = image.flat[0]
    # Real micrographs differ within their first pixels, so the whole image is seldom compared.
    if (image[0] == first).all() and (image == first).all():
        raise MicrographError(
            f"{path}: the image is constant, every pixel is {first:g}", "Leave it out, or copy or download it again."
        )


# --- pixels as stored, and writing -----------------------------------------------------------------------------------


def read_stored_pixels(file: MicrographFile | str | Path) -> tuple[NDArray[Any], float | None]:
    """Read the pixels of a micrograph without judging them, and its pixel size if it is known.

    Returns
    -------
    pixels
        (height, width), row 0 is the first row that an MRC file stores; of an MRC file in the type of number and the
        byte order of the file, otherwise float32.
    pixel_size
        Å per pixel from the STAR file or the header; None where neither knows it.

    Raises
    ------
    MicrographError
        If the file is not one whole two-dimensional image.
    """
    if not isinstance(file, MicrographFile):
        file = MicrographFile(Path(file), str(file))
    path, in_header = file.path, None
    pixels: NDArray[Any]
    with _explained(path):
        match _kind(path):
            case "mrc":
                pixels, in_header = read_mrc(path)
            case "tiff":
                pixels = read_tiff(path)
            case "picture":
                pixels = read_picture(path)
    return pixels, file.pixel_size or in_header


def write_micrograph(path: str | Path, image: NDArray[Any], pixel_size: float | None = None) -> None:
    """Write an image as MRC, PNG or JPG, whole or not at all; folders are made.

    Parameters
    ----------
    path
        Its suffix, ``.mrc``, ``.png`` or ``.jpg``, decides the format.
    image
        (height, width), rows as stored; of type uint8 for JPG, uint8 or uint16 for PNG. MRC has no unsigned bytes
        (mode 0 is signed, and half of the programs read it the other way): uint8 is written as int16, mode 1.
    pixel_size
        Å per pixel; goes into the header of an MRC file, None as 0, which means unknown.

    Raises
    ------
    MicrographError
        If the file cannot be written.
    """
    import cv2

    path = Path(path)
    try:
        with whole_path(path) as unfinished:
            if path.suffix == ".mrc":
                _write_mrc(unfinished, image, pixel_size)
            else:
                # Quality 100 keeps every grey level of a JPG within a few of the image's.
                quality = [cv2.IMWRITE_JPEG_QUALITY, 100] if path.suffix == ".jpg" else []
                cv2.imencode(path.suffix, image, quality)[1].tofile(unfinished)
    except OSError as error:
        reason = error.strerror or error
        raise MicrographError(f"{path}: cannot be written: {reason}", "Check the folder's rights and space.") from error


def _write_mrc(path: Path, image: NDArray[Any], pixel_size: float | None) -> None:
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(image.astype(np.int16) if image.dtype == np.uint8 else image)
        mrc.voxel_size = pixel_size or 0.0
        # The library's own label holds the time of day: the same pixels would give other bytes.
        mrc.header.label[:] = b""
        mrc.header.label[0], mrc.header.nlabl = b"cryotx", 1
