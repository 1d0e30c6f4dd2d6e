"""Denoising many files: what is written where, and what happens to the files that cannot be denoised."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

from cryotx_cli.config import DenoiseConfig, load_config
from cryotx_cli.errors import ConfigError, CryotxError, DeviceError, MicrographError
from cryotx_cli.events import Event
from cryotx_cli.micrographs.denoise import denoise as denoise_image
from cryotx_cli.micrographs.micrograph import read_micrograph
from cryotx_cli.workflows.denoise import denoise


def field(height: int = 80, width: int = 96, seed: int = 0) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    return noise + 12 * cv2.GaussianBlur(noise, (0, 0), 6)


def write_mrc(path: Path, image: NDArray[Any], pixel_size: float = 1.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = pixel_size
    return path


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_mrc_holds_the_8_bit_result_with_rows_as_stored_and_the_pixel_size(tmp_path: Path) -> None:
    file = write_mrc(tmp_path / "a.mrc", field())

    (result,) = denoise([file], tmp_path / "out", DenoiseConfig(format="mrc"))

    assert (result.file.path, result.path, result.error) == (file, tmp_path / "out" / "a.mrc", None)
    with mrcfile.open(result.path) as mrc:
        assert mrc.header.mode == 1
        assert float(mrc.voxel_size.x) == pytest.approx(1.5)
        np.testing.assert_array_equal(mrc.data, denoise_image(field()))
    assert read_micrograph(result.path).pixel_size == pytest.approx(1.5)


@pytest.mark.parametrize("pixel_size", [0.0, 1.0])
def test_an_unknown_pixel_size_stays_unknown(tmp_path: Path, pixel_size: float) -> None:
    file = write_mrc(tmp_path / "a.mrc", field(), pixel_size)

    (result,) = denoise([file], tmp_path / "out", DenoiseConfig(format="mrc"))

    assert result.path is not None
    with mrcfile.open(result.path) as mrc:
        assert float(mrc.voxel_size.x) == 0


@pytest.mark.parametrize(("picture", "tolerance"), [("png", 0), ("jpg", 4)])
def test_pictures_hold_the_8_bit_result_with_rows_as_stored(tmp_path: Path, picture: Any, tolerance: int) -> None:
    file = write_mrc(tmp_path / "a.mrc", field())

    (result,) = denoise([file], tmp_path / "out", DenoiseConfig(format=picture))

    assert result.path == tmp_path / "out" / f"a.{picture}"
    written = cv2.imread(str(result.path), cv2.IMREAD_UNCHANGED)
    assert (written.dtype, written.shape) == (np.uint8, (80, 96))
    np.testing.assert_allclose(written.astype(int), denoise_image(field()), atol=tolerance, rtol=0)


@pytest.mark.parametrize("pipeline", ["paper", "original"])
@pytest.mark.parametrize("kind", ["int8", "int16", "uint16", "float16", "float32"])
def test_files_are_denoised_in_the_type_they_are_stored_in(tmp_path: Path, kind: str, pipeline: Any) -> None:
    image = np.clip(np.rint(15 * field() + 60), 0, 127).astype(kind)
    file = write_mrc(tmp_path / "a.mrc", image)

    (result,) = denoise([file], tmp_path / "out", DenoiseConfig(format="png", pipeline=pipeline))

    assert result.path is not None
    np.testing.assert_array_equal(cv2.imread(str(result.path), cv2.IMREAD_UNCHANGED), denoise_image(image, pipeline))


def test_trees_are_kept_and_equal_stems_do_not_meet(tmp_path: Path) -> None:
    for name in ("mics/one/a.mrc", "mics/two/a.mrc", "mics/two/b.frames.mrc", "mics/two/c.mrc"):
        write_mrc(tmp_path / name, field())
    cv2.imwrite(str(tmp_path / "mics" / "two" / "c.tif"), field())

    told: list[Event] = []
    given = [tmp_path / "mics/one", tmp_path / "mics/two/c.mrc", tmp_path / "mics/two/c.tif", tmp_path / "mics/two"]
    results = list(denoise(given, tmp_path / "out", DenoiseConfig(format="png"), told.append))

    assert "c.mrc, c.tif: all are taken" in str(told[-1])
    written = {"one/a.png", "two/a.png", "two/b.frames.png", "two/c.mrc.png", "two/c.tif.png"}
    assert names(tmp_path / "out") == written | {"config.toml"}
    assert {str(result.path.relative_to(tmp_path / "out")) for result in results if result.path} == written


def test_results_come_in_the_order_of_the_input_however_many_are_worked_on(tmp_path: Path) -> None:
    files = [write_mrc(tmp_path / f"{i}.mrc", field(64 + 96 * (i == 0), seed=i)) for i in range(4)]

    for workers in (1, 3):
        config = DenoiseConfig(format="png", device="cpu", workers=workers)
        results = list(denoise(files, tmp_path / f"out{workers}", config))
        assert [result.file.path for result in results] == files

    for file in files:
        one, other = (cv2.imread(str(tmp_path / f"out{n}" / f"{file.stem}.png"), cv2.IMREAD_UNCHANGED) for n in (1, 3))
        np.testing.assert_array_equal(one, other)


def test_a_gpu_that_is_not_there_is_told_before_anything_is_written(tmp_path: Path) -> None:
    file = write_mrc(tmp_path / "a.mrc", field())

    with pytest.raises(DeviceError, match="cuda:99"):
        denoise([file], tmp_path / "out", DenoiseConfig(device="cuda:99"))

    assert not (tmp_path / "out").exists()


def test_on_a_cpu_torch_is_not_needed(tmp_path: Path) -> None:
    file = write_mrc(tmp_path / "a.mrc", field())
    code = (
        "import sys; from cryotx_cli.workflows.denoise import denoise; from cryotx_cli.config import DenoiseConfig\n"
        f"assert not list(denoise([{str(file)!r}], {str(tmp_path / 'out')!r}, DenoiseConfig(device='cpu')))[0].error\n"
        "assert 'torch' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)

    assert (tmp_path / "out" / "a.mrc").is_file()


def test_settings_lie_beside_the_images(tmp_path: Path) -> None:
    config = DenoiseConfig(format="png", pipeline="original")

    list(denoise([write_mrc(tmp_path / "a.mrc", field())], tmp_path / "out", config))

    assert load_config(DenoiseConfig, tmp_path / "out" / "config.toml") == config


def test_a_bad_micrograph_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    holes = field()
    holes[3, 4] = np.nan
    write_mrc(tmp_path / "a.mrc", holes)
    write_mrc(tmp_path / "b.mrc", np.full((80, 96), 3, np.int16))
    (tmp_path / "c.mrc").write_bytes(b"no image")
    write_mrc(tmp_path / "d.mrc", field())

    results = list(denoise([tmp_path], tmp_path / "out", DenoiseConfig(format="png")))

    assert [result.path and result.path.name for result in results] == [None, None, None, "d.png"]
    for result, reason in zip(results, ("NaN", "every pixel is 3", "truncated"), strict=False):
        assert str(result.file.path) in str(result.error)
        assert reason in str(result.error)
    assert names(tmp_path / "out") == {"d.png", "config.toml"}


def test_when_all_fail_the_loop_says_so_after_the_last(tmp_path: Path) -> None:
    run = iter(denoise([write_mrc(tmp_path / "a.mrc", np.ones((64, 64), np.float32))], tmp_path / "o", DenoiseConfig()))

    assert next(run).error is not None
    with pytest.raises(MicrographError, match=r"none of 1 micrographs.*a\.mrc: .*every pixel is 1"):
        next(run)


def test_micrographs_are_never_replaced(tmp_path: Path) -> None:
    file = write_mrc(tmp_path / "a.mrc", field())
    before = file.read_bytes()

    with pytest.raises(ConfigError, match=r"a\.mrc: .*replace"):
        denoise([file], tmp_path, DenoiseConfig(format="mrc"))
    list(denoise([file], tmp_path, DenoiseConfig(format="png")))

    assert file.read_bytes() == before
    assert names(tmp_path) == {"a.mrc", "a.png", "config.toml"}


def test_what_an_earlier_run_wrote_below_an_input_folder_is_no_input(tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.mrc", field())
    out = tmp_path / "denoised"
    list(denoise([tmp_path], out, DenoiseConfig(format="mrc")))

    results = list(denoise([tmp_path], out, DenoiseConfig(format="mrc")))

    assert [result.file.path for result in results] == [tmp_path / "a.mrc"]
    assert names(out) == {"a.mrc", "config.toml"}


def test_a_folder_that_cannot_be_written_is_told_before_the_first(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")

    with pytest.raises(CryotxError, match="cannot write there"):
        denoise([write_mrc(tmp_path / "a.mrc", field())], tmp_path / "out", DenoiseConfig())


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_mrc(tmp_path / "a.mrc", field())
    run = denoise([file], tmp_path / "out", DenoiseConfig(format="mrc"))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)

    with pytest.raises(MicrographError, match="No space left"):
        list(run)
    assert names(tmp_path / "out") == {"config.toml"}


def test_files_that_no_earlier_run_has_written_are_kept(tmp_path: Path) -> None:
    mics, out = write_mrc(tmp_path / "mics" / "a.mrc", field()).parent, tmp_path / "out"
    out.mkdir()
    (out / "a.mrc").write_text("another micrograph")

    with pytest.raises(ConfigError, match=r"holds a\.mrc, which no earlier run"):
        denoise(mics, out, DenoiseConfig(device="cpu"))

    assert (out / "a.mrc").read_text() == "another micrograph"
    (out / "a.mrc").unlink()
    for _ in range(2):
        assert [result.error for result in denoise(mics, out, DenoiseConfig(device="cpu"))] == [None]
