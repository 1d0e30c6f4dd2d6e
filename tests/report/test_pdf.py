"""Text and pictures as a PDF."""

import io
import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cryotx_cli.report.pdf import write_pdf


def images_of(pdf: Path) -> list[np.ndarray]:
    """Return the pages, which are JPEG images."""
    found = re.findall(rb"stream\r?\n(\xff\xd8.*?)\r?\nendstream", pdf.read_bytes(), re.DOTALL)
    return [np.asarray(Image.open(io.BytesIO(one))) for one in found]


def test_a_page_of_text_and_one_for_each_picture_that_is_there(tmp_path: Path) -> None:
    picture = np.full((40, 60, 3), (200, 100, 0), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)

    write_pdf(tmp_path / "log.pdf", "Picks", ["277 Å"], [tmp_path / "a.png", tmp_path / "missing.png"])

    text, page = images_of(tmp_path / "log.pdf")
    assert page.shape == (40, 60, 3)
    assert np.abs(page.mean(axis=(0, 1)) - [0, 100, 200]).max() < 5  # OpenCV writes blue first
    assert text.shape[:2] == (1754, 1240)
    rows = np.flatnonzero((text < 100).any(axis=(1, 2)))
    assert 80 < rows.min() < 130  # the title is on top, in the margin there is nothing
    assert rows.max() < 300


def test_more_lines_make_a_longer_text(tmp_path: Path) -> None:
    lengths = []
    for count in (1, 5):
        write_pdf(tmp_path / "log.pdf", "Picks", ["line"] * count, [])
        (text,) = images_of(tmp_path / "log.pdf")
        lengths.append(int(np.flatnonzero((text < 100).any(axis=(1, 2))).max()))
    assert lengths[1] > lengths[0] + 100
