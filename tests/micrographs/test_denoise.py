"""The denoising: against the recorded program, against a plain chain of library calls, and what it must not do."""

import hashlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.denoise import (
    denoise,
    equalise,
    guided_filter,
    non_local_means,
    standardise,
    to_8_bit,
    wiener_filter,
)
from recorded_formulas import micrograph_by_formula, recorded_arrays, recorded_json

CASES = {
    "m1_f32_512x480": (101, 512, 480, 40),
    "m2_f32_1024x960": (102, 1024, 960, 120),
    "m3_f32_403x517": (103, 403, 517, 30),
    "m4_i16_256x240": (104, 256, 240, 12),
    "m5_u8_256x240": (105, 256, 240, 12),
}
LARGE = "m2_f32_1024x960"
RECORDED = [pytest.param(case, marks=pytest.mark.slow) if case == LARGE else case for case in CASES]


def recorded_input(case: str) -> NDArray[Any]:
    image = micrograph_by_formula(*CASES[case])
    if "i16" in case:
        return np.rint(image.astype(np.float64) * 200).astype(np.int16)
    if "u8" in case:
        return np.clip(np.rint(image.astype(np.float64) * 20 + 100), 0, 255).astype(np.uint8)
    return image


def checksum(image: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def smooth_field(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Noise with blobs of many sizes."""
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    return noise + 12 * cv2.GaussianBlur(noise, (0, 0), 6)


@pytest.mark.parametrize("case", RECORDED)
def test_original_gives_the_recorded_pixels(case: str) -> None:
    recorded = recorded_json("denoise.json")[case]
    image = recorded_input(case)
    assert checksum(image) == recorded["input"]

    denoised = denoise(image, "original")

    # The recordings hold the rows in reverse order.
    assert checksum(denoised[::-1]) == recorded["final_u8"]


@pytest.mark.parametrize("case", RECORDED)
def test_each_stage_gives_the_recorded_pixels(case: str) -> None:
    image = recorded_input(case)[::-1]
    scaled = to_8_bit(standardise(image.astype(np.uint16) if image.dtype == np.uint8 else image))
    smooth = non_local_means(scaled)
    restored = wiener_filter(smooth, displacement_px=-4)
    equalised = equalise(to_8_bit(restored))
    final = to_8_bit(guided_filter(equalised, restored.astype(np.float32) / 255, 20))

    stages = {"scaled_u8": scaled, "nlm_u8": smooth, "wiener_u8": to_8_bit(restored), "clahe_u8": equalised}
    given = {name: checksum(pixels) for name, pixels in (stages | {"final_u8": final}).items()}

    recorded = recorded_json("denoise.json")[case]
    assert given == {name: recorded[name] for name in given}


@pytest.mark.parametrize("case", ["m4_i16_256x240", "m5_u8_256x240"])
def test_wiener_filter_agrees_with_the_recorded_one_to_rounding(case: str) -> None:
    image = recorded_input(case)[::-1]
    scaled = to_8_bit(standardise(image.astype(np.uint16) if image.dtype == np.uint8 else image))
    recorded = recorded_arrays("denoise_wiener.npz")

    restored = wiener_filter(non_local_means(scaled), displacement_px=-4)

    np.testing.assert_allclose(restored[:48, :48], recorded[f"{case}__first48"], rtol=1e-13)
    np.testing.assert_allclose(restored[-48:, -48:], recorded[f"{case}__last48"], rtol=1e-13)


def plain_start(image: NDArray[Any]) -> NDArray[np.uint8]:
    blurred = cv2.GaussianBlur(image, (9, 9), 0)
    standard = (blurred - np.mean(blurred)) / np.std(blurred)
    return cv2.fastNlMeansDenoising(stretch(standard), None, 10, 7, 21)


def stretch(image: NDArray[Any]) -> NDArray[np.uint8]:
    return ((image - image.min()) / (image.max() - image.min()) * 255).astype(np.uint8)


def plain_wiener(image: NDArray[np.uint8], centred: bool) -> NDArray[np.float64]:
    taps = np.exp(-(np.arange(-4, 5) ** 2) / 18)
    kernel = np.zeros(image.shape)
    kernel[:9, :9] = np.outer(taps, taps) / taps.sum() ** 2
    transfer = np.fft.fft2(np.roll(kernel, (-4, -4), (0, 1)) if centred else kernel)
    return np.abs(np.fft.ifft2(np.fft.fft2(image) * np.conj(transfer) / (np.abs(transfer) ** 2 + 30)))


def plain_guided(image: NDArray[np.uint8], guide: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    def box(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.boxFilter(array, -1, (side, side))

    p = (image / 255).astype(np.float32)
    a = (box(guide * p) - box(guide) * box(p)) / (box(guide * guide) - box(guide) * box(guide) + 0.1)
    b = box(p) - a * box(guide)
    return stretch(box(a) * guide + box(b))


def plain_chain(image: NDArray[Any], pipeline: str) -> NDArray[np.uint8]:
    original = pipeline == "original"
    image = image[::-1] if original else image.astype(np.float32)
    restored = plain_wiener(plain_start(image), centred=not original)
    equalised = cv2.createCLAHE(2.0, (16, 16)).apply(stretch(restored))
    if original:
        return plain_guided(equalised, restored.astype(np.float32) / 255, 20)[::-1]
    return plain_guided(equalised, (equalised / 255).astype(np.float32), 41)


@pytest.mark.parametrize("shape", [(256, 256), (97, 131), (203, 150), (64, 301)])
def test_original_equals_a_plain_chain_of_library_calls(shape: tuple[int, int]) -> None:
    # Integers: their sums are exact, so the plain chain does not depend on the version of NumPy.
    image = np.rint(100 * smooth_field(*shape)).astype(np.int16)

    np.testing.assert_array_equal(denoise(image, "original"), plain_chain(image, "original"))


@pytest.mark.parametrize("pipeline", ["paper", "original"])
def test_floating_point_images_agree_with_the_plain_chain_to_a_grey_level(pipeline: Any) -> None:
    image = smooth_field(200, 260)

    difference = np.abs(denoise(image, pipeline).astype(int) - plain_chain(image, pipeline))

    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_guided_filter_agrees_with_an_independent_one() -> None:
    image = stretch(smooth_field(200, 260))
    guide = cv2.GaussianBlur(image, (0, 0), 3).astype(np.float32) / 255

    expected = cv2.ximgproc.guidedFilter(guide=guide, src=image.astype(np.float32) / 255, radius=20, eps=0.1)

    # The two continue the image beyond its border in different ways, which two boxes carry 40 px inwards.
    inside = np.s_[41:-41, 41:-41]
    np.testing.assert_allclose(guided_filter(image, guide, 41)[inside], expected[inside], atol=1e-5)


def blob(centre: tuple[float, float], size: int = 512, sigma: float = 10.0) -> NDArray[np.float32]:
    y, x = np.mgrid[:size, :size]
    return -np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2)).astype(np.float32)


def centroid(image: NDArray[Any], near: tuple[float, float]) -> NDArray[np.float64]:
    """Return the x, y centre of mass of a dark blob below half its depth."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    distance = np.hypot(x - near[0], y - near[1])
    background = np.median(image[(distance > 40) & (distance < 46)])
    depth = background - image[distance < 40].min()
    weights = np.where(distance < 40, np.clip(background - image - 0.5 * depth, 0, None), 0)
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


def displacement(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.float64]:
    """Return how far x, y the details of an image moved: the maximum of the cross-correlation, between pixels too."""

    def details(image: NDArray[Any]) -> NDArray[np.float32]:
        image = image.astype(np.float32)
        return (cv2.GaussianBlur(image, (0, 0), 2) - cv2.GaussianBlur(image, (0, 0), 6))[24:-24, 24:-24]

    spectrum = np.conj(np.fft.rfft2(details(before))) * np.fft.rfft2(details(after))
    correlation = np.fft.fftshift(np.fft.irfft2(spectrum, s=details(before).shape))
    peak = np.unravel_index(correlation.argmax(), correlation.shape)

    def vertex(axis: int) -> float:
        left, middle, right = (
            correlation[tuple(np.add(peak, step * np.eye(2, dtype=int)[axis]))] for step in (-1, 0, 1)
        )
        return (left - right) / (2 * (left - 2 * middle + right)) + peak[axis] - correlation.shape[axis] // 2

    return np.array([vertex(1), vertex(0)])


def test_paper_leaves_a_symmetric_particle_where_it_is() -> None:
    centre = (255.5, 255.5)

    np.testing.assert_allclose(centroid(denoise(blob(centre), "paper"), centre), centre, atol=0.1)


@pytest.mark.parametrize("shape", [(512, 480), (403, 517)])
def test_paper_moves_no_details_of_a_noisy_micrograph(shape: tuple[int, int]) -> None:
    image = micrograph_by_formula(7, *shape, discs=40)

    np.testing.assert_allclose(displacement(image, denoise(image, "paper")), 0, atol=0.1)


def test_original_moves_by_three_pixels_in_its_reversed_rows() -> None:
    centre = (255.5, 255.5)

    moved = centroid(denoise(blob(centre), "original"), centre) - centre

    np.testing.assert_allclose(moved, (-3, 3), atol=0.3)


@pytest.mark.parametrize("centre", [(64.0, 64.0), (50.3, 70.8)])
@pytest.mark.parametrize("pixels", [0, -4, 5])
def test_wiener_filter_moves_by_its_displacement_alone(centre: tuple[float, float], pixels: int) -> None:
    image = stretch(blob(centre, size=128, sigma=8))
    expected = (centre[0] + pixels, centre[1] + pixels)

    np.testing.assert_allclose(centroid(wiener_filter(image, pixels), expected), expected, atol=0.02)


@pytest.mark.parametrize("pipeline", ["paper", "original"])
@pytest.mark.parametrize("types", [("int8", "int16"), ("float16", "float32"), ("uint8", "uint16"), (">i2", "<i2")])
def test_equal_values_in_another_type_give_equal_pixels(pipeline: Any, types: tuple[str, str]) -> None:
    image = np.clip(np.rint(10 * smooth_field(96, 112) + 60), 0, 127)

    one, other = (denoise(image.astype(kind), pipeline) for kind in types)

    np.testing.assert_array_equal(one, other)


def test_signed_bytes_keep_their_sign() -> None:
    image = np.clip(np.rint(20 * smooth_field(96, 112)), -128, 127).astype(np.int8)
    assert image.min() < 0

    np.testing.assert_array_equal(denoise(image), denoise(image.astype(np.float32)))


@pytest.mark.parametrize("pipeline", ["paper", "original"])
def test_result_is_a_full_8_bit_image_and_the_input_is_untouched(pipeline: Any) -> None:
    image = smooth_field(100, 140)
    before = image.copy()
    image.flags.writeable = False

    denoised = denoise(image, pipeline)

    assert (denoised.dtype, denoised.shape) == (np.uint8, (100, 140))
    assert (denoised.min(), denoised.max()) == (0, 255)
    assert denoised.flags.c_contiguous
    np.testing.assert_array_equal(image, before)


def test_noise_goes_and_particles_stay() -> None:
    clean = blob((128, 128), size=256, sigma=20)
    noisy = clean + 0.5 * np.random.default_rng(1).standard_normal(clean.shape).astype(np.float32)

    similarity = [np.corrcoef(clean.ravel(), image.ravel())[0, 1] for image in (noisy, denoise(noisy))]

    assert similarity[1] > 2 * similarity[0]


@pytest.mark.parametrize("pipeline", ["paper", "original"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_an_error(pipeline: Any, value: float) -> None:
    image = smooth_field(64, 64)
    image[10, 20] = value

    with pytest.raises(MicrographError, match="NaN or infinite"):
        denoise(image, pipeline)


@pytest.mark.parametrize("pipeline", ["paper", "original"])
@pytest.mark.parametrize("kind", ["float32", "int8", "uint16"])
def test_a_constant_image_is_an_error(pipeline: Any, kind: str) -> None:
    with pytest.raises(MicrographError, match="every pixel is 7"):
        denoise(np.full((64, 64), 7, kind), pipeline)


def test_integers_that_the_blur_makes_constant_are_an_error() -> None:
    image = np.zeros((64, 64), np.int16)
    image[32, 32] = 1

    with pytest.raises(MicrographError, match="constant once blurred"):
        denoise(image, "original")


def test_a_stack_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(ValueError, match="height, width"):
        denoise(np.zeros((2, 64, 64), np.float32))
