"""Broken, odd and hostile files, each with what reading it has to give: the right pixels or picks, or a reason."""

import bz2
import gzip
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hostile.valid_files import (
    BOX,
    CENTRES,
    CSV,
    EMAN,
    FLOATS,
    IMAGE,
    MRC,
    STAR,
    TABLES,
    cs_rows,
    lzw_tiff_bytes,
    mrc_bytes,
    npy_bytes,
    picture_bytes,
    tiff_bytes,
)

PAGE = b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>'
BOMB_BYTES = 1 << 28
SHORT = {"mics/a.mrc": [[1.0, 2.0]]}


@dataclass(frozen=True)
class Odd:
    """One file: what is in it, and what it gives (an image, picks by micrograph, or the pattern of an error)."""

    name: str
    content: bytes
    expected: Any
    suffix: str


def with_words(content: bytes, order: str = "<i", **words: int) -> bytes:
    changed = bytearray(content)
    for offset, value in words.items():
        struct.pack_into(order, changed, int(offset.removeprefix("at_")), value)
    return bytes(changed)


def zeros_gz(head: bytes, count: int) -> bytes:
    """An archive of `head` and `count` zeros, a thousandth of their size, made piece by piece."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces = [packer.compress(head)]
    pieces += [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join([*pieces, packer.flush()])


def raw_tiff(width, height, segments, bits=8, compression=1, kind=1, tile=None, rows=None, samples=1):
    """A little-endian TIFF 6.0 of one image that claims what it is told to."""
    offsets = np.cumsum([8, *map(len, segments)])[:-1].tolist()
    counts = list(map(len, segments))
    tags = {256: width, 257: height, 258: bits, 259: compression, 262: 1, 277: samples, 339: kind}
    tags |= (
        {322: tile, 323: tile, 324: offsets, 325: counts} if tile else {273: offsets, 278: rows or height, 279: counts}
    )
    body = b"".join(segments)
    body += bytes(len(body) % 2)
    directory, extra = b"", b""
    extra_at = 8 + len(body) + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, list) else [value]
        packed = struct.pack(f"<{len(values)}I", *values)
        directory += struct.pack("<HHI", tag, 4, len(values))
        directory += packed if len(packed) == 4 else struct.pack("<I", extra_at + len(extra))
        extra += packed if len(packed) > 4 else b""
    return (
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + directory + bytes(4) + extra
    )


def lzw(values: bytes) -> bytes:
    """LZW without any compression: a clear code before the codes grow beyond nine bits."""
    codes = []
    for start in range(0, len(values), 200):
        codes += [256, *values[start : start + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def tiles(image, side, pack):
    height, width = image.shape
    padded = np.pad(image, ((0, -height % side), (0, -width % side)))
    starts = [(y, x) for y in range(0, height, side) for x in range(0, width, side)]
    return [pack(padded[y : y + side, x : x + side].tobytes()) for y, x in starts]


def png(width, height, rows=b"", bits=8):
    chunks = [
        (b"IHDR", struct.pack(">2I5B", width, height, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    packed = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def jpg_claiming(width, height):
    content = bytearray(picture_bytes(".jpg"))
    frame = re.search(rb"\xff\xc0...", bytes(content), re.DOTALL)
    struct.pack_into(">2H", content, frame.end(), height, width)
    return bytes(content)


def endless_tiff(directories):
    start = len(tiff_bytes(metadata=None))
    content = bytearray(tiff_bytes(metadata=None))
    first = struct.unpack_from("<I", content, 4)[0]
    struct.pack_into("<I", content, first + 2 + 12 * struct.unpack_from("<H", content, first)[0], start)
    content += b"".join(struct.pack("<HI", 0, start + 6 * (i + 1)) for i in range(directories))
    return bytes(content)


def colours(channels):
    rng = np.random.default_rng(3)
    return rng.integers(0, 255, (20, 30, channels)).astype(np.uint8)


def luminance(rgb):
    return rgb[..., :3].astype(np.float64) @ [0.299, 0.587, 0.114]


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def trapped_cs(path: Path, structured: bool) -> bytes:
    rows = np.empty(1, [("uid", "<u8"), ("location/micrograph_path", "O")]) if structured else np.empty(1, object)
    if structured:
        rows["location/micrograph_path"][0] = Trap(path)
    else:
        rows[0] = Trap(path)
    return npy_bytes(rows, allow_pickle=True)


def star(rows, columns=("MicrographName", "CoordinateX", "CoordinateY"), block="data_particles", end="\n"):
    return end.join([block, "", "loop_", *(f"_rln{column}" for column in columns), *rows, ""]).encode()


NAN, FEW_NAN, MANY_INF = FLOATS * np.nan, FLOATS.copy(), FLOATS.copy()
FEW_NAN[3, 4], FEW_NAN[5, 6] = np.nan, -np.inf
MANY_INF[:6] = np.inf
REPAIRED = np.where(np.isfinite(FEW_NAN), FEW_NAN, np.median(FEW_NAN[np.isfinite(FEW_NAN)]))
I2, U2, F2, I1 = (IMAGE.astype(kind) for kind in ("i2", "u2", "f2", "i1"))
RGB, RGBA = colours(3), colours(4)
DATA = len(MRC) - FLOATS.nbytes
SCRAMBLED_GZ = bytearray(gzip.compress(MRC, mtime=0))
SCRAMBLED_GZ[-6] ^= 1  # in the checksum
BAD_PNG = bytearray(picture_bytes(".png"))
BAD_PNG[60] ^= 1
CS = npy_bytes(cs_rows())
CS_PICKS = {"J1/a.mrc": [[2000, 2000], [2000, 2000]], "J1/b c.mrc": [[2000, 2000]]}
STAR_PICKS = {"mics/a.mrc": [CENTRES[0], CENTRES[2]], "mics/b c.mrc": [CENTRES[1]]}


def changed_cs(**fields):
    rows = cs_rows()
    for field, value in fields.items():
        rows[field.replace("__", "/")] = value
    return npy_bytes(rows)


MRC_FILES = {
    "no bytes": (b"", "truncated: 0 bytes"),
    "one byte": (MRC[:1], "truncated: 1 bytes"),
    "half a header": (MRC[:500], "truncated: 500 bytes"),
    "a byte short of a header": (MRC[:1023], "truncated: 1023 bytes"),
    "cut in the extended header": (MRC[:1050], "truncated.*the file has 1050"),
    "cut before the data": (MRC[:DATA], "truncated.*the file has 1120"),
    "cut in the data": (MRC[: DATA + 1000], "truncated.*the file has 2120"),
    "last byte missing": (MRC[:-1], f"truncated.*{len(MRC)} bytes.*{len(MRC) - 1}"),
    "4 KB stub": (with_words(MRC, at_0=4096, at_4=4096)[:4096].ljust(4096, b"\0"), "truncated: 4096 x 4096"),
    "a row too many": (with_words(MRC, at_4=25), "truncated: 32 x 25"),
    "a surplus behind the data": (MRC + b"tail", FLOATS),
    "page instead": (PAGE, "XML or HTML"),
    "page of the right size": (PAGE.ljust(len(MRC)), "XML or HTML"),
    "page behind the header": (MRC[:1024] + bytes(96) + PAGE.ljust(FLOATS.nbytes), "XML or HTML"),
    "MAP with a zero": (mrc_bytes(magic=b"MAP\0"), FLOATS),
    "without MAP": (mrc_bytes(magic=bytes(4)), FLOATS),
    **{
        f"stamp {stamp.hex()}": (mrc_bytes(stamp=stamp), FLOATS)
        for stamp in (b"DA\0\0", b"D\0\0\0", b"D\x11\0\0", bytes(4))
    },
    "big-endian stamp on little-endian data": (mrc_bytes(stamp=b"\x11\x11\0\0"), FLOATS),
    "big-endian": (mrc_bytes(order=">", stamp=b"\x11\x11\0\0"), FLOATS),
    "big-endian with the little-endian stamp": (mrc_bytes(I2, 1, order=">"), I2),
    "mode 0": (mrc_bytes(I1, 0), I1),
    "mode 0 of IMOD, unsigned": (with_words(mrc_bytes(IMAGE, 0), at_152=1146047817), IMAGE),
    "mode 1": (mrc_bytes(I2, 1), I2),
    "mode 6": (mrc_bytes(U2, 6), U2),
    "mode 12": (mrc_bytes(F2, 12), F2),
    "mode 3": (mrc_bytes(FLOATS, 3), "mode 3 holds complex"),
    "mode 4": (mrc_bytes(FLOATS, 4), "mode 4 holds complex"),
    "mode 101": (mrc_bytes(IMAGE, 101), "mode 101.*4-bit"),
    "mode 7": (mrc_bytes(FLOATS, 7), "not an MRC file.*mode 7"),
    "NaN": (mrc_bytes(NAN), "100% of its pixels are NaN"),
    "two NaN": (mrc_bytes(FEW_NAN), REPAIRED),
    "many infinite": (mrc_bytes(MANY_INF), "25% of its pixels are NaN or infinite"),
    "constant": (mrc_bytes(np.full((24, 32), 7, np.float32)), "constant, every pixel is 7"),
    "stack": (with_words(mrc_bytes(np.tile(FLOATS, (3, 1))), at_4=24, at_8=3), "stack.* of 3 sections"),
    "no sections": (with_words(MRC, at_8=0), "not an MRC file"),
    "zero voxel size": (mrc_bytes(pixel_size=0.0), FLOATS),
    "no cells": (with_words(MRC, at_28=0), FLOATS),
    "NaN voxel size": (mrc_bytes(pixel_size=float("nan")), FLOATS),
    "claims 2^30 x 2^30": (with_words(MRC, at_0=2**30, at_4=2**30), "truncated"),
    "claims -1 columns": (with_words(MRC, at_0=-1), "not an MRC file"),
    "claims 2 GB of extended header": (with_words(MRC, at_92=2**31 - 1), "truncated"),
    "negative extended header": (with_words(MRC, at_92=-512), "not an MRC file"),
    "zeros": (bytes(len(MRC)), "not an MRC file"),
    "a PNG picture": (picture_bytes(".png", np.tile(IMAGE, (4, 4))), "not an MRC file"),
    "gz under a plain name": (gzip.compress(MRC), FLOATS),
    "bz2 under a plain name": (bz2.compress(MRC), FLOATS),
    "gz of two members": (gzip.compress(MRC[:700]) + gzip.compress(MRC[700:]), FLOATS),
    "gz cut": (gzip.compress(MRC)[:-300], "cannot be read|truncated"),
    "gz with a wrong checksum": (bytes(SCRAMBLED_GZ), "CRC"),
    "gz of a gz": (gzip.compress(gzip.compress(MRC)), "not an MRC file|truncated"),
    "gz of a page": (gzip.compress(PAGE), "XML or HTML"),
    "gz header and nothing": (b"\x1f\x8b\x08", "cannot be read"),
    "bz2 cut": (bz2.compress(MRC)[:-30], "cannot be read|truncated"),
    "gz claims 2^30 x 2^30": (gzip.compress(with_words(MRC, at_0=2**30, at_4=2**30)), "more than any camera"),
    "gz claims 20000 x 20000": (gzip.compress(with_words(MRC, at_0=20000, at_4=20000)), "claim to unpack to 1600"),
    "gz claims 2 GB of extended header": (gzip.compress(with_words(MRC, at_92=2**31 - 1)), "claim to unpack"),
    "gz with far too much behind it": (zeros_gz(MRC, 1 << 25), "unpacks to more than twice"),
}
TIFF_FILES = {
    "no bytes": (b"", "cannot be read as TIFF"),
    "header only": (b"II*\0", "cannot be read as TIFF"),
    "page": (PAGE, "cannot be read as TIFF"),
    "an MRC file": (MRC, "cannot be read as TIFF"),
    "a PNG picture": (picture_bytes(".png"), "cannot be read as TIFF"),
    "last byte missing": (raw_tiff(32, 24, [IMAGE.tobytes()])[:700], "TIFF|truncated"),
    "pixels missing": (tiff_bytes(FLOATS)[:-1], "truncated"),
    "16 bit": (tiff_bytes(U2 * 257), (U2 * 257)[::-1]),
    "float16": (tiff_bytes(F2), F2[::-1]),
    "64 bit big-endian BigTIFF": (tiff_bytes(FLOATS.astype("f8"), bigtiff=True, byteorder=">"), FLOATS[::-1]),
    "RGB": (tiff_bytes(RGB, photometric="rgb"), luminance(RGB)[::-1]),
    "RGBA": (tiff_bytes(RGBA, photometric="rgb", extrasamples=["unassalpha"]), luminance(RGBA)[::-1]),
    "deflate tiles": (tiff_bytes(FLOATS, compression="zlib", tile=(16, 16)), FLOATS[::-1]),
    "deflate with a predictor": (tiff_bytes(U2, compression="zlib", predictor=True), "read"),
    "LZW": (lzw_tiff_bytes(), IMAGE[::-1]),
    "LZW tiles": (raw_tiff(32, 24, tiles(IMAGE, 16, lzw), compression=5, tile=16), IMAGE[::-1]),
    "LZW tiles of 16 bit": (raw_tiff(32, 24, tiles(U2, 16, lzw), 16, compression=5, tile=16), U2[::-1]),
    "LZW of signed 16 bit": (raw_tiff(32, 24, [lzw((I2 - 120).tobytes())], 16, 5, kind=2), (I2 - 120)[::-1]),
    "LZW of float": (raw_tiff(32, 24, [lzw(FLOATS.tobytes())], 32, 5, kind=3), FLOATS[::-1]),
    "stack": (tiff_bytes(np.stack([IMAGE] * 3), photometric="minisblack"), "stack or movie of 3"),
    "complex": (tiff_bytes(FLOATS.astype("c8")), "type complex64"),
    "no width": (raw_tiff(0, 24, [IMAGE.tobytes()]), "TIFF|pixels"),
    "claims a million squared": (raw_tiff(10**6, 10**6, [IMAGE.tobytes()]), "claims 1000000 x 1000000"),
    "claims 30000 squared": (raw_tiff(30000, 30000, [IMAGE.tobytes()]), "truncated or damaged"),
    "deflate claims 30000 squared": (raw_tiff(30000, 30000, [zlib.compress(IMAGE)], compression=8), "claim to unpack"),
    "LZW claims 30000 squared": (raw_tiff(30000, 30000, [lzw(IMAGE.tobytes())], compression=5), "claim to unpack"),
    "deflate of half the pixels": (
        raw_tiff(32, 24, [zlib.compress(IMAGE[:12])], compression=8),
        "cannot be read as TIFF",
    ),
    "deflate cut": (raw_tiff(32, 24, [zlib.compress(IMAGE)[:-99]], compression=8), "cannot be read|TIFF"),
    "deflate bomb in one strip": (
        raw_tiff(32, 24, [zlib.compress(bytes(1 << 25))], compression=8),
        "more than its pixels",
    ),
    "tiles of a million squared": (raw_tiff(32, 24, [zlib.compress(IMAGE)], compression=8, tile=2**20), "damaged|TIFF"),
    "5000 directories": (endless_tiff(5000), "more than 4096 images"),
    "unknown compression": (raw_tiff(32, 24, [IMAGE.tobytes()], compression=50000), "its compression is number 50000"),
}
PNG_FILES = {
    "no bytes": (b"", "truncated"),
    "page": (PAGE, "not a PNG or JPG"),
    "a TIFF file": (tiff_bytes(), "not a PNG or JPG"),
    "a JPG picture": (picture_bytes(".jpg", np.full((24, 32), 9, np.uint8)), "constant"),
    "end missing": (picture_bytes(".png")[:-1], "truncated"),
    "half": (picture_bytes(".png")[:400], "truncated"),
    "a flipped bit": (bytes(BAD_PNG), "checksum"),
    "16 bit": (picture_bytes(".png", U2 * 257), U2 * 257),
    "RGB": (picture_bytes(".png", RGB[..., ::-1]), luminance(RGB)),
    "RGBA": (picture_bytes(".png", RGBA[..., [2, 1, 0, 3]]), luminance(RGBA)),
    "junk behind the end": (picture_bytes(".png") + b"junk" * 5000, IMAGE),
    "claims a million squared": (png(10**6, 10**6), "more than any camera"),
    "claims 30000 squared": (png(30000, 30000), "claim to unpack"),
    "claims no width": (png(0, 24), "0 x 24 pixels, none"),
}
JPG_FILES = {
    "no bytes": (b"", "truncated"),
    "half": (picture_bytes(".jpg")[:400], "truncated"),
    "a PNG picture": (picture_bytes(".png"), IMAGE),
    "claims 65500 squared": (jpg_claiming(65500, 65500), "more than any camera"),
    "claims 30000 squared": (jpg_claiming(30000, 30000), "claim to unpack"),
    "200 scans": (picture_bytes(".jpg")[:-2] + b"\xff\xda\0\x0c" * 200 + b"\xff\xd9", "more than 100 scans"),
}
STAR_FILES = {
    "no bytes": (b"", {"odd": []}),
    "page": (PAGE, "it holds no tables"),
    "binary": (bytes(range(256)) * 40, "it holds no tables"),
    "no y": (star(["mics/a.mrc 1"], ["MicrographName", "CoordinateX"]), "no table with _rlnCoordinateX and _rlnC"),
    "header only": (star([]), {}),
    "tabs and blanks": (star(["mics/a.mrc\t1 \t 2\t"]), SHORT),
    "CRLF": (STAR.replace("\n", "\r\n").encode(), STAR_PICKS),
    "CR": (STAR.replace("\n", "\r").encode(), STAR_PICKS),
    "byte order mark": (b"\xef\xbb\xbf" + star(["mics/a.mrc 1 2"]), SHORT),
    "UTF-16": (STAR.encode("utf-16"), "text in UTF-16, with two bytes"),
    "comments": (
        star(["# one", "mics/a.mrc 1 2 # two", "  # three"]).replace(b"loop_", b"# four\nloop_ # five"),
        SHORT,
    ),
    "blank lines between rows": (star(["mics/a.mrc 1 2", "", "mics/a.mrc 3 4"]), {"mics/a.mrc": [[1, 2], [3, 4]]}),
    "no line end": (star(["mics/a.mrc 1 2"])[:-1], SHORT),
    "optics behind": (
        star(["mics/a.mrc 1 2 1"], ["MicrographName", "CoordinateX", "CoordinateY", "OpticsGroup"])
        + star(["1 0.885"], ["OpticsGroup", "MicrographPixelSize"], "data_optics"),
        SHORT,
    ),
    "single values": (b"data_\n_rlnCoordinateX 1\n_rlnCoordinateY 2\n_rlnMicrographName mics/a.mrc\n", SHORT),
    "columns in another order": (
        star(["2 x mics/a.mrc 1"], ["CoordinateY", "Other", "MicrographName", "CoordinateX"]),
        SHORT,
    ),
    "double quotes": (star(['"mics/b  c.mrc" 1 2']), {"mics/b  c.mrc": [[1, 2]]}),
    "single quotes": (star(["'mics/b c.mrc' 1 2"]), {"mics/b c.mrc": [[1, 2]]}),
    "quotes inside": (star(['it\'s_"a"#1.mrc 1 2']), {'it\'s_"a"#1.mrc': [[1, 2]]}),
    "open quotes": (star(['"mics/a.mrc 1 2']), "quotation mark in line 7 is not closed"),
    "many open quotes": (star(['"a ' * 20000]), "quotation mark in line 7 is not closed|20000"),
    "blank in a name without quotes": (star(["mics/b c.mrc 1 2"]), "line 7 has 4 values for the 3 columns"),
    "short row": (star(["mics/a.mrc 1"]), "line 7 has 2 values for the 3 columns"),
    "unicode": (star(["mics/Ångström_日本\u2003x.mrc 1 2"]), {"mics/Ångström_日本\u2003x.mrc": [[1, 2]]}),
    "latin-1": (star(["mics/XX.mrc 1 2"]).replace(b"XX", b"\xe5"), {"mics/\udce5.mrc": [[1, 2]]}),
    "paths that lead out": (
        star(["../../a.mrc 1 2", "/etc/b.mrc 3 4"]),
        {"../../a.mrc": [[1, 2]], "/etc/b.mrc": [[3, 4]]},
    ),
    "text for a number": (
        star(["mics/a.mrc 1 x"]),
        "_rlnCoordinateY holds something that is not a number: 'x' in line 7",
    ),
    "NaN": (star(["mics/a.mrc 1 2", "mics/a.mrc 1 nan"]), "_rlnCoordinateY is not a finite number in row 2"),
    "1e300": (star(["mics/a.mrc 1e300 2"]), r"coordinates of 1e\+300, 2 pixels"),
    "a line of a megabyte": (star(["a" * (1 << 20) + " 1 2"]), {"a" * (1 << 20): [[1, 2]]}),
    "a hundred thousand blocks": (b"data_x\n" * 100_000 + star(["mics/a.mrc 1 2"]), SHORT),
    "a zero byte in a name": (star(["a\0b.mrc 1 2"]), {"a\0b.mrc": [[1, 2]]}),
    "a list that names nothing": (TABLES["autopick.star"].replace(b"a_auto", b"x" * 300), "there is no xxx"),
    "a list that names a folder": (TABLES["autopick.star"].replace(b"a_autopick.star", b".."), r"there is no \.\."),
    "a list that names itself": (
        TABLES["autopick.star"].replace(b"a_autopick.star", b"odd.star"),
        "such a list itself",
    ),
}
CBOX_FILES = {
    "RELION's STAR": (STAR.encode(), "no table with _CoordinateX"),
    "negative sides": (TABLES["a.cbox"].replace(b"200", b"-200"), "box 1 has a negative side"),
}
CS_FILES = {
    "as CryoSPARC writes it": (CS, CS_PICKS),
    "no bytes": (b"", "does not begin as a NumPy table"),
    "CryoSPARC's stream": (b"\x95CSDAT" + bytes(100), "compressed CryoSPARC stream"),
    "cut in the header": (CS[:90], "cannot be read as .cs"),
    "last byte missing": (CS[:-1], "cannot be read as .cs"),
    "claims 10^12 rows": (
        CS.replace(b"(3,)", b"(1000000000000,)", 1).replace(b" " * 13, b"", 1),
        "cannot be read as .cs",
    ),
    "header of 4 GB": (b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + CS[10:], "cannot be read as .cs"),
    "a plain array": (npy_bytes(np.zeros((3, 2))), "not a table with named fields"),
    "no locations": (npy_bytes(cs_rows()[["uid"]]), r"no location/micrograph_path"),
    "NaN fraction": (changed_cs(location__center_x_frac=np.nan), "center_x_frac is not a finite number in row 1"),
    "fraction of 10^30": (changed_cs(location__center_y_frac=1e30), "which no micrograph has"),
    "a micrograph of no rows": (changed_cs(location__micrograph_shape=(0, 8)), "micrograph_shape is not positive"),
    "a name that is not text": (changed_cs(location__micrograph_path=b"\xff\xfe"), "not UTF-8"),
}
BOX_FILES = {
    "no bytes": (b"", {"odd": []}),
    "blank lines": (b"\n  \n\r\n", {"odd": []}),
    "byte order mark and CRLF": (
        b"\xef\xbb\xbf" + BOX.replace("\n", "\r\n").encode(),
        {"odd": [[812, 1440], [10, 21], [3000.5, 4000]]},
    ),
    "a header": (b"x y w h\n1 2 3 4\n", "line 1 is 'x y w h'"),
    "decimal commas": (b"1,5\t2,5\t10\t10\n", "line 1 is"),
    "three columns": (b"1 2 3\n", "line 1 is '1 2 3'"),
    "negative sides": (b"1 2 10 10\n1 2 -10 -10\n", "line 2 is '1 2 -10 -10'"),
    "no sides": (b"1 2 0 0\n", {"odd": [[1, 2]]}),
    "NaN": (b"nan 2 10 10\n", "line 1 is 'nan 2 10 10'"),
    "binary": (bytes(range(256)), "line 1 is"),
    "1e308": (b"1e308 2 1e308 10\n", "which no micrograph has"),
}
CSV_FILES = {
    "no bytes": (b"", {"odd": []}),
    "binary": (bytes(range(256)), "no columns of x and y"),
    "page": (PAGE, "no columns of x and y"),
    "UTF-16": (CSV.encode("utf-16"), "text in UTF-16, with two bytes"),
    "byte order mark and CRLF": (b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode(), {"odd": CENTRES}),
    "no header": (b"812.25,1440.5\n10,20.75\n3000.125,4000\n", {"odd": CENTRES}),
    "quotes": (b'"X","Y"\n"812.25","1440.5"\n', {"odd": CENTRES[:1]}),
    "latin-1": ("x,y,größe\n812.25,1440.5,3\n".encode("latin-1"), {"odd": CENTRES[:1]}),
    "semicolons": (CSV.replace(",", ";").encode(), {"odd": CENTRES}),
    "tabs": (CSV.replace(",", "\t").encode(), {"odd": CENTRES}),
    "semicolons and decimal commas": (CSV.replace(",", ";").replace(".", ",").encode(), "line 2 has '812,25'"),
    "decimal commas": (b"x,y\n812,25,1440,5\n", "line 2 has 4 values for the 2 columns"),
    "other columns": (b"row,column\n1,2\n", "no columns of x and y"),
    "no y in a row": (b"x,y\n1\n", "line 2 has ''"),
    "NaN": (b"x,y\n1,nan\n", "line 2 has 'nan'"),
    "negative diameter": (b"x,y,diameter\n1,2,-3\n", "a size of -3 pixels"),
    "an open quote": (b'x,y\n"1,2\n' + b"3,4\n" * 50_000, "field larger than field limit"),
}
TOPAZ_FILES = {
    "blanks for tabs": (b"image_name x_coord y_coord\na 1 2\n", "not the columns image_name"),
    "byte order mark and CRLF": (b"\xef\xbb\xbfimage_name\tx_coord\ty_coord\r\na\t1\t2\r\n", {"a": [[1, 2]]}),
    "NaN": (b"image_name\tx_coord\ty_coord\na\tnan\t2\n", "line 2 has 'nan'"),
    "no name": (b"image_name\tx_coord\ty_coord\n\t1\t2\n", "no row names its micrograph"),
    "header only": (b"image_name\tx_coord\ty_coord\n", {}),
    "binary": (bytes(range(256)), "its first line is"),
}
JSON_FILES = {
    "byte order mark": (b"\xef\xbb\xbf" + EMAN.encode(), {"odd": CENTRES}),
    "no bytes": (b"", "cannot be read as JSON"),
    "a list": (b"[[1, 2]]", 'no list "boxes"'),
    "cut": (EMAN[:-9].encode(), "cannot be read as JSON"),
    "no boxes": (b'{"boxes": []}', {"odd": []}),
    "NaN": (b'{"boxes": [[NaN, 2]]}', "box 1 is"),
    "text": (b'{"boxes": [["1", "2"]]}', "box 1 is"),
    "deep": (b"[" * 100_000, "cannot be read as JSON"),
    "a number of 10,000 digits": (b'{"boxes": [[' + b"9" * 10_000 + b", 2]]}", "cannot be read as JSON"),
    "17 MB": (b'{"boxes": [' + b"[1, 2]," * 2_500_000 + b"[1, 2]]}", "larger than 16 MB"),
}
ODD_IMAGES = [
    Odd(name, content, expected, suffix)
    for suffix, files in {".mrc": MRC_FILES, ".tif": TIFF_FILES, ".png": PNG_FILES, ".jpg": JPG_FILES}.items()
    for name, (content, expected) in files.items()
]
ODD_TABLES = [
    Odd(name, content, expected, suffix)
    for suffix, files in {
        ".star": STAR_FILES,
        ".cbox": CBOX_FILES,
        ".cs": CS_FILES,
        ".box": BOX_FILES,
        ".csv": CSV_FILES,
        ".txt": TOPAZ_FILES,
        ".json": JSON_FILES,
    }.items()
    for name, (content, expected) in files.items()
]
