"""A CryoPPP tree as a COCO dataset: against recordings, pycocotools, and what a stopped or repeated run leaves."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cryotx_cli.config import MakeCocoConfig, load_config
from cryotx_cli.datasets.coco import SPLITS, CocoDataset, CocoImage, annotation_file, open_coco, write_coco
from cryotx_cli.errors import ConfigError, DatasetError
from cryotx_cli.micrographs.denoise import denoise as denoise_image
from cryotx_cli.workflows import make_coco as workflow
from cryotx_cli.workflows.make_coco import MakeCocoResult, MakeCocoRun, assign_splits, make_coco
from recorded_formulas import recorded_json

HEADER = "X-Coordinate,Y-Coordinate,Diameter\n"
HEIGHT, WIDTH = 64, 80
ALL_TRAIN = MakeCocoConfig(split=(1, 0, 0), workers=2)


def discs(centres: Sequence[tuple[float, float]], shape: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.float32]:
    """Noise with bright discs at x, y of the rows as stored."""
    image = np.random.default_rng(len(centres)).standard_normal(shape).astype(np.float32) * 0.1
    y, x = np.mgrid[: shape[0], : shape[1]]
    for cx, cy in centres:
        image[np.hypot(x - cx, y - cy) <= 5] += 5
    return image


def add(dataset: Path, name: str, image: NDArray[Any], labels: str | None, pixel_size: float = 1.5) -> Path:
    """Put a micrograph and its labels, as CryoPPP has them, into a data set."""
    path = dataset / "micrographs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mrc":
        with mrcfile.new(path) as mrc:
            mrc.set_data(image)
            mrc.voxel_size = pixel_size
    else:
        cv2.imwrite(str(path), image)
    folder = dataset / "ground_truth" / "particle_coordinates"
    folder.mkdir(parents=True, exist_ok=True)
    if labels is not None:
        (folder / f"{path.stem}.csv").write_text(labels)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two data sets: ten MRC files, of which one has no labels and one has no particles; two pictures."""
    for number in range(10):
        rows = {3: None, 4: HEADER}.get(number, f"{HEADER}30,20,12\n{40 + number},41.5,12\n")
        add(tmp_path / "data" / "10017", f"mic {number}.mrc", discs([(30, HEIGHT - 20.0)]), rows)
    for number in range(2):
        image = (discs([(30, 20)]) * 20 + 100).clip(0, 255).astype(np.uint8)
        add(tmp_path / "data" / "10028", f"{number}.png", image, f"{HEADER}30,20,12\n")
    return tmp_path / "data"


def run(data: Path, out: Path, config: MakeCocoConfig = ALL_TRAIN, denoise: bool = False) -> MakeCocoRun:
    """Make a dataset to the end."""
    started = make_coco(data, out, config, denoise)
    for _ in started:
        pass
    return started


def all_images(out: Path) -> dict[str, tuple[str, CocoImage]]:
    found = {}
    for split in SPLITS:
        if COCO(annotation_file(out, split)).imgs:
            found.update({image.file_name: (split, image) for image in open_coco(out, split).images})
    return found


