"""Coordinate files of other programs: one module a format, the only place that knows foreign conventions."""

from cryotx_cli.coordinates.formats.reading import format_of, read_particles

__all__ = ["format_of", "read_particles"]
