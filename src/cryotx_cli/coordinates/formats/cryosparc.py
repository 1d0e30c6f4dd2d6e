"""CryoSPARC's .cs files: ``numpy.save`` of a structured array, one row a particle or an exposure.

Particle locations are fractions of the micrograph's width and height, y down the stored rows. Each one names the
exposure that it lies on by CryoSPARC's own number of it, so that writing takes the user's exposures file. Fields and
types are those of ``cryosparc.dataset`` (cryosparc-tools) and of particle picking jobs.

Strings are stored at a fixed length; older versions stored Python objects, which are never loaded, because loading
them runs code that the file brings along.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.formats.entry import Exposure, TableFormat
from cryotx_cli.coordinates.particles import Particles, checked_particles
from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.events import Tell, warn
from cryotx_cli.files.text_file import require_file
from cryotx_cli.files.whole_file import whole_binary_file
from cryotx_cli.micrographs.names import NAMES_AGREE, pair_names

_MAX_HEADER_BYTES = 100_000  # exposures carry a few hundred fields; NumPy's own limit suffices for about 200
_EXPORT = "In CryoSPARC, export the output of the job, or save it with cryosparc-tools in its default format."

_UNREADABLE = (ValueError, TypeError, ArithmeticError, EOFError, MemoryError, RecursionError, SyntaxError, TokenError)


def read_exposures(path: str | Path) -> dict[str, Exposure]:
    """Read the exposures that a CryoSPARC job put out.

    Parameters
    ----------
    path
        The job's .cs file with ``micrograph_blob`` fields: that of Import Micrographs, of Patch Motion Correction or
        of Curate Exposures; of other jobs it is the one named ``..._passthrough_exposures.cs``.

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
    rows = _read_rows(path)
    blob = "micrograph_blob"
    _require_fields(rows, path, "uid", f"{blob}/path", f"{blob}/shape", f"{blob}/psize_A", kind="exposures")
    group_field = next((f for f in ("mscope_params/exp_group_id", "ctf/exp_group_id") if f in _fields(rows)), None)
    groups = _counts(rows, group_field, path) if group_field else np.ones(len(rows), np.int64)
    uids, shapes = _counts(rows, "uid", path), _shapes(rows, f"{blob}/shape", path)
    pixel_sizes = _numbers(rows, f"{blob}/psize_A", path)
    exposures = {}
    for i, name in enumerate(_names(rows, f"{blob}/path", path)):
        height, width = shapes[i].tolist()
        exposures[name] = Exposure(int(uids[i]), int(groups[i]), name, height, width, float(pixel_sizes[i]))
    if not exposures:
        raise ParticleFileError(f"{path}: lists no exposures", _EXPORT)
    return exposures


def exposures_of(path: str | Path, names: Iterable[str]) -> dict[str, Exposure]:
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
    exposures, names = read_exposures(path), list(names)
    partners = pair_names(names, exposures)
    if not partners:
        raise ParticleFileError(
            f"{path}: lists none of the micrographs; it names {', '.join([*exposures][:2])}, "
            f"the picks name {', '.join(names[:2])}",
            "Give the exposures that were made of these micrographs. " + NAMES_AGREE,
        )
    return {name: exposures[exposure] for exposure, name in partners.items()}


