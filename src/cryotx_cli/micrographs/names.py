"""Names of micrographs: which of those that different programs give are the same, and files named after them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from cryotx_cli.errors import ParticleFileError

MRC_SUFFIXES = (".mrc", ".mrcs", ".mrc.gz", ".mrc.bz2", ".mrcs.gz", ".mrcs.bz2")
TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
MICROGRAPH_SUFFIXES = MRC_SUFFIXES + TIFF_SUFFIXES + PICTURE_SUFFIXES

NAMES_AGREE = (
    "Names must agree without folders, suffixes and what motion correction, pickers and extraction are known to add."
)

# Of every image or movie that a micrograph may be, or be made of: .eer and .dm4 are never read, only named.
_SUFFIX = re.compile(r"\.(mrcs?|tiff?|png|jpe?g|gif|bmp|eer|dm[34]|ser|hdf5?|h5|img|spi)(\.(gz|bz2|xz|zst))?$", re.I)
_UID = re.compile(r"^\d{21}_")  # CryoSPARC puts it before the names of imported files; dates are shorter
_PICKER_ENDING = re.compile(
    r"[_-](autopick|manualpick|topazpicks?|topaz|automatch|gautomatch|cryolo|boxnet\w*|extract(ed)?|checked|info"
    r"|pick(s|ed)?|particles?|coord(s|inates)?|box(es)?)$",
    re.I,
)
# RELION, MotionCor2 and 3, CryoSPARC, Unblur, EPU, SerialEM: movies, and the averages that are made of them.
_MOTION_ENDING = re.compile(
    r"[_.-](DWS?|no_?DW|dose_?weighted|((patch|rigid|full_frame)_)?aligned|motion_?corr(ected)?|corr(ected)?|SumCorr"
    r"|DriftCorr|fractions|EER|frames|movies?|sum|avg|average|ali|mic)$",
    re.I,
)


@dataclass(frozen=True)
class Pairing:
    """Which names belong together.

    Parameters
    ----------
    partners
        By the others: the name of each one that has one.
    problems
        Why names have no partner although there would be one: with both names, a line each.
    """

    partners: dict[str, str]
    problems: list[str]


def pair_names(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Pair names of micrographs as `pairing` does.

    Returns
    -------
    dict of str to str
        The partner among `names` of each of the `others` that has one.

    Raises
    ------
    ParticleFileError
        If a name could belong to several of the others, or two names to one of them.
    """
    pairs = pairing(names, others)
    if pairs.problems:
        raise ParticleFileError(pairs.problems[0], "Treat each folder of micrographs apart, or each kind of files.")
    return pairs.partners


def pairing(names: Iterable[str], others: Iterable[str]) -> Pairing:
    """Pair names of micrographs that agree without folders and without what programs add.

    A name goes to those of the others that agree with it best: with their whole file names; without suffixes and the
    21-digit prefix of CryoSPARC; without the endings of pickers and extraction; without those of motion correction.
    Folders, compared from the file upwards, decide between several. What is still not certain is a problem, not a pair.
    """
    others, left = list(others), list(names)
    partners: dict[str, str] = {}
    problems: list[str] = []
    for agreement in (_WHOLE_NAMES, _WITHOUT_PICKERS, _WITHOUT_MOTION):
        found = _files_or_stems(left, others) if agreement is _WHOLE_NAMES else {}
        for way in agreement:
            found |= _candidates([name for name in left if name not in found], others, [way])
        left = [name for name in left if name not in found]
        # One that another name agrees with better is that name's.
        free = {name: [other for other in best if other not in partners] for name, best in found.items()}
        pairs, unclear = _matched({name: best for name, best in free.items() if best})
        partners |= pairs
        problems += unclear
    return Pairing(partners, problems)


def _files_or_stems(names: Sequence[str], others: Sequence[str]) -> dict[str, list[str]]:
    """Return the candidates of names that are those of files, or their stems, on either side.

    ``a.mrc`` may be that file, or the stem of ``a.mrc.mrc``: it is what allows all names to have a partner.
    """
    either = _candidates(names, others, [_FILES, _STEMS, _OTHERS_STEMS])
    for ways in ([_FILES], [_FILES, _STEMS], [_FILES, _OTHERS_STEMS]):
        pairs, unclear = _matched(_candidates([*either], others, ways))
        if len(pairs) == len(either) and not unclear:
            as_stems = _candidates([*either], others, [_STEMS])
            if ways == [_FILES] and len(as_stems) == len(either) and not set(either) <= set(others):
                break  # all of them may be either
            return {name: [other] for other, name in pairs.items()}
    return either


