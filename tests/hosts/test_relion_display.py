"""The circles that RELION draws round picks."""

from pathlib import Path

import pytest

from cryotx_cli.files.star_blocks import read_tables
from cryotx_cli.hosts.relion_display import save_diameter


def saved(project: Path) -> dict[str, str]:
    tables = {table.block: table for table in read_tables(project / ".gui_manualpickjob.star")}
    values = tables["joboptions_values"]
    return dict(zip(values.texts("rlnJobOptionVariable"), values.texts("rlnJobOptionValue"), strict=True))


@pytest.mark.parametrize(
    ("version", "kind"),
    [("3.1", "_rlnJobType 3"), ("4", "_rlnJobTypeLabel relion.manualpick"), ("5", "_rlnJobIsTomo 0")],
)
def test_the_diameter_is_that_of_the_last_job(tmp_path: Path, version: str, kind: str) -> None:
    assert save_diameter(tmp_path, 120.4, version)
    assert saved(tmp_path) == {"diameter": "120"}
    assert save_diameter(tmp_path, 180.0, version)
    assert saved(tmp_path) == {"diameter": "180"}
    assert kind in (tmp_path / ".gui_manualpickjob.star").read_text()


def test_what_the_user_has_saved_stays(tmp_path: Path) -> None:
    (tmp_path / ".gui_manualpickjob.star").write_text("data_job\n\n_rlnJobType 3\n")

    assert not save_diameter(tmp_path, 120.0, "3.1")
    assert (tmp_path / ".gui_manualpickjob.star").read_text() == "data_job\n\n_rlnJobType 3\n"
