"""What loading libraries costs a command that uses little of them. Imports nothing outside the standard library."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_FOR_COMPILERS = "torch._meta_registrations"
"""What PyTorch knows of the shapes of results without computing them; it takes a fifth of the import, and 20 MB."""
_TRIED = "__version__ = '2.14."


def pass_over_plugins() -> None:
    """Tell the libraries that are loaded from here on not to look for plugins among the installed packages.

    PyTorch asks all of them for devices of other makers, of which cryotx uses none, and Pydantic for what changes its
    checks: each reads a file of every package. What the user has set stays.
    """
    os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def put_off_compilers() -> None:
    """Let PyTorch, when it is loaded from here on, leave out what only its compilers need until somebody needs it.

    PyTorch's device ``meta`` needs it, too, and does not ask. So this is for a process that only picks, and for
    the version of PyTorch with which it has been tried.
    """
    torch = None if "torch" in sys.modules else PathFinder.find_spec("torch")
    if torch is None or torch.origin is None:
        return
    with suppress(OSError):
        if _TRIED in Path(torch.origin).with_name("version.py").read_text(encoding="utf-8"):
            sys.meta_path.insert(0, _PutOff())


class _PutOff:
    """Finds that one module, as one to be loaded later."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find the module where any import would; anything else is for others to find."""
        later = sys.modules.get(_FOR_COMPILERS)
        if name == "torch._dynamo" and isinstance(later, _Later):
            later.load()
        found = PathFinder.find_spec(name, path, target) if name == _FOR_COMPILERS else None
        if found is not None and found.loader is not None:
            found.loader = _LoadLater(found.loader)
        return found


class _LoadLater(Loader):
    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Later(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing yet."""


class _Later(ModuleType):
    """A module that is loaded when something in it is looked for; that of Python's library also when its file is."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.load()
        return getattr(self, name)

    def load(self) -> None:
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec = self.__spec__
        assert spec is not None
        assert isinstance(spec.loader, _LoadLater)
        spec.loader = self.__loader__ = spec.loader.loader
        spec.loader.exec_module(self)


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
