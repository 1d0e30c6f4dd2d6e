"""The folder beside ``particles.star``: what one run of picking leaves there and what the next one may reuse.

::

    particles.star
    particles/
        relion/     STAR file of each micrograph, in the folders in which RELION's own picker would put it, and
                    autopick.star, which lists them
        box/        EMAN box file of each micrograph; as well cbox/, csv/ and eman/info/ if they are asked for
        topaz/      particles.txt, all micrographs in one table
        warp/       particles.star, all micrographs in one table, as Warp reads it
        cryosparc/  particles.cs, all micrographs in one table
        png/        picture of each micrograph with its picks
        report.html the run in one page; it is made from thumbnails/ and candidates/
        candidates/ every candidate with score and diameter, before any threshold
        decoys/     the same of noise that has the spectrum of some of the micrographs
        crops/      small images of the picks
        classes/    what they average to
        dropped.json  the picks of classes that were dropped
        ledger.jsonl, config.toml
        diameter.json  what --diameter auto estimated, for the next run
        start.json  when, where and by which command it was started
        diagnosis.json what is wrong with a run that finds little
        sizes.json  what a run of faint particles shows at other sizes
        stop        ends a run with --watch as soon as somebody makes it
"""

import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.star import write_particles_star
from cryotx_cli.coordinates.formats.table import micrograph_formats, table_formats
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError
from cryotx_cli.files.text_file import is_there
from cryotx_cli.runs.ledger import Ledger, LedgerRow, stated_false

_DECOYS_VERSION = 2
_TEMPORARY = re.compile(r"\.\d+\.tmp$")  # the number is that of the process that wrote it


@dataclass(frozen=True)
class MicrographOutputs:
    """The files of one micrograph; `coordinates` has one for each format, written or not."""

    candidates: Path
    decoy: Path
    crops: Path
    png: Path
    thumbnail: Path
    coordinates: Mapping[str, Path]


class PickFolder:
    """The folder of one ``particles.star``.

    Parameters
    ----------
    star
        The merged STAR file; the folder has its name without the suffix.
    to_read
        Only read what is there; the folder need not be writable.

    Raises
    ------
    CryotxError
        The folder cannot be written.
    """

    def __init__(self, star: Path, to_read: bool = False) -> None:
        self.star = star
        self.path = star.with_suffix("")
        self.ledger = Ledger(self.path / "ledger.jsonl")
        self.config = self.path / "config.toml"
        self.report = self.path / "report.html"
        self.diameter = self.path / "diameter.json"
        self.dropped = self.path / "dropped.json"
        self.stop = self.path / "stop"
        if not to_read:
            # Under names that remove_unfinished knows, for a run may be killed at this moment, too.
            _require_writable(star.parent, star.name)
            _require_writable(self.path, star.name)

    @classmethod
    @contextmanager
    def begun(cls, star: Path) -> Iterator["PickFolder"]:
        """Open the folder of a run that starts in this context; if that fails, empty folders made for it go again."""
        folder = star.with_suffix("")
        made = [one for one in (folder, *folder.parents) if not one.exists()]
        try:
            opened = cls(star)
            opened.remove_unfinished()
            opened.stop.unlink(missing_ok=True)
            yield opened
        except BaseException:
            for one in made:
                with suppress(OSError):  # something is in it, or it was never made
                    one.rmdir()
            raise

    @classmethod
    def of_run(cls, run: Path, to_read: bool = False) -> "PickFolder":
        """Open the folder of an earlier run, named by its merged STAR file or by the folder itself.

        Raises
        ------
        CryotxError
            There is no such run, or its folder cannot be written.
        """
        path = _folder_of(run)
        if not is_run(run):
            raise CryotxError(
                f"{run}: not a run of cryotx pick: there is no {path / 'config.toml'} with a ledger.jsonl beside it",
                "Give the STAR file that cryotx pick wrote, or the folder of the same name.",
            )
        return cls(path.with_name(f"{path.name}.star"), to_read)

    def remove_unfinished(self) -> None:
        """Remove what a killed run has left half-written under temporary names."""
        beside = self.star.parent.glob(f".{glob.escape(self.star.name)}.*.tmp")
        for path in [*beside, *self.path.rglob(".*.tmp")]:
            if _TEMPORARY.search(path.name):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def outputs(self, stem: str | PurePath, relion: str | PurePath | None = None) -> MicrographOutputs:
        """Return the paths of the outputs of the micrograph with this stem.

        In ``relion/`` it has another one, if `relion` is given.

        Raises
        ------
        CryotxError
            A stem leads out of the folder.
        """
        stem, relion = PurePath(stem), PurePath(stem if relion is None else relion)
        for one in (stem, relion):
            if one.is_absolute() or ".." in one.parts or not one.name:
                raise CryotxError(f"{self.ledger}: {one} is not the name of an output of this run")
        stems = {"relion": relion}
        return MicrographOutputs(
            candidates=self.path / "candidates" / stem.with_name(f"{stem.name}.csv"),
            decoy=self.path / "decoys" / stem.with_name(f"{stem.name}.csv"),
            crops=self.path / "crops" / stem.with_name(f"{stem.name}.npz"),
            png=self.path / "png" / stem.with_name(f"{stem.name}.png"),
            thumbnail=self.path / "thumbnails" / stem.with_name(f"{stem.name}.jpg"),
            coordinates={
                one.name: self.path / one.in_run / path.with_name(one.file_name(path.name))
                for one in micrograph_formats()
                for path in [stems.get(one.name, stem)]
            },
        )

    def remove_from_relion(self, rows: Iterable[LedgerRow]) -> None:
        """Remove the files in ``relion/`` of these micrographs, and the folders there that they leave empty."""
        for row in rows:
            file = self.outputs(row.stem, row.relion).coordinates["relion"]
            file.unlink(missing_ok=True)
            for folder in file.parents[: len(file.relative_to(self.path).parts) - 2]:
                with suppress(OSError):  # not empty, or not there
                    folder.rmdir()

    def write_merged(
        self,
        picks: Sequence[tuple[LedgerRow, Particles]],
        formats: Collection[str],
        exposures: Mapping[str, Exposure],
    ) -> None:
        """Write the files that hold the picks of all micrographs, and remove those of formats no longer asked for.

        Parameters
        ----------
        picks
            Micrographs and their picks, in the order to write them.
        formats
            Those to write.
        exposures
            CryoSPARC's exposures by micrograph name; micrographs without one are left out of its file.

        Raises
        ------
        ParticleFileError
            A file cannot be written.
        """
        named = [(row.micrograph, particles) for row, particles in picks]
        write_particles_star(self.star, named, stated_false([row for row, _ in picks]))
        for one in micrograph_formats():
            if one.index and one.name in formats:
                files = ((row, self.outputs(row.stem, row.relion).coordinates[one.name]) for row, _ in picks)
                found = ((row, file, self.micrograph_of(row)) for row, file in files)
                pairs = ((row.micrograph, relion_path(file, path, row.micrograph)) for row, file, path in found)
                one.index.write(self.path / one.in_run / one.index.file_name, pairs)
            elif one.index:
                (self.path / one.in_run / one.index.file_name).unlink(missing_ok=True)
        for table in table_formats():
            if table.name in formats or (table.takes_exposures and exposures):
                table.write(self.path / table.in_run, named, exposures)
            elif table.in_run:
                (self.path / table.in_run).unlink(missing_ok=True)

    def micrograph_of(self, row: LedgerRow) -> Path:
        """Return where a micrograph of the run is now, which may have been moved together with it.

        Names relative to a project are looked for from the folder of the run upwards; what is nowhere to be found has
        the path that it had when it was picked.
        """
        folder = absolute_path(self.path)
        beside = [absolute_path(folder / row.from_run)] if row.from_run else []
        above = [] if PurePath(row.micrograph).is_absolute() else [one / row.micrograph for one in folder.parents]
        return next((path for path in (*beside, Path(row.path), *above) if is_there(path)), Path(row.path))


