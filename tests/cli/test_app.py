"""The frame of every command: help, version, errors and exit codes."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from cryotx_cli import __version__
from cryotx_cli.cli.app import app
from cryotx_cli.cli.help import commands_of
from cryotx_cli.errors import CheckpointError, ConfigError, CryotxError, MicrographError
from cryotx_cli.workflows import pick as pick_workflow

COMMANDS = list(commands_of(get_command(app)))
HEAVY = {"torch", "torchvision", "numpy", "scipy", "pandas", "cv2", "mrcfile", "starfile", "rich"}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def failing_pick(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let `cryotx pick` end with an exception of one's choice."""

    def fail_with(error: BaseException) -> None:
        def start_pick(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(pick_workflow, "start_pick", start_pick)

    return fail_with


def run_apart(*arguments: str, **environment: str) -> tuple[str, set[str]]:
    """Run the program in a process of its own; return what it prints and the modules it has loaded at its end."""
    program = (
        "import sys, json, atexit\n"
        "from cryotx_cli.cli.app import main\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        f"sys.argv = ['cryotx', *{list(arguments)}]\n"
        "main()\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return finished.stdout, set(json.loads(finished.stderr))


# Whatever is asked, all commands are imported.
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["pick", "--help"],
        *(
            pytest.param([*command.split(), "--help"], marks=pytest.mark.slow)
            for command in COMMANDS
            if command != "pick"
        ),
    ],
)
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    printed, loaded = run_apart(*arguments)

    assert "cryotx" in printed
    assert not {*HEAVY, "pydantic"} & loaded


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("cryotx t", {"threshold", "train"}),
        ("cryotx pick --th", {"--threshold"}),
        ("cryotx pick --contrast ", {"auto", "dark", "bright"}),
        pytest.param("cryotx convert a.star b.box --flip", {"--flip-y"}, marks=pytest.mark.slow),
        pytest.param("cryotx pick micro", set(), marks=pytest.mark.slow),  # bash goes on with files
    ],
)
def test_the_shell_completes_commands_flags_and_choices(typed: str, offered: set[str]) -> None:
    word = str(typed.count(" "))

    printed, loaded = run_apart(_CRYOTX_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=word)

    assert set(printed.split()) == offered
    assert not HEAVY & loaded


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_for_each_shell(shell: str) -> None:
    printed, _ = run_apart(_CRYOTX_COMPLETE=f"source_{shell}")

    assert "_CRYOTX_COMPLETE" in printed
    assert "cryotx" in printed


def test_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"cryotx {__version__}\n"


def test_without_a_command_help_is_shown_as_wrong_usage() -> None:
    result = run()

    assert result.exit_code == 2
    assert all(command.split()[0] in result.output for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [["paint"], ["pick"], ["pick", "a.mrc"], ["pick", "a.mrc", "--out", "b.star", "--edge", "wide"], ["--quiet"]],
)
def test_wrong_usage_exits_with_2_and_says_how_to_get_help(arguments: list[str]) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert "Try 'cryotx" in result.stderr or "--help lists the settings" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("kind", [MicrographError, CheckpointError, CryotxError])
def test_an_error_is_one_line_and_its_hint_on_stderr(failing_pick: Any, kind: type[CryotxError]) -> None:
    failing_pick(kind("a.mrc: the file ends early", "Copy it again."))

    result = run("pick", "a.mrc", "--out", "b.star")

    assert result.exit_code == 1
    assert result.stderr == "Error: a.mrc: the file ends early\nCopy it again.\n"
    assert result.stdout == ""


def test_a_setting_that_cannot_be_used_is_wrong_usage(failing_pick: Any) -> None:
    failing_pick(ConfigError("threshold: too low"))

    assert run("pick", "a.mrc", "--out", "b.star").exit_code == 2


def test_all_bad_flags_are_named_at_once() -> None:
    result = run("pick", "a.mrc", "--out", "b.star", "--threshold", "7", "--diameter", "big")

    assert result.exit_code == 2
    assert "threshold: " in result.stderr
    assert "diameter: " in result.stderr


