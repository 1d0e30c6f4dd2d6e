"""A micrograph whose pixels stay in its file until it is shrunk: read once, from top to bottom, a band at a time.

So it never lies in memory as a whole, and what has to be known of all its bytes is found while each band is in the
processor's cache. It gives the same numbers as a micrograph that is read.
"""

from __future__ import annotations

import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.decoy import noise_seed, seeding_rows
from cryotx_cli.micrographs.find import MicrographFile
from cryotx_cli.micrographs.image import SAMPLED, averaged, is_sampled, outlier_limits, shrinks
from cryotx_cli.micrographs.limits import require_sensible_size
from cryotx_cli.micrographs.micrograph import Micrograph, pixel_size_of, read_micrograph
from cryotx_cli.micrographs.mrc import MrcLayout, read_mrc_layout, require_all_bytes, require_no_page
from cryotx_cli.micrographs.names import MRC_SUFFIXES, micrograph_suffix

_BAND = 1 << 20  # bytes


def open_micrograph(file: MicrographFile, pixel_size: float | None = None) -> Micrograph:
    """Open a micrograph: of a large plain MRC file only the header is read, anything else is read as a whole.

    Parameters
    ----------
    file, pixel_size
        As `read_micrograph` takes them.

    Raises
    ------
    MicrographError
        It cannot be read; what is wrong with its pixels may show later.
    """
    if micrograph_suffix(file.path) in MRC_SUFFIXES and file.path.is_file():
        with suppress(MicrographError, OSError, EOFError, zlib.error):  # reading all of it says what is wrong
            mrc = read_mrc_layout(file.path)
            if not mrc.compressed and is_sampled((mrc.height, mrc.width)):
                require_all_bytes(mrc, file.path.stat().st_size)
                require_sensible_size(file.path, mrc.height, mrc.width)
                known = pixel_size_of(file, mrc.pixel_size, pixel_size)
                nothing = np.broadcast_to(np.float32(0), (mrc.height, mrc.width))
                return UnreadMicrograph(nothing, known, file.path, mrc, file)
    return read_micrograph(file, pixel_size)


def seed_of(micrograph: Micrograph) -> int:
    """Return what `noise_seed` does for a micrograph as it was recorded, which has been `shrunk` if it was not read."""
    if isinstance(micrograph, UnreadMicrograph):
        assert micrograph.passed.seed is not None
        return micrograph.passed.seed
    return noise_seed(micrograph.image)


@dataclass
class Passed:
    """What was seen of a file in passing; None where it was not read.

    Parameters
    ----------
    checksum
        CRC-32 of all its bytes.
    seed
        What `noise_seed` returns for its pixels.
    seconds
        That reading took.
    """

    checksum: int | None = None
    seed: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class UnreadMicrograph(Micrograph):
    """A micrograph of a plain MRC file; `image` has its shape, and every pixel is 0.

    Parameters
    ----------
    layout
        Where the pixels lie.
    file
        What it was found as.
    sign
        -1 if all pixels are to be turned to their negative.
    passed
        What is known once it has been `shrunk`.
    """

    layout: MrcLayout
    file: MicrographFile
    sign: int = 1
    passed: Passed = field(default_factory=Passed)

    def negative(self) -> Micrograph:  # noqa: D102
        return replace(self, sign=-self.sign)

    def without_pixels(self) -> Micrograph:  # noqa: D102
        return Micrograph(self.image, self.pixel_size, self.source)

    def read(self) -> Micrograph:
        """Read all of it.

        Raises
        ------
        MicrographError
            It is not one whole image with contrast.
        """
        started = time.perf_counter()
        micrograph = read_micrograph(self.file, self.pixel_size)
        self.passed.seconds += time.perf_counter() - started
        self.passed.seed = noise_seed(micrograph.image)
        return micrograph if self.sign > 0 else micrograph.negative()

    def shrunk(self, factor: float) -> NDArray[np.float32]:
        """Do what a micrograph does that has been read.

        Raises
        ------
        MicrographError
            It is not one whole image with contrast.
        """
        if shrinks(self.image.shape, factor):
            # What is no plain numbers, or has been cut short, is read as a whole, which mends it or says why not.
            with suppress(MicrographError, OSError, _NotPlainError), self.source.open("rb", buffering=0) as stream:
                image = self._shrunk(stream, factor)
                return image if self.sign > 0 else -image
        return self.read().shrunk(factor)

    def _shrunk(self, stream: IO[bytes], factor: float) -> NDArray[np.float32]:
        rows = _PassingRows(stream, self.layout)
        sample = rows.sample()
        if not np.isfinite(sample).all():
            raise _NotPlainError
        limits = outlier_limits(sample)
        image = averaged(rows, self.image.shape, factor, limits)
        rows.finish()
        self.passed.checksum, self.passed.seed, self.passed.seconds = rows.checksum, rows.seed, rows.seconds
        return image


