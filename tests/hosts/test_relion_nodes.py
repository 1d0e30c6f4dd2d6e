"""What a job tells each version of RELION of its output."""

from pathlib import Path

import pytest

from cryotx_cli.files.star_blocks import read_tables
from cryotx_cli.hosts.relion_nodes import COORDINATES, LOG, WEIGHTS, version_of_project, write_nodes
from relion_project import pipeline_star


@pytest.mark.parametrize("version", ["3.1", "4", "5"])
def test_the_version_of_a_project_is_that_of_its_pipeline(tmp_path: Path, version: str) -> None:
    (tmp_path / "default_pipeline.star").write_text(pipeline_star(version))

    assert version_of_project(tmp_path) == version


def test_without_a_pipeline_it_is_the_latest(tmp_path: Path) -> None:
    assert version_of_project(tmp_path) == "5"


def test_a_file_that_a_version_has_no_name_for_is_left_out(tmp_path: Path) -> None:
    made = [("J/a b.star", COORDINATES), ("J/best.safetensors", WEIGHTS), ("J/logfile.pdf", LOG)]

    write_nodes(tmp_path, "3.1", made)
    (table,) = read_tables(tmp_path / "RELION_OUTPUT_NODES.star")
    assert table.block == "output_nodes"
    assert list(table.texts("rlnPipeLineNodeName")) == ["J/a b.star", "J/logfile.pdf"]
    assert list(table.texts("rlnPipeLineNodeType")) == ["2", "13"]

    write_nodes(tmp_path, "5", made)
    (table,) = read_tables(tmp_path / "RELION_OUTPUT_NODES.star")
    assert "MicrographCoordsGroup.star.relion.autopick" in table.texts("rlnPipeLineNodeTypeLabel")
    assert len(table) == 3
