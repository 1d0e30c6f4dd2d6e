"""cryotx: find particles in cryo-EM micrographs.

The command line is ``cryotx``; this is its face for notebooks and programs:

>>> import cryotx_cli as cryotx
>>> particles = cryotx.pick("micrograph.mrc", diameter=160)

Importing it is cheap: each name is loaded when it is used first.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryotx_cli.coordinates.formats.reading import read_particles
    from cryotx_cli.coordinates.particles import Particles
    from cryotx_cli.errors import CryotxError
    from cryotx_cli.micrographs.micrograph import Micrograph, read_micrograph
    from cryotx_cli.version import __version__
    from cryotx_cli.workflows.evaluate import evaluate
    from cryotx_cli.workflows.pick_in_memory import pick

__all__ = [
    "CryotxError",
    "Micrograph",
    "Particles",
    "__version__",
    "evaluate",
    "pick",
    "read_micrograph",
    "read_particles",
]

_HOMES = {
    "CryotxError": "errors",
    "Micrograph": "micrographs.micrograph",
    "Particles": "coordinates.particles",
    "__version__": "version",  # looking it up takes a sixth of what --help may take
    "evaluate": "workflows.evaluate",
    "pick": "workflows.pick_in_memory",
    "read_micrograph": "micrographs.micrograph",
    "read_particles": "coordinates.formats.reading",
}


if not TYPE_CHECKING:  # else every name would be known to type checkers

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
