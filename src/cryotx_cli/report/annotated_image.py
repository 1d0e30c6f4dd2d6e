"""A picture of one micrograph with its picks, for the eye of a microscopist."""

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.files.whole_file import whole_path
from cryotx_cli.micrographs.image import rescale
from cryotx_cli.micrographs.micrograph import Micrograph

LONG_SIDE_PX = 1000
"""Length of the long side of the picture; smaller micrographs are shown as they are."""

_STRIP_PX = 34  # margin above the image for title and colour key: text never hides a particle
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT_SCALE = 0.5
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_FILM = (60, 120, 255)  # BGR; not a colour of the scores
_HATCH_PX = 16
_SHIFT = 4  # cv2 takes positions in 1/16 px
_BAR_LENGTHS_NM = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


def grey_picture(micrograph: Micrograph) -> NDArray[np.uint8]:
    """Return a micrograph as grey levels, its long side at most `LONG_SIDE_PX`; rows as stored."""
    return _stretched(micrograph.image, min(1.0, LONG_SIDE_PX / max(micrograph.image.shape)))


def write_annotated_image(
    path: Path,
    micrograph: Micrograph,
    particles: Particles,
    title: str,
    grey: NDArray[np.uint8] | None = None,
    film: Region | None = None,
) -> None:
    """Write a PNG of `micrograph` with a circle around every pick.

    Rows are as stored, row 0 on top. Each circle has the pick's own diameter, its colour is the score: the same
    colour means the same score in every picture. A bar in the lower left corner gives the scale, a strip above the
    image `title`, the number of picks and the colour key. Film is outlined and hatched.

    Parameters
    ----------
    path
        PNG file to write, whole or not at all; its folder exists.
    micrograph
        What to show, downsampled to `LONG_SIDE_PX` by area averaging.
    particles
        Picks to draw, in pixels of `micrograph`.
    title
        What to call the micrograph; shortened in the middle where the picture is narrow.
    grey
        Its `grey_picture`, for those who have it already.
    film
        Where the micrograph shows support film or large ice crystals, in its pixels.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    height, width = micrograph.image.shape
    grey = grey_picture(micrograph) if grey is None else grey
    image = np.repeat(grey[:, :, None], 3, axis=2)
    scale_x, scale_y = image.shape[1] / width, image.shape[0] / height
    if film:
        _draw_film(image, film, scale_x, scale_y)
    _draw_circles(image, particles, scale_x, scale_y)
    _draw_scale_bar(image, micrograph.pixel_size / scale_x)
    readable = os.fsencode(title).decode(errors="replace")  # OpenCV dies of a name that is no text
    picture = np.vstack([_title_strip(image.shape[1], readable, len(particles), bool(film)), image])
    _write_png(path, picture)


def _stretched(image: NDArray[np.float32], scale: float) -> NDArray[np.uint8]:
    """Downsample and stretch to 8 bits: grey levels follow the ice and the particles, not hot pixels or carbon edges.

    Outliers are clipped before averaging: a hot pixel a thousand times brighter than its neighbours would outshine its
    whole block. The smooth image has a far narrower range, so its own percentiles are taken; where thousands of
    bad pixels or a dead row fill the percentiles, three standard deviations of the rest are the limit.
    """
    middle, spread = _middle_and_spread(image)
    limits = (np.float32(middle - 6 * spread), np.float32(middle + 6 * spread)) if spread > 0 else None
    smooth = cv2.GaussianBlur(rescale(image, scale, limits), (0, 0), 1.3).astype(np.float32)
    low, high = (float(level) for level in np.percentile(smooth[::2, ::2], (0.5, 99.5)))
    middle, spread = _middle_and_spread(smooth)
    if spread > 0:
        low, high = max(low, middle - 3 * spread), min(high, middle + 3 * spread)
    stretched = (smooth - low) * (255 / (high - low)) if high > low else np.full_like(smooth, 128)
    return np.clip(stretched, 0, 255).astype(np.uint8)


def _middle_and_spread(image: NDArray[np.float32]) -> tuple[float, float]:
    """Median and standard deviation of a sample of pixels; outliers hardly move either."""
    sample = image[:: max(1, image.shape[0] // 250), :: max(1, image.shape[1] // 250)]
    middle = float(np.median(sample))
    return middle, 1.4826 * float(np.median(np.abs(sample - middle)))  # 1.4826 MAD = standard deviation if normal


def _draw_film(image: NDArray[np.uint8], film: Region, scale_x: float, scale_y: float) -> None:
    """Draw a line around the film and thin lines across it: which side of the line it is on must be plain."""
    outlines = [(one + 0.5) * (scale_x, scale_y) - 0.5 for one in film.outlines]
    points = [np.rint(one * 2**_SHIFT).astype(np.int32) for one in outlines]
    inside, hatched = np.zeros(image.shape[:2], np.uint8), image.copy()
    cv2.fillPoly(inside, points, 255, cv2.LINE_8, _SHIFT)
    height, width = image.shape[:2]
    for x in range(0, width + height, _HATCH_PX):
        cv2.line(hatched, (x, 0), (x - height, height), _FILM, 1, cv2.LINE_AA)
    np.copyto(image, hatched, where=inside[:, :, None] > 0)
    cv2.polylines(image, points, True, _BLACK, 4, cv2.LINE_AA, _SHIFT)
    cv2.polylines(image, points, True, _FILM, 2, cv2.LINE_AA, _SHIFT)


def _draw_circles(image: NDArray[np.uint8], particles: Particles, scale_x: float, scale_y: float) -> None:
    colours = score_colours(particles.scores)
    centres = (particles.centres + 0.5) * (scale_x, scale_y) - 0.5  # pixel centres stay pixel centres
    radii = particles.diameters / 2 * (scale_x + scale_y) / 2
    for i in np.argsort(particles.scores, kind="stable"):  # the best on top
        centre = [round(v * 2**_SHIFT) for v in centres[i]]
        radius = round(radii[i] * 2**_SHIFT)
        cv2.circle(image, centre, radius, colours[i].tolist(), 2, cv2.LINE_AA, _SHIFT)


def score_colours(scores: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return BGR colours, shape (n, 3), of scores 0 to 1."""
    levels = np.clip(np.rint(scores * 255), 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_VIRIDIS)
    return np.asarray(colours, np.uint8).reshape(256, 3)[levels]


