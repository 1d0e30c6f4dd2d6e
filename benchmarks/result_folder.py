"""A folder in which a long benchmark keeps what it has, so that a stopped one goes on."""

import sys
from pathlib import Path


def claim(out: Path, description: str) -> None:
    """Refuse a folder with results of other settings, which would be taken for those of these."""
    file = out / "settings.txt"
    if file.exists() and file.read_text() != description:
        sys.exit(f"{out} holds results of other settings:\n{file.read_text()}\nChoose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(description)
