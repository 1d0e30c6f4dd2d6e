"""How long reading a micrograph and bringing it to the network's scale takes, against reading its bytes.

    python benchmarks/reading.py [--size 4096] [--repeats 15] [--diameter 160]

The files are written first, so the operating system reads them from memory. The bytes are read by ``numpy.fromfile``,
the micrograph by ``read_micrograph``, and the scale is that of a particle of 24 px. The three take turns, on one
thread; the fastest turn of each and the median are compared, in seconds of the clock and of the processor, which other
work on the machine disturbs less. Pixels of one or two bytes become float32, four or two times as many bytes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, rescale
from cryotx_cli.micrographs.micrograph import read_micrograph
from discs import PIXEL_SIZE
from machine import describe_machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, help="height and width in pixels")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--diameter", type=float, default=160.0, help="particle diameter in Å")
    arguments = parser.parse_args()
    factor = PIXELS_PER_DIAMETER / (arguments.diameter / PIXEL_SIZE)
    cv2.setNumThreads(1)
    print(f"{describe_machine('numpy', 'mrcfile')}, OpenCV {cv2.__version__}")
    print(f"input     {arguments.size} x {arguments.size} px, to {round(arguments.size * factor)} px; milliseconds\n")
    print(
        f"{'pixels':10}{'':19}{'fromfile':>10}{'read':>10}{'and scale':>11}{'read/fromfile':>15}{'scale/fromfile':>16}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("float32", "uint16", "int16", "int8"):
            path = write_micrograph(Path(folder, f"{kind}.mrc"), kind, arguments.size)
            seconds = take_turns(
                [partial(np.fromfile, path, np.uint8), partial(read_micrograph, path), partial(scaled, path, factor)],
                arguments.repeats,
            )
            for clock, of_clock in zip(("clock", "processor"), seconds, strict=True):
                for name, turns in (("fastest", of_clock.min(axis=0)), ("median", np.median(of_clock, axis=0))):
                    raw, read, scale = turns
                    times = f"{1e3 * raw:10.1f}{1e3 * read:10.1f}{1e3 * scale:11.1f}"
                    print(f"{kind:10}{clock:10}{name:9}{times}{read / raw:15.2f}{scale / raw:16.2f}")


def write_micrograph(path: Path, kind: str, size: int) -> Path:
    image = np.random.default_rng(0).normal(60, 10, (size, size)).astype(kind)
    with mrcfile.new(path, image) as mrc:
        mrc.voxel_size = PIXEL_SIZE
    return path


def scaled(path: Path, factor: float) -> NDArray[np.float32]:
    return rescale(read_micrograph(path).image, factor)


def take_turns(works: list[Callable[[], object]], repeats: int) -> np.ndarray:
    """Return the seconds of each work by the clock and of the processor, (2, repeats, number of works)."""
    seconds = np.empty((2, repeats, len(works)))
    for turn in range(repeats):
        for i, work in enumerate(works):
            started = np.array([time.perf_counter(), time.process_time()])
            result = work()
            seconds[:, turn, i] = np.array([time.perf_counter(), time.process_time()]) - started
            del result  # giving memory back is not part of it
    return seconds


if __name__ == "__main__":
    main()
