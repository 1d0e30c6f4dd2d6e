"""What the documentation says exists, and what exists is documented."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cryotx_cli.cli.app import app
from cryotx_cli.cli.help import commands_of
from cryotx_cli.config import SimulateConfig
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.star import write_particles_star
from cryotx_cli.datasets.cryoppp import read_coordinates
from cryotx_cli.workflows.simulate import simulate

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = commands_of(get_command(app))


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def shown_commands() -> list[Any]:
    """Every line that begins with cryotx in a shell block, with the page that shows it."""
    return [
        pytest.param(shlex.split(line)[1:], id=f"{page.name}: {line}")
        for page in PAGES
        for block in code_blocks(page, "bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip().startswith("cryotx ")
    ]


def splits(arguments: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Part a command line into a command, the longest first, and what follows it."""
    for words in (2, 1):
        yield " ".join(arguments[:words]), arguments[words:]


def page_of(command: str) -> str:
    return (ROOT / "docs" / f"{command.split()[-1]}.md").read_text(encoding="utf-8")


def flags(command: str) -> set[str]:
    options = {flag for parameter in COMMANDS[command].params for flag in parameter.opts if flag.startswith("--")}
    return options - {"--help"}


@pytest.mark.parametrize("arguments", shown_commands())
def test_a_command_line_in_the_documentation_parses(arguments: list[str]) -> None:
    command, rest = next(parted for parted in splits(arguments) if parted[0] in COMMANDS)
    context = COMMANDS[command].make_context(command, rest)

    assert not context.args
    assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_flag_has_its_place_on_the_page(command: str) -> None:
    page = page_of(command)
    told = set(re.findall(r"--[a-z][a-z0-9._-]*", page))

    # A switch that is on by default is told by its negation.
    missing = {flag for flag in flags(command) if flag not in told and flag.replace("--", "--no-", 1) not in told}

    assert not missing


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_no_page_tells_of_flags_that_do_not_exist(command: str) -> None:
    page = page_of(command)
    section = page.partition("## Flags")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| `--")]
    told = set(re.findall(r"--[a-z][a-z0-9._-]*", "\n".join(table)))
    real = {flag for parameter in COMMANDS[command].params for flag in (*parameter.opts, *parameter.secondary_opts)}

    assert table
    assert not told - real


def test_tables_of_flags_are_what_the_settings_say() -> None:
    finished = subprocess.run(
        [sys.executable, ROOT / "docs/flags.py", "--check"], capture_output=True, text=True, timeout=120, check=False
    )

    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_in_the_documentation_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    lines = [line for block in code_blocks(page, "bash") for line in block.splitlines()]

    assert {line.split()[-1] for line in lines if line.startswith("make ")} <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))

    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.slow
def test_python_in_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (written,) = simulate(tmp_path / "simulated", SimulateConfig(micrographs=1, size=512, pixel_size=3.0, seed=3))
    (truth,) = read_coordinates(tmp_path / "simulated").values()
    (tmp_path / "micrographs").mkdir()
    written.path.rename(tmp_path / "micrographs" / "a.mrc")
    write_particles_star(tmp_path / "hand_picked.star", [("micrographs/a.mrc", truth)])
    monkeypatch.chdir(tmp_path)

    pages = {page: code_blocks(page, "python") for page in PAGES}
    for page, blocks in pages.items():
        names: dict[str, Any] = {}
        for block in blocks:  # those of a page follow from each other
            exec(compile(block, page.name, "exec"), names)

    assert sum(map(len, pages.values())) > 3
    assert len(read_particles(tmp_path / "particles.star")) == 1


def test_the_changelog_tells_of_every_command() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert not [command for command in COMMANDS if f"`cryotx {command}" not in text]


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package, reason=f"{package} comes with the extra 'docs'")

    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", tmp_path / "doctrees"]
    finished = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ROOT / "docs", tmp_path / "html"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "html" / "index.html").exists()
