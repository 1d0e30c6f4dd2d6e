"""MRC files, plain or compressed: where the pixels lie in the file and what they are.

The format: https://www.ccpem.ac.uk/mrc-format/mrc2014; signed bytes: https://bio3d.colorado.edu/imod/doc/mrc_format.txt.
"""

from __future__ import annotations

import bz2
import gzip
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.limits import require_sensible_expansion, require_sensible_size

_HEADER_BYTES = 1024
_IMOD_STAMP, _IMOD_SIGNED_BYTES = 1146047817, 1
_ERROR_PAGE = re.compile(rb"\s*<(\?xml|!doctype|html|error)", re.IGNORECASE)
_CHUNK = 1 << 22
_DTYPES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16}
_UNREADABLE_MODES = {
    3: "complex integers",
    4: "complex numbers (a Fourier transform)",
    16: "RGB colours",
    101: "packed 4-bit integers",
}


@dataclass(frozen=True)
class MrcLayout:
    """Where the pixels of an MRC file lie.

    Parameters
    ----------
    path
        The file.
    height, width
        In pixels.
    pixel_size
        Å; None where the header does not know it.
    dtype
        Of one pixel, in the byte order of the file.
    offset
        Of the first pixel, in bytes after unpacking.
    compressed
        Whether the file is a gzip or bzip2 archive.
    """

    path: Path
    height: int
    width: int
    pixel_size: float | None
    dtype: np.dtype[Any]
    offset: int
    compressed: bool

    @property
    def data_bytes(self) -> int:
        """How many bytes the pixels need."""
        return self.height * self.width * self.dtype.itemsize


def read_mrc_layout(path: Path) -> MrcLayout:
    """Read the header.

    Raises
    ------
    MicrographError
        If it is not that of one two-dimensional image of real numbers.
    OSError, EOFError, zlib.error
        If the file or the archive cannot be read.
    """
    with _opened(path) as stream:
        return _layout(stream, path)


def read_mrc(path: Path) -> tuple[NDArray[Any], float | None]:
    """Read the pixels as they are stored, (height, width), and the Å per pixel if the header knows it.

    Raises
    ------
    MicrographError
        If it is not one whole two-dimensional image of real numbers.
    OSError, EOFError, zlib.error
        If the file or the archive cannot be read.
    """
    with _opened(path) as stream:
        mrc = _layout(stream, path)
        if mrc.compressed:
            stored = np.frombuffer(_unpacked(stream, mrc), mrc.dtype)
        else:
            # Checked before the pixels are given memory: the header of a damaged file may promise anything.
            require_all_bytes(mrc, path.stat().st_size)
            require_sensible_size(path, mrc.height, mrc.width)
            stored = np.fromfile(path, mrc.dtype, count=mrc.height * mrc.width, offset=mrc.offset)
    # Counted again: the file may have been cut short since.
    require_all_bytes(mrc, mrc.offset + stored.nbytes)
    require_no_page(path, stored[:64].tobytes())
    return stored.reshape(mrc.height, mrc.width), mrc.pixel_size


def promised_bytes(path: Path) -> tuple[int, bool]:
    """Return how many bytes a file has after unpacking if its header is right, and whether it is compressed.

    Unlike `read_mrc_layout` it takes stacks and volumes.

    Raises
    ------
    ValueError
        If it has no header of numbers that are real.
    OSError, EOFError, zlib.error
        If the file or the archive cannot be read.
    """
    with _opened(path) as stream:
        raw, compressed = stream.read(_HEADER_BYTES), isinstance(stream, (gzip.GzipFile, bz2.BZ2File))
    header = _header(raw) if len(raw) == _HEADER_BYTES else None
    if header is None or not header.is_plausible or header.mode in _UNREADABLE_MODES:
        raise ValueError("no MRC header of real numbers")
    data = header.nx * header.ny * header.nz * header.dtype.itemsize
    return _HEADER_BYTES + header.nsymbt + data, compressed


def require_no_page(path: Path, stored: bytes) -> None:
    """Refuse a file whose first stored bytes are text of a web server.

    Raises
    ------
    MicrographError
        If they are.
    """
    if _ERROR_PAGE.match(stored):
        raise MicrographError(f"{path}: holds an XML or HTML page behind its MRC header", "Download it again.")


def require_all_bytes(mrc: MrcLayout, available: int) -> None:
    """Refuse a file of fewer bytes than its header promises.

    Raises
    ------
    MicrographError
        If some are missing.
    """
    needed = mrc.offset + mrc.data_bytes
    if available < needed:
        raise MicrographError(
            f"{mrc.path}: truncated: {mrc.width} x {mrc.height} pixels of {mrc.dtype.name} need {needed} bytes, "
            f"the file has {available}",
            "Copy or download it again.",
        )


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        magic = file.read(3)
    # The content decides: compressed files are found under plain names and the reverse.
    if magic == b"\x1f\x8b\x08":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return bz2.open(path, "rb") if magic == b"BZh" else path.open("rb")


