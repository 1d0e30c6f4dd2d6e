"""Draw docs/images/class_averages.png: the averages of runs side by side, as the report orders them.

Usage: python docs/class_picture.py docs/images/class_averages.png RUN [RUN ...]

Each RUN is the folder of a run that ``cryotx classes`` has averaged; each gets a row.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.picking.page import classes_to_show
from cryotx_cli.report.class_average import ReportClass
from cryotx_cli.runs.stored import read_run

SIDE, GAP, CAPTION, MOST = 150, 10, 26, 5
FONT, INK = cv2.FONT_HERSHEY_SIMPLEX, 40
BARS_NM = (2, 5, 10, 20)


def tile(one: ReportClass, width: float) -> NDArray[np.uint8]:
    """Return an average that is `width` Å wide with its scale bar, and below it its number and what it resolves."""
    low, high = np.percentile(one.average, (0.5, 99.5))
    grey = np.clip((one.average - low) / (high - low) * 255, 0, 255).astype(np.float32)
    picture = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    nm = max(length for length in BARS_NM if 10 * length <= width / 3)
    end = 8 + round(10 * nm / width * SIDE)
    cv2.rectangle(picture, (8, SIDE - 10), (end, SIDE - 8), 255, cv2.FILLED)
    cv2.putText(picture, f"{nm} nm", (8, SIDE - 15), FONT, 0.36, 255, 1, cv2.LINE_AA)
    caption = np.full((CAPTION, SIDE), 255, np.uint8)
    resolved = one.words.replace("–", "-").replace("Å", "A")
    cv2.putText(caption, f"{one.number}: {resolved}", (2, 17), FONT, 0.45, INK, 1, cv2.LINE_AA)
    return np.vstack([picture, caption])


def row(folder: Path) -> NDArray[np.uint8]:
    """Return the first averages of a run, on white."""
    classes = classes_to_show(read_run(folder, to_read=True))
    if classes is None:
        sys.exit(f"{folder}: no classes of this run; cryotx classes {folder} makes them")
    shown = classes.best_first[:MOST]
    for one in shown:
        print(f"{folder}: class {one.number}, {one.words}")
    line = np.full((SIDE + CAPTION, MOST * (SIDE + GAP) - GAP), 255, np.uint8)
    for i, one in enumerate(shown):
        line[:, i * (SIDE + GAP) : i * (SIDE + GAP) + SIDE] = tile(one, classes.side)
    return line


def main(path: Path, *runs: str) -> None:
    """Draw the picture and say what it shows."""
    cv2.imwrite(str(path), np.vstack([row(Path(run)) for run in runs]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
