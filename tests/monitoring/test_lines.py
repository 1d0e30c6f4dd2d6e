"""Lines for other programs: whole, in order, and never the reason why a run ends."""

import errno
import os
import threading
from pathlib import Path

import pytest

from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.monitoring import lines as module
from cryotx_cli.monitoring.lines import Lines

BEGINNING = '"kind": "test'
HEAD = '{"kind": "test-1"}'


@pytest.fixture
def said() -> list[str]:
    return []


def opened(to: Path | str, said: list[str]) -> Lines:
    return Lines(str(to), "--events", BEGINNING, said.append)


def test_lines_are_there_as_soon_as_they_are_written_and_more_are_added(tmp_path: Path, said: list[str]) -> None:
    file = tmp_path / "new folder" / "events.jsonl"
    for count in (1, 2):
        lines = opened(file, said)
        lines.write(HEAD)
        assert file.read_text() == f"{HEAD}\n" * count
        lines.close()
    assert said == []


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path, said: list[str]) -> None:
    file = tmp_path / "events.jsonl"
    lines = opened(file, said)
    lines.write(HEAD)
    file.rename(tmp_path / "events.jsonl.1")
    lines.write("second")

    assert file.read_text() == "second\n"


@pytest.mark.parametrize("there", ["folder", "somebody's data"])
def test_what_is_no_place_for_lines_is_refused_and_stays(tmp_path: Path, said: list[str], there: str) -> None:
    place = tmp_path / "place"
    if there == "folder":
        place.mkdir()
    else:
        place.write_text("data_\nloop_\n_rlnCoordinateX\n")

    with pytest.raises(ConfigError, match=r"--events .*place"):
        opened(place, said)

    assert there == "folder" or place.read_text() == "data_\nloop_\n_rlnCoordinateX\n"


def test_a_place_that_cannot_be_made_is_told_before_the_work(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CryotxError, match=r"--events .*cannot be written"):
        opened(tmp_path / "file" / "events.jsonl", said)


def test_a_line_that_somebody_has_left_half_is_ended(tmp_path: Path, said: list[str]) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(f'{HEAD}\n{{"kind": "test-1", "na')

    opened(file, said).write("next")

    assert file.read_text().splitlines()[2:] == ["next"]


def test_a_disk_that_is_full_costs_lines_and_not_the_run(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "events.jsonl"
    lines = opened(file, said)
    lines.write(HEAD)
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda number, content, write=os.write: write(number, content[:3]))
        lines.write("lost")
        lines.write("lost, too")
    lines.write("written")

    assert file.read_text() == f"{HEAD}\nwritten\n"
    assert lines.lost == 2
    assert len(said) == 1
    assert "No space left on device" in said[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_without_room_is_said_once(said: list[str]) -> None:
    lines = opened("/dev/full", said)
    lines.write("a")
    lines.write("b")

    assert lines.lost == 2
    assert len(said) == 1


def test_a_named_pipe_waits_for_no_reader_and_keeps_what_he_missed(tmp_path: Path, said: list[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    lines = opened(tmp_path / "pipe", said)
    lines.write("before")
    reader = (tmp_path / "pipe").open()
    lines.write("after")

    assert [reader.readline(), reader.readline()] == ["before\n", "after\n"]
    lines.close()
    assert reader.readline() == ""
    assert said == []


def test_a_reader_that_reads_no_more_costs_lines_until_he_does(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    os.mkfifo(tmp_path / "pipe")
    lines = opened(tmp_path / "pipe", said)
    sent = [f"{number} ".ljust(9000, "x") for number in range(20)]  # more than a pipe holds
    for line in sent:
        lines.write(line)
    assert lines.lost > 0
    assert len(said) == 1
    assert "does not read" in said[0]

    with (tmp_path / "pipe").open() as reader:
        kept = [reader.readline().rstrip("\n") for _ in range(20 - lines.lost)]
        lines.write("again")
        lines.close()
        rest = reader.read().splitlines()

    assert kept == sent[: len(kept)]
    assert rest[-1] == "again"


def test_standard_output_that_nobody_reads_any_more_is_said_once(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    monkeypatch.setattr(os, "dup", lambda _: write)
    lines = opened("-", said)
    lines.write("read")
    assert os.read(read, 100) == b"read\n"
    os.close(read)
    lines.write("not read")
    lines.write("nor this")
    lines.close()

    assert lines.lost == 2
    assert said == [
        "--events -: nobody reads it any more. Lines that cannot be written there are left out; the run goes on."
    ]


def test_several_that_write_to_one_file_do_not_mix_their_lines(tmp_path: Path, said: list[str]) -> None:
    file = tmp_path / "events.jsonl"

    def session(name: str) -> None:
        lines = opened(file, said)
        for number in range(100):
            lines.write(f"{HEAD} {name}{number} ".ljust(5000, name))

    threads = [threading.Thread(target=session, args=(name,)) for name in "abc"]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    written = file.read_text().splitlines()
    assert said == []
    for name in "abc":
        mine = [line for line in written if line.endswith(name)]
        assert mine == [f"{HEAD} {name}{number} ".ljust(5000, name) for number in range(100)]
    assert len(written) == 300


def test_a_file_system_without_locks_is_written_to_as_well(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", refused)
    opened(tmp_path / "events.jsonl", said).write(HEAD)

    assert (tmp_path / "events.jsonl").read_text() == f"{HEAD}\n"
