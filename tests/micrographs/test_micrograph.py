"""Micrographs: every MRC mode, odd headers, damaged files, other formats, pixel sizes, and finding them."""

import bz2
import gzip
import logging
import shutil
import struct
import warnings
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest
import tifffile
from mrcfile.dtypes import get_ext_header_dtype
from numpy.testing import assert_allclose, assert_array_equal

from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.micrograph import (
    Micrograph,
    MicrographFile,
    find_micrographs,
    read_header,
    read_micrograph,
    without_micrograph_suffix,
)

# Little-endian header words of https://www.ccpem.ac.uk/mrc-format/mrc2014, written here without mrcfile.
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def pixels(dtype="f4", height=48, width=40):
    values = np.random.default_rng(5).normal(20, 30, (height, width))
    if np.dtype(dtype).kind == "u":
        values = np.abs(values)
    return values.astype(dtype)


def mrc_bytes(image, mode=2, pixel_size=1.5, order="<", stamp=b"\x44\x44\x00\x00", magic=b"MAP ", extended=b"", nz=1):
    height, width = image.shape
    header = bytearray(1024)
    struct.pack_into(order + "10i", header, 0, width, height, nz, mode, 0, 0, 0, width, height, nz)
    struct.pack_into(order + "3f", header, 40, width * pixel_size, height * pixel_size, pixel_size)
    struct.pack_into(order + "i", header, 92, len(extended))
    header[208:212], header[212:216] = magic, stamp
    return bytes(header) + extended + image.astype(image.dtype.newbyteorder(order)).tobytes()


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def nothing_reaches_the_terminal(capfd):
    """Whatever the libraries think of a file, the user sees cryotx's words only."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


# --- MRC -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("extended", [b"", b"x" * 1024, b"y" * 13])
def test_every_mode_in_both_byte_orders(tmp_path, mode, order, extended):
    image = pixels(MODES[mode])
    stamp = b"\x44\x44\x00\x00" if order == "<" else b"\x11\x11\x00\x00"
    content = mrc_bytes(image, mode, order=order, stamp=stamp, extended=extended)
    micrograph = read_micrograph(written(tmp_path / "a.mrc", content))
    assert micrograph.image.dtype == np.float32
    assert micrograph.image.dtype.isnative
    assert micrograph.image.flags.c_contiguous
    assert micrograph.image.flags.writeable
    assert_array_equal(micrograph.image, image.astype(np.float32))
    assert micrograph.pixel_size == pytest.approx(1.5)
    assert micrograph.source == tmp_path / "a.mrc"
    assert read_header(tmp_path / "a.mrc").height == 48
    assert read_header(tmp_path / "a.mrc").width == 40
    for suffix, compressed in ((".mrc.gz", gzip.compress(content)), (".mrc.bz2", bz2.compress(content))):
        again = read_micrograph(written(tmp_path / f"b{suffix}", compressed))
        assert_array_equal(again.image, micrograph.image)
        assert read_header(tmp_path / f"b{suffix}").width == 40


@pytest.mark.parametrize("stamp", [b"\x44\x44", b"\x44\x41", b"\x44\x00", b"\x44\x11", b"\x44\x20", b"\x00\x00"])
@pytest.mark.parametrize("magic", [b"MAP ", b"MAP\0", b"\0\0\0\0"])
@pytest.mark.parametrize("mode", [0, 2])
def test_odd_stamps_and_magic_words(tmp_path, stamp, magic, mode):
    image = pixels(MODES[mode])  # of mode 0 the header makes sense in either byte order: the stamp decides
    path = written(tmp_path / "a.mrc", mrc_bytes(image, mode, stamp=stamp + b"\0\0", magic=magic))
    assert_array_equal(read_micrograph(path).image, image)


def test_the_first_byte_of_the_stamp_decides_where_both_orders_make_sense(tmp_path):
    image = pixels("i1")
    path = written(tmp_path / "a.mrc", mrc_bytes(image, 0, order=">", stamp=b"\x11\x00\0\0"))
    assert_array_equal(read_micrograph(path).image, image)


@pytest.mark.parametrize("stamp", [b"\x00\x00\x00\x00", b"\x44\x44\x00\x00"])
def test_big_endian_with_a_wrong_stamp(tmp_path, stamp):
    image = pixels("i2")
    path = written(tmp_path / "a.mrc", mrc_bytes(image, 1, order=">", stamp=stamp))
    assert_array_equal(read_micrograph(path).image, image)


@pytest.mark.parametrize(("flags", "signed"), [(None, True), (1, True), (0, False)])
def test_bytes_are_signed_unless_imod_says_otherwise(tmp_path, flags, signed):
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    content = bytearray(mrc_bytes(stored, 0))
    if flags is not None:
        struct.pack_into("<2i", content, 152, 1146047817, flags)
    image = read_micrograph(written(tmp_path / "a.mrc", content)).image
    assert_array_equal(image, stored.view(np.int8) if signed else stored)


def test_the_files_of_mrcfile_itself(tmp_path):
    image = pixels("f2")
    with mrcfile.new(tmp_path / "a.mrcs", image) as mrc:
        mrc.voxel_size = 0.885
    micrograph = read_micrograph(tmp_path / "a.mrcs")
    assert_array_equal(micrograph.image, image.astype(np.float32))
    assert micrograph.pixel_size == pytest.approx(0.885)


def test_a_file_of_a_microscope_with_an_extended_header(tmp_path):
    """A camera of FEI writes 768 bytes about each image between header and pixels."""
    image = pixels("i2")
    about = np.zeros(1, get_ext_header_dtype(b"FEI1"))
    about["Metadata size"], about["Pixel size X"], about["Pixel size Y"] = about.itemsize, 8.54e-11, 8.54e-11
    with mrcfile.new(tmp_path / "a.mrc", image) as mrc:
        mrc.voxel_size = 0.854
        mrc.set_extended_header(about)
        mrc.header.exttyp = b"FEI1"
    assert (tmp_path / "a.mrc").stat().st_size == 1024 + 768 + image.nbytes
    micrograph = read_micrograph(tmp_path / "a.mrc")
    assert_array_equal(micrograph.image, image)
    assert micrograph.pixel_size == pytest.approx(0.854)
    header = read_header(tmp_path / "a.mrc")
    assert (header.height, header.width) == image.shape


@pytest.mark.parametrize("compress", [bytes, lambda content: gzip.compress(content, 1)], ids=["plain", "gz"])
@pytest.mark.parametrize(("height", "width"), [(48, 40), (1200, 1000)], ids=["one piece", "several pieces"])
def test_what_stands_behind_the_pixels_is_left_out(tmp_path, compress, height, width):
    image = np.tile(pixels(height=48, width=40), (height // 48, width // 40))
    path = written(tmp_path / "a.mrc", compress(mrc_bytes(image) + b"behind" * 1000))
    assert_array_equal(read_micrograph(path).image, image)


def test_reading_needs_no_right_to_write(tmp_path):
    path = written(tmp_path / "a.mrc", mrc_bytes(pixels()))
    before = path.read_bytes()
    path.chmod(0o444)
    read_micrograph(path).image[:] = 0
    assert path.read_bytes() == before


# --- damaged and unsuitable files ------------------------------------------------------------------------------------

WHOLE = mrc_bytes(pixels())
PAGE = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
RIGHT_SIZE_PAGE = PAGE.ljust(len(WHOLE))
NAN = pixels()
NAN[:] = np.nan
MANY_NAN = pixels()
MANY_NAN[:6] = np.inf
HUGE = bytearray(WHOLE)
struct.pack_into("<2i", HUGE, 0, 2**30, 2**30)
NEGATIVE_EXTENDED_HEADER = bytearray(WHOLE)
struct.pack_into("<i", NEGATIVE_EXTENDED_HEADER, 92, -512)

DAMAGED = {
    "truncated": (WHOLE[:-1], "truncated.*8704 bytes.*8703"),
    "4 KB stub": (mrc_bytes(pixels(height=4096, width=4096))[:4096], "truncated"),
    "header only": (WHOLE[:1024], "truncated"),
    "half a header": (WHOLE[:500], "truncated"),
    "no bytes": (b"", "truncated"),
    "constant": (mrc_bytes(np.full((48, 40), 7.0, np.float32)), "constant.* 7"),
    "NaN": (mrc_bytes(NAN), "100% of its pixels are NaN"),
    "many infinite": (mrc_bytes(MANY_NAN), "12% of its pixels are NaN or infinite"),
    "stack": (mrc_bytes(pixels(height=96), nz=2).replace(b"\x60\0\0\0", b"\x30\0\0\0", 1), "stack.* of 2 sections"),
    "page instead": (PAGE, "XML or HTML"),
    "page of the right size": (RIGHT_SIZE_PAGE, "XML or HTML"),
    "page behind a header": (WHOLE[:1024] + PAGE.ljust(len(WHOLE) - 1024), "XML or HTML"),
    "text": (b"x, y\n" * 1000, "not an MRC file"),
    "zeros": (bytes(len(WHOLE)), "not an MRC file"),
    "huge promise": (bytes(HUGE), "truncated"),
    "negative extended header": (bytes(NEGATIVE_EXTENDED_HEADER), "not an MRC file"),
    "complex": (mrc_bytes(pixels("c8"), 4), "mode 4.*complex"),
    "complex integers": (mrc_bytes(pixels("i4"), 3), "mode 3.*complex integers"),
    "colours": (mrc_bytes(pixels("u1"), 16), "mode 16.*RGB"),
    "4 bit": (mrc_bytes(pixels("u1"), 101), "mode 101.*4-bit"),
    "unknown mode": (mrc_bytes(pixels(), 55), "not an MRC file.*mode 55"),
}


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress], ids=["plain", "gz", "bz2"])
@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_mrc_files_are_refused_with_the_reason(tmp_path, kind, compress):
    content, reason = DAMAGED[kind]
    path = written(tmp_path / "a.mrc", compress(content))
    with pytest.raises(MicrographError, match=reason) as caught:
        read_micrograph(path)
    assert str(path) in caught.value.message


def test_a_damaged_archive_is_refused(tmp_path):
    for compress in (gzip.compress, bz2.compress):
        with pytest.raises(MicrographError, match=r"a\.mrc"):
            read_micrograph(written(tmp_path / "a.mrc.gz", compress(WHOLE)[:-200]))
    scrambled = bytearray(gzip.compress(WHOLE))
    scrambled[1000:1200] = bytes(200)
    with pytest.raises(MicrographError, match=r"a\.mrc"):
        read_micrograph(written(tmp_path / "a.mrc.gz", scrambled))


def test_a_few_bad_pixels_become_the_median(tmp_path):
    image = pixels()
    bad = image.copy()
    bad[3, 4], bad[5, 6], bad[7, 8] = np.nan, np.inf, -np.inf
    read = read_micrograph(written(tmp_path / "a.mrc", mrc_bytes(bad))).image
    good = np.isfinite(bad)
    assert_array_equal(read[good], image[good])
    assert_allclose(read[~good], np.median(image[good]), rtol=1e-6)


def test_large_finite_values_are_left_alone(tmp_path):
    image = pixels() * np.float32(1e36)  # their sum overflows
    assert_array_equal(read_micrograph(written(tmp_path / "a.mrc", mrc_bytes(image))).image, image)


def test_missing_files_folders_and_other_formats(tmp_path):
    with pytest.raises(MicrographError, match="no such file"):
        read_micrograph(tmp_path / "missing.mrc")
    (tmp_path / "folder.mrc").mkdir()
    with pytest.raises(MicrographError, match="is a folder"):
        read_micrograph(tmp_path / "folder.mrc")
    with pytest.raises(MicrographError, match=r"notes\.txt.*not a micrograph format") as caught:
        read_micrograph(written(tmp_path / "notes.txt", b"hello"))
    assert ".mrc" in caught.value.hint


# --- TIFF, PNG, JPG --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f2", "f4", "f8"])
def test_tiff_rows_are_turned_to_those_of_mrc(tmp_path, dtype):
    image = pixels(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image)
    assert_array_equal(read_micrograph(tmp_path / "a.tif", 1.2).image, image[::-1].astype(np.float32))
    header = read_header(tmp_path / "a.tif")
    assert (header.height, header.width, header.pixel_size) == (48, 40, None)


@pytest.mark.parametrize(
    "settings", [{"compression": "zlib"}, {"tile": (16, 16)}, {"byteorder": ">"}, {"bigtiff": True}]
)
def test_tiff_variants(tmp_path, settings):
    image = pixels("u2")
    tifffile.imwrite(tmp_path / "a.TIFF", image, **settings)
    assert_array_equal(read_micrograph(tmp_path / "a.TIFF", 1.2).image, image[::-1])


def test_tiff_compressed_with_lzw(tmp_path):
    image = pixels("u2")
    lzw = 5  # of the TIFF specification
    cv2.imwrite(str(tmp_path / "a.tif"), image, [cv2.IMWRITE_TIFF_COMPRESSION, lzw])
    assert_array_equal(read_micrograph(tmp_path / "a.tif", 1.2).image, image[::-1])


def test_tiff_resolution_is_not_a_pixel_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(), resolution=(72, 72), resolutionunit="INCH")
    with pytest.raises(MicrographError, match="pixel size"):
        read_micrograph(tmp_path / "a.tif")


def test_tiff_stacks_and_damage_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "movie.tif", np.stack([pixels(), pixels(), pixels()]), photometric="minisblack")
    with pytest.raises(MicrographError, match="stack or movie of 3"):
        read_micrograph(tmp_path / "movie.tif", 1.0)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as writer:
        writer.write(pixels(), metadata=None)
        writer.write(pixels(height=50), metadata=None)
    with pytest.raises(MicrographError, match="stack or movie of 2"):
        read_micrograph(tmp_path / "pages.tif", 1.0)
    tifffile.imwrite(tmp_path / "a.tif", pixels())
    whole = (tmp_path / "a.tif").read_bytes()
    for content in (whole[:-100], whole[:200], whole[:9], b"", PAGE, b"II*\0" + bytes(500)):
        with pytest.raises(MicrographError, match=r"broken\.tif"):
            read_micrograph(written(tmp_path / "broken.tif", content), 1.0)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_png_rows_stay_as_stored(tmp_path, dtype):
    image = pixels(dtype)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert_array_equal(read_micrograph(tmp_path / "a.png", 1.2).image, image)
    assert read_header(tmp_path / "a.png").height == 48


def test_jpg_rows_stay_as_stored(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 64)[:, None], (1, 48)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), ramp)
    assert_allclose(read_micrograph(tmp_path / "a.jpg", 1.2).image, ramp, atol=4)


def test_colours_become_luminance_and_grey_in_colour_stays_exact(tmp_path):
    grey = pixels("u2")
    cv2.imwrite(str(tmp_path / "grey.png"), np.dstack([grey] * 3))
    assert_array_equal(read_micrograph(tmp_path / "grey.png", 1.0).image, grey)
    red, green, blue = (np.random.default_rng(i).integers(0, 255, (20, 30)).astype(np.uint8) for i in range(3))
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    cv2.imwrite(str(tmp_path / "colour.png"), np.dstack([blue, green, red]))
    cv2.imwrite(str(tmp_path / "transparent.png"), np.dstack([blue, green, red, red]))
    for name in ("colour.png", "transparent.png"):
        assert_allclose(read_micrograph(tmp_path / name, 1.0).image, luminance, atol=1e-3)
    for axis in (-1, 0):  # colours pixel by pixel, and plane by plane
        tifffile.imwrite(
            tmp_path / "colour.tif",
            np.stack([red, green, blue], axis),
            photometric="rgb",
            planarconfig="contig" if axis else "separate",
        )
        assert_allclose(read_micrograph(tmp_path / "colour.tif", 1.0).image, luminance[::-1], atol=1e-3)


def test_damaged_pictures_are_refused(tmp_path):
    for suffix in (".png", ".jpg"):
        cv2.imwrite(str(tmp_path / f"a{suffix}"), pixels("u1", 200, 300))
        whole = (tmp_path / f"a{suffix}").read_bytes()
        scrambled = bytearray(whole)
        scrambled[:200] = bytes(200)
        for content in (whole[: len(whole) // 2], whole[:100], b"", PAGE, bytes(scrambled)):
            with pytest.raises(MicrographError, match="broken"):
                read_micrograph(written(tmp_path / f"broken{suffix}", content), 1.0)
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((20, 20), 9, np.uint8))
    with pytest.raises(MicrographError, match="constant"):
        read_micrograph(tmp_path / "flat.png", 1.0)


def test_messages_of_tifffile_still_reach_those_who_listen(tmp_path, caplog):
    tifffile.imwrite(tmp_path / "a.tif", pixels())
    read_micrograph(tmp_path / "a.tif", 1.0)
    with caplog.at_level(logging.WARNING, "tifffile"):
        logging.getLogger("tifffile").warning("heard")
    assert "heard" in caplog.text


# --- pixel sizes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_star", "in_header", "stated", "expected"),
    [
        (None, 1.5, None, 1.5),
        (1.3, 1.5, None, 1.3),
        (1.3, 0.0, None, 1.3),
        (1.0, 1.5, None, 1.0),
        (None, 0.0, 1.2, 1.2),
        (None, 1.0, 1.2, 1.2),
        (None, 1.0, 1.0, 1.0),
        (None, -2.0, 1.2, 1.2),
        (None, np.nan, 1.2, 1.2),
        (None, np.inf, 1.2, 1.2),
        (None, 1.5, 1.51, 1.5),
        (None, 1.5, 1.6, 1.6),
        (1.3, 1.5, 1.305, 1.3),
        (1.3, 1.5, 2.6, 2.6),
        (0.0, 1.5, None, 1.5),
    ],
)
def test_pixel_size_from_star_then_header_then_user(tmp_path, in_star, in_header, stated, expected):
    path = written(tmp_path / "a.mrc", mrc_bytes(pixels(), pixel_size=in_header))
    assert read_micrograph(MicrographFile(path, "a", in_star), stated).pixel_size == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("in_header", [0.0, 1.0, -1.5, np.nan, np.inf])
def test_an_unknown_pixel_size_names_file_and_flag(tmp_path, in_header):
    path = written(tmp_path / "a.mrc", mrc_bytes(pixels(), pixel_size=in_header))
    with pytest.raises(MicrographError, match="pixel size") as caught:
        read_micrograph(path)
    assert str(path) in caught.value.message
    assert "--pixel-size" in caught.value.hint
    assert read_header(path).pixel_size is None


def test_pixel_size_counts_the_cells_not_the_columns(tmp_path):
    content = bytearray(mrc_bytes(pixels(), pixel_size=1.5))
    content[44:48] = content[40:44]  # a cell as high as it is wide
    struct.pack_into("<2i", content, 28, 20, 20)  # mx, my: the cell is sampled 20 times
    assert read_micrograph(written(tmp_path / "a.mrc", content)).pixel_size == pytest.approx(3.0)
    struct.pack_into("<2i", content, 28, 1, 1)
    assert read_micrograph(written(tmp_path / "a.mrc", content)).pixel_size == pytest.approx(60.0)
    struct.pack_into("<2i", content, 28, 0, 0)
    with pytest.raises(MicrographError, match="pixel size"):
        read_micrograph(written(tmp_path / "a.mrc", content))


def test_at_pixel_size_keeps_the_field_of_view():
    micrograph = Micrograph(pixels(height=120, width=80), 1.5, Path("a.mrc"))
    binned = micrograph.at_pixel_size(3.0)
    assert binned.image.shape == (60, 40)
    assert (binned.pixel_size, binned.source) == (3.0, Path("a.mrc"))
    assert binned.image.mean() == pytest.approx(micrograph.image.mean(), rel=1e-3)


# --- finding ---------------------------------------------------------------------------------------------------------


def names(inputs):
    return [file.name for file in find_micrographs(inputs)]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("m10.mrc", "m2.mrc", "m1.mrc.gz", "deep/er/m2.mrc", "deep/x.TIF", "b.png", "notes.txt", "m2.star"):
        written(tmp_path / "mics" / name, b"")
    for name in (".hidden.mrc", ".cache/m.mrc", "._m2.mrc"):
        written(tmp_path / "mics" / name, b"")
    return tmp_path


def test_a_folder_is_listed_in_natural_order_with_all_below(tree):
    expected = ["b.png", "deep/er/m2.mrc", "deep/x.TIF", "m1.mrc.gz", "m2.mrc", "m10.mrc"]
    assert names(["mics"]) == [f"mics/{name}" for name in expected]
    assert names([str(tree / "mics")]) == [str(tree / "mics" / name) for name in expected]
    assert names(["./mics/"]) == names([Path("mics")])
    assert all(file.path == Path(file.name) and file.pixel_size is None for file in find_micrographs(["mics"]))


def test_what_is_listed_twice_is_found_once(tree):
    assert names(["mics/m2.mrc", "mics/m2.mrc", "mics/*.mrc", str(tree / "mics/m2.mrc"), "mics/deep/../m10.mrc"]) == [
        "mics/m2.mrc",
        "mics/m10.mrc",
    ]
    Path("mics/link.mrc").symlink_to("m2.mrc")
    assert sum("2" in name or "link" in name for name in names(["mics/link.mrc", "mics/m2.mrc"])) == 1


def test_patterns(tree):
    assert names(["mics/m*.mrc"]) == ["mics/m2.mrc", "mics/m10.mrc"]
    assert names(["mics/**/m2.mrc"]) == ["mics/deep/er/m2.mrc", "mics/m2.mrc"]
    assert names([str(tree / "mics/*")]) == [
        str(tree / "mics" / name)
        for name in ("b.png", "deep/er/m2.mrc", "deep/x.TIF", "m1.mrc.gz", "m2.mrc", "m10.mrc")
    ]
    written(tree / "mics/odd[1].mrc", b"")
    assert names(["mics/odd[1].mrc"]) == ["mics/odd[1].mrc"]


def test_a_file_that_is_named_is_listed_whatever_it_is(tree):
    assert names(["mics/notes.txt"]) == ["mics/notes.txt"]


def test_previews_are_left_out(tree):
    for name in ("p.mrc", "p.jpg", "p.png", "q.jpg", "r.tif", "r.png"):
        written(tree / "epu" / name, b"")
    written(tree / "epu/other/p.jpg", b"")
    assert names(["epu"]) == ["epu/other/p.jpg", "epu/p.mrc", "epu/q.jpg", "epu/r.tif"]


def test_links_in_a_circle_end(tree):
    Path("mics/deep/again").symlink_to(tree / "mics")
    assert names(["mics/deep"]).count("mics/deep/x.TIF") == 1


@pytest.mark.parametrize("given", ["nowhere", "nowhere/*.mrc", "mics/none*.mrc"])
def test_what_does_not_exist_is_an_error_at_once(tree, given):
    with pytest.raises(MicrographError, match="no such file") as caught:
        find_micrographs(["mics/m2.mrc", given])
    assert given in caught.value.message


def test_nothing_found_says_what_was_looked_for(tree):
    (tree / "empty").mkdir()
    written(tree / "texts/a.txt", b"")
    with pytest.raises(MicrographError, match="empty, texts") as caught:
        find_micrographs(["empty", "texts"])
    assert ".mrc" in caught.value.hint
    assert ".png" in caught.value.hint


def star_of(path, rows, optics="_rlnOpticsGroup #1\n_rlnMicrographPixelSize #2\n1 0.885\n2 1.77\n"):
    lines = "".join(f"{name} {group}\n" for name, group in rows)
    text = (
        f"\n# version 30001\n\ndata_optics\n\nloop_\n{optics}\n\n# version 30001\n\ndata_micrographs\n\nloop_\n"
        f"_rlnMicrographName #1\n_rlnOpticsGroup #2\n{lines}\n"
    )
    return written(path, text.encode())


def test_a_micrographs_star_gives_names_and_pixel_sizes(tree):
    project = tree / "project"
    for name in ("MotionCorr/job002/a.mrc", "MotionCorr/job002/b c.mrc"):
        written(project / name, mrc_bytes(pixels(), pixel_size=1.5))
    rows = [("MotionCorr/job002/a.mrc", 2), ('"MotionCorr/job002/b c.mrc"', 1), ("MotionCorr/job002/gone.mrc", 1)]
    star = star_of(project / "CtfFind/job003/micrographs_ctf.star", rows)
    a, b, gone = find_micrographs([star])
    assert (a.name, b.name) == ("MotionCorr/job002/a.mrc", "MotionCorr/job002/b c.mrc")
    assert a.path.samefile(project / "MotionCorr/job002/a.mrc")
    assert (a.pixel_size, b.pixel_size) == (1.77, 0.885)
    assert read_micrograph(a).pixel_size == 1.77
    with pytest.raises(MicrographError, match=r"gone.mrc: no such file"):
        read_micrograph(gone)


def test_names_in_a_star_are_sought_in_the_working_directory_first(tree, monkeypatch):
    written(tree / "here/m.mrc", b"")
    written(tree / "project/here/m.mrc", b"")
    star_of(tree / "project/list.star", [("here/m.mrc", 1)])
    assert find_micrographs(["project/list.star"])[0].path.samefile(tree / "here/m.mrc")
    shutil.rmtree(tree / "here")
    assert find_micrographs(["project/list.star"])[0].path.samefile(tree / "project/here/m.mrc")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.mrc", "a"),
        ("a.frames.mrc.gz", "a.frames"),
        ("dir.mrc/a.MRCS", "dir.mrc/a"),
        ("a.b", "a.b"),
        ("a.tif", "a"),
        ("a", "a"),
    ],
)
def test_without_micrograph_suffix(name, stem):
    assert without_micrograph_suffix(name) == stem
