"""A project of RELION 3.1 with micrographs of its motion correction, and `cryotx` with a picker that takes no time."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np

PIPELINER = shutil.which("relion_pipeliner")
TESTS = Path(__file__).parent
MICS = "CtfFind/job003/micrographs_ctf.star"
_OPTICS = "_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n_rlnVoltage\n_rlnSphericalAberration\n"


def make_project(project: Path, count: int, *, pipeline: str = "3.1") -> list[str]:
    """Make a project whose CTF job lists so many micrographs, and return their names."""
    names = [f"MotionCorr/job002/Movies/m{i}.mrc" for i in range(1, count + 1)]
    for seed, name in enumerate(names):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(project / name) as mrc:
            mrc.set_data(np.random.default_rng(seed).normal(size=(300, 400)).astype(np.float32))
            mrc.voxel_size = 2.0
    (project / MICS).parent.mkdir(parents=True)
    write_list(project / MICS, names)
    (project / "default_pipeline.star").write_text(pipeline_star(pipeline))
    return names


def write_list(path: Path, names: list[str]) -> None:
    """Write a STAR file of micrographs as RELION does after its CTF job."""
    rows = "".join(f'"{name}" 1 15000 15000 0\n' for name in names)
    path.write_text(
        f"data_optics\n\nloop_\n{_OPTICS}_rlnAmplitudeContrast\none 1 2.0 300 2.7 0.1\n\ndata_micrographs\n\nloop_\n"
        "_rlnMicrographName\n_rlnOpticsGroup\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n" + rows + "\n"
    )


def pipeline_star(version: str) -> str:
    """Return the pipeline of a project with a finished CTF job, as RELION 3.1, 4 or 5 writes it."""
    number = "50001" if version == "5" else "30001"
    label = "" if version == "3.1" else "Label"
    process = "2 2" if version == "3.1" else "relion.ctffind Succeeded"
    node = {"3.1": "1", "4": "MicrographsData.star.relion.ctf", "5": "MicrographGroupMetadata.star.relion.ctf"}[version]
    status = "" if version == "3.1" else "Label"
    tables = {
        "processes": (
            ["ProcessName", "ProcessAlias", f"ProcessType{label}", f"ProcessStatus{status}"],
            f"CtfFind/job003/ None {process}",
        ),
        "nodes": (["NodeName", f"NodeType{label}"], f"{MICS} {node}"),
        "output_edges": (["EdgeProcess", "EdgeToNode"], f"CtfFind/job003/ {MICS}"),
    }
    text = f"\n# version {number}\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 4\n\n"
    for name, (columns, row) in tables.items():
        header = "".join(f"_rlnPipeLine{column} #{i}\n" for i, column in enumerate(columns, 1))
        text += f"\n# version {number}\n\ndata_pipeline_{name}\n\nloop_\n{header}{row}\n\n"
    return text


def make_program(program: Path, *words: str, seconds: float = 0.0) -> Path:
    """Write a program that is `cryotx`, and these words, with a quick picker, which takes so long for a micrograph."""
    program.write_text(
        f"#!{sys.executable}\nimport functools, sys\nsys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent / 'src')!r}]\n"
        "from cryotx_cli.workflows import pick\nfrom quick_picker import QuickPicker\n"
        f"pick.start_pick = functools.partial(pick.start_pick, picker=QuickPicker({seconds}))\n"
        "from cryotx_cli.cli.app import main\n"
        f"sys.argv[1:1] = {list(words)}\nmain()\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def write_job_star(path: Path, number: int, **options: object) -> None:
    """Write the settings of a job of RELION 3.1, as its GUI saves them."""
    rows = "".join(f'{name} "{value}"\n' for name, value in options.items())
    path.write_text(
        f"data_job\n\n_rlnJobType {number}\n_rlnJobIsContinue 0\n\n\ndata_joboptions_values\n\nloop_\n"
        f"_rlnJobOptionVariable #1\n_rlnJobOptionValue #2\n{rows}\n"
    )


def pipeliner(project: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start RELION's pipeliner in a project."""
    return subprocess.Popen(
        ["relion_pipeliner", *arguments],
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def done(process: subprocess.Popen[str]) -> str:
    """Wait for a program, and return what it says."""
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said
