"""`cryotx simulate` as a user sees it."""

from pathlib import Path

import mrcfile
import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app


def simulate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def test_every_micrograph_is_written_and_counted(tmp_path: Path) -> None:
    flags = ["--micrographs", "2", "--proteins", "2", "--size", "256", "--pixel-size", "4"]

    result = simulate("--out", tmp_path / "sim", *flags)

    assert result.exit_code == 0, result.stderr
    lines = result.stderr.splitlines()
    assert lines[-4].startswith("4/4 micrographs")
    for line, name in zip(lines[-3:-1], ("sim01", "sim02"), strict=True):
        labels = list((tmp_path / "sim" / name).rglob("*.csv"))
        count = sum(len(csv.read_text().splitlines()) - 1 for csv in labels)
        diameter = next(float(row.split(",")[2]) * 4 for csv in labels for row in csv.read_text().splitlines()[1:])
        assert line == f"{name}: 2 micrographs, {count} labelled particles of {diameter:.0f} Å"
    assert lines[-1] == f"Wrote 4 micrographs with labels to {tmp_path / 'sim'}"
    written = sorted((tmp_path / "sim").rglob("*.mrc"))
    assert len(written) == 4
    with mrcfile.open(written[0]) as mrc:
        assert mrc.data.shape == (256, 256)
        assert mrc.voxel_size.x == pytest.approx(4.0)
    assert len(list((tmp_path / "sim").rglob("*.csv"))) == 4


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.mrc").touch()

    result = simulate("--out", tmp_path)

    assert result.exit_code == 1
    assert str(tmp_path) in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.mrc"]


def test_a_size_that_is_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    result = simulate("--out", tmp_path / "sim", "--size", "16")

    assert result.exit_code == 2
    assert "size: " in result.stderr
    assert not (tmp_path / "sim").exists()
