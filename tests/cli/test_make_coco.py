"""`cryotx make-coco` as a user sees it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.datasets.coco import open_coco

HEADER = "X-Coordinate,Y-Coordinate,Diameter\n"


def make_coco(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["make-coco", *map(str, arguments)])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two data sets of ten pictures, one of them unlabelled, one with a label beyond the border."""
    rows, columns = np.mgrid[:48, :64]
    for dataset in ("10017", "10028"):
        labels = tmp_path / "data" / dataset / "ground_truth" / "particle_coordinates"
        micrographs = tmp_path / "data" / dataset / "micrographs"
        labels.mkdir(parents=True)
        micrographs.mkdir()
        for number in range(10):
            cv2.imwrite(str(micrographs / f"m{number}.png"), ((rows + columns * number) % 251).astype(np.uint8))
            (labels / f"m{number}.csv").write_text(f"{HEADER}20,20,8\n30.5,20,8\n")
    (tmp_path / "data" / "10028" / "ground_truth" / "particle_coordinates" / "m4.csv").unlink()
    (tmp_path / "data" / "10017" / "ground_truth" / "particle_coordinates" / "m4.csv").write_text(f"{HEADER}70,20,8\n")
    return tmp_path / "data"


def table_of(result: Result) -> dict[str, list[str]]:
    """Return the columns of each row of the table by its first."""
    rows = [line.split() for line in result.stdout.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) == 9 and row[1].isdigit()}


def test_the_table_counts_everything_for_each_data_set(tree: Path, tmp_path: Path) -> None:
    result = make_coco("--data", tree, "--out", tmp_path / "coco", "--raw", "--seed", "3")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == f"Wrote {tmp_path / 'coco'}"
    heading = next(line for line in result.stdout.splitlines() if "Micrographs" in line)
    assert heading.split()[-6:] == ["out", "Skipped", "Particles", "Train", "Val", "Test"]
    # 9 x 0.8 = 7.2, 9 x 0.1 = 0.9.
    assert table_of(result) == {
        "10017": ["10", "10", "0", "0", "18", "8", "1", "1"],
        "10028": ["10", "9", "1", "0", "18", "7", "1", "1"],
        "All": ["20", "19", "1", "0", "36", "15", "2", "2"],
    }
    assert result.stderr.splitlines()[-1] == "Labels left out because they lie outside their micrographs: 1"


def test_denoising_is_the_default(tree: Path, tmp_path: Path) -> None:
    assert make_coco("--data", tree / "10017", "--out", tmp_path / "a").exit_code == 0
    assert make_coco("--data", tree / "10017", "--out", tmp_path / "b", "--denoise").exit_code == 0
    assert make_coco("--data", tree / "10017", "--out", tmp_path / "c", "--raw").exit_code == 0

    assert [open_coco(tmp_path / name, "train").denoised for name in "abc"] == [True, True, False]


def test_a_repeated_run_says_what_it_did_not_do_again(tree: Path, tmp_path: Path) -> None:
    make_coco("--data", tree, "--out", tmp_path / "coco", "--raw")

    result = make_coco("--data", tree, "--out", tmp_path / "coco", "--raw")

    assert result.exit_code == 0
    assert "Images of an earlier run: 19" in result.stderr.splitlines()
    assert len(table_of(result)) == 3


def test_split_and_seed_are_taken_from_the_command_line(tree: Path, tmp_path: Path) -> None:
    flags = ["--raw", "--split", "0.5,0.3,0.2"]

    result = make_coco("--data", tree / "10017", "--out", tmp_path / "a", "--seed", "1", *flags)
    make_coco("--data", tree / "10017", "--out", tmp_path / "b", "--seed", "2", *flags)

    assert table_of(result)["10017"][-3:] == ["5", "3", "2"]
    first, second = ({i.file_name for i in open_coco(tmp_path / name, "train").images} for name in "ab")
    assert first != second
    assert "split = [" in (tmp_path / "a" / "config.toml").read_text()


def test_skipped_micrographs_are_named_and_counted(tree: Path, tmp_path: Path) -> None:
    (tree / "10017" / "micrographs" / "m0.png").write_bytes(b"nothing")

    result = make_coco("--data", tree, "--out", tmp_path / "coco", "--raw")

    assert result.exit_code == 3
    assert [line for line in result.stderr.splitlines() if line.startswith("Skipped ") and "m0.png" in line]
    assert table_of(result)["10017"][:4] == ["10", "10", "0", "1"]


@pytest.mark.parametrize("split", ["0.8,0.1", "0.8,0.3,0.1", "a,b,c", "0.8"])
def test_shares_that_cannot_be_used_are_wrong_usage(tree: Path, tmp_path: Path, split: str) -> None:
    result = make_coco("--data", tree, "--out", tmp_path / "coco", "--split", split)

    assert result.exit_code == 2
    assert "split" in result.stderr
    assert not (tmp_path / "coco").exists()


def test_a_folder_that_is_no_cryoppp_tree_is_an_error(tmp_path: Path) -> None:
    result = make_coco("--data", tmp_path, "--out", tmp_path / "coco")

    assert result.exit_code == 1
    assert "not a CryoPPP folder" in result.stderr
