"""What a job of RELION has made, told so that each version of RELION offers it to the jobs that come after it.

RELION reads ``RELION_OUTPUT_NODES.star`` in the folder of an External job that has succeeded. Version 3.1 knows kinds
of files by numbers, 4 and 5 by words, which are not the same in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryotx_cli.coordinates.formats.star import star_names
from cryotx_cli.files.whole_file import whole_file

RelionVersion = Literal["3.1", "4", "5"]
FILE = "RELION_OUTPUT_NODES.star"
_PIPELINE = "default_pipeline.star"
_MOST_LETTERS = 200_000  # of a pipeline are enough to see who has written it
_WRITTEN_BY_5 = 50001


@dataclass(frozen=True)
class Kind:
    """A kind of file as each version calls it; None where it has no name for it."""

    number: int | None
    word_4: str
    word_5: str

    def name(self, version: RelionVersion) -> str | None:
        """Return what this version calls it."""
        if version == "3.1":
            return None if self.number is None else f"{self.number}"
        return self.word_4 if version == "4" else self.word_5


COORDINATES = Kind(2, "MicrographsCoords.star.relion.autopick", "MicrographCoordsGroup.star.relion.autopick")
LOG = Kind(13, "LogFile.pdf.relion.autopick", "LogFile.pdf.relion.autopick")
AVERAGES = Kind(5, "ImagesData.star.relion.classaverages", "Image2DGroupMetadata.star.relion.classaverages")
WEIGHTS = Kind(None, "ProcessData.safetensors.cryotx.model", "ParamsData.safetensors.cryotx.model")


def version_of_project(project: Path) -> RelionVersion:
    """Return the version of RELION that keeps a project; 5 where there is no pipeline that says otherwise.

    Parameters
    ----------
    project
        The folder that RELION was started in.
    """
    try:
        with (project / _PIPELINE).open(encoding="utf-8", errors="replace") as file:
            text = file.read(_MOST_LETTERS)
    except OSError:
        return "5"
    written = re.search(r"^# version (\d+)", text, re.MULTILINE)
    if written is None or int(written[1]) >= _WRITTEN_BY_5:
        return "5"
    return "4" if re.search(r"^_rlnPipeLine(Node|Process)TypeLabel\b", text, re.MULTILINE) else "3.1"


def write_nodes(folder: Path, version: RelionVersion, nodes: Iterable[tuple[str, Kind]]) -> None:
    """Write what a job has made; those that this version has no kind for are left out.

    Parameters
    ----------
    folder
        That of the job.
    version
        Of the RELION that runs it.
    nodes
        Each file as RELION has to read it, from its project folder, and what kind it is.

    Raises
    ------
    ParticleFileError
        The file cannot be written, or a name cannot be expressed in it.
    """
    named = [(path, name) for path, kind in nodes if (name := kind.name(version)) is not None]
    columns = ["_rlnPipeLineNodeName #1", f"_rlnPipeLineNodeType{'' if version == '3.1' else 'Label'} #2"]
    paths = star_names([path for path, _ in named])
    with whole_file(folder / FILE) as file:
        file.write("\ndata_output_nodes\n\nloop_\n" + "".join(f"{column}\n" for column in columns))
        file.writelines(f"{path} {name}\n" for path, (_, name) in zip(paths, named, strict=True))
        file.write("\n")
