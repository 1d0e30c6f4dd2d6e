"""Every benchmark starts and is told of in the documentation, whose table of pickers has the recorded numbers."""

import importlib
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
MEASURES_A_COMMAND = "child.py"  # run by other benchmarks, with a command line and not with options of its own
SCRIPTS = [
    path
    for path in sorted(FOLDER.rglob("*.py"))
    if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8") and path.name != MEASURES_A_COMMAND
]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def importable_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let benchmarks import each other as they do when run, and give back modules that tests have by the same names."""
    names = {path.stem for path in FOLDER.iterdir()}
    before = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in names}
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_answers_to_help(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")

    assert ended.value.code == 0
    assert script.name in capsys.readouterr().out


def test_every_part_of_the_gpu_benchmark_can_be_run() -> None:
    parts = importlib.import_module("gpu").LIMITS

    assert parts
    for part in parts:
        assert callable(importlib.import_module(f"gpu_parts.{part}").run)


def test_the_page_tells_of_every_benchmark_and_of_no_other() -> None:
    told = set(re.findall(r"^\| `(\w+)\.py", PAGE, flags=re.MULTILINE))

    assert told == {path.stem for path in SCRIPTS if path.parent == FOLDER}


def test_the_table_of_pickers_is_that_of_the_recorded_rows() -> None:
    peers = importlib.import_module("peers")

    assert peers.markdown(list(peers.kept_rows(FOLDER / "peers.json").values())) in PAGE
