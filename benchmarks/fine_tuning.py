"""What adapting to the first few labelled micrographs of a set brings on the others: `cryotx train --data`.

Usage: python benchmarks/fine_tuning.py FOLDER RUN [--set 10017] [--count 5] [--minutes M]

FOLDER is that of accuracy.py. The first `count` micrographs by name are learned from (the command holds some of them
back by itself), all others only judge, where the labellers worked. RUN is the run's folder; a run that is there is
only judged, or goes on if it was stopped. Columns as in accuracy.py; CPU seconds are those of training, all threads.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from accuracy import Labelled, measure, read_set
from cryotx_cli.config import AdaptConfig
from cryotx_cli.datasets.cryoppp import find_labelled_micrographs
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.training.progress import FineTuned
from cryotx_cli.workflows.train import train
from machine import describe_machine


def link_first(folder: Path, tree: Path, count: int) -> None:
    """Make a CryoPPP tree of links to the first labelled micrographs."""
    pairs = [(one.file.path, one.labels) for one in find_labelled_micrographs(folder) if one.labels is not None]
    for pair in pairs[:count]:
        for file in pair:
            link = tree / file.resolve().relative_to(folder.resolve())
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())


def adapt(folder: Path, run: Path, count: int, pixel_size: float, minutes: float | None) -> None:
    with tempfile.TemporaryDirectory() as tree:
        link_first(folder, Path(tree), count)
        resume = (run / "state.pt").exists()
        config = AdaptConfig(data=Path(tree), pixel_size=pixel_size, minutes=minutes, resume=resume)
        started = time.process_time()
        for report in train(run, config):
            if report.event:
                print(report.event.text, flush=True)
            elif report.f1 is not None:
                print(f"step {report.step}: F1 {report.f1:.3f} on held-back micrographs", flush=True)
        assert isinstance(report, FineTuned)
        cpu = time.process_time() - started
    print(f"{report.step} steps, {cpu:.0f} CPU seconds, {report.seconds:.0f} s, helped: {report.helped}")


def show(which: str, data: list[Labelled], info: dict[str, float]) -> None:
    picker = Picker(load_checkpoint(which))
    numbers = measure(picker, data, info["diameter_px"] * info["pixel_size"], info["diameter_px"] / 2)
    name = "before" if which == "default" else "after"
    print(f"{name:8}" + "".join(f"{value:7.3f}" for value in numbers.values()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--set", default="10017")
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    args = parser.parse_args()
    print(describe_machine("torch", "numpy"))
    info = json.loads((args.folder / "datasets.json").read_text())[args.set]
    if not (args.run / "last.safetensors").exists():
        adapt(args.folder / args.set, args.run, args.count, info["pixel_size"], args.minutes)
    data = read_set(args.folder / args.set, info)[args.count :]
    print(f"{len(data)} other micrographs of {args.set}, {sum(len(one.truth) for one in data)} labels")
    print(f"{'weights':8}" + "".join(f"{name:>7}" for name in ("P", "R", "F1", "best", "AP", "ECE", "size")))
    for weights in ("default", str(args.run / "best.safetensors")):
        show(weights, data, info)


if __name__ == "__main__":
    main()
