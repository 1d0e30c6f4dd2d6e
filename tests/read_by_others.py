"""What other programs read in the files that cryotx writes: by the program where it is installed, else as recorded.

A recording holds for the very bytes that the program was given. Where they change on purpose, remove
``recordings/read_by_others.json`` and record anew with all three programs installed:
``RECORD=1 python -m pytest tests/coordinates/formats``. napari-boxmanager is run by another Python, which
``BOXMANAGER_PYTHON`` names.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import starfile

from recorded_formulas import RECORDINGS, recorded_json

RELION = shutil.which("relion_preprocess")
_RECORD = "read_by_others.json"


def by_topaz(file: Path) -> dict[str, Any]:
    """Return the columns that Topaz reads."""

    def read() -> dict[str, Any]:
        from topaz.utils.files import read_coordinates

        table = read_coordinates(str(file))
        return {name: table[name].tolist() for name in table.columns}

    return _read("Topaz", [file], read)


def by_cryosparc_tools(file: Path) -> dict[str, Any]:
    """Return the fields that cryosparc-tools read; unsigned numbers of 64 bits stay what they are."""

    def read() -> dict[str, Any]:
        from cryosparc.dataset import Dataset

        loaded = Dataset.load(str(file))
        return {name: np.asarray(loaded[name]).tolist() for name in loaded.fields()}

    return _read("cryosparc-tools", [file], read)


def by_boxmanager(file: Path) -> dict[str, Any]:
    """Return the layer that napari-boxmanager shows: points as row and column, behind the place of their micrograph."""

    def read() -> dict[str, Any]:
        if "BOXMANAGER_PYTHON" not in os.environ:  # it needs older libraries than cryotx
            raise ModuleNotFoundError
        command = [os.environ["BOXMANAGER_PYTHON"], Path(__file__).with_name("read_by_boxmanager.py"), file]
        finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        return json.loads(finished.stdout.splitlines()[-1])

    return _read("napari-boxmanager", [file], read)


def extract(project: Path, coordinates: str, ending: str, *more: str) -> tuple[Any, np.ndarray]:
    """Let RELION extract the particles in this folder; return the rows that it writes about them and their boxes."""
    places = ["--i", "micrographs.star", "--coord_dir", coordinates, "--coord_suffix", ending]
    outputs = ["--part_star", "particles.star", "--part_dir", "Extract/", "--extract", *more]
    subprocess.run([RELION, *places, *outputs], cwd=project, check=True, capture_output=True, timeout=120)
    blocks = starfile.read(project / "particles.star", always_dict=True)
    stacks = [mrcfile.read(stack) for stack in sorted(project.glob("Extract/**/*.mrcs"))]
    shutil.rmtree(project / "Extract")
    return blocks["particles"], np.concatenate(stacks)


def by_relion(project: Path, coordinates: str, ending: str, box: int) -> tuple[list[str], list[list[int]]]:
    """Return micrograph and brightest pixel, row and column, of each box of this side that RELION extracts."""

    def read() -> dict[str, Any]:
        if RELION is None:
            raise ModuleNotFoundError
        rows, boxes = extract(project, coordinates, ending, "--extract_size", str(box))
        brightest = [[int(i) for i in np.unravel_index(np.argmax(one), (box, box))] for one in boxes]
        return {"micrographs": rows["rlnMicrographName"].tolist(), "brightest": brightest}

    files = sorted((project / coordinates).rglob(f"*{ending}"))
    found = _read("RELION", [project / "micrographs.star", *files], read, project)
    return found["micrographs"], found["brightest"]


def _read(
    program: str, files: Sequence[Path], read: Callable[[], dict[str, Any]], folder: Path | None = None
) -> dict[str, Any]:
    names = [file.relative_to(folder).as_posix() if folder else file.name for file in files]
    digest = hashlib.sha256(json.dumps(names).encode() + b"".join(file.read_bytes() for file in files)).hexdigest()
    try:
        found = read()
    except ModuleNotFoundError:
        known = recorded_json(_RECORD).get(program, {})
        assert digest in known, f"{program} is not installed and has not read these bytes yet, see {__file__}"
        return known[digest]
    if os.environ.get("RECORD"):
        path = RECORDINGS / _RECORD
        recorded = recorded_json(_RECORD) if path.exists() else {}
        recorded.setdefault(program, {})[digest] = found
        path.write_text(json.dumps(recorded, sort_keys=True) + "\n")
    return found
