"""How messages count things and name a few of many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SEPARATOR = re.compile(r"[_.-]")


def counted(number: int, unit: str) -> str:
    """Return a number with its noun, of which `unit` is the plural in s: ``1 micrograph``, ``2 micrographs``."""
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def some_of(names: Iterable[str], most: int = 2) -> str:
    """Name the first few and count the others: ``a, b and 3 more``; ``none`` where there is none."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return f"{', '.join(listed[:most]) or 'none'}{more}"


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Cut names to a width, so that they can still be told apart; as they are where they fit, or cannot be told apart.

    Folders go first, then what all names begin and end with, then the middle of each.
    """
    if max(map(len, names), default=0) <= width:
        return list(names)
    cut = [name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] for name in names]
    if max(map(len, cut)) > width and (begin := _common(cut)):
        cut = [f"…{name[begin:]}" for name in cut]
    if max(map(len, cut)) > width and (end := _common([name[::-1] for name in cut])):
        cut = [f"{name[:-end]}…" for name in cut]
    half = max(width - 1, 2) // 2
    cut = [name if len(name) <= width else f"{name[:half]}…{name[-half:]}" for name in cut]
    return cut if len(set(cut)) == len(set(names)) else list(names)


def _common(names: Sequence[str]) -> int:
    """Return how many characters of several names are those that all begin with, as far as the last separator."""
    if len(names) < 2:
        return 0
    low, high = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return max((found.end() for found in _SEPARATOR.finditer(low[:same])), default=0)