def is_run(path: Path) -> bool:
    """Whether this is the merged STAR file of a run of ``cryotx pick``, or the folder beside it."""
    folder = _folder_of(path)
    return (folder / "config.toml").is_file() and (folder / "ledger.jsonl").is_file()


def fingerprint(*parts: object) -> str:
    """Hash values that have a JSON form: equal parts give equal text, on any machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def decoy_key(candidates_key: str) -> str:
    """Return the fingerprint of everything that decides the candidates of a decoy; those of other versions are old."""
    return fingerprint(candidates_key, _DECOYS_VERSION)


def coordinate_files(outputs: MicrographOutputs, formats: Collection[str]) -> dict[str, Path]:
    """Return the coordinate files of one micrograph in these formats, by format."""
    return {one: path for one, path in outputs.coordinates.items() if one in formats}


def write_coordinates(outputs: MicrographOutputs, particles: Particles, formats: Collection[str], side: int) -> None:
    """Write the coordinate files of one micrograph with boxes of `side` pixels.

    Raises
    ------
    ParticleFileError
        A file cannot be written.
    """
    wanted = coordinate_files(outputs, formats)
    for one in micrograph_formats():
        if one.name in wanted:
            one.write(wanted[one.name], particles, side)


def remove_picks(outputs: MicrographOutputs, picture: bool = True) -> None:
    """Remove picks of other settings, or of a file that can no longer be read: they must not pass for current ones."""
    for path in (*[outputs.png] * picture, *outputs.coordinates.values()):
        path.unlink(missing_ok=True)


def relion_path(file: Path, micrograph: str | Path, name: str) -> str:
    """Return `file` as RELION has to read it: relative to its project folder, absolute where that is not known.

    The project folder is what is left of the path of the micrograph without its name, which RELION gives relative to
    that folder.
    """
    parts, inner = absolute_path(micrograph).parts, PurePath(name).parts
    file = absolute_path(file)
    if not PurePath(name).is_absolute() and parts[-len(inner) :] == inner:
        project = Path(*parts[: -len(inner)])
        if file.is_relative_to(project):
            return file.relative_to(project).as_posix()
    return file.as_posix()


def absolute_path(path: str | Path) -> Path:
    """Return an absolute path without ``..``; unlike ``resolve`` it keeps the names of links, which are the user's."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _folder_of(run: Path) -> Path:
    return run.with_suffix("") if run.suffix.lower() == ".star" else run


def _require_writable(folder: Path, name: str) -> None:
    # Trying is the only reliable test: mode bits say nothing about read-only file systems, quotas and full disks.
    probe = folder / f".{name}.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(4096))
    except OSError as error:
        raise CryotxError(
            f"{folder}: cannot write there ({error.strerror})", "Make room or get the right to write there."
        ) from error
    finally:
        with suppress(OSError):  # a full disk leaves an empty file
            probe.unlink(missing_ok=True)
