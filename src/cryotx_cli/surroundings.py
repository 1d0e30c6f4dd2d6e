"""What the machine or the user's shell has done to a command, as a line that says what to do about it.

Imports nothing outside the standard library: any library may be the broken one.
"""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

from cryotx_cli.errors import CryotxError

_OURS = Path(__file__).resolve().parent
LEAST_MEMORY = 4_000_000_000
"""Bytes of address space with which loading PyTorch and picking a small micrograph do not fail."""

_LITTLE_MEMORY = ("failed to map segment", "cannot allocate memory", "can't allocate memory", "can't start new thread")


def require_working_folder() -> None:
    """Check that the folder in which a command was started is still there: relative paths would lead nowhere.

    Raises
    ------
    CryotxError
        If it is gone.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise CryotxError(
            "the working folder is gone: it was removed or replaced after this shell went into it",
            "Go to a folder that is there (cd), and repeat the command.",
        ) from error


def require_memory() -> None:
    """Refuse to load PyTorch where the shell's limit would kill the process while it does.

    Raises
    ------
    CryotxError
        If the limit is that low.
    """
    limit = address_space_limit()
    if limit is not None and limit < LEAST_MEMORY:
        raise _little_memory("PyTorch and a micrograph do not fit")


def explained(error: BaseException) -> CryotxError | None:
    """Return what an exception means that is no fault of cryotx, but of where it runs; None where it is one."""
    if isinstance(error, CryotxError):
        return error
    reason = first_line(error)
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _LITTLE_MEMORY):
        return _little_memory(reason)
    library = broken_library(error)
    if library is not None:
        name, file = library
        where = f" from {file}" if file else ""
        return CryotxError(f"{name} cannot be imported{where}: {reason}", remedy_for(file))
    if isinstance(error, OSError):
        try:
            Path.cwd()
        except OSError:
            return CryotxError(
                "the working folder was removed while the command ran", "Go to a folder that is there, and repeat it."
            )
    return None


def broken_library(error: BaseException) -> tuple[str, str] | None:
    """Return name and file of the library whose import has raised this; None if no import has.

    The file is empty where the library is not there at all.
    """
    found: tuple[str, str] | None = None
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name == "<module>" and not Path(code.co_filename).is_relative_to(_OURS):
            name = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
            # The innermost one is to blame: torch fails where NumPy does.
            if name not in ("__main__", "") and (found is None or found[0] != name):
                found = name, code.co_filename
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename:  # no frame: it was never run
        return _library_of(Path(error.filename)), error.filename
    if found is not None:
        return found
    if isinstance(error, ImportError) and error.name and not error.name.startswith("cryotx_cli"):
        return error.name.partition(".")[0], error.path or ""
    return None


def _library_of(file: Path) -> str:
    return file.parent.name if file.name == "__init__.py" else file.stem


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, or its name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_from_pythonpath(file: str) -> bool:
    """Whether a library was found by PYTHONPATH, which other programs set for themselves."""
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return bool(file) and any(folder and Path(file).is_relative_to(Path(folder).absolute()) for folder in folders)


def remedy_for(file: str) -> str:
    """Say what to do about a library that cannot be imported from this file."""
    if is_from_pythonpath(file):
        return "PYTHONPATH puts another program's libraries before those of cryotx: unset PYTHONPATH, and repeat it."
    if file and Path(file).is_relative_to(site.getusersitepackages()):
        return "It is one of your own (pip install --user): set PYTHONNOUSERSITE=1, and repeat the command."
    return "Install cryotx in an environment of its own: pip install cryotx-cli."


def _little_memory(reason: str) -> CryotxError:
    limit = address_space_limit()
    found = f"; this shell allows {limit / 1e9:.1f} GB (ulimit -v)" if limit else ""
    remedy = "Raise the limit (ulimit -v unlimited)" if limit else "Free some, or ask the queue for more"
    return CryotxError(
        f"not enough memory: {reason}{found}", f"{remedy}: picking takes 4 GB, and more where micrographs are large."
    )


def address_space_limit() -> int | None:
    """Return how many bytes of address space a process may take here; None where there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft
