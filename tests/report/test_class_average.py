"""Class averages side by side."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cryotx_cli.report.class_average import write_sheet


@pytest.mark.parametrize(("count", "columns", "rows"), [(2, 2, 1), (6, 6, 1), (8, 6, 2)])
def test_a_sheet_has_six_averages_in_a_row_and_their_captions(
    tmp_path: Path, count: int, columns: int, rows: int
) -> None:
    averages = [np.eye(16) for _ in range(count)]

    write_sheet(tmp_path / "sheet.png", averages, [f"{i}: 20 picks" for i in range(count)])

    sheet = cv2.imread(str(tmp_path / "sheet.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    height, width = sheet.shape[0] // rows, sheet.shape[1] // columns
    last = sheet[(rows - 1) * height :, :width]
    assert last[: width - 8].min() == 0  # the average is drawn from black to white
    assert last[width:].min() < 100  # and there is text below it
    assert (sheet[-height:, (count % 6 or 6) * width :] == 255).all()
