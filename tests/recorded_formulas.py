"""The recordings of the original program, and their inputs made again from formulas that give the same everywhere.

The formulas use integers and dyadic fractions alone.
"""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECORDINGS = Path(__file__).with_name("recordings")


def recorded_json(name: str) -> dict[str, Any]:
    return json.loads((RECORDINGS / name).read_text())


def recorded_arrays(name: str) -> dict[str, NDArray[Any]]:
    with np.load(RECORDINGS / name) as arrays:
        return dict(arrays)


def micrograph_by_formula(seed: int, height: int, width: int, discs: int) -> NDArray[np.float32]:
    stream = np.random.RandomState(seed)  # its stream is part of the formula
    noise = stream.randint(0, 65536, size=(4, height, width), dtype=np.int32).astype(np.int64).sum(0)
    image = (noise - 131070) / 32768
    yy, xx = np.mgrid[:height, :width]
    for _ in range(discs):
        y, x = (int(stream.randint(0, side, dtype=np.int32)) for side in (height, width))
        radius = int(stream.randint(12, 28, dtype=np.int32))
        image[(yy - y) ** 2 + (xx - x) ** 2 <= radius**2] -= 1.5
    return (image + xx / 512 + yy / 1024).astype(np.float32)


def parameter_by_formula(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    stream = np.random.RandomState(zlib.crc32(name.encode("ascii")))
    v = stream.randint(-32768, 32768, size=math.prod(shape), dtype=np.int32).astype(np.float64).reshape(shape) / 32768
    if name.endswith("running_var"):
        return 1 + 0.5 * v
    if name.endswith("running_mean"):
        return 0.125 * v
    if name == "query_embed.weight" or name.endswith(("row_embed.weight", "col_embed.weight")):
        return 4 * v
    if name.endswith(".bn3.weight"):
        return 0.25 + 0.125 * v
    if len(shape) <= 1:
        return 0.75 + 0.25 * v if name.endswith("weight") else 0.125 * v
    w = math.sqrt(6 / math.prod(shape[1:])) * v
    scale = {"input_proj.weight": 0.5, "class_embed.weight": 4.0, "bbox_embed.layers.2.weight": 2.0}
    if name.endswith("in_proj_weight"):
        third = shape[0] // 3
        w[: 2 * third] *= 3
        w[2 * third :] *= 0.5
    return scale.get(name, 1.0) * w
