"""Which micrographs have become whole: by a clock that the test moves."""

import gzip
import os

import mrcfile
import numpy as np
import pytest

from cryotx_cli.errors import MicrographError
from cryotx_cli.runs import arrivals
from cryotx_cli.runs.arrivals import LOOK_SECONDS, PATIENCE_SECONDS, STILL_SECONDS, Arrivals


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(arrivals, "time", clock)
    return clock


@pytest.fixture
def content(tmp_path):
    with mrcfile.new(tmp_path / "whole") as mrc:
        mrc.set_data(np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32))
    return (tmp_path / "whole").read_bytes()


@pytest.fixture
def mics(tmp_path):
    (tmp_path / "mics").mkdir()
    return tmp_path / "mics"


def after(clock, watched, seconds):
    """Look as often as a run does for so many seconds."""
    found = []
    for _ in range(int(seconds / LOOK_SECONDS) + 1):
        found += [file.path.name for file in watched.look()]
        clock.now += LOOK_SECONDS
    return found


def test_a_whole_file_has_to_stand_still(clock, mics, content, tmp_path):
    (mics / "a.mrc").write_bytes(content)
    watched = Arrivals([mics])
    clock.now += LOOK_SECONDS
    assert watched.look() == []
    assert after(clock, watched, STILL_SECONDS) == ["a.mrc"]
    assert after(clock, watched, 100) == []
    assert watched.waiting == 0


def test_a_file_of_full_size_that_is_still_written_to_waits(clock, mics, content, tmp_path):
    watched = Arrivals([mics])
    for second in range(20):
        (mics / "a.mrc").write_bytes(content)
        os.utime(mics / "a.mrc", (second, second))
        clock.now += LOOK_SECONDS
        assert watched.look() == []
    assert after(clock, watched, STILL_SECONDS + LOOK_SECONDS) == ["a.mrc"]


@pytest.mark.parametrize("name", ["a.mrc", "a.mrc.gz"])
def test_a_file_that_stands_still_and_is_not_whole_waits_for_a_minute(clock, mics, content, tmp_path, name):
    whole = gzip.compress(content) if name.endswith("gz") else content
    (mics / name).write_bytes(whole[:-50])
    watched = Arrivals([mics])
    assert after(clock, watched, PATIENCE_SECONDS - 5) == []
    assert [file.path.name for file, _ in watched.incomplete()] == [name]
    assert after(clock, watched, 10) == [name]
    (mics / name).write_bytes(whole)
    assert after(clock, watched, STILL_SECONDS + LOOK_SECONDS) == [name]
    assert list(watched.incomplete()) == []


def test_the_last_line_of_a_list_that_grows_is_not_believed(clock, mics, content, tmp_path):
    for name in ("a.mrc", "b.mrc", "b.m"):
        (mics / name).write_bytes(content)
    star = tmp_path / "list.star"
    header = "data_\nloop_\n_rlnMicrographName #1\nmics/a.mrc\n"
    star.write_text(header)
    watched = Arrivals([star])
    for size in range(1, len("mics/b.mrc\n") + 1):
        star.write_text(header + "mics/b.mrc\n"[:size])
        clock.now += LOOK_SECONDS
        watched.look()
        assert [file.name for file in watched.files] == ["mics/a.mrc"]
    clock.now += LOOK_SECONDS
    watched.look()
    assert [file.name for file in watched.files] == ["mics/a.mrc", "mics/b.mrc"]


def test_a_folder_that_cannot_be_listed_for_a_while_forgets_nothing(clock, mics, content, tmp_path):
    (mics / "a.mrc").write_bytes(content)
    watched = Arrivals([mics])
    assert after(clock, watched, 10) == ["a.mrc"]
    mics.rename(tmp_path / "away")
    assert after(clock, watched, 10) == []
    assert watched.waiting == 0
    (tmp_path / "away").rename(mics)
    assert after(clock, watched, 20) == []


def test_silence_is_counted_from_the_last_change(clock, mics, content, tmp_path):
    watched = Arrivals([mics])
    after(clock, watched, 10)
    assert not watched.is_silent(None)
    assert not watched.is_silent(30)
    (mics / "a.mrc").write_bytes(content[:2000])
    after(clock, watched, 10)
    (mics / "a.mrc").write_bytes(content[:3000])
    after(clock, watched, 28)
    assert not watched.is_silent(30)
    after(clock, watched, 6)
    assert watched.is_silent(30)


def test_listing_takes_a_tenth_of_the_time_at_most(clock, mics, tmp_path, monkeypatch):
    looks = []

    def slow(*_):
        looks.append(clock.now)
        clock.now += 3.0
        return []

    watched = Arrivals([mics])
    monkeypatch.setattr(arrivals, "find_micrographs", slow)
    for _ in range(400):
        clock.now += 1.0
        watched.look()
    assert len(looks) * 3.0 <= 0.11 * 400 + 3.0


def test_an_input_has_to_exist_or_to_be_a_pattern(tmp_path):
    with pytest.raises(MicrographError, match="nowhere"):
        Arrivals([tmp_path / "nowhere"])
    assert Arrivals([str(tmp_path / "*.mrc")]).files == []