@pytest.mark.parametrize("arguments", [["--debug", "pick", "a", "--out", "b"], ["pick", "a", "--out", "b", "--debug"]])
def test_debug_adds_the_traceback(failing_pick: Any, arguments: list[str]) -> None:
    failing_pick(MicrographError("a.mrc: the file ends early", "Copy it again."))

    result = run(*arguments)

    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("Error: a.mrc: the file ends early\nCopy it again.\n")


def test_an_interrupt_exits_with_130(failing_pick: Any) -> None:
    failing_pick(KeyboardInterrupt())

    result = run("pick", "a.mrc", "--out", "b.star")

    assert (result.exit_code, result.stderr) == (130, "Interrupted: the same command goes on where it stopped.\n")


def test_a_bug_is_shown_as_one(failing_pick: Any) -> None:
    failing_pick(ValueError("not the user's fault"))

    assert isinstance(run("pick", "a.mrc", "--out", "b.star").exception, ValueError)


def test_module_and_command_are_the_same_program() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "cryotx_cli", "pick", "--nonsense"], capture_output=True, text=True, check=False
    )

    assert finished.returncode == 2
    assert "Try 'cryotx pick -h' for help." in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pick", "m", "--apix", "1"], "--apix. It is --pixel-size here."),
        (["pick", "m", "--angpix=1.2"], "--angpix. It is --pixel-size here."),
        (["pick", "m", "--pixel_size", "1"], "--pixel_size. It is --pixel-size here."),
        (["pick", "m", "--particle-diameter", "1"], "--particle-diameter. It is --diameter here."),
        (["pick", "m", "-o", "p.star"], "-o. It is --out here."),
        (["pick", "-i", "m"], "-i. INPUT... goes without a flag."),
        (["pick", "m", "--gpu", "0"], "--gpu. It is --device here."),
        (["evaluate", "a", "b", "--px", "1"], "--px. It is --pixel-size here."),
        (["train", "--labels", "a"], "--labels. It is --data here."),
        (["pick", "m", "--nonsense"], "No such option: --nonsense"),
    ],
)
def test_what_other_programs_call_a_flag_gets_a_hint(arguments: list[str], said: str) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert said in result.stderr


def test_a_flag_without_its_value_gets_no_hint() -> None:
    assert "It is" not in run("pick", "m", "--out").stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--pixel-size", "-1"], "Error: --pixel-size: should be greater than 0 Å per pixel, found '-1'"),
        (["--diameter", "0"], "Error: --diameter: should be greater than 0 Å or 'auto', found '0'"),
        (["--max-per-micrograph", "0"], "Error: --max-per-micrograph: should be"),
        (["--threshold", "0.5", "--fdr", "0.1"], "Error: --threshold 0.5 and --fdr 0.1 exclude each other"),
        (["--stop-after", "3"], "Error: --stop-after needs --watch"),
    ],
)
def test_errors_call_settings_as_they_were_typed(flags: list[str], said: str) -> None:
    result = run("pick", "m", "--out", "p.star", *flags)

    assert result.exit_code == 2
    assert result.stderr.startswith(said)


@pytest.mark.parametrize("flags", [("--precision", "float16"), ("--contrast", "foo")])
def test_a_word_that_is_no_choice_is_told_without_the_words_of_a_library(flags: tuple[str, str]) -> None:
    result = run("pick", "m", "--out", "p.star", *flags)
    assert result.exit_code == 2
    assert f"Invalid value for '{flags[0]}': '{flags[1]}' is not one of '" in result.stderr


def test_errors_about_a_file_of_settings_call_them_as_the_file_does(tmp_path: Any) -> None:
    file = tmp_path / "run.toml"
    file.write_text("pixel_size = -1\n")

    result = run("pick", "m", "--out", "p.star", "--config", str(file), "--min-distance", "-2")

    assert f"{file}: pixel_size: should be" in result.stderr
    assert "--min-distance: should be" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_may_come_first(command: str) -> None:
    assert run("help", *command.split()).stdout == run(*command.split(), "--help").stdout
