"""CCP-EM's pipeliner finds the job class by its entry point and runs it end to end."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cryotx_cli.coordinates.formats import read_particles
from relion_project import MICS, TESTS, make_program, make_project

ROOT = TESTS.parent
GROUP, NAME = "ccpem_pipeliner.jobs", "cryotx.autopick"
needs_pipeliner = pytest.mark.skipif(find_spec("pipeliner") is None, reason="ccpem-pipeliner is not installed")


def registered() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["entry-points"][GROUP][NAME]


def run_in(project: Path, program: str) -> Any:
    """Run a program of Python in a project, where `cryotx` has a quick picker, and return what it prints last."""
    paths = [str(ROOT / "src"), str(TESTS)]
    if not entry_points(group=GROUP, name=NAME):  # installed before it was registered
        made_up = project / "site/entry-0.dist-info"
        made_up.mkdir(parents=True, exist_ok=True)
        (made_up / "METADATA").write_text("Metadata-Version: 2.1\nName: entry\nVersion: 0\n")
        (made_up / "entry_points.txt").write_text(f"[{GROUP}]\n{NAME} = {registered()}\n")
        paths.append(str(made_up.parent))
    (project / "bin").mkdir(exist_ok=True)
    make_program(project / "bin/cryotx")
    surroundings = {
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": os.pathsep.join([str(project / "bin"), os.environ["PATH"]]),
        "OMP_NUM_THREADS": "1",
    }
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project,
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_the_entry_point_names_a_class_that_is_there() -> None:
    module, _, name = registered().partition(":")
    source = (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")

    assert name in {node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}


RUN = f"""
import json
from pipeliner.api.manage_project import PipelinerProject
project = PipelinerProject(make_new_project=True)
settings = {{"_rlnJobTypeLabel": "{NAME}", "fn_in": "{MICS}", "diameter": 60, "threshold": 0.4, "nr_threads": 2}}
settings["other_args"] = "--box 40 --no-report"
job = project.run_job(settings, run_in_foreground=True)
status = project.wait_for_job_to_finish(job)
shown = [[type(one).__name__, one.title] for one in job.create_results_display()]
print(json.dumps([status, job.output_dir, job.gather_metadata(), shown]))
"""


@needs_pipeliner
@pytest.mark.slow
def test_the_pipeliner_runs_the_job_and_offers_its_coordinates(tmp_path: Path) -> None:
    make_project(tmp_path, 3)
    (tmp_path / "default_pipeline.star").unlink()

    status, folder, told, shown = run_in(tmp_path, RUN)

    assert status == "Succeeded", (tmp_path / folder / "run.err").read_text()
    picks = read_particles(tmp_path / folder / "autopick.star")
    total = sum(map(len, picks.values()))
    assert (len(picks), total > 30) == (3, True)
    assert (told["Micrographs"], told["TotalParticles"], told["ParticleDiameter"]) == (3, total, 60.0)
    assert shown == [["ResultsDisplayHistogram", f"{total} picks"], ["ResultsDisplayImage", "Picks"]]
    assert "box = 40" in (tmp_path / folder / "cryotx/config.toml").read_text()
    pipeline = (tmp_path / "default_pipeline.star").read_text()
    assert f"{folder}autopick.star MicrographCoordsGroup.star.relion" in pipeline
    assert f"{folder}logfile.pdf LogFile.pdf.relion" in pipeline


READ = """
import json
from pipeliner.node_factory import create_node
from pipeliner.starfile_handler import StarFile
rows = StarFile("External/job004/RELION_OUTPUT_NODES.star").get_block("output_nodes").find(
    ["_rlnPipeLineNodeName", "_rlnPipeLineNodeTypeLabel"])
made = []
for name, label in rows:
    kind, suffix, *keywords = label.split(".")
    made.append(create_node(name, kind, keywords))
print(json.dumps([[type(node).__name__, node.name, node.type] for node in made]))
"""


@needs_pipeliner
@pytest.mark.slow
def test_the_pipeliner_knows_the_kinds_of_files_that_relion_5_is_told_of(tmp_path: Path) -> None:
    make_project(tmp_path, 1, pipeline="5")
    program = make_program(tmp_path / "cryotx_job", "job", "relion")
    words = [program, "--o", "External/job004/", "--in_mics", MICS, "--diameter", "60", "--j", "1"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, timeout=300)

    assert run_in(tmp_path, READ) == [
        ["MicrographCoordsGroupNode", "External/job004/autopick.star", "MicrographCoordsGroup.star.relion.autopick"],
        ["LogFileNode", "External/job004/logfile.pdf", "LogFile.pdf.relion.autopick"],
    ]


@needs_pipeliner
@pytest.mark.slow
def test_wrong_options_are_refused_before_the_job_starts(tmp_path: Path) -> None:
    make_project(tmp_path, 1)
    program = RUN.replace('"threshold": 0.4', '"threshold": 4').replace(
        "job = project", "try:\n    project.run_job(settings)\nexcept ValueError as error:\n    "
        "print(json.dumps(str(error)))\n    raise SystemExit\njob = project"
    )  # fmt: skip

    assert "Threshold" in run_in(tmp_path, program)
