"""STAR files as tables, whatever they hold: the grammar that RELION and crYOLO share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import ParticleFileError

if TYPE_CHECKING:
    import pandas as pd

_TEXT_COLUMNS = ["rlnMicrographName", "rlnMicrographCoordinates", "rlnOpticsGroupName"]


def read_blocks(path: Path) -> dict[str, Any]:
    """Return the blocks of a STAR file by name: a DataFrame for a loop, a mapping for single values.

    Raises
    ------
    ParticleFileError
        If it cannot be read as STAR.
    """
    import starfile

    try:
        path.open("rb").close()  # starfile reads a file without the right to as an empty one
        return dict(starfile.read(path, always_dict=True, parse_as_string=_TEXT_COLUMNS))
    except OSError as error:
        raise ParticleFileError(f"{path}: cannot be read: {error.strerror or error}", "Check the path.") from error
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        reason = " ".join(str(error).split())  # pandas ends some with a line break
        raise ParticleFileError(f"{path}: cannot be read as STAR: {reason}") from error


def block_with(blocks: dict[str, Any], *columns: str) -> pd.DataFrame | None:
    """Return the first block that has all these columns; one without a loop as a single row."""
    import pandas as pd

    for block in blocks.values():
        if all(column in block for column in columns):
            return block if isinstance(block, pd.DataFrame) else pd.DataFrame([block])
    return None


def contents(blocks: dict[str, Any]) -> str:
    """Tell which tables and columns there are, for a message."""
    told = "; ".join(f"data_{name} with {', '.join(map(str, block))}" for name, block in blocks.items())
    return (told[:500] + " ..." if len(told) > 500 else told) or "no tables"


def numbers(table: pd.DataFrame, column: str, path: Path) -> NDArray[np.float64]:
    """Return a column of finite numbers, (n,).

    Raises
    ------
    ParticleFileError
        If one of them is not a finite number.
    """
    values = numbers_or_nan(table, column, path)
    if not np.isfinite(values).all():
        raise ParticleFileError(
            f"{path}: _{column} is not a finite number in row {np.flatnonzero(~np.isfinite(values))[0] + 1}"
        )
    return values


def numbers_or_nan(table: pd.DataFrame, column: str, path: Path) -> NDArray[np.float64]:
    """Return a column of numbers, (n,), NaN where a value is missing (``<NA>``).

    Raises
    ------
    ParticleFileError
        If it holds text.
    """
    try:
        return table[column].to_numpy(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ParticleFileError(f"{path}: _{column} holds something that is not a number: {error}") from error
