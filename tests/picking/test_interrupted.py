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
QUICK, MICROGRAPHS = 6, 12


class SlowInTheEnd(QuickPicker):
    """Takes `seconds` for each micrograph but the first few."""

    def locate(self, prepared, micrograph):
        seconds, self.seconds = self.seconds, self.seconds * (int(micrograph.source.stem[1:]) >= QUICK)
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
    """Interrupt the command when some are finished; return code, last line, seconds to the end, how many come after."""
    (tmp_path / "mics").mkdir()
    for number in range(MICROGRAPHS):
        with mrcfile.new(tmp_path / f"mics/m{number:02}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(number).normal(0, 1, (96, 128)).astype(np.float32))
            mrc.voxel_size = 2.0

    def finished():
        ledger = tmp_path / "p/ledger.jsonl"
        return len(ledger.read_text().splitlines()) if ledger.exists() else 0

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
        while finished() < 2:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        time.sleep(2)  # slow ones are in the network; quick ones may have to wait for them
        before, started = finished(), time.monotonic()
        for number in range(times):
            time.sleep(3 * number)  # signals that come close together are one
            process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=90)[1]
        assert not list(tmp_path.rglob("*.tmp"))
        picked = len(read_particles_star(tmp_path / "p.star"))
        return process.returncode, said.splitlines()[-1], time.monotonic() - started, picked - before

    return interrupt


@pytest.mark.slow
def test_an_interrupt_ends_the_network_here_at_once(interrupted):
    code, said, seconds, more = interrupted(60, [], 1)
    assert (code, said) == (130, "Interrupted: the same command goes on where it stopped.")
    assert more <= 3  # those that were being written
    assert seconds < 30


@pytest.mark.slow
def test_an_interrupt_waits_for_what_other_processes_are_at(interrupted):
    code, said, _, more = interrupted(3, ["--device", "cpu,cpu"], 1)
    assert (code, said) == (130, "Interrupted: the same command goes on where it stopped.")
    assert 0 < more <= QUICK  # three micrographs in each of two processes


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "code"), [([], 130), (["--watch"], 0)])
def test_a_second_interrupt_waits_for_nobody(interrupted, flags, code):
    returned, _, seconds, more = interrupted(60, ["--device", "cpu,cpu", *flags], 2)
    assert (returned, more) == (code, 0)
    assert seconds < 30


if __name__ == "__main__":
    command(float(sys.argv[1]), sys.argv[2:])
