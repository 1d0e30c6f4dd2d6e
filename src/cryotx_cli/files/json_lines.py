"""Files of JSON objects, one a line, that a run adds to as it goes: ledgers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryotx_cli.files.whole_file import whole_file


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in the order of the file; none where there is no file.

    A line that a stopped run wrote half is left out.
    """
    rows = []
    with suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                rows += [row] if isinstance(row, dict) else []
    return rows


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Begin a file anew with these objects, whole or not at all.

    Raises
    ------
    ParticleFileError
        If it cannot be written.
    """
    with whole_file(path) as file:
        file.writelines(map(_line, rows))


def append_json_line(path: Path, row: Mapping[str, Any]) -> None:
    """Add an object at the end.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"
