"""The help of every command, as it is read on a terminal of 80 columns."""

import re
import shlex
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cryotx_cli.cli.app import app
from cryotx_cli.cli.help import commands_of, examples

COMMANDS = commands_of(get_command(app))


def help_of(*command: str) -> str:
    return CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"}).stdout


def sections(text: str) -> dict[str, str]:
    """Each heading with the lines below it."""
    parts = re.split(r"^(\S.*):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_no_line_is_wider_than_the_terminal(command: str) -> None:
    assert max(map(len, help_of(*command.split()).splitlines())) <= 80


def test_the_list_of_commands_says_each_in_full() -> None:
    listed = sections(help_of())["Commands"].splitlines()

    assert len([line for line in listed if line]) == len({command.split()[0] for command in COMMANDS})
    assert all(line.endswith(".") and not line.endswith("...") for line in listed if line)


@pytest.mark.parametrize(
    ("command", "usage"),
    [("pick", "cryotx pick [OPTIONS] INPUT..."), ("convert", "cryotx convert [OPTIONS] IN OUT")],
)
def test_usage_is_as_people_type_it(command: str, usage: str) -> None:
    assert help_of(*command.split()).splitlines()[0] == f"Usage: {usage}"


def test_pick_is_told_from_what_goes_in_to_where_it_runs() -> None:
    told, last = sections(help_of("pick")), ["For other programs", "Other", "Examples"]

    assert list(told) == ["Input", "Model", "Choice of picks", "Output", "Where it runs", *last]
    for heading, flags in {
        "Input": "INPUT... --pixel-size --diameter --contrast --watch --stop-after",
        "Model": "--weights",
        "Choice of picks": "--on-film --threshold --unsure --fdr --percentile --expected-count --max-per-micrograph "
        "--selection --min-distance --edge --box --decoys",
        "Output": "--out --formats --exposures --images --boxes --report --classes --no-classes --restart",
        "Where it runs": "--device --scheduler --precision",
        "For other programs": "--events --metrics",
        "Other": "--config -h",
    }.items():
        assert re.findall(r"^  ([A-Z.]+|--?[a-z-]+)", told[heading], flags=re.MULTILINE) == flags.split()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_setting_has_a_heading(command: str) -> None:
    assert re.findall(r"^  (-.*?)  ", sections(help_of(*command.split()))["Other"], re.MULTILINE) == [
        "--config FILE",
        "-h, --help",
    ]


def test_a_switch_that_is_off_is_shown_by_what_turns_it_on_and_one_that_is_on_by_both() -> None:
    text = help_of("pick")

    assert "--no-watch" not in text
    assert "--images / --no-images  " in text
    assert "--denoise / --raw  " in help_of("make-coco")


@pytest.mark.parametrize("width", ["60", "70", "80"])
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_lines_end_neither_before_a_default_nor_within_a_flag(command: str, width: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", width)

    text = COMMANDS[command].get_help(COMMANDS[command].make_context(command, [], resilient_parsing=True))

    assert max(map(len, text.partition("Examples:")[0].splitlines())) < int(width)
    assert not [line for line in text.splitlines() if line.endswith(("Default:", "-"))]
    assert not set("\N{NO-BREAK SPACE}\N{NON-BREAKING HYPHEN}") & set(text)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_ends_with_two_examples_that_parse(command: str) -> None:
    lines = examples(COMMANDS[command].help)

    assert len(lines) == 2
    assert help_of(*command.split()).rstrip().splitlines()[-3:] == ["Examples:", *(f"  {line}" for line in lines)]
    for line in lines:
        words = shlex.split(line)
        typed = ["cryotx", *command.split()]
        assert words[: len(typed)] == typed
        assert not COMMANDS[command].make_context(command, words[len(typed) :]).args