def _candidates(names: Sequence[str], others: Iterable[str], ways: Sequence[_Way]) -> dict[str, list[str]]:
    """Return those of the others that names agree with in one of these ways and share the most folders with."""
    found: dict[str, dict[str, None]] = {}
    for of_name, of_other in ways:
        table: dict[str, list[str]] = {}
        for other in others if names else ():
            table.setdefault(of_other(other), []).append(other)
        for name in names:
            found.setdefault(name, {}).update(dict.fromkeys(table.get(of_name(name), ())))
    return {name: _in_nearest_folders(name, [*here]) for name, here in found.items() if here}


def _matched(candidates: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], list[str]]:
    """Pair names with one of their candidates each, and say which could have several, or share one.

    What is the only candidate of a name is no candidate of another one.
    """
    left = dict(candidates)
    partners: dict[str, str] = {}
    problems: list[str] = []
    shared: set[str] = set()
    while sure := {name: best[0] for name, best in left.items() if len(best) == 1}:
        for name, other in sure.items():
            if other in partners:
                problems.append(f"the picks of {name} and of {partners[other]} could both belong to {other}")
                shared.add(other)
            partners[other] = name
        left = {name: [one for one in best if one not in partners] for name, best in left.items() if name not in sure}
    problems += [f"the picks of {name} could belong to {' or '.join(candidates[name])}" for name in left]
    return {other: name for other, name in partners.items() if other not in shared}, problems


def difference(name: str, others: Iterable[str]) -> str:
    """Say what a name without a partner has more than the one of the others that it begins with; else nothing."""
    bare = bare_name(name)
    begun = [other for other in others if re.match(re.escape(bare_name(other)) + r"[_.-]", bare)]
    if not begun:
        return ""
    longest = max(begun, key=lambda other: len(bare_name(other)))
    more = bare[len(bare_name(longest)) :]
    return f"{name} is {longest} but for {more}: if they are the same, rename the files without it."


def file_name(name: str) -> str:
    """Return the name of a file without its folders, be they those of Windows."""
    return _path(name).name


def parts_of_windows(name: str) -> tuple[str, ...]:
    """Return folders and file of a name that comes from Windows, without its drive; nothing for any other."""
    path = _path(name)
    return tuple(part for part in path.parts if part != path.anchor) if isinstance(path, PureWindowsPath) else ()


def without_micrograph_suffix(name: str) -> str:
    """Return `name` without the suffix of a micrograph file: ``a.frames.mrc.gz`` becomes ``a.frames``."""
    longest = max((s for s in MICROGRAPH_SUFFIXES if name.lower().endswith(s)), key=len, default="")
    return name[: len(name) - len(longest)]


def micrograph_suffix(path: Path) -> str:
    """Return the suffix of a micrograph file in lower case, ``.mrc.gz`` as a whole; nothing if it is none."""
    return path.name[len(without_micrograph_suffix(path.name)) :].lower()


def image_suffix(name: str) -> str:
    """Return the suffix of an image or movie, of every kind that a micrograph may be made of; nothing if it is none."""
    match = _SUFFIX.search(name)
    return match[0] if match else ""


def has_uid(name: str) -> bool:
    """Tell whether a name begins with the 21-digit number that CryoSPARC puts before the names of files."""
    return _UID.match(file_name(name)) is not None


def bare_name(name: str) -> str:
    """Return the name of a micrograph without folders, suffixes and the 21-digit prefix of CryoSPARC."""
    return _stripped(_UID.sub("", file_name(name)), _SUFFIX)


def name_without_picker(name: str) -> str:
    """Return the bare name of a micrograph without what pickers and extraction add to it."""
    return _stripped(bare_name(name), _SUFFIX, _PICKER_ENDING)


def name_of_origin(name: str) -> str:
    """Return the bare name of the movie that a micrograph is made of, as far as names tell."""
    return _stripped(bare_name(name), _SUFFIX, _PICKER_ENDING, _MOTION_ENDING)


def relion_stem(name: str) -> PurePosixPath:
    """Return what RELION calls a micrograph's files after: without ``JobType/jobNNN/`` and the last suffix."""
    path = PurePosixPath(name)
    inner = PurePosixPath(*path.parts[_job_parts(path) :])
    return inner.with_suffix("") if inner.name else inner


