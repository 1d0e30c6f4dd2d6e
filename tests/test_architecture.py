"""The design's rules that no type checker holds: who may import what, who prints, who catches."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from cryotx_cli.cli.app import app
from cryotx_cli.cli.help import commands_of

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "cryotx_cli"
MODULES = sorted(SOURCE.rglob("*.py"))
COMMANDS = list(commands_of(get_command(app)))

ONLY_IN = {
    "gemmi": ["simulator/structures.py"],
    "mrcfile": ["micrographs/micrograph.py", "micrographs/stack.py", "micrographs/volume.py"],
    "tifffile": ["micrographs/tiff.py"],
    "starfile": [],  # reads what is damaged without a word: files/star_blocks.py does it, and tests compare the two
    "safetensors": ["detector/checkpoint.py"],
    "starlette": ["review/"],
    "uvicorn": ["review/"],
    "typer": ["cli/"],
    "rich": ["cli/"],
    "click": [],  # Typer brings its own
    "PIL": ["report/pdf.py"],
    "pipeliner": ["hosts/ccpem_pipeliner.py"],
    "pandas": [],  # comes with starfile
}


@cache
def nodes(module: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))


def relative(module: Path) -> str:
    return module.relative_to(SOURCE).as_posix()


def imported(module: Path) -> Iterator[str]:
    """Top-level packages that a module imports, at its top or inside functions."""
    for node in nodes(module):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_import_linter_contracts_hold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    linter = pytest.importorskip("importlinter.cli", reason="import-linter is a development dependency")
    monkeypatch.chdir(ROOT)

    status = linter.lint_imports()

    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_foreign_package_stays_behind_its_own_module(package: str) -> None:
    users = {relative(module) for module in MODULES if package in imported(module)}

    strays = {user for user in users if not any(user.startswith(home) for home in ONLY_IN[package])}

    assert not strays


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_nothing_prints_but_the_command_line(module: Path) -> None:
    calls = [node.func for node in nodes(module) if isinstance(node, ast.Call)]

    assert not [call.lineno for call in calls if isinstance(call, ast.Name) and call.id in ("print", "input")]


@pytest.mark.parametrize("module", sorted((SOURCE / "cli").glob("*.py")), ids=relative)
def test_the_command_line_has_one_place_for_errors(module: Path) -> None:
    catches = [node for node in nodes(module) if isinstance(node, ast.ExceptHandler)]

    assert module.name == "app.py" or not catches


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_user_data_is_never_opened_for_update(module: Path) -> None:
    texts = [node.value for node in nodes(module) if isinstance(node, ast.Constant)]

    assert not {"r+", "r+b", "rb+"} & {text for text in texts if isinstance(text, str)}


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    names = {part for module in MODULES for part in module.relative_to(SOURCE).with_suffix("").parts}

    assert not names & {"utils", "util", "misc", "helpers", "helper", "common", "tools"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_a_module_a_workflow_a_page_and_tests(command: str) -> None:
    name, page = command.replace("-", "_").replace(" ", "_"), command.split()[-1]

    missing = [
        path
        for path in (
            f"src/cryotx_cli/cli/{name}.py",
            f"src/cryotx_cli/workflows/{name}.py",
            f"docs/{page}.md",
            f"tests/cli/test_{name}.py",
            f"tests/workflows/test_{name}.py",
        )
        if not (ROOT / path).exists()
    ]

    assert not missing


MAY_COMPARE_WITH_AUTO = {
    "cli/pick.py",  # has the settings as the user gave them
    "runs/settled.py",  # diameter and contrast
    "runs/selection.py",  # threshold
    "detector/families.py",  # selection, which the weights decide
    "detector/device.py",
    "averages/choice.py",  # which classes to drop
    "workflows/doctor.py",  # looks at devices one by one
    "training/cryotransformer/train.py",
}


def is_auto(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == "auto"


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_what_is_auto_is_decided_in_one_place(module: Path) -> None:
    compared = [
        node.lineno
        for node in nodes(module)
        if isinstance(node, ast.Compare) and any(is_auto(one) for one in (node.left, *node.comparators))
    ]

    assert not compared or relative(module) in MAY_COMPARE_WITH_AUTO


def dotted(node: ast.expr) -> str:
    """Return what is called as it is written, where that is a name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("name", ["Settled", "Selection.of"])
def test_settled_settings_are_made_in_one_module(name: str) -> None:
    makers = {
        relative(module)
        for module in MODULES
        for node in nodes(module)
        if isinstance(node, ast.Call) and dotted(node.func) == name
    }

    assert makers == {"runs/settled.py"}
