"""A micrograph read from top to bottom, a band of rows at a time: it never lies in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.find import MicrographFile
from cryotx_cli.micrographs.limits import require_sensible_size
from cryotx_cli.micrographs.micrograph import read_micrograph
from cryotx_cli.micrographs.mrc import MrcLayout, read_mrc_layout, require_all_bytes
from cryotx_cli.micrographs.names import MRC_SUFFIXES, micrograph_suffix

_SAMPLED_ROWS = 96
_ANY_PIXEL_SIZE = 2.0  # where only grey levels are wanted


@dataclass(frozen=True, eq=False)
class Bands:
    """The rows of one micrograph, row 0 first.

    Parameters
    ----------
    path
        The file.
    height, width
        In pixels.
    """

    path: Path
    height: int
    width: int
    _layout: MrcLayout | None
    _pixels: NDArray[np.float32] | None

    def rows(self, band: int) -> Iterator[NDArray[np.float32]]:
        """Yield bands of so many rows, the last one may have fewer; each is valid until the next one is asked for.

        Raises
        ------
        MicrographError
            The file has become shorter, or cannot be read.
        """
        if self._pixels is not None:
            yield from (self._pixels[first : first + band] for first in range(0, self.height, band))
            return
        yield from (self._stored(first, min(band, self.height - first)) for first in range(0, self.height, band))

    def sample(self) -> NDArray[np.float32]:
        """Return some of the rows, spread over the micrograph.

        Raises
        ------
        MicrographError
            The file has become shorter, or cannot be read.
        """
        chosen = np.unique(np.linspace(0, self.height - 1, _SAMPLED_ROWS).astype(int))
        if self._pixels is not None:
            return np.asarray(self._pixels[chosen])
        return np.concatenate([self._stored(int(row), 1) for row in chosen])

    def _stored(self, first: int, count: int) -> NDArray[np.float32]:
        assert self._layout is not None
        mrc = self._layout
        # Read, not mapped: a mapped file that somebody cuts short ends the process.
        offset = mrc.offset + first * self.width * mrc.dtype.itemsize
        try:
            stored = np.fromfile(self.path, mrc.dtype, count * self.width, offset=offset)
        except OSError as error:
            raise MicrographError(
                f"{self.path}: cannot be read: {error.strerror or error}", "Copy it again."
            ) from error
        if stored.size < count * self.width:
            raise MicrographError(f"{self.path}: truncated while it was read", "Copy or download it again.")
        return np.require(stored.reshape(count, self.width), np.float32, ["C", "A"])


def open_bands(path: Path) -> Bands:
    """Open a micrograph of any format; of a plain MRC file only the header is read.

    Raises
    ------
    MicrographError
        It is not one whole two-dimensional image.
    """
    if micrograph_suffix(path) in MRC_SUFFIXES and path.is_file():
        try:
            mrc = read_mrc_layout(path)
            if not mrc.compressed:
                require_all_bytes(mrc, path.stat().st_size)
                require_sensible_size(path, mrc.height, mrc.width)
                return Bands(path, mrc.height, mrc.width, mrc, None)
        except OSError as error:
            raise MicrographError(f"{path}: cannot be read: {error.strerror or error}", "Copy it again.") from error
    image = read_micrograph(MicrographFile(path, str(path), _ANY_PIXEL_SIZE)).image
    return Bands(path, image.shape[0], image.shape[1], None, image)
