"""How messages count things and name a few of many."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, unit: str) -> str:
    """Return a number with its noun, of which `unit` is the plural in s: ``1 micrograph``, ``2 micrographs``."""
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def some_of(names: Iterable[str], most: int = 2) -> str:
    """Name the first few and count the others: ``a, b and 3 more``; ``none`` where there is none."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return f"{', '.join(listed[:most]) or 'none'}{more}"
