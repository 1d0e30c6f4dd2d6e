"""A small run for reviews to show, and the server and browser that show it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.config import PickConfig, ThresholdConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import Located
from cryotx_cli.workflows.pick import start_pick
from cryotx_cli.workflows.threshold import threshold
from quick_picker import PickerWithoutNetwork

HEIGHT, WIDTH, PIXEL_SIZE, DIAMETER = 600, 800, 2.0, 60.0
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


# Stands in for Python: says what the two commands say, and leaves what they leave.
_STAND_IN = """#!{python}
import shutil, sys, time
from pathlib import Path
command = sys.argv[3:]
print(" ".join(command), file=open("{log}", "a"))
if command[0] == "train":
    print("40/800 steps, 0.8 s each, 10 min left, loss 0.1", file=sys.stderr, flush=True)
    while Path("{wait}").exists():
        time.sleep(0.02)
    print("before     669      0.786   0.923  0.849   0.340  0.803  0.820")
    print("after      687      0.779   0.939  0.851   0.347  0.804  0.808", flush=True)
    print("Adapting did not help on the held-back micrographs (9 s): its words", file=sys.stderr, flush=True)
    sys.exit({code})
star = Path(command[command.index("--out") + 1])
shutil.copytree("{run}", star.with_suffix(""))
shutil.copy("{run}.star", star)
"""


class GridPicker(PickerWithoutNetwork):
    """Forty candidates on a grid, 100 px apart, whose scores rise from 0.05 to 0.95 and depend on the pixels."""

    fingerprint = "grid"

    def locate(self, prepared, micrograph):
        rng = np.random.default_rng(zlib.crc32(prepared.tobytes()))
        centres = np.stack(np.meshgrid(np.arange(50.0, 800, 100), np.arange(50.0, 550, 100)), -1).reshape(-1, 2)
        scores = rng.permutation(np.linspace(0.05, 0.95, len(centres)))
        return Located(Particles(centres, scores, np.full(len(centres), 30.0), micrograph.pixel_size))


def write_micrographs(folder: Path, count: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        with mrcfile.new(folder / f"m{number}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(number).normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32))
            mrc.voxel_size = PIXEL_SIZE
    return folder


def make_run(folder: Path, count: int = 3, **settings: object) -> Path:
    """Pick micrographs with `GridPicker`: 20 picks each, above 0.5; return the folder of the run."""
    write_micrographs(folder / "mics", count)
    chosen = {"threshold": 0.5, "min_distance": 110.0, "images": False, "report": False, **settings}
    config = PickConfig(diameter=DIAMETER, **chosen)
    list(start_pick([folder / "mics"], folder / "p.star", config, GridPicker()))
    return folder / "p"


def copied_run(run: Path, folder: Path) -> Path:
    """Copy a run and its micrographs to a folder of their own; return the folder of the copy."""
    shutil.copytree(run.parent, folder)
    for file in (folder / run.name / "ledger.jsonl", folder / f"{run.name}.star"):
        file.write_text(file.read_text().replace(str(run.parent), str(folder)))
    return folder / run.name


def stand_in(run: Path, folder: Path, code: int = 0) -> Path:
    """Write a program that stands in for Python when a review adapts: the new run has 3 of 20 picks a micrograph."""
    copy = folder / "picked_again"
    shutil.copytree(run, copy)
    shutil.copy(run.with_suffix(".star"), f"{copy}.star")
    list(threshold(copy, ThresholdConfig(threshold=0.9)))
    program = folder / "python"
    text = _STAND_IN.format(python=sys.executable, log=folder / "log", wait=folder / "wait", code=code, run=copy)
    program.write_text(text)
    program.chmod(0o755)
    return program


class Served:
    """``cryotx review`` in a process of its own, whose further processes are those of another `python`."""

    def __init__(self, *arguments: object, python: Path | None = None) -> None:
        executable = f"import sys; sys.executable = {str(python or sys.executable)!r}"
        program = f"{executable}; from cryotx_cli.__main__ import main; main()"
        command = [sys.executable, "-c", program, "review", *map(str, arguments), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self.urls: list[str] = []
        self._told = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._told:
                self.lines.append(line)
                self.urls += re.findall(r"http://\S+token=\S+", line)
                self._told.notify_all()

    def url(self, number: int = 0) -> str:
        """Return the address that was printed first, or the next ones, as soon as it is."""
        with self._told:
            assert self._told.wait_for(lambda: len(self.urls) > number, timeout=60), self.lines
            return self.urls[number]

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def open_browser():
    """Return Playwright's handle and a Chromium, or skip."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is a development dependency")
    handle = playwright.sync_playwright().start()
    return handle, handle.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