def pixels(dataset: CocoDataset, image: CocoImage) -> NDArray[Any]:
    read: NDArray[Any] = cv2.imread(str(dataset.path(image)), cv2.IMREAD_UNCHANGED)
    return read


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ---- geometry --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def recorded_example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The five images of the recording made into a dataset, and what the original made of them."""
    example = recorded_json("coco_input.json")
    folder = tmp_path_factory.mktemp("recorded")
    for stem, (height, width) in example["sizes_hw"].items():
        y, x = np.mgrid[:height, :width]
        add(folder / "10017", f"{stem}.jpg", ((x + y) % 256).astype(np.uint8), example["csv"].get(stem))
    run(folder / "10017", folder / "coco")
    return folder / "coco", recorded_json("coco_instances_train.json")


def test_boxes_are_the_recorded_ones_before_truncation_and_within_the_image(
    recorded_example: tuple[Path, dict[str, Any]],
) -> None:
    out, original = recorded_example
    names = {image["id"]: Path(image["file_name"]).stem for image in original["images"]}
    boxes: dict[str, list[list[float]]] = {}
    for annotation in original["annotations"]:
        if annotation["area"]:  # it wrote [0, 0, 0, 0] where there were no labels
            boxes.setdefault(names[annotation["image_id"]], []).append(annotation["bbox"])
    compared = 0

    for image in open_coco(out, "train").images:
        centres, diameters = image.particles.centres, image.particles.diameters
        theirs = np.array(boxes.pop(Path(image.file_name).stem, [])).reshape(-1, 4)
        # int() cuts towards zero, so compare with what it cut: ours are the same boxes with their fractions.
        np.testing.assert_array_equal(np.trunc(centres - diameters[:, None] / 2), theirs[:, :2])
        np.testing.assert_array_equal(np.trunc(diameters), theirs[:, 2])
        low, high = image.boxes[:, :2], image.boxes[:, :2] + image.boxes[:, 2:]
        size = [image.width, image.height]
        np.testing.assert_allclose(low, np.maximum(centres - diameters[:, None] / 2, 0), atol=1e-9)
        np.testing.assert_allclose(high, np.minimum(centres + diameters[:, None] / 2, size), atol=1e-9)
        compared += len(theirs)

    assert compared == 9
    assert not boxes


def test_what_differs_from_the_recording_differs_on_purpose(recorded_example: tuple[Path, dict[str, Any]]) -> None:
    out, original = recorded_example
    ours = json.loads(annotation_file(out, "train").read_text())

    # The original writes iscrowd 1, which COCO's measures leave out; the category is the same.
    assert {a["iscrowd"] for a in original["annotations"]} == {0, 1}
    assert {(a["category_id"], a["iscrowd"]) for a in ours["annotations"]} == {(1, 0)}
    assert ours["categories"] == original["categories"]
    # mic_003 has no labels and is left out, not an image with a box of no size; mic_004 is labelled as empty and stays.
    assert [Path(image["file_name"]).stem for image in original["images"]] == [f"mic_00{n}" for n in (1, 2, 3, 4, 5)]
    assert [Path(image["file_name"]).stem for image in ours["images"]] == [f"mic_00{n}" for n in (1, 2, 4, 5)]
    assert not [a for a in ours["annotations"] if a["image_id"] == ours["images"][2]["id"]]
    # Image sizes agree.
    theirs = {Path(image["file_name"]).stem: (image["width"], image["height"]) for image in original["images"]}
    assert all(theirs[Path(image["file_name"]).stem] == (image["width"], image["height"]) for image in ours["images"])


@pytest.mark.parametrize("suffix", ["mrc", "png", "jpg"])
def test_boxes_lie_on_the_particles_whatever_the_direction_of_y(tmp_path: Path, suffix: str) -> None:
    at = [(20, 12), (60, 40)]
    image = discs(at)
    stored = image if suffix == "mrc" else (image * 20 + 100).clip(0, 255).astype(np.uint8)
    # CryoPPP counts the y of an MRC file from the last stored row, that of a picture from the first.
    rows = [f"{x},{HEIGHT - y if suffix == 'mrc' else y},10" for x, y in at]
    add(tmp_path / "10017", f"a.{suffix}", stored, HEADER + "\n".join(rows) + "\n")

    run(tmp_path / "10017", tmp_path / "out")

    dataset = open_coco(tmp_path / "out", "train")
    (made,) = dataset.images
    brightness = pixels(dataset, made) - np.median(pixels(dataset, made)).astype(float)
    np.testing.assert_allclose(made.particles.centres, at)
    for x, y, width, height in made.boxes.astype(int):
        assert brightness[y : y + height, x : x + width].mean() > brightness.max() / 2


def test_perfect_predictions_score_1(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tree, tmp_path / "out")

    truth = COCO(annotation_file(tmp_path / "out", "train"))
    found = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.9}
        for a in truth.anns.values()
    ]
    evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()

    assert len(found) == 8 * 2 + 2
    assert evaluation.stats[0] == 1


# ---- what is in the dataset ------------------------------------------------------------------------------------------


def test_every_labelled_micrograph_is_an_image_and_the_others_are_counted(tree: Path, tmp_path: Path) -> None:
    started = make_coco(tree, tmp_path / "out", ALL_TRAIN, denoise=False)
    results = list(started)

    assert len(started) == len(results) == 11
    images = open_coco(tmp_path / "out", "train").images
    assert [image.file_name for image in images] == [
        *(f"10017/mic {number}.png" for number in range(10) if number != 3),
        "10028/0.png",
        "10028/1.png",
    ]
    assert {(image.dataset, image.source) for image in images} >= {("10017", "mic 0.mrc"), ("10028", "1.png")}
    assert [len(image.particles) for image in images] == [2, 2, 2, 0, 2, 2, 2, 2, 2, 1, 1]
    assert [image.particles.pixel_size for image in images[:9]] == pytest.approx([1.5] * 9)
    assert all(np.isnan(image.particles.pixel_size) for image in images[9:])
    first, second = started.counts
    assert (first.dataset, first.micrographs, first.labelled, first.skipped) == ("10017", 10, 9, 0)
    assert (first.particles, first.train, first.val, first.test) == (16, 9, 0, 0)
    assert (second.dataset, second.micrographs, second.labelled, second.particles) == ("10028", 2, 2, 2)


def test_no_file_tells_where_the_data_lay(tree: Path, tmp_path: Path) -> None:
    run(tree, tmp_path / "out")

    texts = [content for name, content in files(tmp_path / "out").items() if not name.endswith(".png")]
    assert len(texts) == 5
    assert not [text for text in texts if str(tmp_path).encode() in text]


def test_denoised_images_are_those_of_the_denoiser(tree: Path, tmp_path: Path) -> None:
    run(tree, tmp_path / "out", denoise=True)

    dataset = open_coco(tmp_path / "out", "train")
    assert dataset.denoised is True
    for image in (dataset.images[0], dataset.images[-1]):
        source = tree / image.dataset / "micrographs" / image.source
        stored = mrcfile.read(source) if source.suffix == ".mrc" else cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(pixels(dataset, image), denoise_image(stored.astype(np.float32)))


def test_raw_images_keep_their_pixels(tree: Path, tmp_path: Path) -> None:
    run(tree, tmp_path / "out")

    dataset = open_coco(tmp_path / "out", "train")
    assert dataset.denoised is False
    grey = pixels(dataset, dataset.images[0])
    stored = mrcfile.read(tree / "10017" / "micrographs" / "mic 0.mrc")
    assert grey.dtype == np.uint16
    # The disc is brighter than ten standard deviations of the noise and limited to them.
    kept = stored < 0.9
    slope, intercept = np.polyfit(grey[kept], stored[kept], 1)
    np.testing.assert_allclose(slope * grey[kept] + intercept, stored[kept], atol=2e-5)
    assert kept.mean() > 0.9
    picture = tree / "10028" / "micrographs" / "1.png"
    np.testing.assert_array_equal(pixels(dataset, dataset.images[-1]), cv2.imread(str(picture), cv2.IMREAD_UNCHANGED))


def test_labels_beyond_the_border_are_counted(tmp_path: Path) -> None:
    add(tmp_path / "10017", "a.png", np.eye(64, dtype=np.uint8), f"{HEADER}30,20,12\n70,20,12\n")

    (counts,) = run(tmp_path / "10017", tmp_path / "out").counts

    assert (counts.particles, counts.outside) == (1, 1)


def test_a_dataset_that_pycocotools_reads_otherwise_is_no_dataset(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_with_a_number_twice(folder: Path, split: str, images: Sequence[CocoImage], denoised: bool) -> Path:
        path = write_coco(folder, split, images, denoised)
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            annotation["id"] = 1
        path.write_text(json.dumps(content))
        return path

    monkeypatch.setattr(workflow, "write_coco", write_with_a_number_twice)
    with pytest.raises(DatasetError, match="pycocotools reads other boxes than were written"):
        run(tree, tmp_path / "out")


# ---- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "shares", "counts"),
    [
        (10, (0.8, 0.1, 0.1), (8, 1, 1)),
        (300, (0.8, 0.1, 0.1), (240, 30, 30)),
        (295, (0.8, 0.1, 0.1), (236, 30, 29)),
        (1, (0.8, 0.1, 0.1), (1, 0, 0)),
        (7, (0.5, 0.5, 0), (4, 3, 0)),
        (3, (0, 0, 1), (0, 0, 3)),
    ],
)
def test_splits_have_their_shares(number: int, shares: tuple[float, ...], counts: tuple[int, ...]) -> None:
    assigned = assign_splits([f"m{i}" for i in range(number)], shares, "1/10017")

    found = Counter(assigned.values())
    assert tuple(found[split] for split in SPLITS) == counts
    assert len(assigned) == number


def test_splits_depend_on_seed_and_names_alone() -> None:
    names = [f"m{i}" for i in range(200)]
    assigned = assign_splits(names, (0.8, 0.1, 0.1), "1/10017")

    assert assign_splits(names[::-1], (0.8, 0.1, 0.1), "1/10017") == assigned
    other = assign_splits(names, (0.8, 0.1, 0.1), "2/10017")
    # Two random draws put 0.66 of them into the same split.
    assert 0.5 < np.mean([other[name] == split for name, split in assigned.items()]) < 0.8
    # And they do not follow the order of the names, which is that of the recording session.
    assert 10 < np.median([names.index(name) for name, split in assigned.items() if split == "test"]) < 190


def test_a_micrograph_more_moves_few_of_the_others() -> None:
    names = [f"m{i}" for i in range(100)]
    before, after = (assign_splits(some, (0.8, 0.1, 0.1), "1/10017") for some in (names, [*names, "new"]))

    assert sum(before[name] != after[name] for name in names) <= 2


def test_each_data_set_is_split_by_itself(tmp_path: Path) -> None:
    image = np.eye(8, dtype=np.uint8)
    for dataset in ("10017", "10028"):
        for number in range(10):
            add(tmp_path / "data" / dataset, f"m{number}.png", image, f"{HEADER}3,4,2\n")

    first, second = run(tmp_path / "data", tmp_path / "out", MakeCocoConfig()).counts

    assert (first.train, first.val, first.test) == (second.train, second.val, second.test) == (8, 1, 1)
    in_test = [image.file_name for image in open_coco(tmp_path / "out", "test").images]
    assert {Path(name).parent.name for name in in_test} == {"10017", "10028"}
    for split in SPLITS:
        listed = {image.file_name for image in open_coco(tmp_path / "out", split).images}
        folder = tmp_path / "out" / "images" / split
        assert listed == {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


@pytest.mark.parametrize("split", [(0.8, 0.1, 0.2), (0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_shares_that_do_not_add_up_are_refused(split: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="split"):
        load_config(MakeCocoConfig, None, {"split": split})


# ---- repeated and stopped runs ---------------------------------------------------------------------------------------


def resumed(results: Sequence[MakeCocoResult]) -> int:
    return sum(result.resumed for result in results)


def test_two_runs_give_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    config = MakeCocoConfig(workers=3)
    run(tree, tmp_path / "a", config)
    run(tree, tmp_path / "b", config)

    first, second = files(tmp_path / "a"), files(tmp_path / "b")
    del first["images.jsonl"], second["images.jsonl"]  # in the order in which the images were done
    assert first == second


def test_a_second_run_makes_no_image_again_but_follows_the_labels(tree: Path, tmp_path: Path) -> None:
    run(tree, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    (tree / "10028" / "ground_truth" / "particle_coordinates" / "0.csv").write_text(f"{HEADER}5,6,4\n7,8,4\n")
    (tree / "10017" / "ground_truth" / "particle_coordinates" / "mic 0.csv").unlink()

    started = make_coco(tree, tmp_path / "out", ALL_TRAIN, denoise=False)

    assert resumed(list(started)) == 10
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    images = open_coco(tmp_path / "out", "train").images
    assert "10017/mic 0.png" not in [image.file_name for image in images]
    np.testing.assert_array_equal(images[-2].particles.centres, [[5, 6], [7, 8]])


def test_a_changed_setting_makes_the_images_again(tree: Path, tmp_path: Path) -> None:
    run(tree, tmp_path / "out", denoise=False)

    assert resumed(list(make_coco(tree, tmp_path / "out", ALL_TRAIN, denoise=True))) == 0

    dataset = open_coco(tmp_path / "out", "train")
    assert dataset.denoised
    assert {pixels(dataset, image).dtype for image in dataset.images} == {np.dtype(np.uint8)}


def test_a_changed_micrograph_is_made_again(tree: Path, tmp_path: Path) -> None:
    run(tree, tmp_path / "out")
    path = tree / "10017" / "micrographs" / "mic 0.mrc"
    size = path.stat().st_size
    path.unlink()
    add(tree / "10017", "mic 0.mrc", np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH), None)
    os.utime(path, ns=(1, 1))

    results = list(make_coco(tree, tmp_path / "out", ALL_TRAIN, denoise=False))

    assert path.stat().st_size == size
    assert [result.image for result in results if not result.resumed] == ["10017/mic 0.png"]
    dataset = open_coco(tmp_path / "out", "train")
    np.testing.assert_array_equal(pixels(dataset, dataset.images[0]), mrcfile.read(path))


def test_another_seed_moves_images_and_makes_none_again(tree: Path, tmp_path: Path) -> None:
    run(tree, tmp_path / "out", MakeCocoConfig(split=(0.4, 0.3, 0.3), seed=1))
    before = {name: split for name, (split, _) in all_images(tmp_path / "out").items()}

    results = list(make_coco(tree, tmp_path / "out", MakeCocoConfig(split=(0.4, 0.3, 0.3), seed=2), denoise=False))

    after = {name: split for name, (split, _) in all_images(tmp_path / "out").items()}
    assert resumed(results) == 11
    assert before.keys() == after.keys()
    assert before != after
    assert len(list((tmp_path / "out").rglob("*.png"))) == 11


def test_a_stopped_run_leaves_no_annotations_and_is_continued(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tree, tmp_path / "reference")
    run(tree, tmp_path / "out", denoise=True)  # annotations of other images, which must not survive
    made = 0

    def stop_after_five(*arguments: Any) -> None:
        nonlocal made
        made += 1
        if made > 5:
            raise KeyboardInterrupt
        original(*arguments)

    original = workflow.write_micrograph
    with monkeypatch.context() as patch:
        patch.setattr(workflow, "write_micrograph", stop_after_five)
        with pytest.raises(KeyboardInterrupt):
            run(tree, tmp_path / "out", MakeCocoConfig(split=(1, 0, 0), workers=1))
    assert not list((tmp_path / "out" / "annotations").iterdir())
    with (tmp_path / "out" / "images.jsonl").open("a") as ledger:
        ledger.write('{"image": "10017/mic 0.p')  # as a power cut leaves it

    results = list(make_coco(tree, tmp_path / "out", ALL_TRAIN, denoise=False))

    assert resumed(results) == 5
    assert {name: made for name, made in files(tmp_path / "out").items() if "images/" in name or "annot" in name} == {
        name: made for name, made in files(tmp_path / "reference").items() if "images/" in name or "annot" in name
    }


# ---- what cannot be used ---------------------------------------------------------------------------------------------


def test_micrographs_that_cannot_be_used_are_skipped_with_their_reasons(tree: Path, tmp_path: Path) -> None:
    broken = tree / "10017" / "micrographs" / "mic 0.mrc"
    broken.write_bytes(broken.read_bytes()[:2000])
    (tree / "10017" / "ground_truth" / "particle_coordinates" / "mic 1.csv").write_text(f"{HEADER}30,here,12\n")
    (tree / "10017" / "ground_truth" / "particle_coordinates" / "mic 2.csv").write_text("x,y\n30,20\n")
    add(tree / "10017", "flat.mrc", np.ones((HEIGHT, WIDTH), np.float32), HEADER)

    started = make_coco(tree, tmp_path / "out", ALL_TRAIN, denoise=False)
    errors = {result.image: result.error for result in started if result.error}

    assert "truncated" in errors.pop("10017/mic 0.png")
    assert "'here'" in errors.pop("10017/mic 1.png")
    assert "mic 2.mrc: the labels have no particle diameters" in errors.pop("10017/mic 2.png")
    assert "constant" in errors.pop("10017/flat.png")
    assert not errors
    assert [(c.labelled, c.skipped, c.train) for c in started.counts] == [(10, 4, 6), (2, 0, 2)]
    assert len(open_coco(tmp_path / "out", "train")) == 8


def test_nothing_that_can_be_used_is_an_error(tmp_path: Path) -> None:
    add(tmp_path / "10017", "a.mrc", np.ones((HEIGHT, WIDTH), np.float32), HEADER)

    with pytest.raises(DatasetError, match=r"none of 1 micrographs could be used; the first: .*a\.mrc"):
        run(tmp_path / "10017", tmp_path / "out")


def test_a_tree_without_labels_is_an_error(tmp_path: Path) -> None:
    add(tmp_path / "10017", "a.mrc", discs([]), None)

    with pytest.raises(DatasetError, match="none of 1 micrographs has labels"):
        make_coco(tmp_path / "10017", tmp_path / "out", ALL_TRAIN)


def test_two_data_sets_of_one_name_do_not_meet(tree: Path, tmp_path: Path) -> None:
    (tree / "again").symlink_to(tree / "10028")

    with pytest.raises(DatasetError, match="same data set and name"):
        make_coco(tree, tmp_path / "out", ALL_TRAIN)


def test_a_folder_with_other_files_is_left_alone(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "annotations").mkdir(parents=True)
    (out / "annotations" / "instances_train.json").write_text("mine")

    with pytest.raises(DatasetError, match="out: holds other files"):
        make_coco(tree, out, ALL_TRAIN)

    assert files(out) == {"annotations/instances_train.json": b"mine"}


def test_a_place_that_cannot_be_written_is_named(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(DatasetError, match="cannot write there"):
        run(tree, tmp_path / "file" / "out")


def test_user_data_is_not_touched(tree: Path, tmp_path: Path) -> None:
    before = {name: (content, (tree / name).stat().st_mtime_ns) for name, content in files(tree).items()}

    run(tree, tmp_path / "out")

    assert before == {name: (content, (tree / name).stat().st_mtime_ns) for name, content in files(tree).items()}