class _NotPlainError(Exception):
    """The pixels are not all finite numbers, or there may be no contrast."""


class _PassingRows:
    """The rows of a plain MRC file, asked for from top to bottom; some of those before may be asked for again.

    Attributes
    ----------
    checksum, seed, seconds
        As `Passed` has them, of what has passed so far.
    """

    def __init__(self, stream: IO[bytes], layout: MrcLayout) -> None:
        self.checksum = self.seed = 0
        self.seconds = 0.0
        self._stream, self._mrc = stream, layout
        self._band = max(1, _BAND // (layout.width * layout.dtype.itemsize))
        self._room = self._band  # rows kept before those of the newest band
        self._memory = np.empty((self._room + self._band, layout.width), np.float32)
        self._begin = self._end = 0  # the numbers of the rows in the newest band

    def sample(self) -> NDArray[np.float32]:
        """Return every eighth pixel of every eighth row, and go back to the beginning of the file."""
        mrc, row_bytes = self._mrc, self._mrc.width * self._mrc.dtype.itemsize
        found = np.empty((-(-mrc.height // SAMPLED), -(-mrc.width // SAMPLED)), np.float32)
        row = np.empty(mrc.width, mrc.dtype)
        for number, out in enumerate(found):
            self._stream.seek(mrc.offset + number * SAMPLED * row_bytes)
            self._fill(row)
            out[:] = row[::SAMPLED]
        self._stream.seek(0)
        self.checksum = zlib.crc32(self._stream.read(mrc.offset))
        return found

    def __call__(self, first: int, last: int) -> NDArray[np.float32]:
        """Return rows from the first to before the last one; they are valid until the next ones are asked for."""
        while self._end < last:
            self._advance(first)
        top = self._room - self._begin
        return self._memory[top + first : top + last]

    def finish(self) -> None:
        """Read what lies behind the pixels."""
        while rest := self._stream.read(_BAND):
            self.checksum = zlib.crc32(rest, self.checksum)

    def _advance(self, first: int) -> None:
        """Read the next band, and keep of the rows before it those from this one on."""
        self._keep(self._end - first)
        self._begin, self._end = self._end, min(self._end + self._band, self._mrc.height)
        band = self._memory[self._room : self._room + self._end - self._begin]
        # What is stored as the numbers of this machine is read to where it stays.
        stored = band if self._mrc.dtype == band.dtype else np.empty(band.shape, self._mrc.dtype)
        self._fill(stored)
        if stored is not band:
            band[:] = stored
        self.checksum = zlib.crc32(memoryview(_bytes_of(stored)), self.checksum)
        if self._begin == 0:
            require_no_page(self._mrc.path, stored.ravel()[:64].tobytes())
        with np.errstate(all="ignore"):
            is_finite = np.isfinite(band.sum())
        if not is_finite or (self._begin == 0 and (band[0] == band[0, 0]).all()):
            raise _NotPlainError
        step = seeding_rows(self._mrc.height)
        for row in band[-self._begin % step :: step]:
            self.seed = zlib.crc32(row.astype("<f4").tobytes(), self.seed)

    def _keep(self, count: int) -> None:
        """Move the last rows to where they are before the next band."""
        last = self._room + self._end - self._begin
        kept = self._memory[last - count : last]
        if count > self._room:
            self._room = count
            self._memory = np.empty((count + self._band, self._mrc.width), np.float32)
        self._memory[self._room - count : self._room] = kept

    def _fill(self, out: NDArray[Any]) -> None:
        """Read as many bytes as there is room for."""
        started = time.perf_counter()
        room = memoryview(_bytes_of(out))
        while room:
            count = self._stream.readinto(room)  # type: ignore[attr-defined]
            if not count:
                raise _NotPlainError
            room = room[count:]
        self.seconds += time.perf_counter() - started


def _bytes_of(numbers: NDArray[Any]) -> Any:
    return numbers.view(np.uint8).reshape(-1)
