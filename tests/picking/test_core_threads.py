"""Each core picks a micrograph of its own: what comes back does not depend on how many there are."""

import threading
import time
from dataclasses import dataclass

import mrcfile
import numpy as np
import pytest
import torch
from tests.quick_picker import QuickPicker

from cryotx_cli.config import PickConfig
from cryotx_cli.picking.core_threads import cores_for
from cryotx_cli.workflows.pick import start_pick


@pytest.fixture
def cores():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def micrographs(folder, number, side=64):
    rng = np.random.default_rng(5)
    folder.mkdir()
    for one in range(number):
        with mrcfile.new(folder / f"m{one}.mrc") as mrc:
            mrc.set_data(rng.standard_normal((side, side), np.float32))
            mrc.voxel_size = 2.0
    return folder


@dataclass
class MeetingPicker(QuickPicker):
    """Waits in the network until so many micrographs are there, the first ones longest."""

    meeting: int = 1
    locates_at_once = True

    def __post_init__(self):
        self.most = self.inside = 0
        self.threads = set()
        self._lock = threading.Lock()

    def locate(self, prepared, micrograph):
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.threads.add(torch.get_num_threads())
        until = time.monotonic() + 5
        while self.most < self.meeting and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2 if micrograph.source.name == "m0.mrc" else 0)
        with self._lock:
            self.inside -= 1
        return super().locate(prepared, micrograph)


def test_as_many_micrographs_as_cores_are_in_the_network_at_a_time_each_in_one_thread(tmp_path, cores):
    cores(3)
    picker = MeetingPicker(meeting=3)

    run = start_pick(
        micrographs(tmp_path / "m", 7), tmp_path / "p.star", PickConfig(diameter=60, images=False, report=False), picker
    )
    names = [result.file.path.name for result in run]

    assert picker.most == 3
    assert picker.threads == {1}
    assert names == [f"m{one}.mrc" for one in range(7)]
    assert torch.get_num_threads() == 3


def test_a_micrograph_that_is_refused_does_not_keep_the_others(tmp_path, cores):
    cores(2)
    picker = MeetingPicker(refused=("m1.mrc",))

    run = start_pick(
        micrographs(tmp_path / "m", 4), tmp_path / "p.star", PickConfig(diameter=60, images=False, report=False), picker
    )
    results = list(run)

    assert [bool(result.error) for result in results] == [False, True, False, False]


def test_a_picker_that_takes_one_thread_at_a_time_gets_one(cores):
    cores(4)

    assert cores_for(QuickPicker()) == 1
    assert cores_for(MeetingPicker()) == 4


@pytest.mark.slow
def test_picks_and_their_noise_are_the_same_to_the_last_bit_on_one_core_and_on_three(tmp_path, cores):
    inputs = micrographs(tmp_path / "m", 4, side=384)
    found = []
    for number in (1, 3):
        cores(number)
        out = tmp_path / f"{number}" / "p.star"
        list(start_pick(inputs, out, PickConfig(diameter=60, device="cpu", images=False, report=False)))
        written = out.parent / "p"
        files = [file for folder in ("candidates", "decoys") for file in (written / folder).iterdir()]
        found.append({file.relative_to(written).as_posix(): file.read_bytes() for file in files})

    assert sum(name.startswith("decoys/") for name in found[0]) > 1
    assert found[0] == found[1]


def test_no_more_micrographs_are_in_work_than_fit_into_memory(cores, monkeypatch):
    picker = MeetingPicker()
    cores(8)
    for free, expected in ((None, 8), (100 << 30, 8), (3 << 30, 3), (1 << 20, 1)):
        monkeypatch.setattr("cryotx_cli.picking.core_threads.free_memory", lambda free=free: free)
        assert cores_for(picker) == expected


def test_threads_that_a_program_begins_after_a_run_calculate_with_as_many_as_before(tmp_path, cores):
    cores(3)
    config = PickConfig(diameter=60, images=False, report=False)

    list(start_pick(micrographs(tmp_path / "m", 2), tmp_path / "p.star", config, MeetingPicker()))
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()

    assert found == [3]
