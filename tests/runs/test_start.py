"""When, where and by which command a run was started, as its folder keeps it."""

from datetime import date

import pytest

from cryotx_cli.runs import start as module
from cryotx_cli.runs.start import Start, note_choice, note_start, start_of


@pytest.fixture
def on(monkeypatch, tmp_path):
    """Let it be another day."""
    monkeypatch.chdir(tmp_path)

    def be(day):
        class Day(date):
            @classmethod
            def today(cls):
                return cls.fromisoformat(day)

        monkeypatch.setattr(module, "date", Day)

    return be


def test_the_first_start_counts_until_the_command_is_another(tmp_path, on, monkeypatch):
    run = tmp_path / "p"
    on("2026-11-30")
    note_start(run, "cryotx pick mics --out p.star")
    first = Start("2026-11-30", str(tmp_path), "cryotx pick mics --out p.star")
    assert start_of(run) == first
    stored = (run / "start.json").read_bytes()
    on("2026-12-02")
    note_start(run, first.command)
    assert (run / "start.json").read_bytes() == stored
    note_start(run, first.command, anew=True)
    assert start_of(run).day == "2026-12-02"
    note_start(run, "cryotx pick mics --out p.star --edge 80")
    assert start_of(run) == Start("2026-12-02", str(tmp_path), "cryotx pick mics --out p.star --edge 80")
    monkeypatch.chdir(run)  # the same words mean other files
    note_start(run, "cryotx pick mics --out p.star --edge 80")
    assert start_of(run).folder == str(run)


def test_picks_chosen_anew_are_noted_until_the_run_goes_on(tmp_path, on):
    on("2026-11-30")
    note_choice(tmp_path, "cryotx threshold p --fdr 0.1")
    assert start_of(tmp_path) is None  # nobody knows how it was started
    note_start(tmp_path, "cryotx pick")
    for rate in ("0.1", "0.05"):
        note_choice(tmp_path, f"cryotx threshold p --fdr {rate}")
    assert (start_of(tmp_path).command, start_of(tmp_path).choice) == ("cryotx pick", "cryotx threshold p --fdr 0.05")
    note_start(tmp_path, "cryotx pick")
    assert start_of(tmp_path).choice == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"day": "never", "folder": "/", "command": "x"}', '{"day": 3}'])
def test_what_is_no_note_is_none(tmp_path, text):
    (tmp_path / "start.json").write_text(text)
    assert start_of(tmp_path) is None


def test_names_that_are_no_text_survive(tmp_path, on):
    on("2026-11-30")
    note_start(tmp_path, b"cryotx pick m\xff.mrc".decode(errors="surrogateescape"))
    assert start_of(tmp_path).command == "cryotx pick m\udcff.mrc"


def test_a_full_disk_stops_no_run(tmp_path, on):
    on("2026-11-30")
    (tmp_path / "file").touch()
    note_start(tmp_path / "file", "cryotx pick")  # a file is no folder
    assert start_of(tmp_path / "file") is None
