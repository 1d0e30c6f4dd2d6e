"""Adapting the model as a job of RELION: what to learn from, where the weights are, what RELION is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cryotx_cli.config import AdaptConfig, RelionTrainConfig
from cryotx_cli.errors import ConfigError
from cryotx_cli.hosts.relion_autopick import in_project
from cryotx_cli.hosts.relion_nodes import LOG, WEIGHTS, version_of_project, write_nodes
from cryotx_cli.hosts.relion_runs import RUN
from cryotx_cli.report.pdf import write_pdf
from cryotx_cli.runs.folder import is_run

_MODEL, _STATE, _BEST, _LOG = "model", "state.pt", "best.safetensors", "logfile.pdf"


def model_of_job(folder: Path) -> Path:
    """Return the folder of the run of training in the folder of a job."""
    return folder / _MODEL


def weights_of_job(folder: Path) -> Path:
    """Return the weights that a job leaves."""
    return model_of_job(folder) / _BEST


def settings_of_training(config: RelionTrainConfig, folder: Path, given: Mapping[str, Path | None]) -> AdaptConfig:
    """Return the settings of the training of a job, which goes on with what an earlier start has left.

    Parameters
    ----------
    config
        As the user gave them.
    folder
        That of the job.
    given
        What RELION hands to the job, by its flags; None: not.

    Raises
    ------
    ConfigError
        Micrographs or labels are missing, or there are two kinds of labels.
    """
    micrographs, labels = given["--in_mics"], [one for name, one in given.items() if name != "--in_mics" and one]
    if micrographs is None or len(labels) != 1:
        raise ConfigError(
            "--in_mics with --in_parts or --in_coords: micrographs, and particles in them, to learn from",
            "Input micrographs, and either Input particles or Input coordinates.",
        )
    resume = (model_of_job(folder) / _STATE).is_file()
    run = _run_behind(labels[0])
    data, micrographs = (labels[0], micrographs) if run is None else (run, None)  # a run knows its micrographs
    return AdaptConfig(data=data, micrographs=micrographs, resume=resume, **asdict(config))


def _run_behind(labels: Path) -> Path | None:
    """Return the folder of the run of cryotx that has picked these coordinates: it knows its classes, too."""
    run = labels.parent / RUN
    return run.with_suffix("") if is_run(run) else None


def finish_training(folder: Path, lines: list[str]) -> None:
    """Tell RELION what there is: the weights, and a page that says how they do.

    Parameters
    ----------
    folder
        That of the job.
    lines
        What there is to say.

    Raises
    ------
    CryotxError
        The folder cannot be written.
    """
    write_pdf(folder / _LOG, f"{in_project(folder)}: weights of cryotx", lines, [])
    nodes = [(in_project(path), kind) for path, kind in ((weights_of_job(folder), WEIGHTS), (folder / _LOG, LOG))]
    write_nodes(folder, version_of_project(Path()), nodes)
