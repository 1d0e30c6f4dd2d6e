"""The run behind the coordinates of a job."""

from pathlib import Path

import pytest

from cryotx_cli.errors import CryotxError
from cryotx_cli.hosts.relion_runs import run_of_coordinates


@pytest.mark.parametrize("given", ["job/autopick.star", "job/coords_suffix_autopick.star", "job"])
def test_it_lies_beside_them(tmp_path: Path, given: str) -> None:
    (tmp_path / "job/cryotx").mkdir(parents=True)
    for name in ("config.toml", "ledger.jsonl"):
        (tmp_path / "job/cryotx" / name).touch()

    assert run_of_coordinates(tmp_path / given) == tmp_path / "job/cryotx.star"


def test_other_coordinates_have_none(tmp_path: Path) -> None:
    with pytest.raises(CryotxError, match="not the coordinates of a job of cryotx"):
        run_of_coordinates(tmp_path / "autopick.star")
