"""`kill -9` at fifty random moments: nothing is lost and no byte is other than after an undisturbed run.

Killed are children of a process that has torch and the default model in memory: starting each anew would take minutes.
That process is a fresh one, this file run as a program: a process that has used several threads cannot be forked.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest

KILLS = 50
MICROGRAPHS = 20


def write_micrographs(folder):
    """Dark discs of 140 Å in noise, 4 Å a pixel."""
    folder.mkdir()
    y, x = np.mgrid[:192, :160]
    for number in range(MICROGRAPHS):
        rng = np.random.default_rng(number)
        image = rng.normal(0, 1, y.shape)
        for centre in rng.uniform(20, 140, (rng.integers(2, 12), 2)):
            image -= 1.5 * (np.hypot(x - centre[0], y - centre[1]) < 17.5)
        with mrcfile.new(folder / f"m{number:02}.mrc") as mrc:
            mrc.set_data(image.astype(np.float32))
            mrc.voxel_size = 4.0


def contents(folder):
    """Bytes of every file, without the folder's own name, and the ledger without the times."""
    found = {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"FOLDER")
        for path in folder.rglob("*")
        if path.is_file()
    }
    rows = [json.loads(line) for line in found.pop("p/ledger.jsonl").splitlines()]
    rows = [{name: value for name, value in row.items() if not name.endswith("seconds")} for row in rows]
    return found, sorted(rows, key=lambda row: row["index"])


def finished(folder):
    """Return how many micrographs the ledger calls finished; a line may be cut short."""
    ledger = folder / "p/ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True) if ledger.exists() else []
    return sum(line.endswith("}\n") for line in lines)


def kill_again_and_again(work, kills):
    """Print as JSON: kills in the middle of a run, series of runs that came to an end, and whatever went wrong."""
    import torch

    from cryotx_cli.config import PickConfig
    from cryotx_cli.detector.load_picker import load_picker
    from cryotx_cli.workflows.pick import start_pick

    torch.set_num_threads(1)
    config = PickConfig(diameter=140.0, formats=("relion", "box", "topaz"))
    picker = load_picker(config).picker
    inputs = sorted((work / "mics").iterdir())

    def start(folder, given=inputs):
        """Fork a child that picks; the first thing it writes is how many micrographs it need not pick again."""
        folder.mkdir(exist_ok=True)
        child = os.fork()
        if child:
            return child
        os.chdir(folder)
        run = start_pick(given, "p.star", config, picker)
        for number, _ in enumerate(run):
            if number == 0:
                (work / "kept").write_text(str(run.summary.resumed))
        os._exit(0)

    started = time.monotonic()
    os.waitpid(start(work / "whole"), 0)
    seconds = time.monotonic() - started
    os.waitpid(start(work / "backwards", inputs[::-1]), 0)
    whole, wrong = contents(work / "whole"), []
    moments = random.Random(1)
    killed = series = 0
    folder = work / "killed"
    while killed < kills or folder.exists():
        before = finished(folder)
        (work / "kept").unlink(missing_ok=True)
        child = start(folder)
        # After the last kill the run may end.
        time.sleep(moments.uniform(0, seconds / 3) if killed < kills else 0)
        if killed < kills:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if (work / "kept").exists() and (work / "kept").read_text() not in ("", str(before)):
            wrong.append(f"kept {(work / 'kept').read_text()} of {before}")
        if os.WIFSIGNALED(status):
            killed += 1
            continue
        if os.WEXITSTATUS(status) != 0 or contents(folder) != whole:
            found = contents(folder)
            names = {name for name in {*found[0], *whole[0]} if found[0].get(name) != whole[0].get(name)}
            wrong.append(f"exit {status}, other files: {sorted(names)}, ledger the same: {found[1] == whole[1]}")
        series += 1
        shutil.rmtree(folder)
    print(json.dumps({"killed": killed, "series": series, "wrong": wrong, "micrographs": len(whole[1])}))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_fifty_kills_lose_nothing_and_change_nothing_and_order_does_not_matter(tmp_path):
    write_micrographs(tmp_path / "mics")
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, __file__, str(tmp_path), str(KILLS)]
    finished = subprocess.run(program, capture_output=True, text=True, check=True, env=alone)
    said = json.loads(finished.stdout.splitlines()[-1])
    assert said["wrong"] == []
    assert said["killed"] == KILLS
    assert said["series"] >= 1
    assert said["micrographs"] == MICROGRAPHS
    whole, backwards = contents(tmp_path / "whole")[0], contents(tmp_path / "backwards")[0]
    for in_order in ("p.star", "p/relion/autopick.star", "p/topaz/particles.txt", "p/report.html"):
        del whole[in_order], backwards[in_order]
    # Which half a pick is in, and so what its class is, follows from the order.
    for of_classes in [name for name in whole if str(name).startswith("p/classes/")]:
        del whole[of_classes], backwards[of_classes]
    decoys, crops = ([name for name in whole if folder in str(name)] for folder in ("p/decoys/", "p/crops/"))
    assert decoys
    assert 0 < len(crops) <= MICROGRAPHS
    whole.pop("p/diagnosis.json", None), backwards.pop("p/diagnosis.json", None)  # there if a run finds little
    assert len(whole) == 1 + 5 * MICROGRAPHS + len(decoys) + len(crops)
    assert whole == backwards
    assert sum(path.stat().st_size for path in (tmp_path / "whole/p/candidates").iterdir()) > 100 * MICROGRAPHS


if __name__ == "__main__":
    kill_again_and_again(Path(sys.argv[1]), int(sys.argv[2]))
