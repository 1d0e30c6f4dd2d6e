"""The journal: what is in it comes back, in order, whatever happened to the process that wrote it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cryotx_cli.errors import CryotxError
from cryotx_cli.review.journal import Journal

WRITER = """
import sys
from pathlib import Path
from cryotx_cli.review.journal import Journal
journal = Journal(Path(sys.argv[1]))
while True:
    change = {"id": "i", "kind": "add", "micrograph": "m.mrc", "points": [[1.25, journal.last]]}
    print(journal.append(change)["seq"], flush=True)
"""


ADD = {"id": "i", "kind": "add", "micrograph": "m.mrc", "points": [[1, 2]]}
DONE = {"id": "i", "kind": "mark", "micrograph": "m.mrc", "mark": "done", "labels": [[1, 2, 0.5, 30]]}


def append_together(journal, count):
    with journal.together():
        for number in range(count):
            assert journal.append({**ADD, "id": f"{number}"})["seq"] > number


def filled(path, count=3):
    journal = Journal(path)
    for number in range(count):
        journal.append({**ADD, "points": [[number, 0.1]]})
    journal.close()
    return path.read_bytes()


def test_changes_come_back_in_order_with_their_numbers(tmp_path):
    filled(tmp_path / "r" / "journal.jsonl")
    journal = Journal(tmp_path / "r" / "journal.jsonl")
    assert [entry["seq"] for entry in journal.entries] == [1, 2, 3]
    assert [entry["points"] for entry in journal.entries] == [[[0, 0.1]], [[1, 0.1]], [[2, 0.1]]]
    assert journal.append(ADD)["seq"] == 4
    journal.close()


def test_a_torn_last_line_is_cut_off_and_the_next_change_takes_its_number(tmp_path):
    path = tmp_path / "journal.jsonl"
    content = filled(path)
    for length in range(content.rindex(b"\n", 0, -1) + 1, len(content)):
        path.write_bytes(content[:length])
        journal = Journal(path)
        assert journal.last == 2
        assert journal.append({**ADD, "kind": "remove"})["seq"] == 3
        journal.close()
        assert [json.loads(line).get("seq") for line in path.read_text().splitlines()] == [None, 1, 2, 3]


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_damaged_line_before_the_last_is_told_of_and_nothing_is_lost(tmp_path, victim):
    path = tmp_path / "journal.jsonl"
    lines = filled(path).splitlines(keepends=True)
    lines[victim] = b"{]\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(CryotxError, match="damaged" if victim else "not a journal"):
        Journal(path)
    assert path.read_bytes() == b"".join(lines)


def test_a_line_that_is_missing_is_told_of(tmp_path):
    path = tmp_path / "journal.jsonl"
    lines = filled(path).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(CryotxError, match="line 3 is not change 2"):
        Journal(path)


@pytest.mark.parametrize(
    "entry",
    [
        {key: value for key, value in ADD.items() if key != "kind"},
        {key: value for key, value in ADD.items() if key != "micrograph"},
        {**ADD, "kind": "dance"},
        {**ADD, "points": [[1]]},
        {**ADD, "points": [[1, "2"]]},
        {**ADD, "points": [[1, float("nan")]]},
        {**ADD, "of": {"size": 12}},
        {**DONE, "labels": [[1, 2, 0.5]]},
        {**DONE, "labels": None},
        {"id": "i", "kind": "cut", "threshold": "0.5", "distance": None},
        {"id": "i", "kind": "cut", "threshold": 0.5},
        {"id": "i", "kind": "stroke", "micrograph": "m.mrc", "points": [[1, 2]]},
    ],
)
def test_a_line_that_is_no_change_is_told_of(tmp_path, entry):
    path = tmp_path / "journal.jsonl"
    filled(path)
    with path.open("a") as file:
        file.write(json.dumps({"seq": 4, "at": "2026-11-30T12:00:00.000+00:00", **entry}) + "\n")
    before = path.read_bytes()
    with pytest.raises(CryotxError, match=r"journal.jsonl: damaged: line 5: \w"):
        Journal(path)
    assert path.read_bytes() == before


def test_lines_that_say_more_than_is_known_are_changes(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    for entry in (ADD, DONE, {**ADD, "by": "somebody", "of": {"size": 1, "modified": 2, "checksum": None, "node": 3}}):
        journal.append(entry)
    journal.close()
    again = Journal(tmp_path / "journal.jsonl")
    assert again.last == 3
    again.close()


def test_another_process_cannot_open_it_meanwhile(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(CryotxError, match="another cryotx review has it open"):
        Journal(tmp_path / "journal.jsonl")
    journal.close()
    Journal(tmp_path / "journal.jsonl").close()


def test_a_change_that_does_not_fit_on_the_disk_leaves_the_journal_as_it_was(tmp_path):
    path = tmp_path / "journal.jsonl"
    before = filled(path)
    resource = pytest.importorskip("resource")
    journal, limits = Journal(path), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
        with pytest.raises(CryotxError, match="cannot be written"):
            journal.append(ADD)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 400, limits[1]))
        with pytest.raises(CryotxError, match="cannot be written"):
            append_together(journal, 10)  # the first ones fit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert journal.append(ADD)["seq"] == 4
    journal.close()


def test_changes_that_are_written_together_are_in_the_file_as_if_each_had_been_alone(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    append_together(journal, 5)
    journal.close()
    again = Journal(tmp_path / "journal.jsonl")
    assert [entry["id"] for entry in again.entries] == list("01234")
    again.close()


def test_of_changes_that_are_written_together_a_kill_leaves_all_or_none(tmp_path):
    path = tmp_path / "journal.jsonl"
    filled(path)
    journal = Journal(path)
    append_together(journal, 2)
    before = path.read_bytes()
    append_together(journal, 3)
    journal.close()
    content = path.read_bytes()
    for length in range(len(before) + 1, len(content)):  # wherever a killed server has stopped writing
        path.write_bytes(content[:length])
        journal = Journal(path)
        assert (journal.last, journal.torn) == (5, length - len(before))
        assert path.read_bytes() == before
        assert journal.append(ADD)["seq"] == 6
        journal.close()
    path.write_bytes(content)
    journal = Journal(path)
    assert (journal.last, journal.torn) == (8, 0)
    journal.close()


def test_what_was_answered_before_a_kill_is_there(tmp_path):
    path = tmp_path / "journal.jsonl"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    while int(writer.stdout.readline()) < 20:
        pass
    time.sleep(0.05)
    os.kill(writer.pid, signal.SIGKILL)
    answered = 20 + len(writer.stdout.read().splitlines())
    writer.wait()
    journal = Journal(path)
    assert answered <= journal.last <= answered + 1
    journal.close()
