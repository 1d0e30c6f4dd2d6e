"""Picking as a job of CCP-EM's pipeliner and its window Doppio, which find it by an entry point of this package.

Only the pipeliner loads this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeliner.display_tools import create_results_display_object
from pipeliner.job_options import (
    ExternalFileJobOption,
    FileDescription,
    FloatJobOption,
    InputNodeJobOption,
    IntJobOption,
    StringJobOption,
)
from pipeliner.nodes import NODE_LOGFILE, NODE_MICROGRAPHCOORDSGROUP, NODE_MICROGRAPHGROUPMETADATA
from pipeliner.pipeliner_job import ExternalProgram, PipelinerCommand, PipelinerJob

from cryotx_cli.runs.stored import StoredRun, read_run
from cryotx_cli.version import __version__

_LISTED, _LOG, _RUN = "autopick.star", "logfile.pdf", "cryotx.star"
_KEYWORDS = ["relion", "autopick", "cryotx"]  # RELION offers what begins with its own name


class CryotxAutopick(PipelinerJob):
    """``cryotx job relion``, with its most used settings as options; *Additional arguments* takes all others."""

    PROCESS_NAME = "cryotx.autopick"
    OUT_DIR = "AutoPick"
    CATEGORY_LABEL = "Automated Particle Picking"

    def __init__(self) -> None:
        super().__init__()
        self.jobinfo.display_name = "cryotx picking"
        self.jobinfo.version = __version__
        self.jobinfo.job_author = "The cryotx authors"
        self.jobinfo.short_desc = "Pick particles without training, templates or a threshold"
        self.jobinfo.long_desc = (
            "Finds particles with a network that comes with the program, compares its candidates with noise to choose "
            "among them, and tells how many of the picks are expected to be false."
        )
        self.jobinfo.programs = [ExternalProgram("cryotx", vers_com=["cryotx", "--version"])]
        self.can_continue = self.always_continue_in_schedule = True
        self.joboptions.update(_options())
        self.get_runtab_options(threads=True, addtl_args=True)

    def create_output_nodes(self) -> None:
        """Tell what there will be for other jobs."""
        self.add_output_node(_LISTED, NODE_MICROGRAPHCOORDSGROUP, _KEYWORDS)
        self.add_output_node(_LOG, NODE_LOGFILE, _KEYWORDS)

    def get_commands(self) -> list[Any]:
        """Return the command that does the job."""
        command = ["cryotx", "job", "relion", "--in_mics", self.joboptions["fn_in"].get_string()]
        command += ["--o", self.output_dir]
        for name, flag in _FLAGS.items():
            value = self.joboptions[name].get_string()
            if not self.joboptions[name].is_blank:
                command += [flag, value]
        return [PipelinerCommand([*command, *self.parse_additional_args()])]

    def gather_metadata(self) -> dict[str, Any]:
        """Return what is worth keeping of a job that is done."""
        rows = self._run().picked
        false = [row.expected_false for row in rows]
        return {
            "Micrographs": len(rows),
            "TotalParticles": sum(row.picks for row in rows),
            "ExpectedFalse": None if None in false else sum(one for one in false if one is not None),
            "ParticleDiameter": self._run().settled.diameter,
        }

    def create_results_display(self) -> Sequence[Any]:
        """Return what the window shows of a job: how many picks there are, a micrograph with its picks."""
        run = self._run()
        picks = [float(row.picks) for row in run.picked]
        listed = [str(Path(self.output_dir, _LISTED))]
        shown = [
            create_results_display_object(
                "histogram",
                title=f"{sum(picks):.0f} picks",
                data_to_bin=picks,
                xlabel="Picks",
                ylabel="Micrographs",
                associated_data=listed,
            )
        ]
        pictures = [(row.micrograph, run.folder.outputs(row.stem).png) for row in run.picked if row.picks]
        for name, picture in [one for one in pictures if one[1].is_file()][:1]:
            shown.append(
                create_results_display_object(
                    "image", title="Picks", image_path=str(picture), image_desc=name, associated_data=listed
                )
            )
        return shown

    def _run(self) -> StoredRun:
        return read_run(Path(self.output_dir, _RUN), to_read=True)


_FLAGS = {
    "diameter": "--diameter",
    "threshold": "--threshold",
    "fdr": "--fdr",
    "max_per_micrograph": "--max-per-micrograph",
    "weights": "--weights",
    "gpus": "--gpu",
    "nr_threads": "--j",
}
"""The flag of each option that may be left blank."""


def _options() -> Mapping[str, Any]:
    return {
        "fn_in": InputNodeJobOption(
            label="Input micrographs:",
            node_type=NODE_MICROGRAPHGROUPMETADATA,
            node_kwds=["relion"],
            pattern=FileDescription("Micrographs STAR file", [".star"]),
            help_text="STAR file of the micrographs to pick, best that of the CTF job.",
            is_required=True,
        ),
        "diameter": FloatJobOption(
            label="Particle diameter (A):",
            hard_min=1,
            suggested_min=50,
            suggested_max=500,
            step_value=10,
            help_text="Longest side of the particle. Blank: it is estimated from ten micrographs.",
            in_continue=True,
        ),
        "threshold": FloatJobOption(
            label="Threshold:",
            hard_min=0,
            hard_max=1,
            step_value=0.05,
            help_text="Smallest score of a pick, 0 to 1. Blank: it follows from a comparison with noise.",
            in_continue=True,
        ),
        "fdr": FloatJobOption(
            label="OR: share of false picks:",
            hard_min=0,
            hard_max=1,
            step_value=0.01,
            help_text="Keep as many picks as give this share of false ones in the whole job.",
            in_continue=True,
        ),
        "max_per_micrograph": IntJobOption(
            label="Most picks per micrograph:", hard_min=1, help_text="Keep only the best ones.", in_continue=True
        ),
        "weights": ExternalFileJobOption(
            label="Weights:",
            pattern=FileDescription("Weights of cryotx", [".safetensors"]),
            help_text="A file of cryotx train. Blank: the model that comes with the program.",
            in_continue=True,
        ),
        "gpus": StringJobOption(
            label="Which GPUs to use:",
            help_text="Their numbers with commas, such as 0,1; or cpu. Blank: chosen by itself.",
            in_continue=True,
            jobop_group="Running options",
        ),
    }
