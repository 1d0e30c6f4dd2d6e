"""Micrographs that are shrunk while they are read, against those that are read first."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.decoy import noise_seed
from cryotx_cli.micrographs.micrograph import Micrograph, MicrographFile, read_micrograph
from cryotx_cli.micrographs.unread import UnreadMicrograph, open_micrograph, seed_of
from cryotx_cli.runs.jobs import checksum_of


def written(path: Path, image: np.ndarray, *, extended: int = 0, swapped: bool = False, tail: bytes = b"") -> Path:
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(image.astype(image.dtype.newbyteorder(">")) if swapped else image)
        mrc.voxel_size = 1.5
        if extended:
            mrc.set_extended_header(np.zeros(extended, "S1"))
    if tail:
        with path.open("ab") as file:
            file.write(tail)
    return path


def noise(shape: tuple[int, int] = (700, 520), seed: int = 0) -> np.ndarray:
    image = 30 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    image[shape[0] // 2, 7] = 9e3  # a hot pixel
    return image


def opened(path: Path) -> Micrograph:
    return open_micrograph(MicrographFile(path, path.name))


@pytest.mark.parametrize("factor", [0.02, 0.137, 0.5, 0.83, 0.999, 1.0, 1.7])
@pytest.mark.parametrize("kind", ["float32", "int16", "float16", "swapped", "extended", "tail", "wide", "uint16"])
def test_it_gives_the_same_numbers_to_the_last_bit(tmp_path: Path, kind: str, factor: float) -> None:
    image = noise((257, 9000)) if kind == "wide" else noise()
    if kind in ("int16", "float16", "uint16"):
        image = np.abs(image).astype(kind) if kind == "uint16" else image.astype(kind)
    extras = {"extended": {"extended": 640}, "swapped": {"swapped": True}, "tail": {"tail": b"and more"}}
    path = written(tmp_path / "m.mrc", image, **extras.get(kind, {}))

    unread, whole = opened(path), read_micrograph(path)

    assert isinstance(unread, UnreadMicrograph)
    assert np.array_equal(unread.shrunk(factor), whole.shrunk(factor))
    assert np.array_equal(unread.negative().shrunk(factor), whole.negative().shrunk(factor))
    assert (unread.image.shape, unread.pixel_size, unread.source) == (whole.image.shape, 1.5, path)
    assert seed_of(unread) == noise_seed(whole.image)
    assert unread.passed.checksum == (checksum_of(path) if len(whole.shrunk(factor)) < len(image) else None)


def test_it_can_be_read_as_a_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "m.mrc", noise())

    unread = opened(path)

    assert isinstance(unread, UnreadMicrograph)
    assert np.array_equal(unread.read().image, noise())
    assert np.array_equal(unread.negative().negative().read().image, noise())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spoiled", [(0, 0), (8, 8), (400, 3), (699, 519)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_mended_as_ever(tmp_path: Path, spoiled: tuple[int, int], value: float) -> None:
    image = noise()
    image[spoiled] = value
    path = written(tmp_path / "m.mrc", image)

    unread = opened(path)

    assert isinstance(unread, UnreadMicrograph)
    assert np.array_equal(unread.shrunk(0.25), read_micrograph(path).shrunk(0.25))
    assert seed_of(unread) == noise_seed(read_micrograph(path).image)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("image", [np.full((300, 300), 4, np.float32), np.full((300, 300), np.nan, np.float32)])
def test_no_image_is_told_as_ever(tmp_path: Path, image: np.ndarray) -> None:
    path = written(tmp_path / "m.mrc", image)

    with pytest.raises(MicrographError) as expected:
        read_micrograph(path)
    with pytest.raises(MicrographError) as raised:
        opened(path).shrunk(0.25)
    assert (raised.value.message, raised.value.hint) == (expected.value.message, expected.value.hint)


def test_a_file_that_is_cut_short_meanwhile_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "m.mrc", noise())
    unread = opened(path)
    path.write_bytes(path.read_bytes()[:-5000])

    with pytest.raises(MicrographError, match="truncated"):
        unread.shrunk(0.25)


def test_a_page_behind_the_header_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "m.mrc", noise())
    path.write_bytes(path.read_bytes()[:1024] + b"<html><body>Not found".ljust(700 * 520 * 4))

    with pytest.raises(MicrographError, match="page"):
        opened(path).shrunk(0.25)


@pytest.mark.parametrize("shape", [(255, 900), (900, 255)])
def test_a_small_one_is_read(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = written(tmp_path / "m.mrc", noise(shape))

    assert not isinstance(opened(path), UnreadMicrograph)


def test_one_without_a_pixel_size_is_refused_as_ever(tmp_path: Path) -> None:
    path = written(tmp_path / "m.mrc", noise())
    with mrcfile.open(path, "r+") as mrc:
        mrc.voxel_size = 0.0

    with pytest.raises(MicrographError, match="pixel size"):
        opened(path)
    assert open_micrograph(MicrographFile(path, path.name), 2.0).pixel_size == 2.0
