"""Processor seconds of each stage of ``cryotx pick``, down to the parts of the network, one after the other."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.box import box_side_px, write_box
from cryotx_cli.coordinates.formats.star import write_micrograph_star
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.load_picker import load_picker
from cryotx_cli.micrographs.micrograph import read_micrograph
from cryotx_cli.picking.page import write_page
from cryotx_cli.report.annotated_image import grey_picture, write_annotated_image
from cryotx_cli.report.packing import thumbnail_bytes
from cryotx_cli.report.thumbnail import write_thumbnail
from cryotx_cli.runs.candidates import Candidates, write_candidates
from cryotx_cli.runs.selection import ExpectedF1, choose
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.pick import start_pick

_IMPORTS = {"import: PyTorch": "import torch", "import: the rest": "import torch, cryotx_cli.workflows.pick"}
_PER_RUN = ("import: PyTorch", "import: the rest", "load", "report")


class Clock:
    """Processor seconds by stage, one entry for each time that a stage was gone through."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.seconds[name].append(time.process_time() - started)

    def median(self, name: str) -> float:
        return float(np.median(self.seconds[name]))


def profile_stages(micrographs: list[Path], diameter: float, weights: str, folder: Path) -> Clock:
    """Pick micrographs with one thread on the CPU, after one that does not count, and write what a run writes.

    Raises
    ------
    TypeError
        The weights are not of the family of the default model.
    """
    clock = Clock()
    for name, line in _IMPORTS.items():
        for _ in range(3):
            clock.seconds[name].append(import_seconds(line))
    alone = min(clock.seconds["import: PyTorch"])
    clock.seconds["import: the rest"] = [seconds - alone for seconds in clock.seconds["import: the rest"]]
    config = PickConfig(diameter=diameter, weights=weights, device="cpu", no_classes=True)
    with clock.stage("load"):
        picker = load_picker(config).picker
    if not isinstance(picker, Picker):
        raise TypeError(f"{weights}: only the stages of the default model are known")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pick_one(picker, micrographs[0], diameter, folder, Clock(), len(micrographs))
    handles = list(watch(picker, clock))
    for path in micrographs:
        pick_one(picker, path, diameter, folder, clock, len(micrographs))
    for handle in handles:
        handle()
    torch.set_num_threads(threads)
    for _ in start_pick(micrographs, folder / "run.star", config, picker):
        pass
    run = read_run(folder / "run")
    with clock.stage("report"):
        write_page(run)
    return clock


def import_seconds(line: str) -> float:
    code = f"import gc; gc.disable(); {line}; import time; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def pick_one(picker: Picker, path: Path, diameter: float, folder: Path, clock: Clock, micrographs: int) -> None:
    with clock.stage("read"):
        micrograph = read_micrograph(path)
    with clock.stage("prepare"):
        prepared = picker.prepare(micrograph, diameter)
    with clock.stage("find"):
        located = picker.locate(prepared, micrograph)
    with clock.stage("select"):
        apart = located.particles.with_minimum_distance(diameter / 2 / micrograph.pixel_size)
        picks = apart.select(choose(apart, ExpectedF1()))
    height, width = micrograph.image.shape
    candidates = Candidates(located.particles, height, width, located.film)
    with clock.stage("write: coordinates"):
        write_candidates(folder / "c.csv", candidates, "key")
        write_micrograph_star(folder / "c.star", picks)
        write_box(folder / "c.box", picks, box_side_px(diameter / micrograph.pixel_size))
    with clock.stage("write: shrink"):
        grey = grey_picture(micrograph)
    with clock.stage("write: thumbnail"):
        write_thumbnail(folder / "c.jpg", grey, thumbnail_bytes(micrographs))
    with clock.stage("write: picture"):
        write_annotated_image(folder / "c.png", micrograph, picks, path.name, grey, located.film)


def watch(picker: Picker, clock: Clock) -> Iterator[Callable[[], None]]:
    """Have a network note the seconds of its parts; yields what ends it."""
    parts = {"network": picker.model, **({"film": picker.film_finder} if picker.film_finder else {})}
    for name, part in picker.model.named_children():
        for number, one in enumerate(part if isinstance(part, nn.ModuleList) else [part]):
            parts[f"network: {name}{f' {number}' if isinstance(part, nn.ModuleList) else ''}"] = one
    for name, module in parts.items():
        started: list[float] = []

        def begin(*_: object, started: list[float] = started) -> None:
            started.append(time.process_time())

        def end(*_: object, name: str = name, started: list[float] = started) -> None:
            clock.seconds[name].append(time.process_time() - started.pop())

        yield module.register_forward_pre_hook(begin).remove
        yield module.register_forward_hook(end).remove


def print_stages(clock: Clock) -> None:
    """Print the medians; what the parts of a stage leave of it is told apart."""
    parts = [name for name in clock.seconds if name.startswith("network: ")]
    rows = {name: clock.median(name) for name in clock.seconds if name not in ("find", "network", "film", *parts)}
    network, film = (clock.median(name) if name in clock.seconds else 0.0 for name in ("network", "film"))
    inside = {name: clock.median(name) for name in parts}
    table = {
        **{name: rows[name] for name in ("read", "prepare")},
        **inside,
        "network: between its parts": network - sum(inside.values()),
        "film": film,
        "decode, look for grain, rescale": clock.median("find") - network - film,
        **{name: seconds for name, seconds in rows.items() if name not in ("read", "prepare", *_PER_RUN)},
    }
    print(f"{'processor seconds of a micrograph, one thread':48}{'median':>8}")
    for name, seconds in [*table.items(), ("sum", sum(table.values()))]:
        print(f"  {name:46}{seconds:8.4f}")
    print(f"{'of a run':48}{'':>8}")
    for name in _PER_RUN:
        print(f"  {name:46}{rows[name]:8.4f}")
