"""What the C library keeps of memory that is free again. Imports nothing outside the standard library."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt
_LARGE = 4 << 20
_KEPT = 32 << 20


def release_large_blocks() -> None:
    """Give memory back to the system: all that is free now, and from now on each block of 4 MiB as it becomes free.

    Left to itself the library keeps for each thread what the largest image, or the largest layer of a network, has
    taken once, in pieces into which the next one hardly fits: 150 MiB a thread. What smaller blocks leave free, up to
    32 MiB a thread, stays: the system takes as long to hand out new memory as a tenth of a network's calculations.
    Does nothing where it is not glibc.
    """
    set_option, give_back = _function("mallopt"), _function("malloc_trim")
    if set_option is not None and give_back is not None:
        set_option(_MMAP_THRESHOLD, _LARGE)
        set_option(_TRIM_THRESHOLD, _KEPT)
        give_back(0)


def _function(name: str) -> Callable[..., int] | None:
    try:
        found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # a system on which a program has no symbols of its own
        return None
    return found
