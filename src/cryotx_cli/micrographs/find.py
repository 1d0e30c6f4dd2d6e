"""Micrograph files before they are read: what folders, patterns and RELION's micrographs STAR files name."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import MicrographError, ParticleFileError
from cryotx_cli.events import Event, Tell
from cryotx_cli.files.folders import visible_folders
from cryotx_cli.files.star_blocks import Table, contents, read_tables, table_for, table_with, tables_with
from cryotx_cli.files.text_file import is_there
from cryotx_cli.micrographs.ctf import Ctf, ctfs_in_star
from cryotx_cli.micrographs.exposures import EXPOSURE_SUFFIXES, list_exposures
from cryotx_cli.micrographs.names import MICROGRAPH_SUFFIXES, image_suffix, micrograph_suffix, parts_of_windows
from cryotx_cli.micrographs.optics_groups import odd_optics_groups
from cryotx_cli.micrographs.versions import choose_versions, versions_of
from cryotx_cli.wording import counted, some_of

Inputs = str | Path | Sequence[str | Path]
"""Files, folders, patterns, micrographs STAR files and CryoSPARC exposures; one alone need not be in a list."""


@dataclass(frozen=True)
class MicrographFile:
    """What a folder, a pattern or a STAR file names, before it is read.

    Parameters
    ----------
    path
        The file.
    name
        The micrograph as the user or the STAR file named it; RELION compares it letter by letter.
    pixel_size
        Å per pixel from the STAR file's optics table; None where there is none.
    defocus
        Å of underfocus from the STAR file; None where it has none.
    ctf
        Its whole contrast transfer; None where something of it is not stated.
    """

    path: Path
    name: str
    pixel_size: float | None = None
    defocus: float | None = None
    ctf: Ctf | None = None


_RUN_PICTURES = frozenset({"png", "thumbnails", "classes"})  # in the folder of a run of ``cryotx pick``


def listed(inputs: Inputs) -> list[str | Path]:
    """Return inputs as a list; a single one, which as a text is a sequence of letters, becomes its only item."""
    return [inputs] if isinstance(inputs, str | Path) else list(inputs)


def find_micrographs(inputs: Inputs, tell: Tell = lambda _: None, named: Iterable[str] = ()) -> list[MicrographFile]:
    """List the micrographs that files, folders, glob patterns and RELION micrographs STAR files name.

    Parameters
    ----------
    inputs
        One or several. A folder stands for every file with a known suffix in it and below it, hidden ones left out, in
        natural order (``m2`` before ``m10``). Of several versions of one micrograph in a folder, or among the files of
        a pattern, one is listed, see `choose_versions`. A file that is named itself is listed whatever its suffix. The
        pictures in a run of ``cryotx pick`` never are.
    tell
        Takes what is left out.
    named
        Names of micrographs that are asked for: a version that one of them names is listed instead of the best.

    Returns
    -------
    list of MicrographFile
        In the order of `inputs`, each file once.

    Raises
    ------
    MicrographError
        If an input does not exist, or nothing is found; the message says what was looked for.
    """
    found: dict[str, MicrographFile] = {}
    inputs, search = listed(inputs), _Search(named, tell)
    for given in inputs:
        for file in search.expand(given):
            found.setdefault(os.path.realpath(file.path), file)
    if not found:
        looked_in = ", ".join(str(given) for given in inputs) or "nothing"
        but = f" but {search.runs[0]}" if search.runs else ""
        movies = f" {counted(search.movies, 'movies')} (.eer, .dm4, ...) cannot be picked." if search.movies else ""
        raise MicrographError(
            f"no micrographs found in {looked_in}{but}",
            f"Looked for files that end in {', '.join(MICROGRAPH_SUFFIXES)}, in folders and all folders below them."
            + movies,
        )
    for event in search.events():
        tell(event)
    return list(found.values())


def read_micrographs_star(path: str | Path, tell: Tell = lambda _: None) -> list[tuple[str, float | None]]:
    """List the micrographs of a RELION micrographs STAR file, each once, in the order of the file.

    Parameters
    ----------
    path
        The file.
    tell
        Hears of optics groups that say nothing of their micrographs.

    Returns
    -------
    list of (str, float or None)
        ``_rlnMicrographName`` exactly as written, and the Å per pixel of its optics group (RELION 3.1 and later) or
        of its own detector pixel size and magnification (RELION 3.0); None where the file does not say.

    Raises
    ------
    ParticleFileError
        If it lists no micrographs.
    """
    path = Path(path)
    tables = read_tables(path)
    lists = _micrograph_lists(tables)
    if not any(map(len, lists)):
        movies = table_with(tables, "rlnMicrographMovieName") is not None
        raise ParticleFileError(
            f"{path}: {'lists movies' if movies else 'no table with _rlnMicrographName'}; it holds {contents(tables)}",
            "Give the STAR file of RELION's motion correction or CTF job, for example micrographs_ctf.star.",
        )
    listed: dict[str, float | None] = {}
    for table in lists:
        for event in odd_optics_groups(path, tables, table):
            tell(event)
        for name, size in zip(table.texts("rlnMicrographName"), pixel_sizes(tables, table).tolist(), strict=True):
            listed.setdefault(name, size if np.isfinite(size) else None)
    return list(listed.items())


def read_defoci(path: str | Path) -> dict[str, float]:
    """Return the defocus in Å (``_rlnDefocusU``) of the micrographs in a STAR file, of those that have one."""
    defoci: dict[str, float] = {}
    for table in _micrograph_lists(read_tables(Path(path))):
        if "rlnDefocusU" in table:
            defocus = table.optional_numbers("rlnDefocusU")[:, 0]  # not known where a CTF fit has failed
            pairs = zip(table.texts("rlnMicrographName"), defocus.tolist(), strict=True)
            defoci |= {name: value for name, value in pairs if np.isfinite(value)}
    return defoci


def read_ctfs(path: str | Path) -> dict[str, Ctf]:
    """Return the contrast transfer of the micrographs in a STAR file, of those of which it says enough."""
    tables, found = read_tables(Path(path)), dict[str, Ctf]()
    for table in _micrograph_lists(tables):
        if "rlnDefocusU" in table:
            pairs = zip(table.texts("rlnMicrographName"), ctfs_in_star(tables, table), strict=True)
            found |= {name: ctf for name, ctf in pairs if ctf is not None}
    return found


def _micrograph_lists(tables: Sequence[Table]) -> list[Table]:
    """Return the tables of micrographs; those of particles only name them where there is no other."""
    lists = tables_with(tables, "rlnMicrographName")
    return [table for table in lists if table.block == "micrographs"] or lists


def pixel_sizes(tables: Sequence[Table], table: Table, column: str = "rlnMicrographPixelSize") -> NDArray[np.float64]:
    """Å per pixel for each row of `table`, of micrographs or of what `column` of the optics is about; NaN: unknown."""
    sizes = np.full(len(table), np.nan)
    optics = table_for(tables, table, "rlnOpticsGroup", column)
    if column in table:
        sizes = table.optional_numbers(column)[:, 0]
    elif optics is not None and "rlnOpticsGroup" in table:
        of_group = dict(optics.optional_numbers("rlnOpticsGroup", column).tolist())
        groups = table.optional_numbers("rlnOpticsGroup")[:, 0]
        sizes = np.fromiter((of_group.get(group, np.nan) for group in groups.tolist()), np.float64, len(groups))
    elif column == "rlnMicrographPixelSize" and "rlnDetectorPixelSize" in table and "rlnMagnification" in table:
        # RELION 3.0: the detector's pixel in µm seen at that magnification.
        detector, magnification = table.optional_numbers("rlnDetectorPixelSize", "rlnMagnification").T
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            sizes = 1e4 * detector / magnification
    return np.where((sizes > 0) & np.isfinite(sizes), sizes, np.nan)


def _natural(text: str) -> list[tuple[int, int, str]]:
    # Digits compare as numbers; the text itself breaks the tie between 01 and 1, so that the order is total.
    parts = re.split(r"(\d+)", text)
    return [(1, int(p), p) if p.isdecimal() and p.isascii() else (0, 0, p) for p in parts]


class _Search:
    """Expands inputs, and remembers what it has left out."""

    def __init__(self, named: Iterable[str], tell: Tell) -> None:
        self._named, self._tell = list(named), tell
        self._left_out: dict[Path, Path] = {}
        self._explicit: list[Path] = []
        self._run_of_folder: dict[Path, Path | None] = {}
        self.runs: list[str] = []
        self.movies = 0

    def expand(self, given: str | Path) -> Iterator[MicrographFile]:
        path = Path(given)
        there = is_there(path)
        if there and path.is_dir():
            yield from self._in_folder(path)
        elif there and path.suffix.lower() == ".star":
            yield from _in_star(path, self._tell)
        elif there and path.suffix.lower() in EXPOSURE_SUFFIXES:
            yield from _in_exposures(path, self._tell)
        elif there:
            self._explicit += self._outside_runs([path])
            yield from (MicrographFile(one, str(one)) for one in self._outside_runs([path]))
        else:
            yield from self._in_pattern(path, str(given))

    def events(self) -> Iterator[Event]:
        """Tell what there is to say of what was found."""
        for run in self.runs:
            yield Event(f"Left out {run}.")
        if self._left_out:
            left, taken = self._left_out, [*dict.fromkeys(self._left_out.values())]
            yield Event(
                f"Left out {counted(len(left), 'files')} that seem to be other versions or previews of the same "
                f"micrographs: {some_of([file.name for file in left], 3)}; taken: "
                f"{some_of([file.name for file in taken])}. Name the files, or a pattern such as '*_noDW.mrc', for "
                "others."
            )
        doubles = [group for group in versions_of(self._explicit).values() if len(group) > 1]
        if doubles:
            yield Event(
                f"{counted(len(doubles), 'micrographs')} named in several versions, such as "
                f"{some_of([file.name for file in doubles[0]], 3)}: all are taken, and particles found more than once.",
                "warning",
            )

    def _in_folder(self, folder: Path) -> Iterator[MicrographFile]:
        paths: list[Path] = []
        try:
            for parent, folders, names in visible_folders(folder):
                folders.sort(key=_natural)
                if _is_run(parent) and _RUN_PICTURES & set(folders):
                    self._note_run(parent)
                    folders[:] = [name for name in folders if name not in _RUN_PICTURES]
                paths += [parent / name for name in names]
        except OSError as error:
            raise MicrographError(
                f"{error.filename}: the folder cannot be read: {error.strerror}", "Check its rights."
            ) from error
        yield from self._versions(self._outside_runs(sorted(paths, key=lambda path: _natural(str(path)))))

    def _in_pattern(self, pattern: Path, given: str) -> Iterator[MicrographFile]:
        # Path.glob refuses absolute patterns.
        matches = sorted(glob.glob(given, recursive=True), key=_natural)  # noqa: PTH207
        if not matches:
            raise MicrographError(
                f"{given}: no such file or folder, and no file matches it as a pattern", "Check the path."
            )
        wants_star = pattern.suffix.lower() == ".star"  # a pattern such as job*/* means micrographs, not lists of them
        files = [Path(match) for match in matches if not Path(match).is_dir()]
        named = {file.path: file for file in self._versions(self._outside_runs(files))}
        for match in map(Path, matches):
            if match.is_dir() or (wants_star and not micrograph_suffix(match)):
                yield from self.expand(match)
            elif match in named:
                yield named[match]

    def _versions(self, paths: Sequence[Path]) -> Iterator[MicrographFile]:
        self.movies += sum(bool(image_suffix(path.name)) and not micrograph_suffix(path) for path in paths)
        versions = choose_versions(paths, self._named)
        self._left_out |= versions.left_out
        yield from (MicrographFile(path, str(path)) for path in versions.taken)

    def _outside_runs(self, paths: Iterable[Path]) -> list[Path]:
        """Leave out the pictures that ``cryotx pick`` has made: circles on them would be picked."""
        return [path for path in paths if not (micrograph_suffix(path) and self._is_of_run(path.parent))]

    def _is_of_run(self, folder: Path) -> bool:
        if folder not in self._run_of_folder:
            real = Path(os.path.realpath(folder))
            pictures = (one for one in (real, *real.parents) if one.name in _RUN_PICTURES and _is_run(one.parent))
            self._run_of_folder[folder] = next((one.parent for one in pictures), None)
        run = self._run_of_folder[folder]
        if run is not None:
            self._note_run(run)
        return run is not None

    def _note_run(self, run: Path) -> None:
        text = f"the pictures in {run}, where an earlier run of cryotx has written"
        if text not in self.runs:
            self.runs.append(text)


def _is_run(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("ledger.jsonl", "config.toml"))


def _in_star(star: Path, tell: Tell) -> Iterator[MicrographFile]:
    listed, defoci, ctfs = read_micrographs_star(star, tell), read_defoci(star), read_ctfs(star)
    for name, pixel_size in listed:
        if "\0" in name:
            raise MicrographError(f"{star}: names {name[:80]!r}, which no file can be called", "Check the STAR file.")
        yield MicrographFile(_resolve(name, star), name, pixel_size, defoci.get(name), ctfs.get(name))


def _in_exposures(path: Path, tell: Tell) -> Iterator[MicrographFile]:
    files = [
        MicrographFile(_resolve(one.name, path), one.name, one.pixel_size, one.defocus, one.ctf)
        for one in list_exposures(path, tell)
    ]
    if not any(is_there(file.path) for file in files):
        raise MicrographError(
            f"{path}: none of its {counted(len(files), 'micrographs')} is there, for example {files[0].name}; looked "
            "in the working folder and in those above the file",
            "Its paths begin in the folder of the CryoSPARC project: start cryotx there, or put the file there.",
        )
    yield from files


def _resolve(name: str, star: Path) -> Path:
    # RELION and CryoSPARC write names relative to their project folders, in which such lists lie a few folders deep.
    folders = [Path(), *star.absolute().parents]
    places = chain((folder / name for folder in folders), _of_windows(name, star))
    return next((place for place in places if is_there(place)), Path(name))


def _of_windows(name: str, star: Path) -> Iterator[Path]:
    """Yield where a file may lie here that a STAR file names as Windows does: in ever fewer of its folders."""
    parts = parts_of_windows(name)
    yield from (
        folder.joinpath(*parts[i:]) for i in range(len(parts)) for folder in (Path(), *star.absolute().parents[:2])
    )
