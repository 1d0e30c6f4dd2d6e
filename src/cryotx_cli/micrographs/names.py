"""Micrographs under the names that different programs give them: which of them are the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

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


def _common_folders(name: str, other: str) -> int:
    """Count the folders that two names share, from the file upwards."""
    pairs = zip(reversed(PurePath(name).parts[:-1]), reversed(PurePath(other).parts[:-1]), strict=False)
    shared = [a == b for a, b in pairs]
    return shared.index(False) if False in shared else len(shared)