def _layout(stream: IO[bytes], path: Path) -> MrcLayout:
    raw = stream.read(_HEADER_BYTES)
    if _ERROR_PAGE.match(raw):
        raise MicrographError(f"{path}: holds an XML or HTML page, not an image", "Download it again.")
    if len(raw) < _HEADER_BYTES:
        raise MicrographError(
            f"{path}: truncated: {len(raw)} bytes are less than an MRC header", "Copy or download it again."
        )
    header = _header(raw)
    if not header.is_plausible:
        shape = f"{header.nx} x {header.ny} x {header.nz}"
        raise MicrographError(
            f"{path}: not an MRC file: its header says {shape}, mode {header.mode}",
            "Check that the file is what its name says, and that it was copied whole.",
        )
    if header.mode in _UNREADABLE_MODES:
        raise MicrographError(
            f"{path}: MRC mode {header.mode} holds {_UNREADABLE_MODES[header.mode]}, which cannot be picked",
            "Convert it to mode 2, 32-bit real numbers.",
        )
    if header.nz > 1:
        raise MicrographError(
            f"{path}: a stack, movie or volume of {header.nz} sections, not one micrograph",
            "Movies must be aligned and averaged first.",
        )
    compressed = isinstance(stream, (gzip.GzipFile, bz2.BZ2File))
    offset = _HEADER_BYTES + header.nsymbt
    mrc = MrcLayout(path, header.ny, header.nx, header.voxel_size, header.dtype, offset, compressed)
    if compressed:
        require_sensible_size(path, mrc.height, mrc.width)
        require_sensible_expansion(path, mrc.offset + mrc.data_bytes, path.stat().st_size)
    return mrc


@dataclass(frozen=True)
class _Header:
    """The words of the header that matter, in the byte order ``<`` or ``>``."""

    raw: bytes
    order: Literal["<", ">"]

    def _integer(self, offset: int) -> int:
        (value,) = struct.unpack_from(f"{self.order}i", self.raw, offset)
        return int(value)

    @property
    def nx(self) -> int:
        return self._integer(0)

    @property
    def ny(self) -> int:
        return self._integer(4)

    @property
    def nz(self) -> int:
        return self._integer(8)

    @property
    def mode(self) -> int:
        return self._integer(12)

    @property
    def nsymbt(self) -> int:
        return self._integer(92)

    @property
    def is_plausible(self) -> bool:
        known_mode = self.mode in _DTYPES or self.mode in _UNREADABLE_MODES
        return known_mode and min(self.nx, self.ny, self.nz) > 0 and self.nsymbt >= 0

    @property
    def voxel_size(self) -> float | None:
        voxel, along_y = self._voxel_size(0), self._voxel_size(1)
        if voxel is not None and along_y is not None and not 0.99 < voxel / along_y < 1.01:
            return None  # cells and sides exchanged, or numbers of another image: one of the two is wrong
        return voxel

    def _voxel_size(self, axis: Literal[0, 1]) -> float | None:
        cells = self._integer(28 + 4 * axis)
        length = float(struct.unpack_from(f"{self.order}f", self.raw, 40 + 4 * axis)[0])
        voxel = length / cells if cells > 0 else 0.0
        # Programs that do not know it write 1.0: no microscope is set to exactly that.
        return voxel if 0 < voxel < math.inf and abs(voxel - 1) > 1e-6 else None

    @property
    def dtype(self) -> np.dtype[Any]:
        # Only IMOD says in the header which one it wrote (words 39 and 40); the specification of mode 0 is signed.
        stamp, flags = self._integer(152), self._integer(156)
        unsigned = self.mode == 0 and stamp == _IMOD_STAMP and not flags & _IMOD_SIGNED_BYTES
        return np.dtype(np.uint8 if unsigned else _DTYPES[self.mode]).newbyteorder(self.order)


def _header(raw: bytes) -> _Header:
    """Read the header in the byte order that makes sense of it; the machine stamp is often wrong or missing."""
    little, big = _Header(raw, "<"), _Header(raw, ">")
    first, second = (big, little) if raw[212] == 0x11 else (little, big)
    return second if second.is_plausible and not first.is_plausible else first


def _unpacked(stream: IO[bytes], mrc: MrcLayout) -> bytearray:
    """Unpack the pixels of an archive behind its header, and nothing that is not needed."""
    skipped = _skip(stream, mrc.offset - _HEADER_BYTES)
    body = bytearray()
    while len(body) < mrc.data_bytes and (chunk := stream.read(min(mrc.data_bytes - len(body), _CHUNK))):
        body += chunk
    require_all_bytes(mrc, _HEADER_BYTES + skipped + len(body))
    # An archive's checksum is compared at its very end, but what unpacks without end has none.
    surplus_limit = mrc.data_bytes + _CHUNK
    if _skip(stream, surplus_limit) == surplus_limit:
        raise MicrographError(
            f"{mrc.path}: unpacks to more than twice what its header promises, {mrc.width} x {mrc.height} pixels of "
            f"{mrc.dtype.name}",
            "Unpack it by hand and check what it is.",
        )
    return body


def _skip(stream: IO[bytes], count: int) -> int:
    """Read up to `count` bytes and forget them; return how many there were."""
    skipped = 0
    while skipped < count and (chunk := stream.read(min(count - skipped, _CHUNK))):
        skipped += len(chunk)
    return skipped
