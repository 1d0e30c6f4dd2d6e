"""CryoSPARC's .cs files: ``numpy.save`` of a structured array, one row a particle or an exposure.

Particle locations are fractions of the micrograph's width and height, y down the stored rows. Each one names the
exposure that it lies on by CryoSPARC's own number of it, so that writing takes the user's exposures file. Fields and
types are those of ``cryosparc.dataset`` (cryosparc-tools) and of particle picking jobs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.formats.entry import Alignments, Exposure, TableFormat
from cryotx_cli.coordinates.formats.scores import known_scores
from cryotx_cli.coordinates.grid import Grid, on_grid
from cryotx_cli.coordinates.particles import Particles, checked_particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.events import Event, Tell, warn
from cryotx_cli.files.cs_table import is_cs, read_cs_table
from cryotx_cli.files.whole_file import whole_binary_file
from cryotx_cli.micrographs.names import NAMES_AGREE, pair_names

_LOCATION = tuple(
    f"location/{field}" for field in ("micrograph_path", "micrograph_shape", "center_x_frac", "center_y_frac")
)
_SHIFTS = ("alignments2D/shift", "alignments3D/shift")
# Those of a 2D classification job, of which a program that reads one may expect all.
_OF_ALIGNMENTS = (
    ("alignments2D/split", "<u4"),
    ("alignments2D/shift", "<f4", (2,)),
    ("alignments2D/pose", "<f4"),
    ("alignments2D/psize_A", "<f4"),
    ("alignments2D/error", "<f4"),
    ("alignments2D/error_min", "<f4"),
    ("alignments2D/resid_pow", "<f4"),
    ("alignments2D/slice_pow", "<f4"),
    ("alignments2D/image_pow", "<f4"),
    ("alignments2D/cross_cor", "<f4"),
    ("alignments2D/alpha", "<f4"),
    ("alignments2D/alpha_min", "<f4"),
    ("alignments2D/weight", "<f4"),
    ("alignments2D/pose_ess", "<f4"),
    ("alignments2D/shift_ess", "<f4"),
    ("alignments2D/class_posterior", "<f4"),
    ("alignments2D/class", "<u4"),
    ("alignments2D/class_ess", "<f4"),
)
OTHER_EXPOSURES = (
    "Give the exposures that were made of these micrographs. Or cryotx convert --scale {factor} makes the coordinates "
    "those of the exposures; --scale 1 says that they are that already."
)
_EXPORT = "In CryoSPARC, export the output of the job, or save it with cryosparc-tools in its default format."


def read_exposures(path: str | Path, tell: Tell = warn) -> dict[str, Exposure]:
    """Read the exposures that a CryoSPARC job put out.

    Parameters
    ----------
    path
        The job's .cs file with ``micrograph_blob`` fields, or one that has these in the passthrough file beside it, or
        the .csg file that names both.
    tell
        Hears where they are from.

    Returns
    -------
    dict of str to Exposure
        By ``micrograph_blob/path``. The exposure group is 1, CryoSPARC's first, where the file names none.

    Raises
    ------
    ParticleFileError
        If the file cannot be read or holds no exposures.
    """
    path = Path(path)
    blob = "micrograph_blob"
    table = read_cs_table(path, ("uid", f"{blob}/path", f"{blob}/shape", f"{blob}/psize_A"), "exposures", tell)
    group_field = next((f for f in ("mscope_params/exp_group_id", "ctf/exp_group_id") if f in table), None)
    groups = table.counts(group_field) if group_field else np.ones(len(table), np.int64)
    uids, shapes = table.counts("uid"), table.shapes(f"{blob}/shape")
    pixel_sizes = table.numbers(f"{blob}/psize_A")
    exposures = {}
    for i, name in enumerate(table.texts(f"{blob}/path")):
        height, width = shapes[i].tolist()
        exposures[name] = Exposure(int(uids[i]), int(groups[i]), name, height, width, float(pixel_sizes[i]))
    if not exposures:
        raise ParticleFileError(f"{path}: lists no exposures", _EXPORT)
    return exposures


def exposures_of(path: str | Path, names: Iterable[str], tell: Tell = warn) -> dict[str, Exposure]:
    """Read exposures and find those of the micrographs with these names.

    Returns
    -------
    dict of str to Exposure
        By the names given; those without an exposure are missing.

    Raises
    ------
    ParticleFileError
        If the exposures cannot be read, none of them fits, or it is not certain which one fits.
    """
    exposures, names = read_exposures(path, tell), list(names)
    partners = pair_names(names, exposures)
    if not partners:
        raise ParticleFileError(
            f"{path}: lists none of the micrographs; it names {', '.join([*exposures][:2])}, "
            f"the picks name {', '.join(names[:2])}",
            "Give the exposures that were made of these micrographs. " + NAMES_AGREE,
        )
    return {name: exposures[exposure] for exposure, name in partners.items()}


def write_cs(
    path: str | Path,
    particles: Iterable[tuple[Exposure, Particles]],
    alignments: Iterable[Alignments] | None = None,
) -> None:
    """Write particle locations with all fields that CryoSPARC's picking jobs give them.

    The score goes into ``pick_stats/ncc_score`` and the median diameter (0 where it is not known) into
    ``location/min_dist_A``. Particles on an image of another size are rescaled to that of the exposure. The same
    particle gets the same ``uid`` in every file.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    particles
        Of each micrograph.
    alignments
        Of the same ones, to write the ``alignments2D`` fields of CryoSPARC's 2D classification, too.

    Raises
    ------
    ParticleFileError
        If the file cannot be written, or particles are not in the pixels of their exposure and cannot be brought there.
    """
    pairs = list(particles)
    path_bytes = max((len(exposure.path.encode()) for exposure, _ in pairs), default=1)
    dtype = np.dtype(
        [
            ("uid", "<u8"),
            ("location/micrograph_uid", "<u8"),
            ("location/exp_group_id", "<u4"),
            ("location/micrograph_path", f"S{path_bytes}"),
            ("location/micrograph_shape", "<u4", (2,)),
            ("location/micrograph_psize_A", "<f4"),
            ("location/center_x_frac", "<f4"),
            ("location/center_y_frac", "<f4"),
            ("location/min_dist_A", "<f4"),
            ("pick_stats/ncc_score", "<f4"),
            ("pick_stats/power", "<f4"),
            ("pick_stats/template_idx", "<u4"),
            ("pick_stats/angle_rad", "<f4"),
            *(_OF_ALIGNMENTS if alignments is not None else ()),
        ]
    )
    tables = [_rows_of(exposure, here, dtype) for exposure, here in pairs]
    for rows, (exposure, here), aligned in zip(tables, pairs, alignments or (), strict=alignments is not None):
        _align(rows, aligned, exposure.pixel_size if exposure.pixel_size > 0 else here.pixel_size)
    with whole_binary_file(path) as file:
        np.save(file, np.concatenate([np.zeros(0, dtype), *tables]), allow_pickle=False)


def read_cs(path: str | Path, tell: Tell = warn) -> dict[str, Particles]:
    """Read particle locations.

    Parameters
    ----------
    path
        A .cs file; where it has no locations, as after a selection, those are in the passthrough file beside it. Or the
        .csg file that names both.
    tell
        Takes what was odd. Particles without a micrograph are left out and counted.

    Returns
    -------
    dict of str to Particles
        By ``location/micrograph_path``. Scores are ``pick_stats/ncc_score``, 1 where the file has none; pixel sizes are
        ``location/micrograph_psize_A``, NaN where it has none; shapes are ``location/micrograph_shape``; diameters are
        NaN. Centres are as exact as fractions of single precision, about 1/4000 px.

    Raises
    ------
    ParticleFileError
        If the file cannot be read, holds Python objects or holds no locations.
    """
    table = read_cs_table(Path(path), _LOCATION, "particle locations", tell)
    names = table.texts("location/micrograph_path")
    placed = np.array([bool(name) for name in names], bool)
    if not placed.all():
        if not placed.any():
            raise ParticleFileError(
                f"{path}: none of its {len(table)} particles lies on a micrograph (location/micrograph_path is empty)",
                "Give the particles of the job that picked or extracted them, which knows their micrographs.",
            )
        tell(Event(f"{np.count_nonzero(~placed)} of {len(table)} particles lie on no micrograph: left out", "warning"))
        table, names = table.select(placed), [name for name in names if name]
    if any(field in table and np.any(table[field]) for field in _SHIFTS):
        tell(Event("the shifts of a refinement (alignments) were not applied: CryoSPARC recentres on extraction"))
    shapes, sizes = table.shapes("location/micrograph_shape"), table.optional_numbers("location/micrograph_psize_A")
    fractions = np.column_stack([table.numbers(f"location/center_{axis}_frac") for axis in "xy"])
    scored = "pick_stats/ncc_score"
    scores = known_scores(table.optional_numbers(scored), tell) if scored in table else np.ones(len(table))
    found = {}
    for name, index in _groups(names).items():
        height, width = shapes[index[0]].tolist()
        if (shapes[index] != shapes[index[0]]).any():
            raise ParticleFileError(f"{path}: location/micrograph_shape of {name} is not the same in all rows")
        size = float(sizes[index[0]]) if 0 < sizes[index[0]] < np.inf else np.nan
        here = checked_particles(Path(path), fractions[index] * (width, height), scores[index], pixel_size=size)
        found[name] = replace(here, shape=(height, width))
    return found


def grid_of_exposure(exposure: Exposure) -> Grid:
    """Return the pixels that locations on an exposure are fractions of."""
    return Grid((exposure.height, exposure.width), exposure.pixel_size if exposure.pixel_size > 0 else None)


def _rows_of(exposure: Exposure, particles: Particles, dtype: np.dtype[Any]) -> NDArray[Any]:
    grid = grid_of_exposure(exposure)
    particles, _ = on_grid(exposure.path, particles, grid, "the exposure", OTHER_EXPOSURES)
    rows = np.zeros(len(particles), dtype)
    known = particles.diameters[np.isfinite(particles.diameters)]
    fractions = (particles.centres / (exposure.width, exposure.height)).astype(np.float32)
    rows["location/micrograph_uid"] = exposure.uid
    rows["location/exp_group_id"] = exposure.exp_group_id
    rows["location/micrograph_path"] = exposure.path.encode()
    rows["location/micrograph_shape"] = (exposure.height, exposure.width)
    rows["location/micrograph_psize_A"] = exposure.pixel_size
    rows["location/center_x_frac"], rows["location/center_y_frac"] = fractions.T
    rows["location/min_dist_A"] = np.median(known) * exposure.pixel_size if known.size else 0
    rows["pick_stats/ncc_score"] = particles.scores
    rows["uid"] = _uids(exposure.uid, fractions)
    return rows


def _align(rows: NDArray[Any], aligned: Alignments, pixel_size: float) -> None:
    """Fill in the fields of a 2D classification, whose signs are RELION's: centre = location - shift."""
    rows["alignments2D/class"] = aligned.classes - 1
    rows["alignments2D/pose"] = np.radians(aligned.psi)
    rows["alignments2D/shift"] = aligned.origins / pixel_size
    rows["alignments2D/psize_A"] = pixel_size
    for field in ("class_posterior", "class_ess", "pose_ess", "shift_ess", "alpha", "weight"):
        rows[f"alignments2D/{field}"] = 1  # each particle has one class and one pose


def _uids(exposure_uid: int, fractions: NDArray[np.float32]) -> list[int]:
    # A hash of exposure and place: CryoSPARC joins and intersects particle sets by this number.
    seen: Counter[bytes] = Counter()
    uids = []
    for place in fractions:
        key = place.tobytes()
        text = f"{exposure_uid} {key.hex()} {seen[key]}".encode()
        seen[key] += 1
        uids.append(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))
    return uids


def _groups(names: list[str]) -> dict[str, NDArray[np.intp]]:
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    return {name: np.array(index) for name, index in rows.items()}


def _write_known(path: Path, particles: Iterable[tuple[str, Particles]], exposures: Mapping[str, Exposure]) -> None:
    """Write those whose micrographs have an exposure."""
    write_cs(path, ((exposures[name], here) for name, here in particles if name in exposures))


CRYOSPARC = TableFormat(
    name="cryosparc",
    suffix=".cs",
    recognises=is_cs,
    read=read_cs,
    write=_write_known,
    takes_exposures=True,
    in_run="cryosparc/particles.cs",
)
