"""Processor seconds that ``cryotx pick`` takes before its network runs for the first time, and what it imports then.

    python benchmarks/start_up.py [--runs 10] [--size 1024] [--modules 20]

Each run is a process of its own that ends where the network would begin; so is each that only imports PyTorch. The
smallest of each is printed, and they take turns: other work on the machine adds to processor seconds and takes none
away. Then come the packages in the order of what their modules take, those that importing PyTorch loads apart.
"""

from __future__ import annotations

import argparse
import importlib._bootstrap
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

_DIAMETER = 150.0  # Å
_WHOLE = ("torch", "scipy", "cryotx_cli")  # packages whose parts are listed


def main() -> None:
    arguments = parse_arguments()
    if arguments.child:
        run_child(arguments.child, arguments.command)
        return
    from discs import write_micrograph
    from machine import describe_machine

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        micrograph = write_micrograph(folder / "m.mrc", arguments.size, _DIAMETER, 0)
        pick = ["pick", micrograph, "--diameter", _DIAMETER, "--out", folder / "p.star", "--restart", "--device", "cpu"]
        turns = [(spent(folder, "network", *pick), spent(folder, "torch")) for _ in range(arguments.runs)]
        detail = [spent(folder, "modules", *pick) for _ in range(arguments.runs)] if arguments.modules else []
    print(f"{describe_machine('torch', 'numpy', 'scipy', 'pydantic', 'typer')}\n")
    before, alone = (min(one["cpu"] for one in costs) for costs in zip(*turns, strict=True))
    print(f"processor seconds before the network    {before:.2f}  (smallest of {arguments.runs})")
    print(f"importing PyTorch and nothing else      {alone:.2f}")
    print(f"modules loaded before the network       {turns[0][0]['loaded']}")
    if detail:
        print_modules([one["modules"] for one in detail], arguments.modules)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--size", type=int, default=1024, help="height and width of the micrograph in pixels")
    parser.add_argument("--modules", type=int, default=20, help="packages to list; 0: none")
    parser.add_argument("--child", choices=["network", "torch", "modules"], help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser.parse_args()


def spent(folder: Path, what: str, *command: object) -> dict[str, Any]:
    """Run a child, and return what it says of itself."""
    result = folder / "cost.json"
    words: Sequence[str] = [sys.executable, __file__, "--child", what, str(result), *map(str, command)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def run_child(what: str, words: list[str]) -> None:
    result, *sys.argv[1:] = words
    rows = timed_imports() if what == "modules" else []

    def end() -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cost = {"cpu": used.ru_utime + used.ru_stime, "loaded": len(sys.modules), "modules": rows}
        Path(result).write_text(json.dumps(cost))
        os._exit(0)

    if what == "torch":
        __import__("torch")
        end()
    sys.meta_path.insert(0, BeforeNetwork(end))
    from cryotx_cli.__main__ import main as run

    run()


class BeforeNetwork(MetaPathFinder):
    """Does something where a network is run first; knows that PyTorch is there when the picker is looked for."""

    def __init__(self, do: Callable[[], None]) -> None:
        self._do = do

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """Find nothing."""
        if name == "cryotx_cli.detector.center.picker":
            from torch.nn.modules.module import register_module_forward_pre_hook

            register_module_forward_pre_hook(lambda *_: self._do())


def timed_imports() -> list[tuple[str, float, bool]]:
    """Return a list that grows by name, processor seconds without what it imports, and whether PyTorch imports it."""
    rows: list[tuple[str, float, bool]] = []
    open_ones: list[str] = []
    inner: list[float] = []
    bootstrap: Any = importlib._bootstrap
    find_and_load = bootstrap._find_and_load_unlocked

    def timed(name: str, import_: object) -> Any:
        started = time.process_time()
        open_ones.append(name)
        inner.append(0.0)
        try:
            return find_and_load(name, import_)
        finally:
            seconds = time.process_time() - started
            rows.append((name, seconds - inner.pop(), "torch" in open_ones))
            open_ones.pop()
            if inner:
                inner[-1] += seconds

    bootstrap._find_and_load_unlocked = timed
    return rows


def print_modules(runs: list[list[tuple[str, float, bool]]], most: int) -> None:
    """Print the smallest of the runs for each module, added up by packages."""
    smallest: dict[tuple[str, bool], float] = {}
    for rows in runs:
        for name, seconds, by_torch in rows:
            key = (name, bool(by_torch))
            smallest[key] = min(seconds, smallest.get(key, seconds))
    for of_torch, title in ((True, "loaded by importing PyTorch"), (False, "loaded beside PyTorch")):
        packages: dict[str, float] = defaultdict(float)
        for (name, by_torch), seconds in smallest.items():
            if by_torch == of_torch:
                first = name.partition(".")[0]
                packages[".".join(name.split(".")[:2]) if first in _WHOLE else first] += seconds
        print(f"\n{title}: {sum(packages.values()):.2f} s")
        for name, seconds in sorted(packages.items(), key=lambda item: -item[1])[:most]:
            print(f"  {name:40}{1000 * seconds:7.1f} ms")


if __name__ == "__main__":
    main()
