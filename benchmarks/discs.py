"""Micrographs of noise with dark discs: what a run costs does not depend on what is to be seen."""

from pathlib import Path

import mrcfile
import numpy as np

PIXEL_SIZE = 1.0625  # Å; not 1.0, which a header uses for "unknown"


def write_micrograph(path: Path, size: int, diameter: float, seed: int) -> Path:
    """Write a float32 MRC file of `size` x `size` px with discs of `diameter` Å on a jittered grid; return `path`."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((size, size), np.float32)
    radius = round(diameter / PIXEL_SIZE / 2)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = (np.hypot(x, y) <= radius).astype(np.float32)
    spacing = 3 * radius  # discs do not overlap
    corners = np.arange(radius, size - 3 * radius, spacing)
    for corner in np.stack(np.meshgrid(corners, corners), axis=-1).reshape(-1, 2):
        top, left = corner + rng.integers(0, max(1, radius // 2), 2)
        image[top : top + len(disc), left : left + len(disc)] -= 0.4 * disc
    with mrcfile.new(path) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = PIXEL_SIZE
    return path