def output_stems(names: Sequence[str]) -> list[Path]:
    """Return relative paths without suffixes for files that belong to these micrographs, in their order.

    The folders that all names have in common are left out, the others stay, so that two files with one stem do not
    meet; those in one folder whose stem is that or the name of another (``a.mrc``, ``a.tif``, ``a.mrc.mrc``) keep
    their suffixes: no file may seem to be another micrograph's. Whatever the names say, absolute or with ``..``, the
    paths lead to nowhere outside the folder that they are joined to.

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
    users.update(path for path, stem in zip(below, stems, strict=True) if path != stem)
    stems = [stem if users[stem] == 1 else path for stem, path in zip(stems, below, strict=True)]
    taken: dict[Path, str] = {}
    for stem, name in zip(stems, names, strict=True):
        if stem in taken:
            raise ParticleFileError(f"the files of {taken[stem]} and {name} would have the same name {stem}")
        taken[stem] = name
    return stems


def relion_stems(names: Sequence[str], stems: Sequence[Path]) -> list[Path]:
    """Return where RELION's own picker would put the files of these micrographs below its folder, without suffixes.

    Parameters
    ----------
    names
        Of the micrographs, relative to the project folder or with the folder of a job in them.
    stems
        As `output_stems` returns them: for names that say nothing of a project, or that RELION could not tell apart.
    """
    wanted = [_in_project(name) or stem for name, stem in zip(names, stems, strict=True)]
    users = Counter(wanted)
    whole = [place.with_name(file_name(name)) for place, name in zip(wanted, names, strict=True)]
    users.update(file for file, place in zip(whole, wanted, strict=True) if file != place)  # a.mrc, and a.mrc.mrc
    apart = [place if users[place] == 1 else stem for place, stem in zip(wanted, stems, strict=True)]
    return apart if len(set(apart)) == len(apart) else list(stems)


def _in_project(name: str) -> Path | None:
    stem = relion_stem(name)
    if stem.is_absolute() or ".." in stem.parts or not stem.name or parts_of_windows(name):
        return None
    # RELION cuts off whatever follows the last point: a.b is cut in files that it would not read alone.
    return Path(stem.with_name(without_micrograph_suffix(file_name(name)) or stem.name))


def _job_parts(path: PurePosixPath) -> int:
    """Count the folders of a path as far as the first that RELION has numbered as a job; 0 where there is none."""
    inner = path.parts[:-1]
    return next((i for i, part in enumerate(inner, 1) if i > 1 and re.match(r"job\d{3}", part)), 0)


def _posix_name(name: str) -> str:
    return PurePosixPath(name).name


def _posix_stem(name: str) -> str:
    return without_micrograph_suffix(_posix_name(name))


def _stem(name: str) -> str:
    return without_micrograph_suffix(file_name(name))


_Key = Callable[[str], str]
_Way = tuple[_Key, _Key]  # what has to be equal: of a name, and of one of the others
_FILES, _STEMS, _OTHERS_STEMS = (_posix_name, _posix_name), (_posix_name, _posix_stem), (_posix_stem, _posix_name)
# Of the ways of one agreement the first that finds something counts; a backslash may belong to a name, so that folders
# of Windows come second.
_WHOLE_NAMES: tuple[_Way, ...] = (
    (_posix_stem, _posix_stem),
    (file_name, file_name),
    (file_name, _stem),
    (_stem, file_name),
    (_stem, _stem),
    (bare_name, bare_name),
)
_WITHOUT_PICKERS: tuple[_Way, ...] = ((name_without_picker, name_without_picker),)
_WITHOUT_MOTION: tuple[_Way, ...] = ((name_of_origin, name_of_origin),)


def _in_nearest_folders(name: str, candidates: Sequence[str]) -> list[str]:
    """Return those of the candidates that share the most folders with a name."""
    if len(candidates) < 2:
        return list(candidates)
    common = [_common_folders(name, candidate) for candidate in candidates]
    return [candidate for candidate, n in zip(candidates, common, strict=True) if n == max(common)]


def _common_folders(name: str, other: str) -> int:
    """Count the folders that two names share, from the file upwards."""
    pairs = zip(reversed(_path(name).parts[:-1]), reversed(_path(other).parts[:-1]), strict=False)
    shared = [a == b for a, b in pairs]
    return shared.index(False) if False in shared else len(shared)


def _path(name: str) -> PurePath:
    """Part a name at its slashes, or at its backslashes where it comes from Windows."""
    from_windows = "\\" in name and ("/" not in name or re.match(r"[A-Za-z]:[\\/]", name))
    return PureWindowsPath(name) if from_windows else PurePosixPath(name)


def _stripped(name: str, *endings: re.Pattern[str]) -> str:
    """Leave out these endings again and again, as long as something is left."""
    while shorter := next((cut for ending in endings if (cut := ending.sub("", name)) not in ("", name)), None):
        name = shorter
    return name


def _harmless_parts(name: str) -> tuple[str, ...]:
    path = _path(name)
    parts = tuple(part for part in path.parts if part not in (path.anchor, "/", "//", "..", "."))
    # 255 bytes is what file systems allow; the file gets an ending and, while it is written, a temporary one.
    if not parts or any("\0" in part or len(part.encode(errors="replace")) > 200 for part in parts):
        raise ParticleFileError(f"the micrograph name {name[:80]!r} cannot be that of a file", "Rename the micrograph.")
    return parts
