"""The folder ``classes/`` of a run, in the words of RELION.

::

    classes/
        classes.mrcs    the averages, protein bright
        classes.star    one row an average
        particles.star  the picks with class, in-plane angle and shift
        classes.json    what is known of each class
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.formats.cryosparc import write_cs
from cryotx_cli.coordinates.formats.entry import Alignments, Exposure
from cryotx_cli.coordinates.formats.star import star_names
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import CryotxError
from cryotx_cli.files.whole_file import whole_file, write_json
from cryotx_cli.micrographs.stack import write_stack

AGREES, NOISE, UNCLEAR, TOO_FEW, LEFTOVER = VERDICTS = "agrees", "noise", "unclear", "too few", "leftover"
"""Verdicts on classes: halves agree beyond chance; they would, were it no noise; they would, and yet the detector takes
most of its picks for particles; too few picks to tell; picks that fit no average."""
MOST_ARE_PARTICLES = 0.5
"""Mean score of a class from which on most of its picks are particles by their scores."""
FEW = 20
"""Picks below which a class has no number in Å: halves of so few agree to another one each time."""
FOLDER, STACK = "classes", "classes/classes.mrcs"
_OURS = frozenset({"classes.mrcs", "classes.star", "particles.star", "particles.cs", "classes.json"})
_PARTICLE_COLUMNS = (
    "rlnMicrographName",
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnAutopickFigureOfMerit",
    "rlnClassNumber",
    "rlnAnglePsi",
    "rlnOriginXAngst",
    "rlnOriginYAngst",
    "rlnOpticsGroup",
)
_MICROSCOPE = {
    "voltage": "rlnVoltage",
    "spherical_aberration": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
}


@dataclass(frozen=True)
class ClassRow:
    """What is known of one class.

    Parameters
    ----------
    number
        From 1, the largest class first.
    picks
        How many it has.
    share
        Of all picks in classes.
    mean_score
        Of its picks, as the detector gave them.
    resolution
        Å to which its halves agree; None: no further than those of noise.
    agreement
        Mean ring correlation of its halves, 0 to 1.
    centred
        Share of the power of its crops that lies round their middle; None, as all below, in classes of older versions.
    apart
        Å from its picks to the nearest other pick, the median; None where there is none.
    touching, at_border, at_film
        Share of its picks that have another within 0.75 diameters, that lie within 0.8 of the border of the micrograph,
        or within one of the edge of film; None where no film was looked for.
    looks
        What its places say that it may be, where they say something.
    coarsest, finest
        Å between which the resolution may lie; None where there is none.
    verdict
        One of the five above; empty in classes of older versions.
    """

    number: int
    picks: int
    share: float
    mean_score: float
    resolution: float | None
    agreement: float
    centred: float | None = None
    apart: float | None = None
    touching: float | None = None
    at_border: float | None = None
    at_film: float | None = None
    looks: str = ""
    coarsest: float | None = None
    finest: float | None = None
    verdict: str = ""

    @property
    def told(self) -> str:
        """The verdict; of classes of older versions what their resolution and scores say."""
        if self.verdict not in ("", NOISE):
            return self.verdict
        if self.resolution is not None:
            return AGREES
        return NOISE if self.mean_score < MOST_ARE_PARTICLES else UNCLEAR

    @property
    def in_words(self) -> str:
        """What its halves say, in a few words: a range in Å, or why there is none."""
        if self.resolution is None:
            return {TOO_FEW: "too few to tell", LEFTOVER: "fits no average"}.get(self.told, self.told)
        if self.picks < FEW:
            return "agrees, few"
        ends = [f"{end:.0f}" for end in (self.finest or self.resolution, self.coarsest or self.resolution)]
        return f"{'–'.join(dict.fromkeys(ends))} Å"


@dataclass(frozen=True, eq=False)
class Assigned:
    """The picks of one micrograph and their classes.

    Parameters
    ----------
    name
        Of the micrograph.
    particles
        The picks.
    alignments
        Their classes, and how they fit these.
    ctf
        The fields of `Ctf` of the micrograph, as its ledger has them; None where the input did not know them.
    """

    name: str
    particles: Particles
    alignments: Alignments
    ctf: Mapping[str, float] | None = None


def relion_poses(
    angles: NDArray[np.float64], shifts: NDArray[np.float64], pixel_size: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return psi in degrees (n,) and origins in Å (n, 2) of crops that are averages moved, then turned.

    RELION moves an image by its origin, then turns it by psi from the y axis, which points down, towards the x axis, to
    bring it onto the average.

    Parameters
    ----------
    angles
        (n,) radians from the x axis towards the y axis.
    shifts
        (n, 2) pixels of a crop.
    pixel_size
        Å per pixel of a crop.
    """
    cos, sin = np.cos(angles), np.sin(angles)
    x, y = shifts.T
    origins = -np.column_stack([cos * x - sin * y, sin * x + cos * y]) * pixel_size
    return (180 - np.degrees(angles)) % 360 - 180, origins


