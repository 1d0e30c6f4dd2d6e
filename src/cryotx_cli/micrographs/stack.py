"""Stacks of small images in MRC files (``.mrcs``)."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import MicrographError
from cryotx_cli.files.whole_file import whole_path


def write_stack(path: str | Path, images: NDArray[np.floating], pixel_size: float) -> None:
    """Write images (n, height, width) as float32, whole or not at all; folders are made.

    Parameters
    ----------
    path
        The file; its name should end in ``.mrcs``, by which programs know that it holds no volume.
    images
        Rows as an MRC file stores them.
    pixel_size
        Å per pixel, for the header.

    Raises
    ------
    OSError
        It cannot be written.
    """
    with whole_path(path) as unfinished, mrcfile.new(unfinished, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(images, np.float32))
        mrc.set_image_stack()
        mrc.voxel_size = (pixel_size, pixel_size, 1.0)
        # The library's own label holds the time of day: the same images would give other bytes.
        mrc.header.label[:] = b""
        mrc.header.label[0], mrc.header.nlabl = b"cryotx", 1


def read_stack(path: str | Path) -> tuple[NDArray[np.float32], float]:
    """Return the images (n, height, width) of a file that `write_stack` wrote, and their Å per pixel.

    Raises
    ------
    MicrographError
        It cannot be read.
    """
    try:
        with mrcfile.open(path, permissive=False) as mrc:
            images = np.array(mrc.data, np.float32, ndmin=3)
            return images, float(mrc.voxel_size.x)
    except (OSError, ValueError) as error:
        raise MicrographError(f"{path}: cannot be read ({error})") from error
