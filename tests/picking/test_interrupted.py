"""Ctrl-C at a real process: what is finished stays, nobody waits for what is queued, a second one does not wait."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotx_cli.coordinates.formats.star import read_particles_star
from quick_picker import QuickPicker

TESTS = Path(__file__).resolve().parents[1]
FINISHED, MICROGRAPHS = 4, 12


class SlowInTheEnd(QuickPicker):
    """Takes `seconds` for each micrograph but the first few."""

    def locate(self, prepared, micrograph):
        seconds, self.seconds = self.seconds, self.seconds * (int(micrograph.source.stem[1:]) >= FINISHED)
        try:
            return super().locate(prepared, micrograph)
        finally:
            self.seconds = seconds


def command(seconds, flags):
    """Run the command with a picker that is slow; this file is imported by name in its processes."""
    import functools

    from test_interrupted import SlowInTheEnd as Picker

    from cryotx_cli.cli.app import app
    from cryotx_cli.workflows import pick as workflow

    workflow.start_pick = functools.partial(workflow.start_pick, picker=Picker(seconds))
    app(["pick", "mics", "--out", "p.star", "--diameter", "60", "--threshold", "0.5", "--contrast", "dark", *flags])


@pytest.fixture
def interrupted(tmp_path):
    """Interrupt the command when some micrographs are finished: its code, last line, seconds until then, and picks."""
    (tmp_path / "mics").mkdir()
    for number in range(MICROGRAPHS):
        with mrcfile.new(tmp_path / f"mics/m{number:02}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(number).normal(0, 1, (96, 128)).astype(np.float32))
            mrc.voxel_size = 2.0
    ledger = tmp_path / "p/ledger.jsonl"

    def interrupt(seconds, flags, times):
        path = os.pathsep.join([str(TESTS), str(Path(__file__).parent), *sys.path])
        process = subprocess.Popen(
            [sys.executable, __file__, str(seconds), *flags],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        while not ledger.exists() or len(ledger.read_text().splitlines()) < FINISHED:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        time.sleep(0.5)  # the next one is in the network
        started = time.monotonic()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        said = process.communicate(timeout=90)[1]
        assert not list(tmp_path.rglob("*.tmp"))
        picked = {Path(name).stem for name in read_particles_star(tmp_path / "p.star")}
        assert picked >= {f"m{number:02}" for number in range(FINISHED)}
        return process.returncode, said.splitlines()[-1], time.monotonic() - started, len(picked)

    return interrupt


@pytest.mark.slow
def test_an_interrupt_ends_the_network_here_at_once(interrupted):
    code, said, seconds, picked = interrupted(60, [], 1)
    assert (code, said, picked) == (130, "Interrupted.", FINISHED)
    assert seconds < 20


@pytest.mark.slow
def test_an_interrupt_waits_for_what_other_processes_are_at(interrupted):
    code, said, _, picked = interrupted(1, ["--device", "cpu,cpu"], 1)
    assert (code, said) == (130, "Interrupted.")
    assert FINISHED < picked < MICROGRAPHS


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "code"), [([], 130), (["--watch"], 0)])
def test_a_second_interrupt_waits_for_nobody(interrupted, flags, code):
    returned, _, seconds, picked = interrupted(60, ["--device", "cpu,cpu", *flags], 2)
    assert (returned, picked) == (code, FINISHED)
    assert seconds < 20


if __name__ == "__main__":
    command(float(sys.argv[1]), sys.argv[2:])