def write_classes(
    run: Path,
    stack: str,
    images: NDArray[np.floating],
    pixel_size: float,
    rows: Sequence[ClassRow],
    picks: Sequence[Assigned],
    about: Mapping[str, object],
    exposures: Mapping[str, Exposure],
) -> Path:
    """Write the folder, whole or not at all: what is there stays until it is.

    Parameters
    ----------
    run
        The folder of the run.
    stack
        The path of ``classes/classes.mrcs`` as RELION has to read it.
    images
        (classes, side, side).
    pixel_size
        Å per pixel of them.
    rows
        What is known of each.
    picks
        Of each micrograph.
    about
        How they were made.
    exposures
        CryoSPARC's by the names of the micrographs, for particles.cs; none, and there is no such file.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    CryotxError
        It cannot be written, or there is something in it that is not ours: the folder is replaced as a whole.
    """
    folder, unfinished = run / FOLDER, run / f".{FOLDER}.{os.getpid()}.tmp"
    _require_own(folder)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write_stack(unfinished / "classes.mrcs", images, pixel_size)
        write_classes_star(unfinished / "classes.star", stack, rows)
        _write_particles_star(unfinished / "particles.star", picks)
        known = [(exposures[one.name], one) for one in picks if one.name in exposures]
        if known:
            of_known = ((exposure, one.particles) for exposure, one in known)
            write_cs(unfinished / "particles.cs", of_known, [one.alignments for _, one in known])
        content = {**about, "pixel_size": pixel_size, "classes": [asdict(row) for row in rows]}
        write_json(unfinished / "classes.json", content)
        before = run / f".{FOLDER}.before.{os.getpid()}.tmp"
        with suppress(FileNotFoundError):
            folder.rename(before)
        try:
            unfinished.rename(folder)
        except OSError:
            with suppress(FileNotFoundError):
                before.rename(folder)
            raise
        shutil.rmtree(before, ignore_errors=True)
    except OSError as error:
        raise CryotxError(
            f"{folder}: cannot be written ({error.strerror})", "Repeat the command when there is room."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _require_own(folder: Path) -> None:
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in there if name not in _OURS and not name.startswith(".")]
    if foreign:
        raise CryotxError(
            f"{folder}: holds {foreign[0]}, which cryotx has not written", "Move it away: the folder is replaced."
        )


def write_classes_star(path: Path, stack: str, rows: Sequence[ClassRow]) -> None:
    """Write one row an average, which is in the stack as RELION has to read it.

    Raises
    ------
    ParticleFileError
        The file cannot be written, or the name of the stack cannot be expressed in it.
    """
    names = star_names([f"{row.number:06d}@{stack}" for row in rows])
    columns = ("rlnReferenceImage", "rlnClassDistribution", "rlnEstimatedResolution")
    values = (
        # RELION writes 999 where it has no estimate.
        f"{image} {row.share:.6f} {999 if row.resolution is None else row.resolution:.3f}"
        for row, image in zip(rows, names, strict=True)
    )
    _write_table(path, [("", columns, values)])


def _write_particles_star(path: Path, picks: Sequence[Assigned]) -> None:
    # Without these two RELION 3.1 reads the file in parts alone. Where a micrograph lacks them, no group can have them.
    known = _MICROSCOPE if all(one.ctf is not None for one in picks) else {}
    groups = [*dict.fromkeys(_optics_of(one, known) for one in picks)]
    columns = ("rlnOpticsGroupName", "rlnOpticsGroup", "rlnMicrographPixelSize", *known.values())
    optics = (f"opticsGroup{i} {i} {' '.join(f'{value:.6f}' for value in group)}" for i, group in enumerate(groups, 1))
    _write_table(
        path, [("optics", columns, optics), ("particles", _PARTICLE_COLUMNS, _particle_rows(picks, groups, known))]
    )


def _optics_of(one: Assigned, known: Iterable[str]) -> tuple[float, ...]:
    return (one.particles.pixel_size, *((one.ctf or {})[name] for name in known))


def _particle_rows(
    picks: Sequence[Assigned], groups: Sequence[tuple[float, ...]], known: Iterable[str]
) -> Iterable[str]:
    for one in picks:
        name, group = star_names([one.name])[0], groups.index(_optics_of(one, known)) + 1
        fit = one.alignments
        table = np.column_stack([one.particles.centres, one.particles.scores, fit.classes, fit.psi, fit.origins])
        for x, y, score, number, psi, origin_x, origin_y in table.tolist():
            yield (f"{name} {x:.3f} {y:.3f} {score:.6f} {number:.0f} {psi:.3f} {origin_x:.3f} {origin_y:.3f} {group}")


def _write_table(path: Path, blocks: Sequence[tuple[str, Sequence[str], Iterable[str]]]) -> None:
    with whole_file(path) as file:
        for block, columns, rows in blocks:
            header = "".join(f"_{column} #{i}\n" for i, column in enumerate(columns, 1))
            file.write(f"\ndata_{block}\n\nloop_\n{header}")
            file.writelines(f"{row}\n" for row in rows)
        file.write("\n")
