"""COCO dataset folders: boxes against their formula, files against pycocotools, and everything that may be wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.coco import (
    CocoImage,
    annotation_file,
    image_file,
    labelled_image,
    open_coco,
    png_pixels,
    require_coco,
    write_coco,
)
from cryotx_cli.errors import CryotxError, DatasetError
from cryotx_cli.micrographs.image import normalise

SHAPE = (60, 80)


def labels(centres: list[list[float]], diameter: float = 20.0, pixel_size: float = 1.5) -> Particles:
    return Particles(np.array(centres), np.ones(len(centres)), np.full(len(centres), diameter), pixel_size)


def two_images() -> list[CocoImage]:
    """One image with a whole and a cut particle, one without particles."""
    particles = labels([[30.25, 20.5], [2.75, 58.5]])
    return [
        labelled_image("10017/a 1.png", SHAPE, particles, "10017", "a 1.mrc"),
        labelled_image("10028/b.png", SHAPE, Particles.empty(np.nan), "10028", "b.jpg"),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound dataset of one split."""
    images = two_images()
    for image in images:
        path = image_file(tmp_path, "train", image.file_name)
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.arange(60 * 80, dtype=np.uint16).reshape(SHAPE))
    write_coco(tmp_path, "train", images, denoised=False)
    return tmp_path


@pytest.mark.parametrize(
    ("centre", "box"),
    [
        ([30.25, 20.5], [20.25, 10.5, 20, 20]),
        ([2.5, 20], [0, 10, 12.5, 20]),
        ([79.25, 58.5], [69.25, 48.5, 10.75, 11.5]),
        ([-0.25, -0.5], [0, 0, 9.75, 9.5]),
    ],
)
def test_a_box_is_one_diameter_around_the_centre_and_ends_at_the_border(centre: list[float], box: list[float]) -> None:
    image = labelled_image("a.png", SHAPE, labels([centre]))

    np.testing.assert_allclose(image.boxes, [box])
    np.testing.assert_array_equal(image.particles.centres, [centre])


def test_labels_beyond_the_border_are_left_out() -> None:
    image = labelled_image("a.png", SHAPE, labels([[-0.6, 30], [40, 60], [40, 30], [80, 30], [40, -5]]))

    np.testing.assert_array_equal(image.particles.centres, [[40, 30]])
    assert len(image.boxes) == 1


@pytest.mark.parametrize("diameter", [np.nan, 0.0, -3.0])
def test_labels_without_a_diameter_are_refused(diameter: float) -> None:
    with pytest.raises(DatasetError, match=r"mic\.mrc: the labels have no particle diameters"):
        labelled_image("a.png", SHAPE, labels([[40, 30]], diameter), source="mic.mrc")


def test_what_was_written_opens_equal(folder: Path) -> None:
    dataset = open_coco(folder, "train")

    assert (dataset.folder, dataset.split, dataset.denoised, len(dataset)) == (folder, "train", False, 2)
    for image, written in zip(dataset.images, two_images(), strict=True):
        about = (image.file_name, image.height, image.width, image.dataset, image.source)
        assert about == (written.file_name, *SHAPE, written.dataset, written.source)
        np.testing.assert_array_equal(image.boxes, written.boxes)
        np.testing.assert_array_equal(image.particles.centres, written.particles.centres)
        np.testing.assert_array_equal(image.particles.diameters, written.particles.diameters)
        np.testing.assert_array_equal(image.particles.pixel_size, written.particles.pixel_size)
        assert dataset.path(image).is_file()


