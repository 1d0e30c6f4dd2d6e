"""Convert coordinate files of one program into those of another."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from cryotx_cli.config import ConvertConfig, CoordinateFormatName
from cryotx_cli.coordinates.formats.box import box_side_px
from cryotx_cli.coordinates.formats.cryosparc import OTHER_EXPOSURES, exposures_of, grid_of_exposure
from cryotx_cli.coordinates.formats.entry import (
    CoordinateFormat,
    CoordinateIndex,
    Exposure,
    MicrographFormat,
    TableFormat,
)
from cryotx_cli.coordinates.formats.table import format_named, readable_formats
from cryotx_cli.coordinates.grid import SAME_PIXEL_SIZE, Grid, grid_of, on_grids
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import cryoppp_tree, read_coordinates
from cryotx_cli.errors import ConfigError, MicrographError, ParticleFileError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.micrograph import MicrographFile, find_micrographs, read_header
from cryotx_cli.micrographs.names import NAMES_AGREE, difference, output_stems, pair_names
from cryotx_cli.runs.folder import relion_path
from cryotx_cli.wording import counted

_Write = Callable[[Path], None]

_OTHER_PIXELS = (
    "--scale {factor} turns them into pixels of the micrograph; --scale 1 says that they are that already. Or give the "
    "micrographs that were picked."
)


@dataclass(frozen=True)
class Conversion:
    """What was converted.

    Parameters
    ----------
    file_format
        The format written.
    out
        The file, or the folder of files.
    micrographs, particles
        How many.
    events
        What was odd about IN.
    """

    file_format: CoordinateFormatName
    out: Path
    micrographs: int
    particles: int
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, eq=False)
class _Converted:
    """The particles of one micrograph as they are written."""

    name_in: str
    particles: Particles
    micrograph: MicrographFile | None
    box_px: int | None

    @property
    def name(self) -> str:
        return self.micrograph.name if self.micrograph else self.name_in


def convert(source: str | Path, out: str | Path, config: ConvertConfig) -> Conversion:
    """Convert coordinates.

    Parameters
    ----------
    source
        A coordinate file or a folder of them, whatever `read_coordinates` reads.
    out
        What to write: a file, or a folder for formats with one file a micrograph. Nothing is written elsewhere,
        whatever the names of the micrographs are.
    config
        Format and changes of the coordinates: first the scale, then the flip, whose heights are those of the
        micrographs that `out` belongs to.

    Returns
    -------
    Conversion
        What was written.

    Raises
    ------
    ConfigError
        The settings do not fit each other or the files.
    ParticleFileError
        The coordinates cannot be read or written, or hold no particles, or have no micrograph or exposure.
    MicrographError
        The micrographs cannot be read.
    """
    source, out = Path(source), Path(out)
    target = _target(out, config)
    events: list[Event] = []
    picks = read_coordinates(source, events.append)
    if cryoppp_tree(source) is not None:
        events.append(Event("labels of a CryoPPP data set are read in the frame of its micrographs, y down"))
    if not picks:
        raise ParticleFileError(f"{source}: holds no particles", "Check IN.")
    files, exposures = _micrographs(config, picks), _exposures(config, picks, events.append)
    particles = {name: _scaled(here, config.scale) for name, here in picks.items()}
    if files:
        particles = _on_micrographs(particles, files, config, events.append)
    if exposures:
        particles = _on_exposures(particles, exposures, events.append)
    if config.flip_y:
        heights = _heights(source, particles)
        particles = {name: here.flipped_y(heights[name]) for name, here in particles.items()}
    boxed = isinstance(target, MicrographFormat) and target.holds_boxes
    sides = _box_sides(source, config, particles) if boxed else {}
    converted = [_Converted(name, here, files.get(name), sides.get(name)) for name, here in particles.items()]
    if isinstance(target, TableFormat):
        of_name = {one.name: exposures[one.name_in] for one in converted if exposures}
        rows = [(one.name, one.particles) for one in converted]
        _write_files({out: lambda path: target.write(path, rows, of_name)}, source, config)
    elif isinstance(target, MicrographFormat):
        _write_each(target, converted, source, out, config)
    return Conversion(target.name, out, len(particles), sum(map(len, particles.values())), tuple(events))


def _target(out: Path, config: ConvertConfig) -> CoordinateFormat:
    by_suffix = readable_formats()
    target = format_named(config.to) if config.to else by_suffix.get(out.suffix.lower())
    if target is None:
        raise ConfigError(
            f"{out}: no suffix that tells which format to write",
            f"Give one of {', '.join(by_suffix)}, or a folder and its format, for example --to box.",
        )
    table = target if isinstance(target, TableFormat) else None
    if table and (out.is_dir() or not out.suffix):
        raise ConfigError(f"{out}: {target.name} is one file for all micrographs", "Give OUT the name of a file.")
    if config.box is not None and not (isinstance(target, MicrographFormat) and target.holds_boxes):
        raise ConfigError(f"--box {config.box}: {target.name} files hold no boxes", "Leave it out.")
    takes_exposures = table is not None and table.takes_exposures
    if (config.exposures is None) == takes_exposures:
        problem = "needs --exposures" if takes_exposures else "has no use for --exposures"
        raise ConfigError(
            f"{target.name} output {problem}", "Exposures are the .cs file that CryoSPARC made of the same micrographs."
        )
    return target


def _micrographs(config: ConvertConfig, picks: Mapping[str, Particles]) -> dict[str, MicrographFile]:
    """Return the micrograph of each name, if micrographs are given."""
    if config.micrographs is None:
        return {}
    found = {file.name: file for file in find_micrographs([config.micrographs], named=picks)}
    partners = pair_names(picks, found)
    files = {name: found[partner] for partner, name in partners.items()}
    _require_all(picks, files, f"micrograph in {config.micrographs}", [*found])
    return files


def _exposures(config: ConvertConfig, picks: Mapping[str, Particles], tell: Tell) -> dict[str, Exposure]:
    if config.exposures is None:
        return {}
    exposures = exposures_of(config.exposures, picks, tell)
    _require_all(picks, exposures, f"exposure in {config.exposures}", [one.path for one in exposures.values()])
    return exposures


def _require_all(
    picks: Mapping[str, Particles], known: Mapping[str, object], what: str, examples: Sequence[str]
) -> None:
    missing = [name for name in picks if name not in known]
    if missing:
        raise ParticleFileError(
            f"{len(missing)} of {len(picks)} names have no {what}, for example {missing[0]}; "
            f"it names {', '.join(examples[:2])}",
            difference(missing[0], examples) or NAMES_AGREE,
        )


def _scaled(particles: Particles, scale: float | None) -> Particles:
    if scale is None:
        return particles
    # Who gives a scale knows the pixels; what a file says of their size no longer counts.
    return replace(particles.scaled(scale), pixel_size=np.nan if particles.shape is None else particles.pixel_size)


def _on_micrographs(
    particles: Mapping[str, Particles], files: Mapping[str, MicrographFile], config: ConvertConfig, tell: Tell
) -> dict[str, Particles]:
    """Bring particles into the pixels of the micrographs that OUT belongs to."""
    grids, contradictions = dict[str, Grid](), list[str]()
    for name, here in particles.items():
        file = files[name]
        try:
            header = read_header(file.path)
        except MicrographError:
            if config.flip_y:
                raise
            header = None  # a list of micrographs that lie elsewhere still gives their names
        in_list, in_header = file.pixel_size, header.pixel_size if header else None
        if in_list and in_header and abs(in_list / in_header - 1) > SAME_PIXEL_SIZE:
            told = f"{config.micrographs} says {in_list:.4g} Å, the header of {file.path} {in_header:.4g} Å"
            contradictions.append(told)
        grids[name] = grid_of(file, header, here)
    if contradictions:
        more = f" (so for {counted(len(contradictions), 'micrographs')})" if len(contradictions) > 1 else ""
        tell(Event(f"pixel sizes contradict each other: {contradictions[0]}{more}", "warning"))
    found = on_grids(particles, grids, "the micrograph", _OTHER_PIXELS, tell)
    _require_near(found, "the micrograph")
    return found


def _on_exposures(
    particles: Mapping[str, Particles], exposures: Mapping[str, Exposure], tell: Tell
) -> dict[str, Particles]:
    grids = {name: grid_of_exposure(exposures[name]) for name in particles}
    found = on_grids(particles, grids, "the exposure", OTHER_EXPOSURES, tell)
    _require_near(found, "the exposure")
    return found


def _require_near(particles: Mapping[str, Particles], what: str) -> None:
    """Refuse particles most of which cannot be of an image of this size; a few beyond the border are usual."""
    for name, here in particles.items():
        if here.shape and len(here.inside(*here.shape, -max(here.shape) / 10)) < 0.9 * len(here):
            x, y = here.centres.max(axis=0)
            raise ParticleFileError(
                f"{name}: its particles reach to ({x:.0f}, {y:.0f}), and {what} has {Grid(here.shape)}",
                "They are coordinates of another image, perhaps of a larger one: see --scale.",
            )


def _heights(source: Path, particles: Mapping[str, Particles]) -> dict[str, int]:
    """Height in pixels of each micrograph that the output belongs to."""
    heights = {name: here.shape[0] for name, here in particles.items() if here.shape}
    if len(heights) == len(particles):
        return heights
    raise ConfigError(
        f"--flip-y needs the heights of the micrographs, which {source} does not hold",
        "Give the micrographs, for example --micrographs FOLDER.",
    )


def _box_sides(source: Path, config: ConvertConfig, particles: Mapping[str, Particles]) -> dict[str, int]:
    """Side of the boxes of each micrograph: as asked, as in the input, or 1.5 diameters."""
    if config.box is not None:
        return dict.fromkeys(particles, config.box)
    sides = [here.box_px for here in particles.values() if here.box_px > 0]
    if sides:
        other = float(np.median(sides))
        return {name: max(1, round(here.box_px if here.box_px > 0 else other)) for name, here in particles.items()}
    diameters = {name: here.diameters[np.isfinite(here.diameters)] for name, here in particles.items()}
    everywhere = np.concatenate([*diameters.values()])
    if not everywhere.size:
        raise ConfigError(
            f"{source} holds no sizes of particles, so the side of the boxes is not known",
            "Give it in pixels, for example --box 256.",
        )
    return {name: box_side_px(float(np.median(some if some.size else everywhere))) for name, some in diameters.items()}


def _write_each(
    target: MicrographFormat, converted: Sequence[_Converted], source: Path, out: Path, config: ConvertConfig
) -> None:
    """Write one file for each micrograph, for RELION the list of them, too."""
    is_file = out.suffix.lower() == target.suffix and not out.is_dir()
    index = (out if is_file else out / target.index.file_name) if target.index else None
    if is_file and index is None:
        if len(converted) > 1:
            raise ConfigError(
                f"{out}: {target.name} files hold one micrograph each, and there are {len(converted)}",
                f"Give a folder and its format: --to {target.name}.",
            )
        paths = [out]
    else:
        # The list is called as RELION calls it where its files lie beside it; several of other names share a folder.
        beside = index and target.index and index.name == target.index.file_name
        folder = out if index is None else index.parent if beside else index.with_suffix("")
        if folder.is_file():
            problem = f"{folder}: a file where a folder for {target.name} files belongs"
            raise ConfigError(problem, "Give OUT another name.")
        stems = output_stems([one.name for one in converted])
        paths = [folder / stem.with_name(target.file_name(stem.name)) for stem in stems]
    files: dict[Path, _Write] = {
        path: partial(_write_one, target, one) for path, one in zip(paths, converted, strict=True)
    }
    if index and target.index:
        rows = [(one.name, _from_project(path, one.micrograph)) for one, path in zip(converted, paths, strict=True)]
        files[index] = partial(_write_list, target.index, rows)
    _write_files(files, source, config)


def _write_one(target: MicrographFormat, one: _Converted, path: Path) -> None:
    target.write(path, one.particles, one.box_px)


def _write_list(index: CoordinateIndex, rows: Sequence[tuple[str, str]], path: Path) -> None:
    index.write(path, rows)


def _from_project(path: Path, micrograph: MicrographFile | None) -> str:
    # Where the micrographs are not given the working folder stands in for RELION's project folder.
    return relion_path(path, micrograph.path if micrograph else "-", micrograph.name if micrograph else "-")


def _write_files(files: Mapping[Path, _Write], source: Path, config: ConvertConfig) -> None:
    """Write files; refuse to replace others unasked, and the input in any case.

    What is there already with the same content is no other file: the same command may be given twice.
    """
    there = [path for path in files if path.exists()]
    if source.is_file() and any(path.samefile(source) for path in there):
        raise ConfigError(f"{source}: is both IN and OUT", "Give OUT another name.")
    others = [] if config.overwrite else [path for path in there if not _would_be(path, files[path])]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise ConfigError(
            f"{others[0]}{more}: there already, with other content", "Give OUT another name, or --overwrite."
        )
    for path, write in files.items():
        write(path)


def _would_be(path: Path, write: _Write) -> bool:
    """Whether a file is what would be written in its place."""
    with TemporaryDirectory() as folder:
        again = Path(folder) / path.name
        write(again)
        return path.is_file() and filecmp.cmp(path, again, shallow=False)
