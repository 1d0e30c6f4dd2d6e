"""Tiles against the micrographs that they are cut from."""

import time

import cv2
import mrcfile
import numpy as np
import pytest

from cryotx_cli.errors import CryotxError
from cryotx_cli.micrographs.bands import open_bands
from cryotx_cli.review.pyramid import TILE_PX, read_pyramid
from cryotx_cli.review.tiles import Look, Tiles


def write(path, image):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = 2.0
    return path


def noise(height, width, seed=0):
    return np.random.default_rng(seed).normal(100, 20, (height, width)).astype(np.float32)


def shown(tiles, path, level, column=0, row=0, look=None, pixel_size=2.0):
    jpeg = tiles.tile(path, pixel_size, level, column, row, look or Look())
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)


def mosaic(tiles, path, level, shape, look=None):
    height, width = shape
    columns, rows = -(-width // TILE_PX), -(-height // TILE_PX)
    made = [np.hstack([shown(tiles, path, level, x, y, look) for x in range(columns)]) for y in range(rows)]
    return np.vstack(made)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int8, np.uint16])
def test_bands_are_the_rows_of_the_file(tmp_path, dtype):
    image = np.random.default_rng(0).integers(0, 100, (301, 70)).astype(dtype)
    bands = open_bands(write(tmp_path / "a.mrc", image))
    assert (bands.height, bands.width) == image.shape
    assert np.array_equal(np.concatenate([band.copy() for band in bands.rows(128)]), image)
    assert bands.sample().shape == (96, 70)


def test_bands_of_a_compressed_file_are_those_of_the_plain_one(tmp_path):
    image = noise(130, 70)
    with mrcfile.new(tmp_path / "a.mrc.gz", compression="gzip") as mrc:
        mrc.set_data(image)
    assert np.array_equal(np.concatenate(list(open_bands(tmp_path / "a.mrc.gz").rows(64))), image)


@pytest.mark.parametrize("shape", [(1030, 700), (1025, 1537), (512, 512), (100, 60)])
def test_each_level_averages_two_by_two_pixels_of_the_one_below(tmp_path, shape):
    image = noise(*shape)
    pyramid = read_pyramid(write(tmp_path / "a.mrc", image))
    assert max(pyramid.levels[-1].shape) <= TILE_PX
    for level in pyramid.levels:
        padded = np.pad(image, [(0, n % 2) for n in image.shape], mode="edge")
        assert level.shape == image.shape
        if image.std() > 0.5:
            assert np.corrcoef(level.ravel(), image.ravel())[0, 1] > 0.999
        image = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).mean((1, 3))


def test_tiles_join_to_the_micrograph_without_a_seam(tmp_path):
    image = cv2.GaussianBlur(noise(1100, 1300), (0, 0), 6)
    path, tiles = write(tmp_path / "a.mrc", image), Tiles()
    for look in (Look(), Look(low_pass=60.0)):
        joined = mosaic(tiles, path, 0, image.shape, look).astype(float)
        assert joined.shape == image.shape
        sigma = 60.0 * np.sqrt(2 * np.log(2)) / (2 * np.pi) / 2.0 if look.low_pass else 0
        wanted = cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image
        wanted = wanted.astype(float) - wanted.mean()
        usual = (joined > 5) & (joined < 250)  # neither black nor white
        slope, offset = np.polyfit(wanted[usual], joined[usual], 1)
        gap = np.abs(joined - (slope * wanted + offset))[usual]
        seam = np.zeros(image.shape, bool)
        seam[:, 510:514] = seam[510:514] = seam[:, 1022:1026] = seam[1022:1026] = True
        assert gap.max() < 25
        assert gap[seam[usual]].mean() < 1.5 * gap.mean()


def test_contrast_and_inversion_change_grey_levels_as_they_say(tmp_path):
    image = cv2.GaussianBlur(noise(400, 500), (0, 0), 5)
    path, tiles = write(tmp_path / "a.mrc", image), Tiles()
    plain = shown(tiles, path, 0).astype(float)
    inverted = shown(tiles, path, 0, look=Look(invert=True)).astype(float)
    flat = shown(tiles, path, 0, look=Look(contrast=0.5)).astype(float)
    assert np.abs(255 - inverted - plain).mean() < 3
    assert flat.std() == pytest.approx(plain.std() / 2, rel=0.15)


def test_hot_pixels_and_pixels_that_are_no_numbers_do_not_darken_the_picture(tmp_path):
    image = noise(600, 600)
    clean = shown(Tiles(), write(tmp_path / "a.mrc", image), 1)
    image[50, 60], image[70, 80], image[90, 95] = 1e30, np.nan, -np.inf
    spoiled = shown(Tiles(), write(tmp_path / "b.mrc", image), 1)
    assert np.abs(clean.astype(float) - spoiled).mean() < 3


def test_a_file_that_changes_is_read_again(tmp_path):
    tiles, path = Tiles(), write(tmp_path / "a.mrc", noise(64, 64))
    before = shown(tiles, path, 0)
    write(path, noise(64, 64, seed=1))
    assert np.abs(before.astype(float) - shown(tiles, path, 0)).mean() > 20


@pytest.mark.parametrize(("level", "column", "row"), [(2, 0, 0), (-1, 0, 0), (0, 2, 0), (0, 0, 2), (0, -1, 0)])
def test_a_tile_that_is_not_there_is_refused(tmp_path, level, column, row):
    path = write(tmp_path / "a.mrc", noise(600, 600))
    with pytest.raises(CryotxError, match=r"no level|no tile"):
        Tiles().tile(path, 2.0, level, column, row, Look())


def test_memory_is_bounded_whatever_is_looked_at(tmp_path):
    paths = [write(tmp_path / f"{i}.mrc", noise(512, 512, i)) for i in range(6)]
    tiles = Tiles(memory=3 * 512 * 512)
    for path in paths:
        shown(tiles, path, 0)
        assert sum(one.nbytes for one in tiles._kept.values()) <= 3 * 512 * 512
    assert len(tiles._kept) == 3


@pytest.mark.slow
def test_the_first_view_of_a_large_micrograph_takes_little_time(tmp_path):
    image = np.tile(noise(512, 8192), (16, 1))
    path, tiles = write(tmp_path / "large.mrc", image), Tiles()
    started = time.process_time()
    shown(tiles, path, 4)
    assert time.process_time() - started < 1.5
    started = time.process_time()
    shown(tiles, path, 0, 7, 8, Look(low_pass=20.0))
    assert time.process_time() - started < 0.1
