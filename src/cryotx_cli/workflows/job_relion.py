"""Picking as a job of RELION: what it is given, and what it leaves beside the run of picking that is in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cryotx_cli.averages.output import FOLDER
from cryotx_cli.config import PickConfig
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.hosts.relion_autopick import INDEX, SUFFIX, in_project, lay_out, misplaced
from cryotx_cli.hosts.relion_display import save_diameter
from cryotx_cli.hosts.relion_nodes import AVERAGES, COORDINATES, LOG, version_of_project, write_nodes
from cryotx_cli.hosts.relion_runs import RUN
from cryotx_cli.report.pdf import write_pdf
from cryotx_cli.runs.result import PickSummary
from cryotx_cli.runs.stored import read_run
from cryotx_cli.wording import counted

LOGFILE = "logfile.pdf"
_PICTURES = 20


@dataclass(frozen=True)
class RelionJob:
    """A job of RELION that picks.

    Parameters
    ----------
    folder
        Of the job.
    micrographs
        STAR file of the micrographs, or of particles: then those that they come from.
    """

    folder: Path
    micrographs: Path

    @property
    def star(self) -> Path:
        """The merged STAR file of the run of picking."""
        return self.folder / RUN

    @property
    def run(self) -> Path:
        """The folder of the run of picking."""
        return self.star.with_suffix("")

    def lay_out(self) -> None:
        """Put what is picked so far where RELION looks for it.

        Raises
        ------
        CryotxError
            The folder cannot be written.
        """
        if self.folder.is_dir():
            lay_out(self.folder, self.run, self.micrographs)

    def finish(self, summary: PickSummary, diameter: float, tell: Callable[[str], None]) -> None:
        """Write what RELION shows of a job that is done, and tell it what there is for the jobs that come after.

        Parameters
        ----------
        summary
            What the run has done.
        diameter
            Of the particles, in Å.
        tell
            Hears what the user should know.

        Raises
        ------
        CryotxError
            The folder cannot be written.
        """
        version, project = version_of_project(Path()), Path()
        write_pdf(self.folder / LOGFILE, f"{in_project(self.folder)}: picks of cryotx", *self._log(summary, diameter))
        coordinates = self.folder / (SUFFIX if version == "3.1" else INDEX)
        averages = [(self.run / FOLDER / "classes.star", AVERAGES)] if summary.classes else []
        made = [(coordinates, COORDINATES), (self.folder / LOGFILE, LOG), *averages]
        write_nodes(self.folder, version, [(in_project(path), kind) for path, kind in made])
        hidden = misplaced(self.folder) if version == "3.1" else []
        if hidden:
            tell(
                f"RELION 3.1 does not find the picks of {counted(len(hidden), 'micrographs')}, such as {hidden[0]}: "
                "it would look for those of two micrographs in one file. Pick them in a job for each of their folders."
            )
        try:
            saved = save_diameter(project, diameter, version)
        except CryotxError:  # the project cannot be written; the job could, and is done
            saved = False
        if not saved:
            tell(
                "RELION's display draws circles as its Manual picking job was saved last; the particles have a "
                f"diameter of {diameter:.0f} Å."
            )

    def _log(self, summary: PickSummary, diameter: float) -> tuple[list[str], list[Path]]:
        stored = read_run(self.star, to_read=True)
        rows = stored.picked
        step = max(1, len(rows) / _PICTURES)
        shown = [rows[int(i * step)] for i in range(min(_PICTURES, len(rows)))]
        false = summary.expected_false
        lines = [
            f"Micrographs: {summary.micrographs}, skipped: {len(summary.skipped)}",
            f"Picks: {summary.particles}",
            *([] if false is None else [f"Expected to be false: {false:.0f} of them"]),
            f"Picks per micrograph: {summary.particles / max(1, summary.micrographs):.1f}",
            f"Particle diameter: {diameter:.0f} Å",
            *([f"Side of a box to extract: {summary.box} px"] if summary.box else []),
            *([f"Class averages: {summary.classes}"] if summary.classes else []),
            *([f"The whole run in one page: {in_project(summary.report)}"] if summary.report else []),
            *([f"Pages that follow: {len(shown)} of the micrographs with their picks"] if shown else []),
        ]
        return lines, [stored.folder.outputs(row.stem).png for row in shown]


def settings_of_job(config: PickConfig, given: Mapping[str, Path | None], gpu: str | None) -> PickConfig:
    """Return the settings of picking of a job, or say what a job cannot do.

    Parameters
    ----------
    config
        As the user gave them.
    given
        What RELION hands to the job, by its flags; None: not.
    gpu
        GPUs as RELION numbers them: ``0``, ``0,1`` or ``0:1``; anything else is a device.

    Raises
    ------
    ConfigError
        They do not go together, or not with a job of RELION.
    """
    if config.watch:
        raise ConfigError("watch: a job of RELION picks what its STAR file lists", "Let RELION repeat the job.")
    if (given["--in_mics"] is None) == (given["--in_parts"] is None):
        raise ConfigError(
            "--in_mics or --in_parts: one of them says which micrographs to pick",
            "Input micrographs; or Input particles, to pick those that the particles come from.",
        )
    if gpu:
        if config.device != PickConfig().device:
            raise ConfigError("--gpu and --device: one of them says where to pick")
        numbers = gpu.replace(":", ",")
        config = replace(config, device=f"cuda:{numbers}" if numbers.replace(",", "").isdecimal() else gpu)
    if "relion" not in config.formats:
        config = replace(config, formats=("relion", *config.formats))
    return config


def use_threads(count: int) -> None:
    """Let the network have so many threads of the processor."""
    torch.set_num_threads(count)
