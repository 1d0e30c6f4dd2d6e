"""Micrographs: find them, read them from MRC, TIFF, PNG and JPG, and know their pixel size.

Rows stay in the order in which an MRC file stores them, row 0 first. TIFF stores the same micrograph the other way
up (as RELION, IMOD, EMAN2 and MotionCor2 read and write it), so TIFF rows are flipped on reading; PNG and JPG rows are
taken as stored. User files are only ever opened for reading.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import logging
import math
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import MicrographError

MRC_SUFFIXES = (".mrc", ".mrcs", ".mrc.gz", ".mrc.bz2", ".mrcs.gz", ".mrcs.bz2")
TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
MICROGRAPH_SUFFIXES = MRC_SUFFIXES + TIFF_SUFFIXES + PICTURE_SUFFIXES

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
        The file it was read from.
    """

    image: NDArray[np.float32]
    pixel_size: float
    source: Path

    def at_pixel_size(self, pixel_size: float) -> Micrograph:
        """Return the same field of view, rescaled to `pixel_size` Å per pixel."""
        from cryotx_cli.data.image import rescale

        return Micrograph(rescale(self.image, self.pixel_size / pixel_size), pixel_size, self.source)


@dataclass(frozen=True)
class MicrographFile:
    """What a folder, a pattern or a STAR file names, before it is read.

    Parameters
    ----------
    path
        The file.
    name
        The micrograph as the user or the STAR file named it; RELION compares it letter by letter.
    pixel_size
        Å per pixel from the STAR file's optics table; None where there is none.
    defocus
        Å of underfocus from the STAR file; None where it has none.
    """

    path: Path
    name: str
    pixel_size: float | None = None
    defocus: float | None = None


@dataclass(frozen=True)
class MicrographHeader:
    """Height and width in pixels, and Å per pixel as far as the file knows it (None: it does not)."""

    height: int
    width: int
    pixel_size: float | None


def find_micrographs(inputs: Sequence[str | Path]) -> list[MicrographFile]:
    """List the micrographs that files, folders, glob patterns and RELION micrographs STAR files name.

    Parameters
    ----------
    inputs
        A folder stands for every file with a known suffix in it and below it, hidden ones left out, in natural order
        (``m2`` before ``m10``). A PNG or JPG beside an MRC or TIFF file of the same stem is a preview of it and left
        out. A file that is named itself is listed whatever its suffix.

    Returns
    -------
    list of MicrographFile
        In the order of `inputs`, each file once.

    Raises
    ------
    MicrographError
        If an input does not exist, or nothing is found; the message says what was looked for.
    """
    found: dict[str, MicrographFile] = {}
    for given in inputs:
        for file in _expand(given):
            found.setdefault(os.path.realpath(file.path), file)
    if not found:
        looked_in = ", ".join(str(given) for given in inputs) or "nothing"
        raise MicrographError(
            f"no micrographs found in {looked_in}",
            f"Looked for files that end in {', '.join(MICROGRAPH_SUFFIXES)}, in folders and all folders below them.",
        )
    return list(found.values())


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
    path, in_header = file.path, None
    with _explained(path):
        match _kind(path):
            case "mrc":
                image, in_header = _read_mrc(path)
            case "tiff":
                image = _read_tiff(path)
            case "picture":
                image = _read_picture(path)
        image = _made_finite(image, path)
    return Micrograph(image, _pixel_size(file, in_header, pixel_size), path)


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
                with _open_mrc(path) as stream:
                    mrc = _mrc_layout(stream, path)
                return MicrographHeader(mrc.height, mrc.width, mrc.pixel_size)
            case "tiff":
                with _open_tiff(path) as series:
                    shape = dict(zip(series.axes, series.shape, strict=True))
                return MicrographHeader(shape["Y"], shape["X"], None)
            case "picture":
                height, width = _read_picture(path).shape
                return MicrographHeader(height, width, None)


