"""Where the time of ``cryotx pick`` goes: reading, preparing, network and writing, in seconds a micrograph.

    python benchmarks/speed.py [--micrographs 6] [--size 4096] [--diameter 150] [--device auto] [--weights default]
    python benchmarks/speed.py --profile [--micrographs 6] [--size 4096] [--diameter 115]
    python benchmarks/speed.py --peers [--micrographs 20] [--diameter 115 200] [--only NAME ...] [--threads 2]

Micrographs are float32 MRC files of noise with discs, freshly written, so the operating system reads them from memory.
The stages are timed one after the other; the last line is the whole command's work, where they overlap.

With --profile the stages are told further apart, in processor seconds of one thread: imports, loading, reading,
preparing, each part of the network, film, decoding, the choice of picks, each kind of file, the report (stages.py).

With --peers whole commands are compared instead, start included, as their users run them (programs.py), each printed
before it runs: cryotx without and with pictures and report, and in bfloat16, which not every processor has; RELION's
LoG at the defaults of its job, by one process and by as many as --threads says; the chain of the original
CryoTransformer, its denoising and a ResNet-152 DETR at a short side of 800 px with random weights, run by cryotx;
Topaz's pretrained model. The last two get --slow-micrographs of the files. They take turns, --rounds times; the table
has medians and, in brackets, the least. Other work on the machine stretches seconds on the clock and, less, CPU
seconds.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
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
from discs import PIXEL_SIZE, write_micrograph
from machine import describe_machine
from programs import run_cryotx, run_relion, run_topaz
from stages import print_stages, profile_stages

STAGES = ("reading", "preparing", "network", "writing")


@dataclass(frozen=True)
class Program:
    """A picker's run, given a folder to work in, on so many micrographs."""

    files: int
    run: Callable[[Path], child.Cost]


def main() -> None:
    arguments = parse_arguments()
    for diameter in arguments.diameter:
        if arguments.peers:
            compare_commands(arguments, diameter)
        elif arguments.profile:
            show_profile(arguments, diameter)
        else:
            compare_stages(arguments, diameter)


def show_profile(arguments: argparse.Namespace, diameter: float) -> None:
    print(f"{describe_machine('torch', 'numpy')}\n{describe_input(arguments, diameter)}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [
            write_micrograph(folder / f"m{seed}.mrc", arguments.size, diameter, seed)
            for seed in range(arguments.micrographs)
        ]
        print_stages(profile_stages(files, diameter, arguments.weights, folder))


def compare_stages(arguments: argparse.Namespace, diameter: float) -> None:
    picker = Picker(load_checkpoint(arguments.weights), resolve_device(arguments.device))
    print_header(arguments, diameter, picker)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        micrographs = [
            write_micrograph(folder / f"m{seed}.mrc", arguments.size, diameter, seed)
            for seed in range(arguments.micrographs)
        ]
        time_stages(picker, micrographs[0], diameter, folder)  # the first pass of a network is slower
        seconds = np.array([time_stages(picker, path, diameter, folder) for path in micrographs])
        print(f"{'seconds a micrograph':24}{'median':>10}{'fastest':>10}{'slowest':>10}")
        for stage, column in zip((*STAGES, "sum"), (*seconds.T, seconds.sum(axis=1)), strict=True):
            print(f"{stage:24}{np.median(column):10.3f}{column.min():10.3f}{column.max():10.3f}")
        config = PickConfig(diameter=diameter, weights=arguments.weights, device=arguments.device)
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
    parser.add_argument("--diameter", type=float, nargs="+", default=[150.0], help="in Å; a table for each")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--profile", action="store_true", help="processor seconds of all stages")
    parser.add_argument("--peers", action="store_true", help="compare whole commands of several programs")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run only these of the programs")
    parser.add_argument("--slow-micrographs", type=int, default=2, help="for the original's chain and Topaz")
    parser.add_argument("--threads", type=int, default=2, help="of each program that can use several")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--topaz", default="topaz", help="the program or its path")
    parser.add_argument("--relion", default="relion_autopick", help="the program or its path")
    return parser.parse_args()


def print_header(arguments: argparse.Namespace, diameter: float, picker: Picker) -> None:
    gpu = f" ({torch.cuda.get_device_name(picker.device)})" if picker.device.type == "cuda" else ""
    print(f"{describe_machine('torch', 'numpy')}, OpenCV {cv2.__version__}")
    print(f"threads   torch {torch.get_num_threads()}, OpenCV {cv2.getNumThreads()}; network on {picker.device}{gpu}")
    print(f"{describe_input(arguments, diameter)}\n")


