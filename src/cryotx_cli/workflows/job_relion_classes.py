"""Class averages as a job of RELION: what it leaves in its folder of the classes of a run of picking."""

from __future__ import annotations

import shutil
from pathlib import Path

from cryotx_cli.averages.output import ClassRow, write_classes_star
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.files.whole_file import whole_path
from cryotx_cli.hosts.relion_autopick import in_project
from cryotx_cli.hosts.relion_nodes import AVERAGES, LOG, version_of_project, write_nodes
from cryotx_cli.hosts.relion_runs import run_of_coordinates
from cryotx_cli.micrographs.stack import read_stack
from cryotx_cli.report.class_average import write_sheet
from cryotx_cli.report.pdf import write_pdf

_STAR, _STACK, _PICKS, _SHEET, _LOG = "classes.star", "classes.mrcs", "particles.star", "classes.png", "logfile.pdf"


def run_to_average(coordinates: Path | None) -> Path:
    """Return the run whose picks are to be averaged.

    Raises
    ------
    ConfigError
        No coordinates are given.
    CryotxError
        They are not those of a job of cryotx.
    """
    if coordinates is None:
        raise ConfigError("--in_coords: says whose picks to average", "Input coordinates: those of a job of cryotx.")
    return run_of_coordinates(coordinates)


def finish_classes(folder: Path, made: Path, rows: tuple[ClassRow, ...]) -> None:
    """Copy classes into the folder of a job, draw them, and tell RELION of them.

    Parameters
    ----------
    folder
        That of the job.
    made
        The folder ``classes/`` of the run.
    rows
        What is known of each class.

    Raises
    ------
    CryotxError
        The folder cannot be written.
    """
    try:
        for name in (_STACK, _PICKS):
            with whole_path(folder / name) as unfinished:
                shutil.copyfile(made / name, unfinished)
    except OSError as error:
        raise CryotxError(
            f"{folder}: cannot be written ({error.strerror})", "Repeat the job when there is room."
        ) from error
    write_classes_star(folder / _STAR, in_project(folder / _STACK), rows)
    images, _ = read_stack(folder / _STACK)
    write_sheet(folder / _SHEET, list(images), [_caption(row) for row in rows])
    lines = [f"{row.number}: {row.picks} picks, mean score {row.mean_score:.2f}, {row.in_words}" for row in rows]
    write_pdf(folder / _LOG, f"{in_project(folder)}: class averages of cryotx", lines, [folder / _SHEET])
    nodes = [(in_project(folder / name), kind) for name, kind in ((_STAR, AVERAGES), (_LOG, LOG))]
    write_nodes(folder, version_of_project(Path()), nodes)


def _caption(row: ClassRow) -> str:
    # The letters of pictures have no more than ASCII.
    detail = row.in_words.replace("–", "-").replace("Å", "A")
    return f"{row.number}: {row.picks} picks, {detail}"
