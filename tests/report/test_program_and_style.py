"""The program and the style of a report: what is joined, and that a linter has nothing to say about it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import cryotx_cli.report
from cryotx_cli.report.program_and_style import program, style

ROOT = Path(__file__).resolve().parents[2]
WEB = Path(cryotx_cli.report.__file__).parent / "web"
BIOME = ROOT / "node_modules/.bin/biome"


def declared(module):
    """Names that a module declares for all others, since all share one scope."""
    lines = re.findall(r"^(?:export )?(?:const|let|function|class) (.+?)(?: =|\(|;|$)", module, flags=re.MULTILINE)
    return [name for line in lines for name in re.findall(r"[A-Za-z_]\w*", line)]


def test_no_two_modules_declare_the_same_name():
    names = [name for module in sorted(WEB.glob("program/*.js")) for name in declared(module.read_text("utf-8"))]
    assert len(names) > 80
    assert not {name for name in names if names.count(name) > 1}


def test_every_module_is_in_the_program_once_and_behind_what_it_uses():
    text = program()
    texts = {module.name: module.read_text("utf-8") for module in WEB.glob("program/*.js")}
    places = {name: text.index(body.split("*/")[0]) for name, body in texts.items()}  # by its first comment
    assert all(text.count(body.split("*/")[0]) == 1 for body in texts.values())
    for name, body in texts.items():
        assert all(places[used] < places[name] for used in re.findall(r'from "\./(\w+\.js)"', body))
    assert not re.findall(r"^(?:import|export)\b", text, flags=re.MULTILINE)


def test_every_file_of_style_is_in_the_sheet():
    sheet = style()
    assert all(file.read_text("utf-8").strip() in sheet for file in WEB.glob("style/*.css"))
    dark = re.findall(r"(\S+) \{\s+color-scheme: dark;([^}]*)\}", sheet)
    assert [selector for selector, _ in dark] == [':root[data-theme="dark"]', ':root:not([data-theme="light"])']
    assert dark[0][1] == dark[1][1]


def test_the_linter_has_nothing_to_say():
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    if not BIOME.exists():
        pytest.skip("no linter for JavaScript: npm ci")
    finished = subprocess.run(
        [BIOME, "ci", "--colors=off", "--error-on-warnings", "--verbose"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout
    files = [*WEB.glob("program/*.js"), *WEB.glob("style/*.css")]
    assert files
    assert not [file for file in files if f"/{file.name}\n" not in finished.stdout]  # it has looked at each
