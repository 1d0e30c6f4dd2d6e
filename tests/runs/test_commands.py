"""Commands that a run tells to type."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cryotx_cli.cli.app import app
from cryotx_cli.config import AdaptConfig, PickConfig
from cryotx_cli.runs.commands import NextCommands, choose_again
from cryotx_cli.runs.folder import PickFolder
from cryotx_cli.runs.settled import settle


def test_a_run_is_repeated_with_its_settings_and_its_inputs_as_they_were_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    command = NextCommands(["my mics", "-odd.mrc"], PickFolder(Path("out/p 1.star"))).pick("--diameter 3")

    assert shlex.split(command) == [
        *("cryotx", "pick", "my mics", "./-odd.mrc", "--out", "out/p 1.star", "--config", "out/p 1/config.toml"),
        *("--diameter", "3"),
    ]


def test_one_input_need_not_be_in_a_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = NextCommands("mics", PickFolder(Path("p.star"))).pick("--diameter 3")
    assert command == "cryotx pick mics --out p.star --config p/config.toml --diameter 3"


def test_many_inputs_are_named_by_the_pattern_that_a_shell_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"my mics/m{number}_a.mrc" for number in range(6)]
    (tmp_path / "my mics").mkdir()
    for name in [*names, "my mics/m1_b.mrc"]:
        (tmp_path / name).touch()

    def named(inputs):
        words = shlex.split(NextCommands(inputs, PickFolder(Path("p.star"))).pick(""))
        return words[2 : words.index("--out")]

    assert named(names[:5]) == names[:5]
    assert named(names) == ["my mics/m*_a.mrc"]
    assert named([*names, "my mics/m1_b.mrc"]) == ["my mics/m*.mrc"]
    assert named([*names[1:], "my mics/m1_b.mrc"]) == [*names[1:], "my mics/m1_b.mrc"]  # no star leaves out m0_a
    assert named([*names, "other.mrc"]) == [*names, "other.mrc"]


def test_picks_are_chosen_again_in_a_folder_of_any_name():
    assert choose_again(Path("my run"), "--fdr 0.2") == "cryotx threshold 'my run' --fdr 0.2"


@pytest.mark.parametrize(
    ("inputs", "micrographs"), [("my mics", "my mics"), (["a", "b"], "MICROGRAPHS"), (["mics/*.mrc"], "MICROGRAPHS")]
)
def test_weights_are_adapted_with_what_the_run_knows(tmp_path, monkeypatch, inputs, micrographs):
    monkeypatch.chdir(tmp_path)
    given = []
    monkeypatch.setattr("cryotx_cli.workflows.train.train", lambda out, config: given.append((out, config)) or iter(()))
    config = PickConfig(diameter=160.0, pixel_size=1.06)
    settled = settle(config, lambda: 0.0, lambda diameter: False)

    command = NextCommands(inputs, PickFolder(Path("p.star"))).train(settled)
    result = CliRunner().invoke(app, shlex.split(command)[1:])

    assert result.exit_code == 0, result.output
    ((out, told),) = given
    assert isinstance(told, AdaptConfig)
    assert (out, told.data, told.micrographs) == (Path("model"), Path("LABELS"), Path(micrographs))
    assert (told.diameter, told.pixel_size, told.init) == (160.0, 1.06, "default")
