"""Lines of text and pictures as a PDF, for programs that show nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cryotx_cli.files.whole_file import whole_binary_file

_PAGE_PX = (1240, 1754)  # A4 at 150 dots an inch
_DPI = 150
_MARGIN_PX, _LETTER_PX, _LINE_PX = 90, 26, 44


def write_pdf(path: Path, title: str, lines: Sequence[str], pictures: Iterable[Path]) -> None:
    """Write a first page of text, and a page for each picture.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    title, lines
        What the first page says; what does not fit onto it is left out.
    pictures
        Image files; those that are not there are passed over.

    Raises
    ------
    ParticleFileError
        The file cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    first = Image.new("RGB", _PAGE_PX, "white")
    draw, letters = ImageDraw.Draw(first), ImageFont.load_default(_LETTER_PX)
    for i, line in enumerate([title, "", *lines]):
        text = line.replace("Å", "A").replace("–", "-")  # its font has neither
        draw.text((_MARGIN_PX, _MARGIN_PX + i * _LINE_PX), text, "black", letters)
    pages = [Image.open(picture).convert("RGB") for picture in pictures if picture.is_file()]
    with whole_binary_file(path) as file:
        first.save(file, "PDF", save_all=True, append_images=pages, resolution=_DPI)
