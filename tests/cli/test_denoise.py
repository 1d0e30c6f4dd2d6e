"""`cryotx denoise` as a user sees it."""

import hashlib
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cryotx_cli.cli.app import app
from cryotx_cli.config import DenoiseConfig, load_config
from cryotx_cli.micrographs.denoise import denoise as denoise_image
from recorded_formulas import micrograph_by_formula, recorded_json


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["denoise", *map(str, arguments)])


def image(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((80, 96)).astype(np.float32)
    return noise + 12 * cv2.GaussianBlur(noise, (0, 0), 6)


@pytest.fixture
def micrographs(tmp_path: Path) -> Path:
    """A folder of two micrographs."""
    (tmp_path / "mics").mkdir()
    for seed, name in enumerate("ab"):
        with mrcfile.new(tmp_path / "mics" / f"{name}.mrc") as mrc:
            mrc.set_data(image(seed))
            mrc.voxel_size = 1.5
    return tmp_path / "mics"


def test_a_folder_is_denoised_to_mrc_as_the_paper_does(micrographs: Path, tmp_path: Path) -> None:
    result = run(micrographs, "--out", tmp_path / "out")

    assert result.exit_code == 0
    assert f"Wrote 2 denoised images to {tmp_path / 'out'}" in result.stderr
    assert result.stdout == ""
    for seed, name in enumerate("ab"):
        with mrcfile.open(tmp_path / "out" / f"{name}.mrc") as mrc:
            np.testing.assert_array_equal(mrc.data, denoise_image(image(seed), "paper"))


def test_flags_choose_pipeline_and_format(micrographs: Path, tmp_path: Path) -> None:
    result = run(micrographs / "a.mrc", "--out", tmp_path / "out", "--pipeline", "original", "--format", "png")

    assert result.exit_code == 0
    written = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, denoise_image(image(), "original"))
    used = load_config(DenoiseConfig, tmp_path / "out" / "config.toml")
    assert used == DenoiseConfig(pipeline="original", format="png")


def test_skipped_micrographs_are_named_and_change_the_exit_code(micrographs: Path, tmp_path: Path) -> None:
    (micrographs / "broken.mrc").write_bytes(b"no image")

    result = run(micrographs, "--out", tmp_path / "out")

    assert result.exit_code == 3
    assert f"Skipped {micrographs / 'broken.mrc'}: truncated" in result.stderr
    assert "Wrote 2 denoised images" in result.stderr


def test_an_output_that_would_replace_its_input_is_wrong_usage(micrographs: Path) -> None:
    result = run(micrographs, "--out", micrographs)

    assert result.exit_code == 2
    assert "would replace a micrograph" in result.stderr


@pytest.mark.parametrize("arguments", [["--format", "bmp"], ["--pipeline", "mine"]])
def test_an_unknown_choice_is_wrong_usage(micrographs: Path, tmp_path: Path, arguments: list[str]) -> None:
    assert run(micrographs, "--out", tmp_path / "out", *arguments).exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", ["m4_i16_256x240", "m5_u8_256x240"])
def test_integer_files_give_the_recorded_pixels(tmp_path: Path, case: str) -> None:
    seed, discs = (104, 12) if "m4" in case else (105, 12)
    field = micrograph_by_formula(seed, 256, 240, discs).astype(np.float64)
    pixels = np.rint(field * 200).astype(np.int16)
    if "m5" in case:
        pixels = np.clip(np.rint(field * 20 + 100), 0, 255).astype(np.uint16)
    with mrcfile.new(tmp_path / "m.mrc") as mrc:
        mrc.set_data(pixels)

    result = run(tmp_path / "m.mrc", "--out", tmp_path / "out", "--pipeline", "original", "--format", "png")

    assert result.exit_code == 0
    written = cv2.imread(str(tmp_path / "out" / "m.png"), cv2.IMREAD_UNCHANGED)
    final = recorded_json("denoise.json")[case]["final_u8"]
    assert hashlib.sha256(np.ascontiguousarray(written[::-1]).tobytes()).hexdigest() == final
