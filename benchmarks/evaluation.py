"""The table of docs/evaluate.md: three pickers over a tree of labelled data sets, as `cryotx evaluate` prints it.

Usage: python benchmarks/evaluation.py FOLDER OUT [--sets NAME ...] [--micrographs N] [--relion PROGRAM]

FOLDER is laid out as for accuracy.py. Into OUT go the micrographs as MRC files, a folder of picks for each of cryotx,
DoG and RELION's LoG, which peers.py describes, with something of the name of each set in it, and diameters.csv, the
table of data sets. Picks that are there are kept. At the end `cryotx evaluate` runs on all of it; what it prints is
what the page shows, and evaluation.json has the rest. Command lines are printed before they run.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from cryotx_cli.coordinates.formats.star import write_particles_star
from machine import describe_machine
from peers import DataSet, convert, dog_maxima
from programs import run_cryotx, run_relion


def pick(data: DataSet, out: Path, relion: Path) -> None:
    """Let all three pick a set, those that have not yet."""
    star = out / "cryotx" / f"{data.name}.star"
    if not star.exists():
        star.parent.mkdir(exist_ok=True)
        run_cryotx(data.folder, star, data.pixel_size, data.diameter, "--no-images", "--no-report")
    star = out / "DoG" / f"{data.name}.star"
    if not star.exists():
        found = {stem: dog_maxima(data, stem) for stem in sorted(data.truth)}
        write_particles_star(
            star, [(f"{stem}.mrc", maxima.above(deviation)) for stem, (maxima, deviation) in found.items()]
        )
    folder = out / "LoG" / data.name
    if not folder.exists():
        folder.mkdir(parents=True)
        run_relion(relion, data.folder.resolve(), folder, data.pixel_size, data.diameter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--micrographs", type=int, help="at most this many of each set; default: all")
    parser.add_argument("--relion", default="relion_autopick", help="the program or its path")
    arguments = parser.parse_args()
    relion = shutil.which(arguments.relion)
    if relion is None:
        parser.error(f"--relion: {arguments.relion} is not installed")
    print(describe_machine("torch", "numpy", "scipy"))
    out = arguments.out.resolve()
    (out / "micrographs").mkdir(parents=True, exist_ok=True)
    rows = []
    for name, info in json.loads((arguments.folder / "datasets.json").read_text()).items():
        if arguments.sets and name not in arguments.sets:
            continue
        folder = out / "micrographs" / name
        shutil.rmtree(folder, ignore_errors=True)
        data = convert(arguments.folder / name, info, folder, arguments.micrographs)
        pick(data, out, Path(relion))
        rows.append((name, round(data.diameter, 1), data.pixel_size))
    with (out / "diameters.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("set", "diameter", "pixel_size"), *rows])
    command = ["evaluate", "cryotx", "DoG", "RELION LoG=LoG", str(arguments.folder.resolve())]
    command += ["--diameters", "diameters.csv", "--json", "evaluation.json"]
    print(f"$ cryotx {shlex.join(command)}", flush=True)
    subprocess.run([sys.executable, "-m", "cryotx_cli", *command], cwd=out, check=True)


if __name__ == "__main__":
    main()
