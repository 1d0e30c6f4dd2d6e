"""The denoising in torch: every stage and the whole chain against OpenCV and the recordings, pixel by pixel."""

import hashlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cryotx_cli.detector.cryotransformer import denoise as torch_denoise
from cryotx_cli.detector.cryotransformer.denoise import (
    denoise,
    denoiser_on,
    equalise,
    guided_filter,
    non_local_means,
    standardise,
    to_8_bit,
    wiener_filter,
)
from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs import denoise as reference
from recorded_formulas import micrograph_by_formula, recorded_arrays, recorded_json

CPU = torch.device("cpu")


def field(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Noise with blobs of many sizes."""
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    return noise + 12 * cv2.GaussianBlur(noise, (0, 0), 6)


def stretched(image: NDArray[Any]) -> NDArray[np.uint8]:
    return ((image - image.min()) / (image.max() - image.min()) * 255).astype(np.uint8)


def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (61, 77)).astype(np.uint8)


def weak_noise() -> NDArray[np.uint8]:
    return np.random.default_rng(2).normal(120, 6, (57, 83)).clip(0, 255).astype(np.uint8)


def edges() -> NDArray[np.uint8]:
    image = np.zeros((56, 72), np.uint8)
    image[20:, 30:], image[36:, :20] = 255, 100
    return image


def flat() -> NDArray[np.uint8]:
    return np.full((40, 50), 255, np.uint8)


def slope() -> NDArray[np.uint8]:
    y, x = np.mgrid[:48, :64]
    return ((x + 2 * y) % 256).astype(np.uint8)


def blobs() -> NDArray[np.uint8]:
    return stretched(field(80, 112))


def tiny() -> NDArray[np.uint8]:  # smaller than the search window
    return np.random.default_rng(3).integers(90, 130, (5, 7)).astype(np.uint8)


IMAGES = [noise, weak_noise, edges, flat, slope, blobs, tiny]
images = pytest.mark.parametrize("image", IMAGES, ids=lambda make: make.__name__)


def differing(one: Any, other: Any) -> int:
    one, other = np.asarray(one), np.asarray(other)
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return int((one != other).sum())


@images
def test_non_local_means_equals_opencv(image: Callable[[], NDArray[np.uint8]]) -> None:
    expected = cv2.fastNlMeansDenoising(image(), None, h=10, templateWindowSize=7, searchWindowSize=21)

    assert differing(non_local_means(torch.from_numpy(image())), expected) == 0


def test_non_local_means_does_not_depend_on_the_bands_it_works_in(monkeypatch: pytest.MonkeyPatch) -> None:
    image = blobs()
    whole = non_local_means(torch.from_numpy(image))
    monkeypatch.setattr(torch_denoise, "_BAND_PX", 33 * image.shape[1])

    assert differing(non_local_means(torch.from_numpy(image)), whole) == 0


@images
def test_equalisation_equals_opencv(image: Callable[[], NDArray[np.uint8]]) -> None:
    expected = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(16, 16)).apply(image())

    assert differing(equalise(torch.from_numpy(image())), expected) == 0


@pytest.mark.parametrize("shape", [(160, 176), (160, 170), (170, 160), (171, 190), (400, 333)])
def test_equalisation_equals_opencv_whether_the_tiles_divide_the_image_or_not(shape: tuple[int, int]) -> None:
    image = stretched(field(*shape))
    expected = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(16, 16)).apply(image)

    assert differing(equalise(torch.from_numpy(image)), expected) == 0


@pytest.mark.parametrize("box", [20, 41])
@pytest.mark.parametrize("image", [noise, edges, blobs], ids=lambda make: make.__name__)
def test_guided_filter_equals_that_of_opencv_boxes(image: Callable[[], NDArray[np.uint8]], box: int) -> None:
    guide = cv2.GaussianBlur(image().astype(np.float32) / 255, (0, 0), 2)

    filtered = guided_filter(torch.from_numpy(image()), torch.from_numpy(guide), box)

    assert differing(filtered, reference.guided_filter(image(), guide, box)) == 0


@pytest.mark.parametrize("shape", [(64, 64), (97, 131), (150, 203)])
@pytest.mark.parametrize("kind", ["float32", "int16", "uint16"])
def test_standardisation_agrees_to_rounding(shape: tuple[int, int], kind: str) -> None:
    image = (200 * field(*shape) + 20000).astype(kind)

    standard, expected = standardise(torch.from_numpy(image)).numpy(), reference.standardise(image)

    assert standard.dtype == expected.dtype
    # OpenCV 4 and 5 blur floating-point pixels in two orders. An integer rounded the other way is 1 / deviation off.
    last_place = np.spacing(np.float32(image.max())) / cv2.GaussianBlur(image, (9, 9), 0).std()
    np.testing.assert_allclose(standard, expected, atol=4 * last_place if kind == "float32" else 2e-6)


@pytest.mark.parametrize("case", ["m1_f32_512x480", "m4_i16_256x240", "m5_u8_256x240"])
def test_standardisation_and_wiener_filter_give_the_recorded_pixels(case: str) -> None:
    recorded = recorded_json("denoise.json")[case]

    scaled = to_8_bit(standardise(torch.from_numpy(recorded_input(case)[::-1].copy())))
    smooth = reference.non_local_means(scaled.numpy())
    restored = wiener_filter(torch.from_numpy(smooth), displacement_px=-4)

    assert checksum(scaled) == recorded["scaled_u8"]
    assert checksum(smooth) == recorded["nlm_u8"]
    assert checksum(to_8_bit(restored)) == recorded["wiener_u8"]
    if not case.startswith("m1"):
        crop = recorded_arrays("denoise_wiener.npz")[f"{case}__first48"]
        np.testing.assert_allclose(restored[:48, :48], crop, rtol=1e-12)


def checksum(image: torch.Tensor | NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def recorded_input(case: str) -> NDArray[Any]:
    seed = 100 + int(case[1])
    discs = {"m1": 40, "m2": 120, "m3": 30, "m4": 12, "m5": 12}[case[:2]]
    height, width = map(int, case.rpartition("_")[2].split("x"))
    image = micrograph_by_formula(seed, height, width, discs)
    if "i16" in case:
        return np.rint(image.astype(np.float64) * 200).astype(np.int16)
    if "u8" in case:
        return np.clip(np.rint(image.astype(np.float64) * 20 + 100), 0, 255).astype(np.uint16)
    return image


@pytest.mark.parametrize(
    "case",
    [
        "m4_i16_256x240",
        "m5_u8_256x240",
        pytest.param("m1_f32_512x480", marks=pytest.mark.slow),
        pytest.param("m2_f32_1024x960", marks=pytest.mark.slow),
        pytest.param("m3_f32_403x517", marks=pytest.mark.slow),
    ],
)
def test_original_gives_the_recorded_pixels(case: str) -> None:
    denoised = denoise(recorded_input(case), "original", CPU)

    # The recordings hold the rows in reverse order.
    assert checksum(denoised[::-1]) == recorded_json("denoise.json")[case]["final_u8"]


@pytest.mark.parametrize("pipeline", ["paper", "original"])
@pytest.mark.parametrize("kind", ["float32", "int16", "uint16", "int8", "float16"])
def test_the_chain_equals_the_one_of_opencv(pipeline: Any, kind: str) -> None:
    image = np.clip(np.rint(15 * field(75, 96) + 60), 0, 127).astype(kind)
    image.flags.writeable = False

    denoised = denoise(image, pipeline, CPU)

    assert differing(denoised, reference.denoise(image, pipeline)) == 0
    assert denoised.flags.c_contiguous


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_pixels() -> None:
    on_gpu = denoiser_on(torch.device("cuda"))
    image = np.rint(2000 * field(1031, 1500) + 30000).clip(0, 32767)
    cases = [(kind, name) for kind in ("float32", "int16", "uint16") for name in ("paper", "original")]

    found = {
        (kind, name): differing(on_gpu(image.astype(kind), name), reference.denoise(image.astype(kind), name))
        for kind, name in cases
    }

    assert found == dict.fromkeys(cases, 0)


def test_on_a_cpu_opencv_denoises() -> None:
    assert denoiser_on(CPU) is reference.denoise


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_an_error(value: float) -> None:
    image = field(64, 64)
    image[10, 20] = value

    with pytest.raises(MicrographError, match="NaN or infinite"):
        denoise(image, "paper", CPU)


def test_constant_images_are_errors() -> None:
    with pytest.raises(MicrographError, match="every pixel is 7"):
        to_8_bit(torch.full((64, 64), 7.0))
    spike = torch.zeros((64, 64), dtype=torch.int16)
    spike[32, 32] = 1
    with pytest.raises(MicrographError, match="constant once blurred"):
        standardise(spike)