def _draw_scale_bar(image: NDArray[np.uint8], pixel_size: float) -> None:
    """Draw the longest bar of a round length within a quarter of the width; `pixel_size` is that of the picture."""
    height, width = image.shape[:2]
    fitting = [nm for nm in _BAR_LENGTHS_NM if nm * 10 / pixel_size <= width / 4]
    if not fitting:
        return
    length = round(fitting[-1] * 10 / pixel_size)
    left, bottom = 14, height - 14
    cv2.rectangle(image, (left - 2, bottom - 6), (left + length + 1, bottom + 1), _BLACK, cv2.FILLED)
    cv2.rectangle(image, (left, bottom - 4), (left + length - 1, bottom - 1), _WHITE, cv2.FILLED)
    label, origin = f"{fitting[-1]} nm", (left, bottom - 13)
    cv2.putText(image, label, origin, _FONT, _TEXT_SCALE, _BLACK, 4, cv2.LINE_AA)
    cv2.putText(image, label, origin, _FONT, _TEXT_SCALE, _WHITE, 1, cv2.LINE_AA)


def _title_strip(width: int, title: str, picks: int, film: bool) -> NDArray[np.uint8]:
    strip = np.full((_STRIP_PX, width, 3), 24, np.uint8)
    key_left = _draw_colour_key(strip)
    count = f"   {picks} pick{'' if picks == 1 else 's'}"
    said = "   film or ice" if film else ""
    name = _shortened(title, key_left - 20 - _text_width(count + said))
    cv2.putText(strip, name + count, (8, 22), _FONT, _TEXT_SCALE, _WHITE, 1, cv2.LINE_AA)
    if film:
        cv2.putText(strip, said, (8 + _text_width(name + count), 22), _FONT, _TEXT_SCALE, _FILM, 1, cv2.LINE_AA)
    return strip


def _draw_colour_key(strip: NDArray[np.uint8]) -> int:
    """Draw "score 0 [colours] 1" at the right end; return where it begins, the strip's width if there is no room."""
    width = int(strip.shape[1])
    bar = 100
    left = width - 8 - _text_width("1") - 6 - bar
    begin = left - 6 - _text_width("score 0")
    if begin < width / 3:
        return width
    strip[10:24, left : left + bar] = score_colours(np.linspace(0, 1, bar))
    cv2.putText(strip, "score 0", (begin, 22), _FONT, _TEXT_SCALE, _WHITE, 1, cv2.LINE_AA)
    cv2.putText(strip, "1", (left + bar + 6, 22), _FONT, _TEXT_SCALE, _WHITE, 1, cv2.LINE_AA)
    return begin


def _shortened(text: str, room: int) -> str:
    """Cut `text` in its middle until it fits: both ends of a micrograph's name matter."""
    keep = len(text)
    short = text
    while keep > 2 and _text_width(short) > room:
        keep -= 1
        short = f"{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}"
    return short


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, _FONT, _TEXT_SCALE, 1)[0][0])


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    # The noise of a micrograph hardly compresses: higher levels and filters take up to several times as long for a file
    # at most a tenth smaller. The strategy finds that the three channels are mostly alike; run lengths would not.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
    data = cv2.imencode(".png", picture, [*options, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE])[1].tobytes()
    with whole_path(path) as unfinished:
        unfinished.write_bytes(data)
