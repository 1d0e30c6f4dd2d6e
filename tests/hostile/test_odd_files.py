"""Broken and odd files give the right pixels and picks, or one clear error that names the file."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.errors import CryotxError, MicrographError, ParticleFileError
from cryotx_cli.micrographs.micrograph import find_micrographs, read_header, read_micrograph
from cryotx_cli.micrographs.names import output_stems
from hostile.odd_files import ODD_IMAGES, ODD_TABLES, trapped_cs
from hostile.valid_files import TABLES


@pytest.fixture(autouse=True)
def nothing_reaches_the_terminal(capfd):
    """Whatever the libraries think of a file, the user sees cryotx's words only."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def refused(path, pattern, read, *arguments):
    with pytest.raises(CryotxError, match=pattern) as caught:
        read(*arguments)
    assert path.name in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 1000
    return caught.value


def identity(odd):
    return f"{odd.suffix} {odd.name}"


@pytest.mark.parametrize("odd", ODD_IMAGES, ids=identity)
def test_images(tmp_path, odd):
    path = tmp_path / f"odd{odd.suffix}"
    path.write_bytes(odd.content)
    if isinstance(odd.expected, np.ndarray):
        read = read_micrograph(path, 1.25)
        assert read.image.dtype == np.float32
        assert_allclose(read.image, odd.expected, rtol=1e-6, atol=1e-3 if odd.name.startswith("RGB") else 0)
        assert (read_header(path).height, read_header(path).width) == odd.expected.shape
    elif odd.expected == "read":
        assert read_micrograph(path, 1.25).image.shape == (24, 32)
    else:
        error = refused(path, odd.expected, read_micrograph, path, 1.25)
        assert error.hint


@pytest.mark.parametrize("odd", ODD_TABLES, ids=identity)
def test_coordinates(tmp_path, odd):
    path = tmp_path / f"odd{odd.suffix}"
    path.write_bytes(odd.content)
    if isinstance(odd.expected, str):
        refused(path, odd.expected, read_particles, path)
        return
    read = read_particles(path)
    assert list(read) == list(odd.expected)
    for name, centres in odd.expected.items():
        assert_allclose(read[name].centres, np.reshape(centres, (-1, 2)), rtol=1e-6)
        assert not (read[name].diameters <= 0).any()


def test_there_are_enough_of_them():
    assert len(ODD_IMAGES) + len(ODD_TABLES) >= 160


def test_an_unknown_pixel_size_is_asked_for(tmp_path):
    for odd in ODD_IMAGES:
        if odd.name in ("zero voxel size", "no cells", "NaN voxel size"):
            (tmp_path / "odd.mrc").write_bytes(odd.content)
            error = refused(tmp_path / "odd.mrc", "does not know its pixel size", read_micrograph, tmp_path / "odd.mrc")
            assert "--pixel-size" in error.hint


@pytest.mark.parametrize("structured", [True, False])
def test_python_objects_in_a_cs_file_are_never_loaded(tmp_path, structured):
    path, sprung = tmp_path / "odd.cs", tmp_path / "sprung"
    path.write_bytes(trapped_cs(sprung, structured))

    refused(path, "Python objects", read_particles, path)

    assert not sprung.exists()
    np.load(path, allow_pickle=True)
    assert sprung.exists()  # the trap was a real one


@pytest.mark.parametrize("suffix", [".mrc", ".tif", ".png"])
def test_pipes_and_devices_are_not_waited_for(tmp_path, suffix):
    pipe, device, gone = (tmp_path / f"{name}{suffix}" for name in ("pipe", "device", "gone"))
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    gone.symlink_to("nothing")

    for read in (read_micrograph, read_header):
        refused(pipe, "a pipe or a device", read, pipe)
        refused(device, "a pipe or a device", read, device)
        refused(gone, "no such file", read, gone)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_coordinates_are_not_read_from_pipes_and_devices(tmp_path, name):
    pipe, device = tmp_path / name, tmp_path / f"device{Path(name).suffix}"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")

    for path in (pipe, device):
        refused(path, "a pipe or a device", read_particles, path)


def test_names_that_no_file_can_have(tmp_path):
    long = tmp_path / ("x" * 300 + ".mrc")
    with pytest.raises(MicrographError, match="no such file"):
        read_micrograph(long)
    with pytest.raises(MicrographError, match="no such file"):
        find_micrographs([long])
    with pytest.raises(ParticleFileError, match="no such file"):
        read_particles(long.with_suffix(".star"))
    listed = tmp_path / "micrographs.star"
    listed.write_text(f"data_\nloop_\n_rlnMicrographName\n{'y' * 300}.mrc\n")
    assert [file.name for file in find_micrographs([listed])] == ["y" * 300 + ".mrc"]
    listed.write_text("data_\nloop_\n_rlnMicrographName\na\0b.mrc\n")
    with pytest.raises(MicrographError, match=r"micrographs\.star: names 'a\\x00b\.mrc'"):
        find_micrographs([listed])


def test_outputs_stay_below_their_folder():
    stems = output_stems(["../../a.mrc", "/etc/b.mrc", "c/../../d.mrc", "/e f/日本.mrc"])
    assert not any(stem.is_absolute() or ".." in stem.parts for stem in stems)
    assert len(set(stems)) == 4
