"""What the header of an MRC file promises, by words written here: https://www.ccpem.ac.uk/mrc-format/mrc2014."""

import bz2
import gzip
import struct

import mrcfile
import numpy as np
import pytest

from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.micrograph import read_header, read_micrograph
from cryotx_cli.micrographs.mrc import promised_bytes


@pytest.mark.parametrize(("order", "mode", "bytes_a_voxel"), [("<", 2, 4), (">", 1, 2), ("<", 0, 1)])
@pytest.mark.parametrize("pack", [None, gzip.compress, bz2.compress])
def test_what_a_header_promises_is_told_of_volumes_too(tmp_path, order, mode, bytes_a_voxel, pack):
    header = bytearray(1024)
    struct.pack_into(f"{order}4i", header, 0, 5, 7, 11, mode)
    struct.pack_into(f"{order}i", header, 92, 96)
    header[212:214] = b"DD" if order == "<" else b"\x11\x11"
    (tmp_path / "map").write_bytes(pack(bytes(header)) if pack else header)
    assert promised_bytes(tmp_path / "map") == (1024 + 96 + 5 * 7 * 11 * bytes_a_voxel, pack is not None)


@pytest.mark.parametrize(("word", "value"), [(3, 4), (3, 77), (0, 0), (2, -1), (23, -1)])
def test_what_no_map_can_have_promises_nothing(tmp_path, word, value):
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, 5, 7, 11, 2)
    struct.pack_into("<i", header, 4 * word, value)
    (tmp_path / "map").write_bytes(header)
    with pytest.raises(ValueError, match="no MRC header of real numbers"):
        promised_bytes(tmp_path / "map")
    (tmp_path / "map").write_bytes(header[:1023])
    with pytest.raises(ValueError, match="no MRC header"):
        promised_bytes(tmp_path / "map")


@pytest.mark.parametrize(
    ("voxel", "known"),
    [
        ((1.5, 1.5, 1.5), 1.5),
        ((1.5, 1.495, 1.5), 1.5),  # as a side is rounded
        ((1.5, 0, 0), 1.5),  # no more than one was written
        ((1.5, 1.0, 1.0), 1.5),  # the others are not known
        ((1.5, 1.5, 99), 1.5),
        ((1.5, 3.0, 1.5), None),
        ((1.5 * 96 / 128, 1.5 * 128 / 96, 1.5), None),  # the sides of the image were exchanged
    ],
)
def test_a_header_of_two_pixel_sizes_knows_none(tmp_path, voxel, known):
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(np.random.default_rng(0).normal(size=(96, 128)).astype(np.float32))
        mrc.voxel_size = voxel
    found = read_header(tmp_path / "a.mrc").pixel_size
    assert found == (pytest.approx(known) if known else None)
    assert read_micrograph(tmp_path / "a.mrc", 1.2).pixel_size == pytest.approx(1.2)
    if known is None:
        with pytest.raises(
            MicrographError, match=r"a\.mrc: the file does not know its pixel size .* one in x and another in y"
        ):
            read_micrograph(tmp_path / "a.mrc")