def write_cs(path: str | Path, particles: Iterable[tuple[Exposure, Particles]]) -> None:
    """Write particle locations with all fields that CryoSPARC's picking jobs give them.

    The score goes into ``pick_stats/ncc_score`` and the median diameter (0 where it is not known) into
    ``location/min_dist_A``. The same particle gets the same ``uid`` in every file.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
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
        ]
    )
    tables = [_rows_of(exposure, here, dtype) for exposure, here in pairs]
    with whole_binary_file(path) as file:
        np.save(file, np.concatenate([np.zeros(0, dtype), *tables]), allow_pickle=False)


def read_cs(path: str | Path, tell: Tell = warn) -> dict[str, Particles]:
    """Read particle locations.

    Returns
    -------
    dict of str to Particles
        By ``location/micrograph_path``. Scores are ``pick_stats/ncc_score``, 1 where the file has none; pixel sizes are
        ``location/micrograph_psize_A``, NaN where it has none; diameters are NaN. Centres are as exact as fractions of
        single precision, about 1/4000 px.

    Raises
    ------
    ParticleFileError
        If the file cannot be read, holds Python objects or holds no locations.
    """
    path = Path(path)
    rows, names = _read_locations(path)
    shapes = _shapes(rows, "location/micrograph_shape", path)
    fractions = [_numbers(rows, f"location/center_{axis}_frac", path) for axis in "xy"]
    centres = np.column_stack(fractions) * shapes[:, ::-1]
    scored, sized = "pick_stats/ncc_score", "location/micrograph_psize_A"
    scores = _numbers(rows, scored, path) if scored in _fields(rows) else np.ones(len(rows))
    pixel_sizes = _numbers(rows, sized, path) if sized in _fields(rows) else np.full(len(rows), np.nan)
    found = {}
    for name, index in _groups(names).items():
        pixel_size = float(pixel_sizes[index[0]])
        pixel_size = pixel_size if pixel_size > 0 else np.nan
        found[name] = checked_particles(path, centres[index], scores[index], pixel_size=pixel_size)
    return found


def read_cs_heights(path: str | Path) -> dict[str, int]:
    """Return the height in pixels of each micrograph that a .cs file of particle locations names.

    Raises
    ------
    ParticleFileError
        As `read_cs` does.
    """
    path = Path(path)
    rows, names = _read_locations(path)
    heights = _shapes(rows, "location/micrograph_shape", path)[:, 0].tolist()
    return dict(zip(names, heights, strict=True))


def _rows_of(exposure: Exposure, particles: Particles, dtype: np.dtype[Any]) -> NDArray[Any]:
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


def _read_rows(path: Path) -> NDArray[Any]:
    require_file(path)
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic == b"\x95CSDAT":
            raise ParticleFileError(f"{path}: a compressed CryoSPARC stream, not a NumPy table", _EXPORT)
        if magic != b"\x93NUMPY":
            raise ParticleFileError(f"{path}: not a .cs file: it does not begin as a NumPy table", _EXPORT)
        # Mapped, not read: a header that promises more than the file holds costs no memory.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers as Python 2 wrote them are announced
            rows = np.load(path, mmap_mode="r", allow_pickle=False, max_header_size=_MAX_HEADER_BYTES)
    except OSError as error:
        raise ParticleFileError(f"{path}: cannot be read: {error.strerror or error}", "Check the path.") from error
    except _UNREADABLE as error:
        objects = "Python objects" in str(error)
        reason = "it holds Python objects, which may run code when loaded" if objects else f"{error}"
        raise ParticleFileError(f"{path}: cannot be read as .cs: {reason[:300]}", _EXPORT) from error
    if rows.dtype.names is None or rows.ndim != 1:
        raise ParticleFileError(f"{path}: a NumPy array of shape {rows.shape}, not a table with named fields", _EXPORT)
    return np.asarray(rows)


def _read_locations(path: Path) -> tuple[NDArray[Any], list[str]]:
    rows = _read_rows(path)
    fields = ("micrograph_path", "micrograph_shape", "center_x_frac", "center_y_frac")
    _require_fields(rows, path, *(f"location/{field}" for field in fields), kind="particle locations")
    return rows, _names(rows, "location/micrograph_path", path)


def _fields(rows: NDArray[Any]) -> tuple[str, ...]:
    return rows.dtype.names or ()


def _require_fields(rows: NDArray[Any], path: Path, *fields: str, kind: str) -> None:
    missing = [field for field in fields if field not in _fields(rows)]
    if missing:
        groups = ", ".join(sorted({field.partition("/")[0] for field in _fields(rows)}))
        raise NoCoordinatesError(
            f"{path}: not a .cs file of {kind}: no {', '.join(missing)}; it holds {groups[:300]}", _EXPORT
        )


def _names(rows: NDArray[Any], field: str, path: Path) -> list[str]:
    column = rows[field]
    if column.dtype.kind not in "SU" or column.ndim != 1:
        raise ParticleFileError(f"{path}: {field} is of type {column.dtype}, not text")
    names, once = [], dict[Any, str]()
    try:
        for value in column:
            # Equal names are kept once: a million particles lie on a thousand micrographs.
            if value not in once:
                # Project paths of some versions begin with ">", which stands for the folder of the file.
                once[value] = (value.decode() if isinstance(value, bytes) else str(value)).removeprefix(">")
            names.append(once[value])
    except (ValueError, OverflowError) as error:
        raise ParticleFileError(f"{path}: {field} holds a name that is not UTF-8: {error}") from error
    return names


def _numbers(rows: NDArray[Any], field: str, path: Path) -> NDArray[np.float64]:
    column = rows[field]
    if column.dtype.kind not in "iuf" or column.ndim != 1:
        raise ParticleFileError(f"{path}: {field} is of type {column.dtype}, not numbers")
    numbers = column.astype(np.float64)
    if not np.isfinite(numbers).all():
        row = np.flatnonzero(~np.isfinite(numbers))[0] + 1
        raise ParticleFileError(f"{path}: {field} is not a finite number in row {row}")
    return numbers


def _counts(rows: NDArray[Any], field: str, path: Path) -> NDArray[Any]:
    column = rows[field]
    if column.dtype.kind not in "iu" or column.ndim != 1 or (column < 0).any():
        raise ParticleFileError(f"{path}: {field} is of type {column.dtype} or negative, not a number that counts")
    return column


def _shapes(rows: NDArray[Any], field: str, path: Path) -> NDArray[np.int64]:
    """Height and width of each row's micrograph, (n, 2)."""
    column = rows[field]
    if column.dtype.kind not in "iu" or column.shape[1:] != (2,):
        raise ParticleFileError(f"{path}: {field} is of type {column.dtype} {column.shape[1:]}, not height and width")
    shapes = column.astype(np.int64)
    if (shapes <= 0).any():
        raise ParticleFileError(f"{path}: {field} is not positive in row {np.flatnonzero((shapes <= 0).any(1))[0] + 1}")
    return shapes


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
    recognises=lambda beginning: beginning.startswith((b"\x93NUMPY", b"\x95CSDAT")),
    read=read_cs,
    write=_write_known,
    heights=read_cs_heights,
    takes_exposures=True,
    in_run="cryosparc/particles.cs",
)
