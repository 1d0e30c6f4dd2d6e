"""What the inputs of a run say against each other is told before it picks."""

import cv2
import numpy as np
import pytest
import tifffile

from cryotx_cli.config import PickConfig, ThresholdConfig
from cryotx_cli.micrographs.find import MicrographFile
from cryotx_cli.micrographs.micrograph import write_micrograph
from cryotx_cli.picking.contradictions import tell_of_contradictions, tell_of_tiny_particles
from made_up_runs import noise


def told(files, **settings):
    lines = []
    tell_of_contradictions(files, PickConfig(**settings), lambda event: lines.append(event.text))
    return lines


@pytest.fixture
def micrographs(tmp_path):
    """Three files whose headers say 2.4 Å, and one whose header says nothing."""
    paths = [tmp_path / f"m{number}.mrc" for number in range(4)]
    for number, path in enumerate(paths):
        write_micrograph(path, noise(64, 64, number), 2.4 if number < 3 else None)
    return paths


def files(paths, in_star=None):
    return [MicrographFile(path, path.name, in_star) for path in paths]


ENDING = "is used, and diameter, distances and boxes follow from it."


@pytest.mark.parametrize(
    ("in_star", "asked", "lines"),
    [
        (None, None, []),
        (2.4, None, []),
        (2.41, 2.39, []),  # rounded by somebody
        (1.2, None, ["The STAR or .cs file says 1.2 Å per pixel, the headers of 3 micrographs 2.4 Å: 1.2 Å"]),
        (None, 1.2, ["--pixel-size says 1.2 Å per pixel, the headers of 3 micrographs 2.4 Å: 1.2 Å"]),
        (2.4, 1.2, [
            "--pixel-size says 1.2 Å per pixel, the STAR or .cs file of 4 micrographs 2.4 Å: 1.2 Å",
            "--pixel-size says 1.2 Å per pixel, the headers of 3 micrographs 2.4 Å: 1.2 Å",
        ]),
    ],
)  # fmt: skip
def test_pixel_sizes_that_differ_are_one_line_each(micrographs, in_star, asked, lines):
    assert told(files(micrographs, in_star), pixel_size=asked) == [f"{line} {ENDING}" for line in lines]


def test_of_thousands_some_headers_are_read(micrographs):
    (line,) = told(files(micrographs[:1] * 2000, 1.2))

    assert "the headers of 200 micrographs" in line


def test_files_that_cannot_be_read_say_nothing(tmp_path):
    assert told(files([tmp_path / "gone.mrc", tmp_path / "gone.png"], 1.2)) == []


@pytest.mark.parametrize(("asked", "expected"), [(17.7, True), (1.77, False)])
def test_a_decimal_point_in_the_wrong_place_is_told(micrographs, asked, expected):
    lines = []
    config = PickConfig(diameter=191.0, pixel_size=asked)
    tell_of_tiny_particles(files(micrographs), config, lambda event: lines.append(event.text))
    line = "A particle of 191 Å is only 10.8 px wide at 17.7 Å per pixel"
    assert any(line in one and "enlarged 2.2 times" in one for one in lines) == expected


def test_pictures_in_colour_are_told(tmp_path):
    grey, coloured = noise(64, 64), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "rgb but grey.png"), np.dstack([grey] * 3))
    cv2.imwrite(str(tmp_path / "drawn on.png"), coloured)

    (line,) = told(files([tmp_path / name for name in ("grey.png", "rgb but grey.png", "drawn on.png")]))

    assert line.startswith(f"Pictures in colour: {tmp_path / 'drawn on.png'}. ")


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_tiff_files_in_colour_are_told(tmp_path, compression):
    grey, coloured = noise(64, 64), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    tifffile.imwrite(tmp_path / "grey.tif", grey)
    tifffile.imwrite(tmp_path / "rgb but grey.tif", np.dstack([coloured[..., 0]] * 3), photometric="rgb")
    if compression == "lzw":
        cv2.imwrite(str(tmp_path / "drawn on.tif"), coloured, [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    else:
        tifffile.imwrite(tmp_path / "drawn on.tif", coloured, photometric="rgb", compression=compression)

    (line,) = told(files([tmp_path / name for name in ("grey.tif", "rgb but grey.tif", "drawn on.tif")]))

    assert line.startswith(f"Pictures in colour: {tmp_path / 'drawn on.tif'}. ")


@pytest.mark.parametrize("rule", [{"threshold": 0.3}, {"fdr": 0.05}, {"percentile": 20}, {"expected_count": 30}])
def test_what_is_said_of_unsure_picks_does_nothing_beside_another_rule(rule):
    (line,) = told([], unsure="keep", **rule)

    assert line.startswith("unsure = keep is for threshold auto and does nothing beside ")
    assert " = ".join(map(str, next(iter(rule.items())))) in line
    assert told([], **rule) == told([], unsure="keep") == told([], unsure="drop") == []
    with pytest.raises(ValueError, match="unsure = drop is for threshold auto"):
        ThresholdConfig(unsure="drop", **rule)
    ThresholdConfig(unsure="drop", threshold="auto")
