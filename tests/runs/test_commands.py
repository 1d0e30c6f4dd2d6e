"""Commands that a run tells to type."""

import shlex
from pathlib import Path

import pytest

from cryotx_cli.runs.commands import choose_again, pick_again
from cryotx_cli.runs.folder import PickFolder


def test_a_run_is_repeated_with_its_settings_and_its_inputs_as_they_were_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    command = pick_again(["my mics", "-odd.mrc"], PickFolder(Path("out/p 1.star")))

    assert shlex.split(command) == [
        *("cryotx", "pick", "my mics", "./-odd.mrc", "--out", "out/p 1.star", "--config", "out/p 1/config.toml")
    ]


def test_one_input_need_not_be_in_a_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pick_again("mics", PickFolder(Path("p.star"))) == "cryotx pick mics --out p.star --config p/config.toml"


@pytest.mark.parametrize(("count", "shortened"), [(5, False), (6, True)])
def test_of_many_inputs_some_are_named(tmp_path, monkeypatch, count, shortened):
    monkeypatch.chdir(tmp_path)
    command = pick_again([f"m{number}.mrc" for number in range(count)], PickFolder(Path("p.star")))
    assert ("m4.mrc ... --out" in command) == shortened
    assert "m5.mrc" not in command


def test_picks_are_chosen_again_in_a_folder_of_any_name():
    assert choose_again(Path("my run"), "--fdr 0.2") == "cryotx threshold 'my run' --fdr 0.2"
