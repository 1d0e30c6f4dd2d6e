"""What a job of RELION leaves of classes."""

from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.averages.output import ClassRow
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.micrographs.stack import write_stack
from cryotx_cli.workflows.job_relion_classes import finish_classes, run_to_average

ROWS = (
    ClassRow(number=1, picks=20, share=0.8, mean_score=0.9, resolution=12.0, agreement=0.7),
    ClassRow(number=2, picks=5, share=0.2, mean_score=0.4, resolution=None, agreement=0.1),
)


def test_it_needs_coordinates() -> None:
    with pytest.raises(ConfigError, match="--in_coords"):
        run_to_average(None)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    made, folder = tmp_path / "classes", tmp_path / "job"
    write_stack(made / "classes.mrcs", np.zeros((2, 8, 8)), 4.0)
    (made / "particles.star").touch()
    folder.touch()

    with pytest.raises(CryotxError, match=r"job: cannot be written"):
        finish_classes(folder, made, ROWS)


def test_noise_has_no_resolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made, folder = Path("classes"), Path("job")
    write_stack(made / "classes.mrcs", np.random.default_rng(0).normal(size=(2, 8, 8)), 4.0)
    (made / "particles.star").touch()

    finish_classes(folder, made, ROWS)

    rows = [line.split() for line in (folder / "classes.star").read_text().splitlines() if "@" in line]
    assert [row[0] for row in rows] == ["000001@job/classes.mrcs", "000002@job/classes.mrcs"]
    assert [float(row[2]) for row in rows] == [12.0, 999.0]
