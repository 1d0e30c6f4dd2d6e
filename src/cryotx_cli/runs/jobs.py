"""The micrographs of a run of picking: where the files of each go, and whether an earlier run has finished it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cryotx_cli.coordinates.formats.table import table_formats
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.micrographs.micrograph import MicrographFile
from cryotx_cli.micrographs.names import output_stems, relion_stems
from cryotx_cli.runs.candidates import Candidates, read_candidates
from cryotx_cli.runs.folder import (
    MicrographOutputs,
    PickFolder,
    absolute_path,
    coordinate_files,
    decoy_key,
    fingerprint,
)
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.selection import Selection
from cryotx_cli.runs.settled import Settled
from cryotx_cli.version import __version__

_CHECKED_AT_ONCE = 1 << 18  # bytes: they stay in the processor's cache


@dataclass(frozen=True)
class FileContent:
    """What tells a micrograph file from others.

    Parameters
    ----------
    size, modified
        Bytes, and the time of modification in nanoseconds; of a copy those of the file that was picked first, of
        another file of the same bytes and time a negative number instead.
    checksum
        CRC-32 of the file; None where it has not been read.
    """

    size: int
    modified: int
    checksum: int | None


@dataclass(frozen=True, eq=False)
class PickJob:
    """One micrograph, where its files go, what chooses its picks, and fingerprints of all that decides them.

    Parameters
    ----------
    is_surveyed
        Its candidates are those of this run, though everything is to be picked again.
    """

    index: int
    file: MicrographFile
    stem: Path
    relion: Path
    outputs: MicrographOutputs
    candidates_key: str
    picks_key: str
    selection: Selection
    content: FileContent
    is_surveyed: bool = False

    @property
    def decoy_key(self) -> str:
        """Fingerprint of everything that decides the candidates of its decoy."""
        return decoy_key(self.candidates_key)

    def row(self) -> LedgerRow:
        """Return its row of the ledger as long as nothing has been done."""
        path = absolute_path(self.file.path)
        return LedgerRow(
            self.index,
            self.file.name,
            str(path),
            self.stem.as_posix(),
            self.picks_key,
            defocus=self.file.defocus,
            relion=self.relion.as_posix(),
            from_run=os.path.relpath(path, absolute_path(self.outputs.candidates).parents[len(self.stem.parts)]),
            size=self.content.size,
            modified=self.content.modified,
            checksum=self.content.checksum,
            ctf=None if self.file.ctf is None else asdict(self.file.ctf),
        )


class PickJobs:
    """Makes the jobs of a run and finds what an earlier one has done of them.

    Parameters
    ----------
    folder
        Where the run writes.
    settled
        Settings of the run.
    picker
        Fingerprint of the picker.

    Attributes
    ----------
    settled : Settled
        Settings of the jobs that are made from now on.
    surveyed : frozenset of int
        Places of the micrographs that have been looked at before the others.
    """

    def __init__(self, folder: PickFolder, settled: Settled, picker: str) -> None:
        self.settled, self.surveyed = settled, frozenset[int]()
        self._folder, self._picker = folder, picker
        self._known: dict[str, tuple[int, Path, Path]] = {}  # index, stem and place in relion/ by real path
        self._stems: set[Path] = set()
        self._relion: set[Path] = set()
        self._base: Path | None = None
        self._earlier = folder.ledger.read()
        self._contents: dict[tuple[str, int, int], FileContent] = {}  # by path, size and time
        self._named: dict[tuple[str, str], PickJob] = {}  # by format, and by what it calls the micrograph

    def note_survey(self, jobs: Sequence[PickJob], places: Iterable[int], checksums: Mapping[int, int]) -> None:
        """Take note of what is known of some micrographs before they are picked: jobs made from now on know it.

        Parameters
        ----------
        jobs
            Of the run.
        places
            Of those among them that are `surveyed`.
        checksums
            Of files that have been read, by the place of their job.
        """
        self.surveyed |= {jobs[place].index for place in places}
        for place, checksum in checksums.items():
            known = jobs[place].content
            key = next((key for key, content in self._contents.items() if content is known), None)
            if key is not None and known.checksum is None:
                self._contents[key] = replace(known, checksum=checksum)

    def plan(self, files: Sequence[MicrographFile]) -> list[PickJob]:
        """Return the jobs of all the micrographs of a run, in their order.

        Raises
        ------
        ParticleFileError
            Two of them would write the same files.
        """
        stems = output_stems([str(absolute_path(file.path)) for file in files])
        relion = relion_stems([file.name for file in files], stems)
        return [self._job(index, *one) for index, one in enumerate(zip(files, stems, relion, strict=True))]

    def arrived(self, file: MicrographFile, folders: Sequence[Path]) -> PickJob:
        """Return the job of one more micrograph; it keeps index and names when it arrives once more.

        Parameters
        ----------
        file
            The micrograph.
        folders
            Input folders: names of files are relative to what they have in common, as they will be when all
            micrographs are there.
        """
        key = os.path.realpath(file.path)
        if self._base is None:
            self._base = Path(os.path.commonpath([absolute_path(one) for one in folders or [file.path.parent]]))
        if key not in self._known:
            stem = self._free_stem(file)
            self._known[key] = len(self._known), stem, self._free_relion(file, stem)
        index, stem, relion = self._known[key]
        return self._job(index, file, stem, relion)

    def check_name(self, job: PickJob) -> None:
        """Check that the files that hold all micrographs can hold this one: a name that cannot must not spoil them.

        Raises
        ------
        ParticleFileError
            The name cannot be written, or is that of another micrograph for a format that is asked for.
        """
        for one in table_formats():
            if one.in_run and one.name not in self.settled.formats:
                continue
            (name,) = one.names([job.file.name])
            first = self._named.setdefault((one.name, name), job)
            if first.index != job.index:
                one.names([first.file.name, job.file.name])

    def finished_earlier(self, job: PickJob) -> Particles | None:
        """Return the picks of a finished micrograph: choosing again among its candidates gives the same ones."""
        config = self.settled.config
        pictures = [job.outputs.png] * config.images + [job.outputs.thumbnail] * config.report
        coordinates = coordinate_files(job.outputs, self.settled.formats).values()
        if not all(path.exists() for path in (*coordinates, *pictures)):
            return None
        candidates = stored_candidates(job, self.settled)
        return None if candidates is None else job.selection.choose(candidates).particles

    def _job(self, index: int, file: MicrographFile, stem: Path, relion: Path) -> PickJob:
        content = self._content(file)
        candidates_key = fingerprint(
            __version__,
            self._picker,
            self.settled.diameter,
            self.settled.config.pixel_size,
            self.settled.contrast,
            file.pixel_size,
            file.name,
            content.size,
            content.modified,
        )
        settled, outputs = self.settled, self._folder.outputs(stem, relion)
        picks_key, is_surveyed = settled.picks_key(candidates_key), index in self.surveyed
        choice = settled.selection
        return PickJob(index, file, stem, relion, outputs, candidates_key, picks_key, choice, content, is_surveyed)

    def _content(self, file: MicrographFile) -> FileContent:
        """Return what tells this file from others; a copy of the one that was picked earlier counts as that one."""
        try:
            status = file.path.stat()
        except OSError:  # a file that is gone fails when it is read
            return FileContent(0, 0, None)
        key = (str(file.path), status.st_size, status.st_mtime_ns)
        if key not in self._contents:
            found, row = FileContent(status.st_size, status.st_mtime_ns, None), self._earlier.get(file.name)
            if row is not None and row.size == found.size:
                untouched = row.modified == found.modified and row.path == str(absolute_path(file.path))
                if not untouched:
                    found = replace(found, checksum=checksum_of(file.path))
                if untouched or (row.checksum is not None and row.checksum == found.checksum):
                    found = FileContent(row.size, row.modified, row.checksum)
                elif row.modified == found.modified:  # another file of the same second
                    found = replace(found, modified=-1 - (found.checksum or 0))
            self._contents[key] = found
        return self._contents[key]

    def _free_stem(self, file: MicrographFile) -> Path:
        """Return a stem that no micrograph before has; others may follow that would share it."""
        assert self._base is not None
        path = absolute_path(file.path)
        try:
            # A neighbour that lies in the folder itself keeps all folders below it in the names.
            stem = output_stems([str(self._base / f"{path.name}.neighbour"), str(path)])[1]
        except ParticleFileError:
            stem = Path(f"micrograph-{len(self._known)}")
        for free in (stem, stem.with_name(path.name), Path(f"micrograph-{len(self._known)}")):
            if free not in self._stems:
                break
        self._stems.add(free)
        return free

    def _free_relion(self, file: MicrographFile, stem: Path) -> Path:
        (wanted,) = relion_stems([file.name], [stem])
        places = (wanted, stem, Path(f"micrograph-{len(self._known)}"))
        free = next(place for place in places if place not in self._relion)
        self._relion.add(free)
        return free


def stored_candidates(job: PickJob, settled: Settled) -> Candidates | None:
    """Return what the network has proposed earlier with the same settings; None if it has to run."""
    if settled.config.restart and not job.is_surveyed:
        return None
    return read_candidates(job.outputs.candidates, job.candidates_key)


def has_changed(path: Path, row: LedgerRow, checksum: Callable[[Path], int | None] | None = None) -> bool:
    """Return whether a micrograph of a run is not what was picked, as far as the ledger knows.

    Parameters
    ----------
    path
        The file.
    row
        Its row of the ledger.
    checksum
        Returns that of a file of the right size and another time; None to read it.

    Raises
    ------
    OSError
        If the file is not there.
    """
    status = path.stat()
    if row.size not in (0, status.st_size):
        return True
    # A copy may have another time.
    if status.st_mtime_ns == row.modified or row.checksum is None:
        return False
    return row.checksum != (checksum or checksum_of)(path)


def checksum_of(path: Path) -> int | None:
    """Return the CRC-32 of a file; None if it cannot be read."""
    checksum = 0
    try:
        if not path.is_file():  # reading a pipe waits for its other end for ever, a device may have no end
            return None
        part = memoryview(bytearray(_CHECKED_AT_ONCE))
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(part):
                checksum = zlib.crc32(part[:count], checksum)
    except OSError:
        return None
    return checksum


def earlier_row(job: PickJob, row: LedgerRow) -> LedgerRow:
    """Return the row of a finished micrograph, which may stand elsewhere in this input."""
    here = job.row()
    return replace(
        row,
        index=here.index,
        path=here.path,
        stem=here.stem,
        defocus=here.defocus,
        ctf=here.ctf,
        relion=here.relion,
        from_run=here.from_run,
    )
