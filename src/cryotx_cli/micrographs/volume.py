"""Reading density maps."""

from __future__ import annotations

import warnings
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.micrographs.limits import require_sensible_expansion
from cryotx_cli.micrographs.mrc import promised_bytes


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
    path = Path(path)
    # mrcfile makes room for what the header tells before it reads.
    (told, compressed), stored = promised_bytes(path), path.stat().st_size
    if compressed:
        require_sensible_expansion(path, told, stored)
    elif told > stored:
        raise ValueError(f"its header tells of {told} bytes, and the file has {stored}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # permissive reading announces every oddity of a header
        with mrcfile.open(path, permissive=True) as mrc:
            if mrc.data is None or mrc.data.ndim != 3:
                raise ValueError("not a density map")
            voxel = float(mrc.voxel_size.x)
            if not voxel > 0:
                raise ValueError("no voxel size in its header")
            return np.asarray(mrc.data, np.float32), voxel