def test_pycocotools_reads_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = COCO(annotation_file(folder, "train"))

    assert [coco.cats[number]["name"] for number in coco.getCatIds()] == ["particle"]
    assert coco.getCatIds() == [1]
    assert sorted(image["file_name"] for image in coco.imgs.values()) == ["10017/a 1.png", "10028/b.png"]
    (first,) = (number for number, image in coco.imgs.items() if image["dataset"] == "10017")
    whole, cut = coco.loadAnns(coco.getAnnIds(imgIds=first, iscrowd=False))
    assert (whole["bbox"], whole["area"]) == ([20.25, 10.5, 20, 20], 400)
    assert (cut["bbox"], cut["area"], cut["centre"]) == ([0, 48.5, 12.75, 11.5], 12.75 * 11.5, [2.75, 58.5])
    assert 0 not in coco.anns
    assert {image["pixel_size"] for image in coco.imgs.values()} == {1.5, None}


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_coco(tmp_path / "a", "val", two_images(), denoised=True)
    second = write_coco(tmp_path / "b", "val", two_images(), denoised=True)

    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == ["instances_val.json"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "annotations").touch()

    with pytest.raises(CryotxError, match="annotations"):
        write_coco(tmp_path, "train", two_images(), denoised=True)


def test_boxes_of_other_programs_stand_for_their_particles(folder: Path) -> None:
    def strip(content: dict[str, Any]) -> None:
        content["info"] = [{"description": "a list, as some programs write it"}]
        for annotation in content["annotations"]:
            del annotation["centre"], annotation["diameter"], annotation["iscrowd"]
        for image in content["images"]:
            del image["pixel_size"], image["dataset"], image["source"]

    _edit(folder, strip)
    dataset = open_coco(folder, "train")

    particles = dataset.images[0].particles
    assert dataset.denoised is None
    np.testing.assert_array_equal(particles.centres, [[30.25, 20.5], [6.375, 54.25]])
    np.testing.assert_array_equal(particles.diameters, [20, 12.75])
    assert np.isnan(particles.pixel_size)


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = annotation_file(folder, "train")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["annotations"][0].update(bbox=[0, 0, 0, 0]),
            r"annotation 1: bbox \[0, 0, 0, 0\] is not inside",
        ),
        (lambda c: c["annotations"][0].update(bbox=[-1, 0, 9, 9]), r"annotation 1: bbox \[-1, 0, 9, 9\] is not inside"),
        (
            lambda c: c["annotations"][1].update(bbox=[72, 0, 9, 9]),
            r"annotation 2: bbox .* is not inside 80 x 60 px",
        ),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"bbox \[1, 2, 3\] is not four numbers"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, "4"]), r"is not four numbers"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, float("nan")]), r"is not four numbers"),
        (lambda c: c["annotations"][0].update(centre=[30, 61]), r"centre \[30, 61\] is not inside 80 x 60"),
        (lambda c: c["annotations"][0].update(diameter=0), "diameter 0 is not a length"),
        (lambda c: c["annotations"][0].update(iscrowd=1), "iscrowd is not 0"),
        (lambda c: c["annotations"][0].update(category_id=0), "there is no category 0"),
        (lambda c: c["annotations"][0].update(image_id=9), "annotation 1: there is no image 9"),
        (lambda c: c["annotations"][0].update(id=2), "2 annotations share the id 2"),
        (lambda c: c["images"][0].update(id=2), "2 images share the id 2"),
        (lambda c: c["images"][0].update(file_name="10028/b.png"), "10028/b.png is listed 2 times"),
        (lambda c: c["images"][0].update(file_name="gone.png"), r"image gone\.png: .*gone\.png does not exist"),
        (lambda c: c["images"][0].update(width=81), r"image 10017/a 1\.png: is 80 x 60 pixels, not 81 x 60"),
        (lambda c: c["images"][0].update(pixel_size=0), "pixel_size 0 is not a length"),
        (lambda c: c["categories"].append({"id": 2, "name": "ice"}), "2 categories"),
        (lambda c: c.update(images=[], annotations=[]), "holds no images"),
        (lambda c: c.pop("annotations"), "not of the COCO format"),
        (lambda c: c["annotations"][0].pop("image_id"), "not of the COCO format"),
        (lambda c: c["images"].append(7), "not of the COCO format"),
    ],
)
def test_a_dataset_that_is_not_sound_is_refused_with_the_reason(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    _edit(folder, change)

    with pytest.raises(DatasetError, match=message) as caught:
        open_coco(folder, "train")

    assert "instances_train.json" in caught.value.message
    assert caught.value.hint


def test_many_problems_are_counted(folder: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["annotations"] = [dict(content["annotations"][0], id=i, iscrowd=1) for i in range(1, 11)]

    _edit(folder, spoil)

    with pytest.raises(DatasetError, match=r"annotation 3: .*; and 7 more problems"):
        open_coco(folder, "train")


@pytest.mark.parametrize("content", [b"", b"[1, 2", b"\xff\xfe", b"[]", b"3"])
def test_a_file_that_is_no_coco_file_is_refused(folder: Path, content: bytes) -> None:
    annotation_file(folder, "train").write_bytes(content)

    with pytest.raises(DatasetError, match=r"instances_train\.json: not (a JSON file|of the COCO format)"):
        open_coco(folder, "train")


def test_a_missing_split_is_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"instances_test\.json: cannot be read"):
        open_coco(folder, "test")


def test_a_truncated_image_is_found(folder: Path) -> None:
    path = image_file(folder, "train", "10017/a 1.png")
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(DatasetError, match=r"image 10017/a 1\.png: truncated"):
        open_coco(folder, "train")


def test_an_image_of_another_format_is_measured_too(folder: Path) -> None:
    path = image_file(folder, "train", "10017/a 1.jpg")
    cv2.imwrite(str(path), np.arange(61 * 80, dtype=np.float32).reshape(61, 80) % 251)
    _edit(folder, lambda content: content["images"][0].update(file_name="10017/a 1.jpg"))

    with pytest.raises(DatasetError, match="is 80 x 61 pixels, not 80 x 60"):
        open_coco(folder, "train")


@pytest.mark.parametrize(("largest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_whole_numbers_are_kept_as_they_are(largest: int, dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, largest, (40, 50), endpoint=True).astype(np.float32)
    image[0, 0] = largest

    pixels = png_pixels(image)

    assert pixels.dtype == dtype
    np.testing.assert_array_equal(pixels, image)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (3e-3, 0.5), (250.0, -1e4)])
def test_16_bits_keep_what_the_detector_sees_of_a_float_image(scale: float, offset: float) -> None:
    noise = np.random.default_rng(0).standard_normal((300, 320)).astype(np.float32)
    noise[150, 160] = 3000  # a hot pixel, which would take all grey levels if it were not limited
    image = (noise * scale + offset).astype(np.float32)

    pixels = png_pixels(image)

    assert pixels.dtype == np.uint16
    assert (pixels.min(), pixels.max()) == (0, 65535)
    # A step is at most 20 / 65535 of a standard deviation; the rest is the rounding of sums in single precision.
    limited = np.clip(image, *_limits(image))
    np.testing.assert_allclose(normalise(pixels.astype(np.float32)), normalise(limited), atol=2e-3)


def _limits(image: np.ndarray[Any, Any]) -> tuple[np.float32, np.float32]:
    middle = np.median(image)
    spread = 1.4826 * np.median(np.abs(image - middle))
    return np.float32(middle - 10 * spread), np.float32(middle + 10 * spread)


def test_pixels_survive_a_png_file(tmp_path: Path) -> None:
    pixels = png_pixels(np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32))

    cv2.imwrite(str(tmp_path / "a.png"), pixels)

    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), pixels)


def test_pycocotools_reads_what_was_written(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    require_coco(folder, "train", two_images())
    write_coco(folder, "val", [], denoised=True)
    require_coco(folder, "val", [])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content["annotations"][1].update(id=1), "other boxes than were written, of 10017/a 1.png"),
        (lambda content: content["annotations"][0].update(image_id=2), "of 10017/a 1.png, 10028/b.png"),
        (lambda content: content["annotations"][0]["bbox"].__setitem__(0, 0), "of 10017/a 1.png"),
        (lambda content: content["images"].pop(), "of 10028/b.png"),
        (lambda content: content.pop("annotations"), "pycocotools"),
        (lambda content: content["images"][0].pop("id"), "pycocotools cannot read it"),
    ],
)
def test_what_pycocotools_reads_otherwise_is_told(
    folder: Path, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    path = annotation_file(folder, "train")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError) as caught:
        require_coco(folder, "train", two_images())
    assert problem in caught.value.message
    assert str(path) in caught.value.message
