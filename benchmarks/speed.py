"""Where the time of ``cryotx pick`` goes: reading, preparing, network and writing, in seconds a micrograph.

    python benchmarks/speed.py [--micrographs 6] [--size 4096] [--device auto] [--weights default]

Micrographs are float32 MRC files of noise with discs, freshly written, so the operating system reads them from memory.
The stages are timed one after the other; the last line is the whole command's work, where they overlap.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import torch

from cryotx_cli.config import PickConfig
from cryotx_cli.data.candidates import Candidates, write_candidates
from cryotx_cli.data.formats.box import box_side_px, write_box
from cryotx_cli.data.formats.star import write_micrograph_star
from cryotx_cli.data.micrograph import read_micrograph
from cryotx_cli.data.selection import ExpectedF1, choose
from cryotx_cli.detector.checkpoint import load_checkpoint
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.detector.picker import Picker
from cryotx_cli.report.annotated_image import write_annotated_image
from cryotx_cli.workflows.pick import start_pick
from machine import describe_machine

PIXEL_SIZE = 1.0625  # Å; not 1.0, which a header uses for "unknown"
STAGES = ("reading", "preparing", "network", "writing")


def main() -> None:
    arguments = parse_arguments()
    picker = Picker(load_checkpoint(arguments.weights), resolve_device(arguments.device))
    print_header(arguments, picker)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        micrographs = [
            write_micrograph(folder / f"m{seed}.mrc", arguments.size, arguments.diameter, seed)
            for seed in range(arguments.micrographs)
        ]
        time_stages(picker, micrographs[0], arguments.diameter, folder)  # the first pass of a network is slower
        seconds = np.array([time_stages(picker, path, arguments.diameter, folder) for path in micrographs])
        print(f"{'seconds a micrograph':24}{'median':>10}{'fastest':>10}{'slowest':>10}")
        for stage, column in zip((*STAGES, "sum"), (*seconds.T, seconds.sum(axis=1)), strict=True):
            print(f"{stage:24}{np.median(column):10.3f}{column.min():10.3f}{column.max():10.3f}")
        config = PickConfig(diameter=arguments.diameter, weights=arguments.weights, device=arguments.device)
        started = time.perf_counter()
        picks = sum(
            len(result.particles or ()) for result in start_pick(micrographs, folder / "p.star", config, picker)
        )
        each = (time.perf_counter() - started) / len(micrographs)
        print(f"{'whole run, overlapping':24}{each:10.3f}    {picks / len(micrographs):.0f} picks a micrograph")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=6)
    parser.add_argument("--size", type=int, default=4096, help="height and width in pixels")
    parser.add_argument("--diameter", type=float, default=150.0, help="particle diameter in Å")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", default="default")
    return parser.parse_args()


def print_header(arguments: argparse.Namespace, picker: Picker) -> None:
    gpu = f" ({torch.cuda.get_device_name(picker.device)})" if picker.device.type == "cuda" else ""
    print(f"{describe_machine('torch', 'numpy')}, OpenCV {cv2.__version__}")
    print(f"threads   torch {torch.get_num_threads()}, OpenCV {cv2.getNumThreads()}; network on {picker.device}{gpu}")
    size = f"{arguments.size} x {arguments.size} px of {PIXEL_SIZE} Å"
    print(f"input     {arguments.micrographs} micrographs of {size}, particles of {arguments.diameter:g} Å\n")


def write_micrograph(path: Path, size: int, diameter: float, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((size, size), np.float32)
    radius = round(diameter / PIXEL_SIZE / 2)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = (np.hypot(x, y) <= radius).astype(np.float32)
    spacing = 3 * radius  # centres on a jittered grid: discs do not overlap
    corners = np.arange(radius, size - 3 * radius, spacing)
    for corner in np.stack(np.meshgrid(corners, corners), axis=-1).reshape(-1, 2):
        top, left = corner + rng.integers(0, max(1, radius // 2), 2)
        image[top : top + len(disc), left : left + len(disc)] -= 0.4 * disc
    with mrcfile.new(path) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = PIXEL_SIZE
    return path


def time_stages(picker: Picker, path: Path, diameter: float, folder: Path) -> tuple[float, ...]:
    """Pick one micrograph and return the seconds of each stage."""
    times = [time.perf_counter()]
    micrograph = read_micrograph(path)
    times.append(time.perf_counter())
    prepared = picker.prepare(micrograph, diameter)
    times.append(time.perf_counter())
    candidates = picker.locate(prepared, micrograph)
    times.append(time.perf_counter())
    apart = candidates.with_minimum_distance(diameter / 2 / micrograph.pixel_size)
    picks = apart.select(choose(apart, ExpectedF1()))
    write_candidates(folder / "candidates.csv", Candidates(candidates, *micrograph.image.shape), "key")
    write_micrograph_star(folder / "picks.star", picks)
    write_box(folder / "picks.box", picks, box_side_px(diameter / micrograph.pixel_size))
    write_annotated_image(folder / "picks.png", micrograph, picks, path.name)
    times.append(time.perf_counter())
    return tuple(np.diff(times).tolist())


if __name__ == "__main__":
    main()