def describe_input(arguments: argparse.Namespace, diameter: float) -> str:
    size = f"{arguments.size} x {arguments.size} px of {PIXEL_SIZE} Å"
    return f"input     {arguments.micrographs} micrographs of {size}, particles of {diameter:g} Å"


def compare_commands(arguments: argparse.Namespace, diameter: float) -> None:
    print(describe_machine("torch", "numpy"))
    print(f"{describe_input(arguments, diameter)}; {arguments.threads} threads\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many, few = folder / "many", folder / "few"
        many.mkdir()
        few.mkdir()
        for seed in range(arguments.micrographs):
            path = write_micrograph(many / f"m{seed}.mrc", arguments.size, diameter, seed)
            if seed < arguments.slow_micrographs:
                (few / path.name).symlink_to(path)
        programs = commands(arguments, diameter, many, few, write_random_detr(folder / "detr152.safetensors"))
        costs: dict[str, list[child.Cost]] = {program: [] for program in programs}
        for turn in range(arguments.rounds):
            for number, (name, program) in enumerate(programs.items()):
                print(f"round {turn + 1}: {name}", flush=True)
                work = folder / f"{turn}-{number}"
                work.mkdir()
                try:
                    costs[name].append(program.run(work))
                except RuntimeError as error:
                    print(f"{name}: {error}")
                shutil.rmtree(work)
            print_costs(programs, costs)


def commands(arguments: argparse.Namespace, diameter: float, many: Path, few: Path, detr: Path) -> dict[str, Program]:
    """Every program asked for; of those that are not installed it is said."""
    threads = arguments.threads
    all_of_them = arguments.micrographs
    some_of_them = min(arguments.micrographs, arguments.slow_micrographs)

    def cryotx(folder: Path, *flags: str | Path) -> Callable[[Path], child.Cost]:
        return lambda work: run_cryotx(folder, work / "p.star", PIXEL_SIZE, diameter, *flags, threads=threads)

    def relion_log(relion: Path, processes: int) -> Callable[[Path], child.Cost]:
        return lambda work: run_relion(relion, many, work, PIXEL_SIZE, diameter, processes)

    lean = ("--no-images", "--no-report")
    found = {
        "cryotx": Program(all_of_them, cryotx(many, *lean)),
        "cryotx, pictures": Program(all_of_them, cryotx(many)),
        "cryotx, bfloat16": Program(all_of_them, cryotx(many, *lean, "--precision", "bfloat16")),
    }
    if relion := shutil.which(arguments.relion):
        found["RELION LoG"] = Program(all_of_them, relion_log(Path(relion), 1))
        if threads > 1 and shutil.which("mpirun") and shutil.which(f"{relion}_mpi"):
            found["RELION LoG, MPI"] = Program(all_of_them, relion_log(Path(relion), threads))
    found["original's chain"] = Program(some_of_them, cryotx(few, *lean, "--weights", detr))
    if topaz := shutil.which(arguments.topaz):
        found["Topaz"] = Program(
            some_of_them, lambda work: run_topaz(Path(topaz), few, work, PIXEL_SIZE, diameter, threads=threads)
        )
    for name in ("RELION LoG", "Topaz"):
        if name not in found:
            print(f"{name}: not installed, skipped")
    return {name: program for name, program in found.items() if not arguments.only or name in arguments.only}


def print_costs(programs: dict[str, Program], costs: dict[str, list[child.Cost]]) -> None:
    """Print medians over the rounds, and the least, as a table for the documentation; ratios are to the first."""
    print("\n| a micrograph | files | clock, s | ratio | CPU, s | ratio | peak memory, MiB |")
    print("|---|---|---|---|---|---|---|")
    first: tuple[float, float] | None = None
    for name, runs in costs.items():
        if not runs:
            continue
        files = programs[name].files
        each = np.array([(run.wall, run.cpu) for run in runs]) / files
        (clock, cpu), least = np.median(each, axis=0), each.min(axis=0)
        first = first or (clock, cpu)
        cells = [
            f"{seconds:.2f} ({fastest:.2f}) | {seconds / of_first:.2f}"
            for seconds, fastest, of_first in zip((clock, cpu), least, first, strict=True)
        ]
        print(f"| {name} | {files} | {cells[0]} | {cells[1]} | {max(run.peak_mib for run in runs):.0f} |")
    print(flush=True)


def write_random_detr(path: Path) -> Path:
    """Write the paper's network with random weights that see no particles; its cost does not depend on them."""
    torch.manual_seed(0)
    model = Detr(DetrConfig())
    with torch.no_grad():
        model.class_embed.weight.zero_()
        model.class_embed.bias.copy_(torch.tensor([-3.0, 3.0]))
    save_detr_checkpoint(DetrCheckpoint(model.state_dict(), model.config, DetrInput("original")), path)
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
