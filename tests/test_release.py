"""What a release publishes: a wheel and an sdist that are whole, small, and readable by those who install them."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LARGEST_WHEEL = 20_000_000


def run(*command: str | Path) -> str:
    done = subprocess.run([sys.executable, "-m", *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("dist")
    run("build", "--no-isolation", "--outdir", out, ROOT)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    wheel, _ = built
    run("check_wheel_contents", wheel)
    with zipfile.ZipFile(wheel) as content:
        packed = {name for name in content.namelist() if ".dist-info/" not in name}

    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert packed == {name for name in files if "__pycache__" not in name}
    assert wheel.stat().st_size < LARGEST_WHEEL


@pytest.mark.slow
def test_the_page_of_the_package_can_be_shown(built: tuple[Path, Path]) -> None:
    assert run("twine", "check", "--strict", *built).count("PASSED") == 2


@pytest.mark.slow
def test_the_sdist_holds_all_that_its_tests_need(built: tuple[Path, Path]) -> None:
    _, sdist = built
    with tarfile.open(sdist) as content:
        packed = {name.partition("/")[2] for name in content.getnames()}
        about = content.extractfile(next(name for name in content.getnames() if name.endswith("/PKG-INFO")))
        assert about is not None
        version = Parser().parsestr(about.read().decode())["Version"]

    for folder in ("src", "tests", "docs", "benchmarks", "packaging"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {name for name in files if not re.search(r"__pycache__|/_build/", name)} <= packed
    assert {"Makefile", "CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "pyproject.toml"} <= packed
    assert sdist.name == f"cryotx_cli-{version}.tar.gz"


def test_conda_asks_for_what_pip_asks_for() -> None:
    recipe = yaml.safe_load((ROOT / "packaging/recipe.yaml").read_text(encoding="utf-8"))
    # conda's and pip's
    names = {
        "py-opencv": "opencv-contrib-python-headless",
        "pytorch": "torch",
        "prometheus_client": "prometheus-client",
    }
    python, *packages = [words.split() for words in recipe["requirements"]["run"]]

    assert python == ["python", ">=${{", "python_min", "}}"]
    assert ">=" + recipe["context"]["python_min"] == PROJECT["project"]["requires-python"]
    found = [names.get(name, name) + least for name, least in packages]
    assert sorted(found) == sorted(PROJECT["project"]["dependencies"])
    (script,) = PROJECT["project"]["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [" = ".join(script)]
    host = [words.replace(" ", "") for words in recipe["requirements"]["host"]]
    assert host[2:] == PROJECT["build-system"]["requires"]


def test_the_newest_version_of_the_changelog_is_that_of_the_recipe() -> None:
    recipe = yaml.safe_load((ROOT / "packaging/recipe.yaml").read_text(encoding="utf-8"))
    versions = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert versions[0] == recipe["context"]["version"]


def test_a_citation_names_the_paper_and_the_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["project"]["license"]
    assert [one["name"] for one in citation["authors"]] == [one["name"] for one in PROJECT["project"]["authors"]]
    assert citation["references"][0]["doi"] == "10.1093/bioinformatics/btae109"
    assert len((ROOT / "LICENSE").read_text(encoding="utf-8")) > 1000