def without_micrograph_suffix(name: str) -> str:
    """Return `name` without the suffix of a micrograph file: ``a.frames.mrc.gz`` becomes ``a.frames``."""
    longest = max((s for s in MICROGRAPH_SUFFIXES if name.lower().endswith(s)), key=len, default="")
    return name[: len(name) - len(longest)]


# --- finding ---------------------------------------------------------------------------------------------------------


def _suffix(path: Path) -> str:
    return path.name[len(without_micrograph_suffix(path.name)) :].lower()


def _natural(text: str) -> list[tuple[int, int, str]]:
    # Digits compare as numbers; the text itself breaks the tie between 01 and 1, so that the order is total.
    parts = re.split(r"(\d+)", text)
    return [(1, int(p), p) if p.isdecimal() and p.isascii() else (0, 0, p) for p in parts]


def _expand(given: str | Path) -> Iterator[MicrographFile]:
    path = Path(given)
    if path.is_dir():
        yield from _in_folder(path)
    elif path.suffix.lower() == ".star" and path.exists():
        yield from _in_star(path)
    elif path.exists():
        yield MicrographFile(path, str(path))
    else:
        # Path.glob refuses absolute patterns.
        matches = sorted(glob.glob(str(given), recursive=True), key=_natural)  # noqa: PTH207
        if not matches:
            raise MicrographError(
                f"{given}: no such file or folder, and no file matches it as a pattern", "Check the path."
            )
        wants_star = path.suffix.lower() == ".star"  # a pattern such as job*/* means micrographs, not lists of them
        for match in matches:
            if wants_star or Path(match).is_dir() or _suffix(Path(match)):
                yield from _expand(match)


def _in_folder(folder: Path) -> Iterator[MicrographFile]:
    def unreadable(error: OSError) -> None:
        raise MicrographError(f"{error.filename}: the folder cannot be read: {error.strerror}", "Check its rights.")

    paths: list[Path] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link back to a folder above would never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=_natural)
        paths += _without_previews([Path(parent, name) for name in names if not name.startswith(".")])
    for path in sorted(paths, key=lambda path: _natural(str(path))):
        yield MicrographFile(path, str(path))


