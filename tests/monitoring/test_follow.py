"""What other programs hear of `cryotx pick`: events that keep to the published schema, counts for Prometheus."""

import functools
import json
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import mrcfile
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.star import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.monitoring import follow
from cryotx_cli.monitoring.pick_events import PickEvents, pick_events_schema
from cryotx_cli.picking import overview
from cryotx_cli.runs import arrivals
from cryotx_cli.runs.result import ClassCounts
from cryotx_cli.workflows import pick as workflow
from quick_picker import QuickPicker

SCHEMA = pick_events_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def write_mrc(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(seed).normal(0, 1, (64, 96)).astype(np.float32))
        mrc.voxel_size = 2.0
    return path


@pytest.fixture(autouse=True)
def mics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two micrographs in a folder; the working directory is the one above, and the network is a quick stand-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workflow, "start_pick", functools.partial(workflow.start_pick, picker=QuickPicker()))
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(arrivals, "STILL_SECONDS", 0.1)
    monkeypatch.setattr(arrivals, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(workflow, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(overview, "_MERGE_SECONDS", 0.0)
    for seed, name in enumerate("ab"):
        write_mrc(tmp_path / "mics" / f"{name}.mrc", seed)
    return tmp_path / "mics"


def pick(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["pick", "mics", "--out", "p.star", "--diameter", "60", *arguments])


def events(text: str) -> list[dict[str, Any]]:
    """Parse the lines, which must be as the schema says, and hold nothing that it does not know."""
    found = []
    for line in text.splitlines():
        event = json.loads(line)
        VALIDATOR.validate(event)
        assert set(event) <= set(SCHEMA["properties"]) | set(SCHEMA["$defs"][event["event"]]["properties"])
        found.append(event)
    return found


def read_events() -> list[dict[str, Any]]:
    return events(Path("events.jsonl").read_text())


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in found if event["event"] == kind]


def wait_for(kind: str, count: int = 1) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if Path("events.jsonl").exists() and Path("events.jsonl").read_text().count(f'"event": "{kind}"') >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"no {count} lines of {kind}")


def wait_for_rest(kind: str, count: int = 1) -> None:
    """Wait until so many lines of a kind have come and the session has nothing more to do."""
    wait_for(kind, count)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        text = Path("events.jsonl").read_text()
        if '"event": "waiting"' in text[text.rindex(f'"event": "{kind}"') :]:
            return
        time.sleep(0.01)
    raise AssertionError(f"no line of waiting after those of {kind}")


