"""Where the time of ``cryotx pick`` goes: reading, preparing, network and writing, in seconds a micrograph.

    python benchmarks/speed.py [--micrographs 6] [--size 4096] [--device auto] [--weights default]
    python benchmarks/speed.py --peers [--micrographs 20] [--topaz PROGRAM] [--relion PROGRAM] [--threads 2]

Micrographs are float32 MRC files of noise with discs, freshly written, so the operating system reads them from memory.
The stages are timed one after the other; the last line is the whole command's work, where they overlap.

With --peers whole commands are compared instead, start included: cryotx without and with pictures and report; RELION's
LoG; the chain of the original CryoTransformer, its denoising and a ResNet-152 DETR at a short side of 800 px with
random weights, run by cryotx; Topaz's pretrained model. The slow ones get --slow-micrographs of the files. They take
turns, --rounds times. Other work on the machine stretches seconds on the clock, CPU seconds hardly.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import torch

import child
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.box import box_side_px, write_box
from cryotx_cli.coordinates.formats.star import write_micrograph_star
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint, DetrInput, save_detr_checkpoint
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.micrographs.micrograph import read_micrograph
from cryotx_cli.report.annotated_image import write_annotated_image
from cryotx_cli.runs.candidates import Candidates, write_candidates
from cryotx_cli.runs.selection import ExpectedF1, choose
from cryotx_cli.workflows.pick import start_pick
from machine import describe_machine
from programs import run_cryotx, run_relion, run_topaz

PIXEL_SIZE = 1.0625  # Å; not 1.0, which a header uses for "unknown"
STAGES = ("reading", "preparing", "network", "writing")


def main() -> None:
    arguments = parse_arguments()
    if arguments.peers:
        compare_commands(arguments)
    else:
        compare_stages(arguments)


def compare_stages(arguments: argparse.Namespace) -> None:
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
    parser.add_argument("--peers", action="store_true", help="compare whole commands of several programs")
    parser.add_argument("--slow-micrographs", type=int, default=2, help="for the original's chain, RELION and Topaz")
    parser.add_argument("--threads", type=int, default=2, help="of each program that can use several")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--topaz", default="topaz", help="the program or its path")
    parser.add_argument("--relion", default="relion_autopick", help="the program or its path")
    return parser.parse_args()


def print_header(arguments: argparse.Namespace, picker: Picker) -> None:
    gpu = f" ({torch.cuda.get_device_name(picker.device)})" if picker.device.type == "cuda" else ""
    print(f"{describe_machine('torch', 'numpy')}, OpenCV {cv2.__version__}")
    print(f"threads   torch {torch.get_num_threads()}, OpenCV {cv2.getNumThreads()}; network on {picker.device}{gpu}")
    size = f"{arguments.size} x {arguments.size} px of {PIXEL_SIZE} Å"
    print(f"input     {arguments.micrographs} micrographs of {size}, particles of {arguments.diameter:g} Å\n")


def compare_commands(arguments: argparse.Namespace) -> None:
    print(describe_machine("torch", "numpy"))
    size = f"{arguments.size} x {arguments.size} px of {PIXEL_SIZE} Å"
    print(f"input     micrographs of {size}, particles of {arguments.diameter:g} Å; {arguments.threads} threads\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many, few = folder / "many", folder / "few"
        many.mkdir()
        few.mkdir()
        for seed in range(arguments.micrographs):
            path = write_micrograph(many / f"m{seed}.mrc", arguments.size, arguments.diameter, seed)
            if seed < arguments.slow_micrographs:
                (few / path.name).symlink_to(path)
        programs = commands(arguments, many, few, write_random_detr(folder / "detr152.safetensors"))
        costs: dict[str, list[child.Cost]] = {program: [] for program in programs}
        for turn in range(arguments.rounds):
            for number, (program, run) in enumerate(programs.items()):
                print(f"round {turn + 1}: {program}", flush=True)
                work = folder / f"{turn}-{number}"
                work.mkdir()
                try:
                    costs[program].append(run(work))
                except RuntimeError as error:
                    print(f"{program}: {error}")
                shutil.rmtree(work)
            print_costs(costs, arguments)


def commands(
    arguments: argparse.Namespace, many: Path, few: Path, detr: Path
) -> dict[str, Callable[[Path], child.Cost]]:
    """Every program's run, given a folder to work in; those not installed are left out, and it is said."""
    diameter, threads = arguments.diameter, arguments.threads
    lean = ("--no-images", "--no-report")
    found = {
        "cryotx": lambda work: run_cryotx(many, work / "p.star", PIXEL_SIZE, diameter, *lean, threads=threads),
        "cryotx, pictures": lambda work: run_cryotx(many, work / "p.star", PIXEL_SIZE, diameter, threads=threads),
        "original's chain": lambda work: run_cryotx(
            few, work / "p.star", PIXEL_SIZE, diameter, *lean, "--weights", detr, threads=threads
        ),
    }
    if relion := shutil.which(arguments.relion):
        found["RELION LoG"] = lambda work: run_relion(Path(relion), few, work, PIXEL_SIZE, diameter)
    if topaz := shutil.which(arguments.topaz):
        found["Topaz"] = lambda work: run_topaz(Path(topaz), few, work, PIXEL_SIZE, diameter, threads=threads)
    for program in ("RELION LoG", "Topaz"):
        if program not in found:
            print(f"{program}: not installed, skipped")
    return found


def print_costs(costs: dict[str, list[child.Cost]], arguments: argparse.Namespace) -> None:
    print(f"{'a micrograph':20}{'files':>6}{'clock s':>9}{'ratio':>8}{'CPU s':>9}{'ratio':>8}{'peak MiB':>10}")
    wall_unit = cpu_unit = 1.0
    for program, runs in costs.items():
        if not runs:
            continue
        files = arguments.micrographs if program.startswith("cryotx") else arguments.slow_micrographs
        wall = float(np.median([run.wall for run in runs])) / files
        cpu = float(np.median([run.cpu for run in runs])) / files
        if program == "cryotx":
            wall_unit, cpu_unit = wall, cpu
        peak = max(run.peak_mib for run in runs)
        print(f"{program:20}{files:6}{wall:9.2f}{wall / wall_unit:8.2f}{cpu:9.2f}{cpu / cpu_unit:8.2f}{peak:10.0f}")


def write_random_detr(path: Path) -> Path:
    """Write the paper's network with random weights that see no particles; its cost does not depend on them."""
    torch.manual_seed(0)
    model = Detr(DetrConfig())
    with torch.no_grad():
        model.class_embed.weight.zero_()
        model.class_embed.bias.copy_(torch.tensor([-3.0, 3.0]))
    save_detr_checkpoint(DetrCheckpoint(model.state_dict(), model.config, DetrInput("original")), path)
    return path


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
    candidates = picker.locate(prepared, micrograph).particles
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
