"""cryotx: find particles in cryo-EM micrographs."""

from importlib.metadata import version

__version__ = version("cryotx-cli")