@contextmanager
def beside(session: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Do something while a session goes on in this context, and end that, whatever has happened."""

    def session_with_end() -> None:
        try:
            session()
        except BaseException as error:
            failures.append(error)
        finally:
            end()

    failures: list[BaseException] = []
    thread = threading.Thread(target=session_with_end)
    thread.start()
    yield
    thread.join()
    if failures:
        raise failures[0]


def test_the_schema_is_one_and_refuses_what_is_none() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    head = {"schema": "cryotx-pick-events-1", "time": "2026-11-30T17:04:05.678Z", "start": "0123456789ab", "number": 0}
    note = {**head, "event": "note", "text": "Good to know.", "micrograph": None}
    VALIDATOR.validate({**note, "field of a later time": 1})

    for wrong in (head, {**note, "text": 1}, {**note, "event": "picked"}, {**note, "number": -1}, {**note, "time": 5}):
        assert not VALIDATOR.is_valid(wrong)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("p.star", "also --out"),
        ("mics/../p.star", "also --out"),
        ("p", "the folder of the run"),
        ("p/events.jsonl", "the folder of the run"),
        ("p/ledger.jsonl", "the folder of the run"),
        ("mics/c.mrc", "also an input"),
    ],
)
def test_events_among_the_files_of_the_run_are_refused_before_anything_is_written(
    mics: Path, file: str, reason: str
) -> None:
    before = sorted(mics.parent.rglob("*"))

    result = pick("--events", file, "mics/c.mrc")

    assert result.exit_code == 2, result.stderr
    assert f"--events {file}" in result.stderr
    assert reason in result.stderr
    assert sorted(mics.parent.rglob("*")) == before


def test_the_totals_tell_of_classes_in_words_and_in_numbers(mics: Path) -> None:
    assert pick("--events", "events.jsonl").exit_code == 0
    (ended,) = of_kind(read_events(), "ended")
    assert ended["totals"]["classes"] is ended["totals"]["class_counts"] is None
    run = workflow.start_pick("mics", "p.star", PickConfig(diameter=60.0))
    summary = replace(run.summary, classes="2 of 3 are more than noise", class_counts=ClassCounts(3, 2, 1, 71, 6.4))
    lines: list[str] = []

    PickEvents(lines.append).ended("finished", 0, None, {}, summary)

    (ended,) = events("\n".join(lines))
    counts = {"made": 3, "more_than_noise": 2, "too_few": 1, "picks": 71, "resolution": 6.4}
    assert ended["totals"]["class_counts"] == counts


def test_a_watched_session_with_a_broken_file_a_pause_and_ctrl_c(mics: Path) -> None:
    def session() -> None:
        wait_for_rest("picked", 2)
        (mics / "bad.mrc").write_bytes(b"no micrograph")
        wait_for_rest("skipped")
        write_mrc(mics / "c.mrc", 3)
        wait_for("picked", 3)
        wait_for("overview")

    with beside(session, lambda: os.kill(os.getpid(), signal.SIGINT)):
        result = pick("--watch", "--events", "events.jsonl")

    assert result.exit_code == 3, result.stderr
    found = read_events()
    assert [event["number"] for event in found] == list(range(len(found)))
    assert len({event["start"] for event in found}) == 1
    kinds = [event["event"] for event in found]
    assert kinds[:2] == ["started", "ready"]
    assert kinds[-1] == "ended"
    assert kinds.index("waiting") < kinds.index("skipped") < len(kinds) - kinds[::-1].index("waiting")
    started, skipped = found[0], of_kind(found, "skipped")[0]
    assert (started["watch"], started["settings"]["diameter"], started["inputs"]) == (True, 60.0, [str(mics)])
    assert skipped["path"] == str(mics / "bad.mrc")
    assert "truncated" in skipped["error"]
    picked = {Path(event["path"]).name: event for event in of_kind(found, "picked")}
    assert list(picked) == ["a.mrc", "b.mrc", "c.mrc"]
    written = {Path(name).name: particles for name, particles in read_particles_star("p.star").items()}
    assert {name: event["picks"] for name, event in picked.items()} == {n: len(p) for n, p in written.items()}
    for event in picked.values():
        assert set(event["files"]) == {"relion", "box", "candidates", "png"}
        assert all(Path(file).is_absolute() and Path(file).is_file() for file in event["files"].values())
    assert {event["path"] for event in of_kind(found, "overview")} == {str(Path("p.star").absolute())} | {
        str(Path("p/report.html").absolute())
    }
    ended = found[-1]
    assert (ended["status"], ended["signal"], ended["exit_code"]) == ("finished", "SIGINT", 3)
    totals = ended["totals"]
    assert (totals["micrographs"], totals["skipped"]) == (3, 1)
    assert totals["picks"] == sum(map(len, written.values()))


def test_a_session_that_waits_says_so_now_and_then(mics: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_WAITING_SECONDS", 0.05)

    assert pick("--watch", "--stop-after", "0.6", "--events", "events.jsonl").exit_code == 0

    assert 3 < len(of_kind(read_events(), "waiting")) < 20


def test_a_run_that_goes_on_adds_its_lines_and_says_what_is_old() -> None:
    for _ in range(2):
        assert pick("--events", "events.jsonl").exit_code == 0

    found = read_events()
    starts = list(dict.fromkeys(event["start"] for event in found))
    assert len(starts) == 2
    for start, earlier in zip(starts, (False, True), strict=True):
        mine = [event for event in found if event["start"] == start]
        assert [event["earlier"] for event in of_kind(mine, "picked")] == [earlier, earlier]
        assert mine[-1]["totals"]["earlier"] == 2 * earlier


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_what_is_in_hand_told_and_written(
    mics: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    for seed in range(20):
        write_mrc(mics / f"m{seed}.mrc", seed + 5)
    locate = QuickPicker.locate

    def signalled(self: QuickPicker, prepared: Any, micrograph: Any) -> Particles:
        if micrograph.source.name == "m3.mrc":
            os.kill(os.getpid(), number)
        return locate(self, prepared, micrograph)

    monkeypatch.setattr(QuickPicker, "locate", signalled)
    before = signal.getsignal(number)
    result = pick("--events", "events.jsonl")

    assert result.exit_code == code
    assert result.stderr.splitlines()[-1].endswith("ed: the same command goes on where it stopped.")
    assert signal.getsignal(number) is before
    found = read_events()
    assert (found[-1]["status"], found[-1]["signal"], found[-1]["exit_code"]) == ("interrupted", number.name, code)
    assert found[-1]["error"] is None
    picked = {event["micrograph"] for event in of_kind(found, "picked")}
    assert picked == set(read_particles_star("p.star"))
    assert 1 <= len(picked) < 22


def test_an_error_is_told_with_its_advice(mics: Path) -> None:
    result = pick("--events", "events.jsonl", "--weights", "nowhere.safetensors")
    assert result.exit_code == 0  # the stand-in needs no weights
    for path in mics.iterdir():
        path.write_text("no micrograph")
    result = pick("--events", "events.jsonl")

    assert result.exit_code == 1
    ended = read_events()[-1]
    assert (ended["status"], ended["exit_code"]) == ("failed", 1)
    assert f"Error: {ended['error']}" in result.stderr
    assert ended["hint"] in result.stderr
    assert ended["totals"]["micrographs"] == 0


def test_an_error_before_the_work_has_no_totals() -> None:
    result = CliRunner().invoke(app, ["pick", "nowhere", "--out", "p.star", "--events", "events.jsonl"])

    assert result.exit_code == 1
    found = read_events()
    assert [event["event"] for event in found] == ["started", "ended"]
    assert (found[1]["status"], found[1]["totals"]) == ("failed", None)


def test_standard_output_is_theirs_alone(capfd: pytest.CaptureFixture[str]) -> None:
    result = pick("--events", "-")

    assert result.exit_code == 0
    assert result.stdout == ""
    assert "Picks per micrograph" in result.stderr
    found = events(capfd.readouterr().out)
    assert [found[0]["event"], found[-1]["event"]] == ["started", "ended"]


def test_a_name_that_is_no_text_and_settings_with_a_path(mics: Path) -> None:
    odd = mics / os.fsdecode(b"odd\xff.mrc")
    write_mrc(mics / "plain.mrc", 9).rename(odd)

    pick("--events", "events.jsonl")

    named = [event["path"] for event in read_events() if event["event"] in ("picked", "skipped")]
    assert str(odd) in named


def test_a_place_that_is_none_ends_the_command_before_anything_is_written(mics: Path) -> None:
    result = pick("--events", "mics")

    assert result.exit_code == 2
    assert result.stderr.splitlines() == ["Error: --events mics: is a folder", "Name a file in it."]
    assert not Path("p").exists()


def scraped(port: int) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("state", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_for_prometheus_follow_the_session(mics: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen: list[dict[tuple[str, str], float]] = []

    def session() -> None:
        wait_for_rest("picked", 2)
        seen.append(scraped(port))
        (mics / "bad.mrc").write_bytes(b"no micrograph")
        wait_for_rest("skipped")
        seen.append(scraped(port))

    with beside(session, Path("p/stop").touch):
        result = pick("--watch", "--events", "events.jsonl", "--metrics", str(port))

    assert result.exit_code == 3, result.stderr
    assert f"http://127.0.0.1:{port}/metrics" in result.stderr
    picks = sum(event["picks"] for event in of_kind(read_events(), "picked"))
    for counts, skipped in zip(seen, (0, 1), strict=True):
        assert counts["cryotx_micrographs", "picked"] == 2
        assert counts["cryotx_micrographs", "skipped"] == skipped
        assert counts["cryotx_picks", ""] == picks
        assert counts["cryotx_waiting", ""] == 1
        assert counts["cryotx_event_lines_lost_total", ""] == 0
        assert counts["cryotx_start_time_seconds", ""] <= counts["cryotx_latest_pick_time_seconds", ""] <= time.time()
    with pytest.raises(OSError, match="refused"):
        scraped(port)  # the port is given back


def test_a_number_that_is_no_port_is_wrong_usage() -> None:
    assert pick("--metrics", "65536").exit_code == 2


def test_a_port_in_use_is_one_clear_line_before_the_work() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = pick("--metrics", str(port), "--events", "events.jsonl")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == f"Error: --metrics {port}: cannot be served there (Address already in use)"
    assert len(result.stderr.splitlines()) == 2
    assert not Path("p").exists()
