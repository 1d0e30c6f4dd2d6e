"""Micrographs that nobody has picked yet: picking by hand, for a set that is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cryotx_cli.coordinates.formats.box import box_side_px
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ConfigError
from cryotx_cli.micrographs.find import MicrographFile
from cryotx_cli.micrographs.micrograph import read_header
from cryotx_cli.micrographs.names import output_stems, relion_stems
from cryotx_cli.review.class_gallery import ClassGallery
from cryotx_cli.review.subject import Cut, Proposed, Subject
from cryotx_cli.runs.folder import absolute_path
from cryotx_cli.runs.ledger import LedgerRow


class FileSubjects:
    """Micrographs without candidates.

    Parameters
    ----------
    files
        The micrographs.
    diameter
        Of a particle in Å.
    pixel_size
        Å per pixel where neither STAR file nor header knows it.
    formats
        Formats to write beside the merged STAR file.

    Raises
    ------
    ParticleFileError
        Two of them would write the same files.
    """

    def __init__(
        self, files: Sequence[MicrographFile], diameter: float, pixel_size: float | None, formats: tuple[str, ...]
    ) -> None:
        self.title = "Picking by hand"
        self.diameter = self.distance = diameter
        self.formats = formats
        self.cuts_of_rates: list[tuple[float, float]] = []
        self.classes: ClassGallery | None = None
        self._stated = pixel_size
        self._sizes = {file.name: file.pixel_size for file in files}
        stems = output_stems([str(absolute_path(file.path)) for file in files])
        relion = relion_stems([file.name for file in files], stems)
        rows = [
            LedgerRow(i, file.name, str(absolute_path(file.path)), stem.as_posix(), "", defocus=file.defocus)
            for i, (file, stem) in enumerate(zip(files, stems, strict=True))
        ]
        self._subjects = [
            Subject(row.index, absolute_path(file.path), replace(_with_time(row), relion=place.as_posix()))
            for row, file, place in zip(rows, files, relion, strict=True)
        ]

    def all(self) -> Sequence[Subject]:
        """Return the micrographs, in the order of the input."""
        return self._subjects

    def box_px(self, pixel_size: float) -> int:
        """Return the side of boxes that suit the diameter."""
        return box_side_px(self.diameter / pixel_size)

    def proposed(self, subject: Subject, cut: Cut) -> Proposed:
        """Return the size of a micrograph, and that nothing is proposed on it.

        Raises
        ------
        MicrographError
            It cannot be read.
        ConfigError
            Nobody knows its pixel size.
        """
        header = read_header(subject.path)
        pixel_size = self._stated or self._sizes[subject.name] or header.pixel_size
        if pixel_size is None:
            raise ConfigError(f"{subject.path}: does not know its pixel size", "Give it with --pixel-size.")
        nothing = replace(Particles.empty(pixel_size), shape=(header.height, header.width))
        return Proposed(nothing, 0, header.height, header.width, self.diameter / pixel_size)

    def refresh(self) -> bool:
        """Nothing changes."""
        return False


def _with_time(row: LedgerRow) -> LedgerRow:
    """Return it with size and time of its file; as it is where that is gone, which opening it says."""
    try:
        status = Path(row.path).stat()
    except OSError:
        return row
    return replace(row, size=status.st_size, modified=status.st_mtime_ns)
