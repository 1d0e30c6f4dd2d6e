"""What runs by itself, before a commit and on a server, agrees with what the package says of itself."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_workflow_tests_every_python_that_the_package_names() -> None:
    named = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", text) for text in PROJECT["classifiers"]]
    pythons = [match[1] for match in named if match]
    jobs = read(".github/workflows/test.yml")["jobs"]

    assert jobs["test"]["strategy"]["matrix"]["python"] == pythons
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    oldest = [step["run"] for step in jobs["oldest-dependencies"]["steps"] if "uv venv" in step.get("run", "")]
    assert oldest == [f"uv venv --python {pythons[0]} .venv"]


def test_what_the_workflow_makes_can_be_made() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    steps = [step for job in read(".github/workflows/test.yml")["jobs"].values() for step in job["steps"]]
    made = {words[1] for step in steps if (words := step.get("run", "").split())[:1] == ["make"]}

    assert made == {"test", "coverage", "docs"}
    assert made <= set(targets)


def test_hooks_format_with_the_ruff_that_the_tests_use() -> None:
    (pinned,) = [one for one in PROJECT["optional-dependencies"]["dev"] if one.startswith("ruff")]
    hooks = [hook for repository in read(".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]]

    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format", "mypy"}
    assert [hook["additional_dependencies"] for hook in hooks if hook["entry"].startswith("ruff")] == [[pinned]] * 2