def _without_previews(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the micrographs of one folder, without the PNG and JPG pictures of its MRC and TIFF files."""
    micrographs = [(path, _suffix(path)) for path in paths if _suffix(path)]
    originals = {without_micrograph_suffix(path.name) for path, kind in micrographs if kind not in PICTURE_SUFFIXES}
    for path, kind in micrographs:
        if kind not in PICTURE_SUFFIXES or without_micrograph_suffix(path.name) not in originals:
            yield path


def _in_star(star: Path) -> Iterator[MicrographFile]:
    from cryotx_cli.data.formats.star import read_defoci, read_micrographs_star

    listed, defoci = read_micrographs_star(star), read_defoci(star)
    for name, pixel_size in listed:
        yield MicrographFile(_resolve(name, star), name, pixel_size, defoci.get(name))


def _resolve(name: str, star: Path) -> Path:
    # RELION writes names relative to its project folder, in which Micrographs STAR files lie a few folders deep.
    folders = [Path(), *star.absolute().parents]
    return next((folder / name for folder in folders if (folder / name).exists()), Path(name))


# --- reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the system and the decompressors raise into a MicrographError that names the file."""
    try:
        yield
    except MemoryError as error:
        raise MicrographError(f"{path}: not enough memory to read it") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise MicrographError(f"{path}: cannot be read: {reason}") from error


def _kind(path: Path) -> Literal["mrc", "tiff", "picture"]:
    if path.is_dir():
        raise MicrographError(f"{path}: is a folder, not a micrograph")
    if not path.exists():
        raise MicrographError(f"{path}: no such file")
    suffix = _suffix(path)
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


def _pixel_size(file: MicrographFile, in_header: float | None, stated: float | None) -> float:
    in_star = file.pixel_size if file.pixel_size and 0 < file.pixel_size < math.inf else None
    known = in_star or in_header
    if stated is not None and (known is None or abs(stated / known - 1) > 0.01):
        return stated
    if known is None:
        raise MicrographError(
            f"{file.path}: the file does not know its pixel size (0 and 1.0 in a header mean unknown)",
            "Give it in Å per pixel, for example --pixel-size 1.06",
        )
    return known


def _made_finite(image: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):
        total = image.sum()
    if not np.isfinite(total):  # a NaN or an infinity, or finite pixels whose sum overflows
        finite = np.isfinite(image)
        share = 1 - finite.mean()
        if share > MAX_NON_FINITE_FRACTION:
            raise MicrographError(f"{path}: {share:.0%} of its pixels are NaN or infinite")
        image[~finite] = np.median(image[finite])
    first = image.flat[0]
    # Real micrographs differ within their first pixels, so the whole image is seldom compared.
    if (image[0] == first).all() and (image == first).all():
        raise MicrographError(f"{path}: the image is constant, every pixel is {first:g}")
    return image


# --- MRC (https://www.ccpem.ac.uk/mrc-format/mrc2014; signed bytes: https://bio3d.colorado.edu/imod/doc/mrc_format.txt)


_MRC_HEADER_BYTES = 1024
_IMOD_STAMP, _IMOD_SIGNED_BYTES = 1146047817, 1
_ERROR_PAGE = re.compile(rb"\s*<(\?xml|!doctype|html|error)", re.IGNORECASE)
_UNREADABLE_MODES = {
    3: "complex integers",
    4: "complex numbers (a Fourier transform)",
    16: "RGB colours",
    101: "packed 4-bit integers",
}


@dataclass(frozen=True)
class _MrcLayout:
    height: int
    width: int
    pixel_size: float | None
    dtype: np.dtype[Any]
    offset: int

    @property
    def data_bytes(self) -> int:
        return self.height * self.width * self.dtype.itemsize


def _open_mrc(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        magic = file.read(3)
    # The content decides: compressed files are found under plain names and the reverse.
    if magic == b"\x1f\x8b\x08":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return bz2.open(path, "rb") if magic == b"BZh" else path.open("rb")


def _mrc_layout(stream: IO[bytes], path: Path) -> _MrcLayout:
    raw = stream.read(_MRC_HEADER_BYTES)
    if _ERROR_PAGE.match(raw):
        raise MicrographError(f"{path}: holds an XML or HTML page, not an image", "Download it again.")
    if len(raw) < _MRC_HEADER_BYTES:
        raise MicrographError(f"{path}: truncated: {len(raw)} bytes are less than an MRC header")
    header = _mrc_header(raw)
    width, height, sections, mode = int(header.nx), int(header.ny), int(header.nz), int(header.mode)
    if not _is_plausible(header):
        raise MicrographError(f"{path}: not an MRC file: its header says {width} x {height} x {sections}, mode {mode}")
    if mode in _UNREADABLE_MODES:
        raise MicrographError(f"{path}: MRC mode {mode} holds {_UNREADABLE_MODES[mode]}, which cannot be picked")
    if sections > 1:
        raise MicrographError(
            f"{path}: a stack, movie or volume of {sections} sections, not one micrograph",
            "Movies must be aligned and averaged first.",
        )
    unsigned_bytes = mode == 0 and _has_unsigned_bytes(header)
    dtype = np.dtype(np.uint8) if unsigned_bytes else mrcfile.utils.data_dtype_from_header(header)
    return _MrcLayout(height, width, _voxel_size(header), dtype, _MRC_HEADER_BYTES + int(header.nsymbt))


def _mrc_header(raw: bytes) -> Any:
    """Read the header in the byte order that makes sense of it; the machine stamp is often wrong or missing."""
    little, big = (
        np.frombuffer(raw, dtype).reshape(()).view(np.recarray)
        for dtype in (mrcfile.dtypes.HEADER_DTYPE.newbyteorder("<"), mrcfile.dtypes.HEADER_DTYPE.newbyteorder(">"))
    )
    first, second = (big, little) if raw[212] == 0x11 else (little, big)
    return second if _is_plausible(second) and not _is_plausible(first) else first


def _is_plausible(header: Any) -> bool:
    known_mode = int(header.mode) in (0, 1, 2, 6, 12, *_UNREADABLE_MODES)
    return bool(known_mode and min(header.nx, header.ny, header.nz) > 0 and header.nsymbt >= 0)


def _voxel_size(header: Any) -> float | None:
    voxel = float(header.cella.x) / int(header.mx) if header.mx > 0 else 0.0
    # Programs that do not know it write 1.0: no microscope is set to exactly that.
    return voxel if 0 < voxel < math.inf and abs(voxel - 1) > 1e-6 else None


def _has_unsigned_bytes(header: Any) -> bool:
    # Only IMOD says in the header which one it wrote (words 39 and 40); the specification of mode 0 is signed.
    words = np.frombuffer(bytes(header.extra2), header.nx.dtype, count=2, offset=40)
    return bool(words[0] == _IMOD_STAMP and not words[1] & _IMOD_SIGNED_BYTES)


def _read_mrc(path: Path) -> tuple[NDArray[np.float32], float | None]:
    stored, pixel_size = _read_mrc_as_stored(path)
    # One conversion at most: float32 in this machine's byte order comes through as it is.
    return np.require(stored, np.float32, ["C", "A", "W"]), pixel_size


def _read_mrc_as_stored(path: Path) -> tuple[NDArray[Any], float | None]:
    with _open_mrc(path) as stream:
        mrc = _mrc_layout(stream, path)
        needed = mrc.offset + mrc.data_bytes
        compressed = isinstance(stream, (gzip.GzipFile, bz2.BZ2File))
        body = _read_at_most(stream, needed - _MRC_HEADER_BYTES) if compressed else bytearray()
    available = _MRC_HEADER_BYTES + len(body) if compressed else path.stat().st_size
    # Checked before the pixels are given memory: the header of a damaged file may promise anything.
    if available < needed:
        raise MicrographError(
            f"{path}: truncated: {mrc.width} x {mrc.height} pixels of {mrc.dtype.name} need {needed} bytes, "
            f"the file has {available}",
            "Copy or download it again.",
        )
    if compressed:
        stored = np.frombuffer(body, mrc.dtype, offset=mrc.offset - _MRC_HEADER_BYTES)
    else:
        stored = np.fromfile(path, mrc.dtype, count=mrc.height * mrc.width, offset=mrc.offset)
    if _ERROR_PAGE.match(stored[:64].tobytes()):
        raise MicrographError(f"{path}: holds an XML or HTML page behind its MRC header", "Download it again.")
    return stored.reshape(mrc.height, mrc.width), mrc.pixel_size


def _read_at_most(stream: IO[bytes], count: int) -> bytearray:
    body = bytearray()
    while len(body) < count and (chunk := stream.read(min(count - len(body), 1 << 24))):
        body += chunk
    while stream.read(1 << 24):  # an archive's checksum is compared at its very end
        pass
    return body


# --- TIFF, PNG and JPG -----------------------------------------------------------------------------------------------


# tifffile logs every oddity of a file; where nobody listens Python would print that to the terminal.
_UNHEARD = logging.NullHandler()


@contextmanager
def _open_tiff(path: Path) -> Iterator[Any]:
    """Yield the only image of a TIFF file as a tifffile series."""
    import tifffile

    logging.getLogger("tifffile").addHandler(_UNHEARD)
    try:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            sections = math.prod(n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXS")
            if sections != 1 or len(tiff.series) > 1:
                raise MicrographError(
                    f"{path}: a stack or movie of {max(sections, len(tiff.series))} images, not one micrograph",
                    "Movies must be aligned and averaged first.",
                )
            ends = [
                o + n
                for page in series.pages
                if page
                for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
            if max(ends) > tiff.filehandle.size:
                raise MicrographError(
                    f"{path}: truncated: its pixels reach to byte {max(ends)}, the file has {tiff.filehandle.size}"
                )
            yield series
    except (tifffile.TiffFileError, ValueError, LookupError, struct.error) as error:
        raise MicrographError(f"{path}: cannot be read as TIFF: {error}") from error


def _read_tiff(path: Path) -> NDArray[np.float32]:
    with _open_tiff(path) as series:
        axes = series.axes
        try:
            pixels = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):  # the package that tifffile wants for LZW; OpenCV has its own decoder
                raise
            return np.ascontiguousarray(_decoded(np.fromfile(path, np.uint8), path)[::-1])
    if pixels.dtype.kind not in "biuf":
        raise MicrographError(f"{path}: TIFF pixels of type {pixels.dtype} are not a micrograph that can be read")
    if "S" in axes:
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
    height, width = (series.shape[axes.index(axis)] for axis in "YX")
    return np.ascontiguousarray(_grey(pixels.reshape(height, width, -1))[::-1])


def _read_picture(path: Path) -> NDArray[np.float32]:
    content = np.fromfile(path, np.uint8)
    end_mark = b"IEND" if content[:4].tobytes() == b"\x89PNG" else b"\xff\xd9"
    # Decoders fill what is missing with grey and only print a warning, so the end mark is looked for first.
    if end_mark not in content[-4096:].tobytes():
        raise MicrographError(
            f"{path}: truncated, or not a PNG or JPG picture: {content.size} bytes without an end mark"
        )
    return _decoded(content, path)


def _decoded(content: NDArray[np.uint8], path: Path) -> NDArray[np.float32]:
    import cv2

    try:
        pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MicrographError(f"{path}: cannot be decoded: {error.err}") from error
    if pixels is None:
        raise MicrographError(f"{path}: not a picture that can be decoded")
    channels = pixels.reshape(*pixels.shape[:2], -1)
    return _grey(channels[..., 2::-1] if channels.shape[2] >= 3 else channels)  # OpenCV decodes to blue, green, red


def _grey(channels: NDArray[Any]) -> NDArray[np.float32]:
    """Luminance of (height, width, channels); transparency is left out."""
    first = channels[..., 0]
    if channels.shape[2] < 3 or ((first == channels[..., 1]).all() and (first == channels[..., 2]).all()):
        return np.require(first, np.float32, ["C", "A", "W"])
    # ITU-R BT.601, the weights of every common converter.
    return np.ascontiguousarray(channels[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))


def read_volume(path: str | Path) -> tuple[NDArray[np.float32], float]:
    """Read a density map from an MRC file, also gzip or bzip2 compressed.

    Returns
    -------
    volume, voxel
        (depth, height, width) density and the voxel size in Å.

    Raises
    ------
    ValueError
        If the file is no map or its header has no voxel size.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # permissive reading announces every oddity of a header
        with mrcfile.open(path, permissive=True) as mrc:
            if mrc.data is None or mrc.data.ndim != 3:
                raise ValueError("not a density map")
            voxel = float(mrc.voxel_size.x)
            if not voxel > 0:
                raise ValueError("no voxel size in its header")
            return np.asarray(mrc.data, np.float32), voxel


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
                pixels, in_header = _read_mrc_as_stored(path)
            case "tiff":
                pixels = _read_tiff(path)
            case "picture":
                pixels = _read_picture(path)
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
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".mrc":
            with mrcfile.new(unfinished, overwrite=True) as mrc:
                mrc.set_data(image.astype(np.int16) if image.dtype == np.uint8 else image)
                mrc.voxel_size = pixel_size or 0.0
                # The library's own label holds the time of day: the same pixels would give other bytes.
                mrc.header.label[:] = b""
                mrc.header.label[0], mrc.header.nlabl = b"cryotx", 1
        else:
            # Quality 100 keeps every grey level of a JPG within a few of the image's.
            quality = [cv2.IMWRITE_JPEG_QUALITY, 100] if path.suffix == ".jpg" else []
            cv2.imencode(path.suffix, image, quality)[1].tofile(unfinished)
        unfinished.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise MicrographError(f"{path}: cannot be written: {reason}", "Check the folder's rights and space.") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
