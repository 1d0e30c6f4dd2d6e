"""Picking as an External job of CryoSPARC: what goes into the run, and what comes out of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryotx_cli.errors import CryotxError
from cryotx_cli.hosts.cryosparc import MICROGRAPHS, PARTICLES, CryosparcJob, make_job, take_up_job
from cryotx_cli.hosts.cryosparc_session import connect
from cryotx_cli.runs.folder import PickFolder
from cryotx_cli.runs.result import PickResult, PickSummary
from cryotx_cli.wording import counted

RUN = "cryotx.star"
"""The merged STAR file of the run in the folder of a job; all else of the run is in the folder beside it."""
_PICTURES = 4  # in the log of a job


@dataclass(frozen=True)
class CryosparcPick:
    """A job that is ready to be run.

    Parameters
    ----------
    job
        The job.
    exposures
        Its exposures, ``cryosparc.dataset.Dataset``.
    inputs
        The file that names them, which is what ``cryotx pick`` reads.
    out
        The merged STAR file.
    """

    job: CryosparcJob
    exposures: Any
    inputs: Path
    out: Path


def start_job(
    project: str,
    workspace: str | None,
    exposures: str | None,
    job: str | None,
    folder: Path | None,
    url: str | None,
    email: str | None,
    say: Callable[[str], None],
) -> CryosparcPick:
    """Connect to CryoSPARC and make a job, or take one up; nothing runs yet.

    Parameters
    ----------
    project, workspace, exposures
        As `make_job` takes them; workspace and exposures of a job that is taken up are known.
    job
        The job to go on with; None makes one.
    folder
        The folder of the project as this machine sees it; None: as CryoSPARC does.
    url, email
        As `connect` takes them.
    say
        Takes a sentence for the user.

    Raises
    ------
    CryotxError
        CryoSPARC refuses, or the folder of the job is not here or cannot be written.
    """
    session = connect(url, email, say)
    if job is not None:
        found = take_up_job(session, project, job, say)
    else:
        assert workspace is not None
        assert exposures is not None
        found = make_job(session, project, workspace, exposures, say)
    here = found.folder if folder is None else folder / found.folder.name
    if not here.is_dir():
        raise CryotxError(
            f"{here}: the folder of {found.uid} is not on this machine",
            "Run the command where the project's folder is, or say where it is here with --folder. "
            f"--job {found.uid} goes on with the job that is there now.",
        )
    table, file = found.exposures(), here / "cryotx_exposures.cs"
    PickFolder(here / RUN)  # says so if it cannot be written
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    table.save(unfinished)
    unfinished.replace(file)
    return CryosparcPick(found, table, file, here / RUN)


def hand_over(pick: CryosparcPick, results: Sequence[PickResult], summary: PickSummary) -> None:
    """Save picks, the micrographs that were picked, and pictures of some as outputs of the job.

    Raises
    ------
    CryotxError
        CryoSPARC does not take them.
    """
    picked = {result.row.micrograph: result for result in results if result.particles is not None}
    pictures = _some_pictures(pick, [*picked.values()])
    for png, result in pictures:
        pick.job.show(png, f"{result.row.micrograph}: {counted(result.row.picks, 'picks')}")
    picture = pictures[len(pictures) // 2][0] if pictures else None
    particles = np.load(summary.folder / "cryosparc" / "particles.cs", allow_pickle=False)
    pick.job.save(PARTICLES, particles["uid"], lambda name: _column(particles, name), picture)
    chosen = [str(path) in picked for path in pick.exposures["micrograph_blob/path"]]
    micrographs = pick.exposures.mask(np.array(chosen, bool))
    known = set(micrographs.fields())
    pick.job.save(MICROGRAPHS, micrographs["uid"], lambda name: micrographs[name] if name in known else None, picture)


def _column(table: Any, name: str) -> Any:
    """Return a column of a .cs file; texts as CryoSPARC's own tables hold them."""
    if name not in (table.dtype.names or ()):
        return None
    column = table[name]
    return np.array([text.decode() for text in column], object) if column.dtype.kind == "S" else column


def _some_pictures(pick: CryosparcPick, picked: Sequence[PickResult]) -> list[tuple[Path, PickResult]]:
    """Return a few pictures spread over the run, those that there are."""
    folder, most = PickFolder(pick.out, to_read=True), min(_PICTURES, len(picked))
    places = sorted({round(place) for place in np.linspace(0, len(picked) - 1, most)}) if most else []
    found = [(folder.outputs(picked[i].row.stem, picked[i].row.relion).png, picked[i]) for i in places]
    return [(png, result) for png, result in found if png.is_file()]
