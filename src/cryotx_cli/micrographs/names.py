"""Names of micrographs: which of those that different programs give are the same, and files named after them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath

from cryotx_cli.errors import ParticleFileError
from cryotx_cli.micrographs.find import without_micrograph_suffix


def pair_names(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Pair names of micrographs that agree without folders, suffix and the 21-digit prefix of CryoSPARC.

    Returns
    -------
    dict of str to str
        The partner among `names` of each of the `others` that has one. Folders, compared from the file upwards, decide
        between several candidates.

    Raises
    ------
    ParticleFileError
        If a name could belong to several of the others, or two names to one of them.
    """
    by_stem: dict[str, list[str]] = {}
    for other in others:
        by_stem.setdefault(stem_without_uid(other), []).append(other)
    partners: dict[str, str] = {}
    for name in names:
        candidates = by_stem.get(stem_without_uid(name), [])
        common = [_common_folders(name, candidate) for candidate in candidates]
        most = max(common, default=0)
        best = [candidate for candidate, n in zip(candidates, common, strict=True) if n == most]
        if len(best) > 1:
            raise ParticleFileError(
                f"the picks of {name} could belong to {' or '.join(best)}", "Treat each folder of micrographs apart."
            )
        if best and best[0] in partners:
            raise ParticleFileError(
                f"the picks of {name} and of {partners[best[0]]} could both belong to {best[0]}",
                "Treat each folder of micrographs apart.",
            )
        if best:
            partners[best[0]] = name
    return partners


def stem_without_uid(name: str) -> str:
    """Return the name of a micrograph without folders, suffix and the 21-digit prefix of CryoSPARC."""
    # CryoSPARC puts a unique number of 21 digits before the names of imported files; dates are shorter.
    return re.sub(r"^\d{21}_", "", without_micrograph_suffix(PurePath(name).name))


def output_stems(names: Sequence[str]) -> list[Path]:
    """Return relative paths without suffixes for files that belong to these micrographs, in their order.

    The folders that all names have in common are left out, the others stay, so that two files with one stem do not
    meet; two of one stem in one folder (``a.mrc``, ``a.tif``) keep their suffixes. Whatever the names say, absolute or
    with ``..``, the paths lead to nowhere outside the folder that they are joined to.

    Raises
    ------
    ParticleFileError
        If a name cannot be that of a file, or two names lead to the same path.
    """
    inner = [_harmless_parts(name) for name in names]
    levels = zip(*(parts[:-1] for parts in inner), strict=False)
    shared = sum(1 for _ in takewhile(lambda folders: len(set(folders)) == 1, levels))
    below = [Path(*parts[shared:]) for parts in inner]
    stems = [path.with_name(without_micrograph_suffix(path.name) or path.name) for path in below]
    users = Counter(stems)
    stems = [stem if users[stem] == 1 else path for stem, path in zip(stems, below, strict=True)]
    taken: dict[Path, str] = {}
    for stem, name in zip(stems, names, strict=True):
        if stem in taken:
            raise ParticleFileError(f"the files of {taken[stem]} and {name} would have the same name {stem}")
        taken[stem] = name
    return stems


def _common_folders(name: str, other: str) -> int:
    """Count the folders that two names share, from the file upwards."""
    pairs = zip(reversed(PurePath(name).parts[:-1]), reversed(PurePath(other).parts[:-1]), strict=False)
    shared = [a == b for a, b in pairs]
    return shared.index(False) if False in shared else len(shared)


def _harmless_parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in PurePosixPath(name).parts if part not in ("/", "//", "..", "."))
    # 255 bytes is what file systems allow; the file gets an ending and, while it is written, a temporary one.
    if not parts or any("\0" in part or len(part.encode(errors="replace")) > 200 for part in parts):
        raise ParticleFileError(f"the micrograph name {name[:80]!r} cannot be that of a file", "Rename the micrograph.")
    return parts
