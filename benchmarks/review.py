"""How fast the page of ``cryotx review`` shows large micrographs, and how much memory its server takes.

    python benchmarks/review.py [--micrographs 500] [--size 8192]

One micrograph of noise has many names. Of each the script asks what a browser asks first (its description, and the tile
that shows all of it), then one tile at full size.
"""

from __future__ import annotations

import argparse
import http.cookiejar
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.review.pyramid import TILE_PX


class Server:
    """``cryotx review`` in a process of its own."""

    def __init__(self, micrographs: Path, out: Path) -> None:
        command = [sys.executable, "-m", "cryotx_cli", "review", str(micrographs)]
        command += ["--diameter", "160", "--port", "0", "--out", str(out)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        address = next(filter(None, (re.search(r"http://\S+", line) for line in self.process.stderr)))[0]
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener, self._base = urllib.request.build_opener(cookies), address.partition("/?")[0]
        self._opener.open(address).read()
        self._run = json.load(self._opener.open(f"{self._base}/api/review"))["run"]

    def get(self, path: str) -> tuple[float, float]:
        """Return the seconds that an answer takes, and how many of them its server works."""
        started, worked = time.perf_counter(), self._cpu()
        mark = "&" if "?" in path else "?"
        self._opener.open(f"{self._base}{path}{mark}run={self._run}", timeout=300).read()
        return time.perf_counter() - started, self._cpu() - worked

    @property
    def megabytes(self) -> float:
        """Memory of the server."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1]) / 1e3

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--micrographs", type=int, default=500)
    parser.add_argument("--size", type=int, default=8192, help="height and width in pixels")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        micrographs = Path(folder) / "micrographs"
        image = np.tile(np.random.default_rng(0).normal(0, 1, (512, arguments.size)), (arguments.size // 512, 1))
        write_micrograph(micrographs / "m0000.mrc", image.astype(np.float32), 0.8)
        for i in range(1, arguments.micrographs):
            os.link(micrographs / "m0000.mrc", micrographs / f"m{i:04}.mrc")
        server = Server(micrographs, Path(folder) / "review")
        top = max(0, int(np.ceil(np.log2(arguments.size / TILE_PX))))
        first, tiles, memory = [], [], [server.megabytes]
        for i in range(arguments.micrographs):
            about, overview = server.get(f"/api/micrographs/{i}"), server.get(f"/tiles/{i}/{top}/0/0")
            first.append((about[0] + overview[0], about[1] + overview[1]))
            tiles.append(server.get(f"/tiles/{i}/0/3/3?lowpass=20"))
            memory.append(server.megabytes)
        server.process.send_signal(signal.SIGINT)
        server.process.wait()
    for name, times in (("first view", first), ("tile", tiles)):
        wall, cpu = np.array(times).T
        print(f"{name}: {np.median(wall):.3f} s (95 %: {np.percentile(wall, 95):.3f} s), {cpu.mean():.3f} CPU s")
    shown = {0: "at the start", 10: "after 10", 100: "after 100", arguments.micrographs: "at the end"}
    print(
        ", ".join(f"{memory[i]:.0f} MB {name}" for i, name in shown.items() if i < len(memory)),
        f"most {max(memory):.0f}",
    )


if __name__ == "__main__":
    main()
