"""How large RELION draws the circles round picks: it asks the settings that its Manual picking job has saved."""

from __future__ import annotations

from pathlib import Path

from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.hosts.relion_nodes import RelionVersion

FILE = ".gui_manualpickjob.star"
_OURS = "# written by cryotx: the circles of RELION's display have the diameter of the last job"
_KINDS = {
    "3.1": "_rlnJobType 3\n_rlnJobIsContinue 0\n",
    "4": "_rlnJobTypeLabel relion.manualpick\n_rlnJobIsContinue 0\n_rlnJobIsTomo 0\n",
}
_KINDS["5"] = _KINDS["4"]


def save_diameter(project: Path, diameter: float, version: RelionVersion) -> bool:
    """Let RELION's display draw circles of this diameter, unless its user has saved settings of the display.

    Parameters
    ----------
    project
        The folder that RELION was started in.
    diameter
        Of the particles, in Å.
    version
        Of RELION.

    Returns
    -------
    bool
        Whether the settings are those of this diameter now; False: they are the user's.

    Raises
    ------
    ParticleFileError
        They cannot be written.
    """
    path = project / FILE
    if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(_OURS):
        return False
    with whole_file(path) as file:
        file.write(
            f"{_OURS}\n\ndata_job\n\n{_KINDS[version]}\n\ndata_joboptions_values\n\nloop_\n"
            f"_rlnJobOptionVariable #1\n_rlnJobOptionValue #2\ndiameter {diameter:.0f}\n\n"
        )
    return True
