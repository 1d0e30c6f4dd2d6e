"""What loading libraries costs a command that uses little of them. Imports nothing outside the standard library."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


def pass_over_plugins() -> None:
    """Tell the libraries that are loaded from here on not to look for plugins among the installed packages.

    PyTorch asks all of them for devices of other makers, of which cryotx uses none, and Pydantic for what changes its
    checks: each reads a file of every package. What the user has set stays.
    """
    os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage in this context, nor soon in what it leaves: an import leaves none.

    Looking takes a tenth of the time that importing PyTorch does, and as long once more just after it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # into the oldest generation, which is looked through last
            gc.enable()


def leave_garbage() -> None:
    """Look for no garbage at the end of the process, for which the interpreter goes through all that was loaded."""
    gc.freeze()
