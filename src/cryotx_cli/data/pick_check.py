"""Check picks against the micrographs that another program will take them with, before it does.

Each check answers with one `Finding`: names, micrographs left without picks, spaces, equal file names, picks off the
image or too near to its edge, coordinates of another binning, pixel sizes, duplicates, and what the images say about
orientation and position (`cryotx_cli.data.pick_evidence`).

Images cost time, so only those of the few micrographs with most picks are read; of all others the headers suffice.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
from scipy.spatial import cKDTree

from cryotx_cli.data.formats.box import box_side_px
from cryotx_cli.data.formats.star import read_particles_star
from cryotx_cli.data.micrograph import (
    PICTURE_SUFFIXES,
    MicrographFile,
    read_header,
    read_micrograph,
    without_micrograph_suffix,
)
from cryotx_cli.data.micrograph_names import pair_names, stem_without_uid
from cryotx_cli.data.particles import Particles
from cryotx_cli.data.pick_evidence import MIN_PICKS, Fit, Orientation, combined, measure_fit
from cryotx_cli.errors import MicrographError, ParticleFileError

Level = Literal["pass", "skip", "warn", "fail"]
Importer = Literal["relion", "cryosparc", "any"]
"""Who takes the picks: it decides how names are compared."""

MAX_EXAMPLES = 5
SAMPLE = 10
"""Micrographs whose images are read, unless the caller says otherwise."""

_SAME_PIXEL_SIZE = 0.01  # relative; headers and optics tables round differently
_DUPLICATE_DIAMETERS = 0.1
_DUPLICATE_SIDES = 0.002  # of the long side where the diameter is not known: 8 px of 4096
_BINNED_EXTENT, _BINNED_PICKS = 0.6, 50  # all of 50 picks in 0.6 x 0.6 of the image: never by chance
_LOOKS: dict[Orientation, str] = {
    "as written": "right as they are",
    "upside down": "upside down",
    "mirrored": "mirrored left to right",
    "swapped": "to have x and y exchanged",
}


@dataclass(frozen=True)
class Target:
    """A micrograph as the program knows it that will take the picks.

    Parameters
    ----------
    name
        What the picks have to call it.
    path
        Its file; None where it is not to be found.
    shape
        (height, width) in pixels; None: the file says.
    pixel_size
        Å per pixel as the list of micrographs states it; None where it does not.
    """

    name: str
    path: Path | None
    shape: tuple[int, int] | None = None
    pixel_size: float | None = None

    @classmethod
    def of(cls, file: MicrographFile, shape: tuple[int, int] | None = None) -> Target:
        """Make one of a micrograph that `find_micrographs` has found."""
        return cls(file.name, file.path, shape, file.pixel_size)


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Parameters
    ----------
    check
        Which one, in a word or two.
    level
        pass; skip: not checked, the summary says why; warn; fail: the import would go wrong.
    summary
        How many and what, one line.
    examples
        Up to five.
    advice
        What to do; empty where there is nothing to do.
    """

    check: str
    level: Level
    summary: str
    examples: tuple[str, ...] = ()
    advice: str = ""


@dataclass(frozen=True, eq=False)
class PickCheck:
    """All findings about one set of picks.

    Parameters
    ----------
    micrographs, matched, picks
        How many micrographs there are, how many of them have picks, and how many picks that match or not.
    findings
        In the order of the checks.
    fits
        What the image says, of the micrographs whose image was measured, by the name of the picks.
    """

    micrographs: int
    matched: int
    picks: int
    findings: list[Finding]
    fits: dict[str, Fit] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Nothing failed; warnings do not count."""
        return all(finding.level != "fail" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return everything ready for JSON."""
        return {
            "passed": self.passed,
            "micrographs": self.micrographs,
            "matched": self.matched,
            "picks": self.picks,
            "findings": [asdict(finding) for finding in self.findings],
            "evidence": {
                name: {"orientation": fit.orientation, "offset_px": fit.offset, **fit.evidence}
                for name, fit in self.fits.items()
            },
        }


@dataclass(frozen=True, eq=False)
class _Pair:
    """The picks of one micrograph and what is known about it."""

    name: str
    particles: Particles
    target: Target
    header_pixel_size: float | None = None
    error: str = ""

    @property
    def pixel_size(self) -> float | None:
        stated = self.particles.pixel_size if self.particles.pixel_size > 0 else None
        return self.target.pixel_size or self.header_pixel_size or stated

    def diameter_px(self, diameter: float | None) -> float | None:
        known = self.particles.diameters[np.isfinite(self.particles.diameters)]
        if known.size:
            return float(np.median(known))
        return diameter / self.pixel_size if diameter and self.pixel_size else None


def check_picks(
    picks: Mapping[str, Particles],
    targets: Sequence[Target],
    importer: Importer = "any",
    *,
    diameter: float | None = None,
    box: int | None = None,
    sample: int = SAMPLE,
) -> PickCheck:
    """Check picks against the micrographs that they will be imported with.

    Parameters
    ----------
    picks
        By micrograph name, as `read_particles` returns them.
    targets
        The micrographs.
    importer
        relion compares names letter by letter, cryosparc without folders.
    diameter
        Å, for picks that have no diameters of their own.
    box
        Side of the boxes to extract in pixels; None: one and a half diameters.
    sample
        Of how many micrographs, those with most picks, to read the images. Headers are read of the others, and not
        even those of PNG and JPG files, which have to be decoded for it, nor of targets whose shape is given.

    Returns
    -------
    PickCheck
        Micrographs that cannot be read are a finding, not an error.
    """
    partners, ambiguous = _partners(picks, targets)
    count = sum(map(len, picks.values()))
    if not count:
        return PickCheck(len(targets), 0, 0, [_check_unpicked(targets, [])])
    if not partners:
        return PickCheck(len(targets), 0, count, [_check_names(picks, targets, partners, ambiguous, importer)])
    sampled = sorted(partners, key=lambda name: -len(picks[name]))[:sample]
    pairs = [_read_header_of(_Pair(name, picks[name], target), name in sampled) for name, target in partners.items()]
    fits, unreadable = _fits([pair for pair in pairs if pair.name in sampled])
    unreadable += [pair.error for pair in pairs if pair.error and pair.name not in sampled]
    findings = [
        _check_names(picks, targets, partners, ambiguous, importer),
        _check_uids(partners, importer),
        _check_spaces(pair.target.name for pair in pairs),
        _check_stems(targets),
        _check_unpicked(targets, pairs),
        _check_files(unreadable),
        _check_outside(pairs),
        _check_edge(pairs, diameter, box),
        _check_binning(pairs),
        _check_pixel_size(pairs),
        _check_duplicates(pairs, diameter),
        _check_orientation(pairs, fits),
        _check_position(fits),
    ]
    return PickCheck(len(targets), len(pairs), count, [one for one in findings if one is not None], fits)


def check_run(star: Path, targets: Sequence[Target], diameter: float, sample: int = 3) -> list[Finding]:
    """Check what ``cryotx pick`` has written, by reading it again.

    Parameters
    ----------
    star
        The merged STAR file of the run.
    targets
        The micrographs that were picked, with the shapes and pixel sizes that the run has found: then no other files
        are read than those of the sample.
    diameter
        Of the particles in Å.
    sample
        How many images to read.

    Returns
    -------
    list of Finding
        Those that warn or fail. Pixel sizes are left out: the user may have corrected those of the files.

    Raises
    ------
    ParticleFileError
        If the file cannot be read.
    """
    result = check_picks(read_particles_star(star), targets, "relion", diameter=diameter, sample=sample)
    return [one for one in result.findings if one.level in ("warn", "fail") and one.check != "pixel size"]


# --- names -----------------------------------------------------------------------------------------------------------


def _partners(picks: Iterable[str], targets: Sequence[Target]) -> tuple[dict[str, Target], list[str]]:
    """Return the micrograph of each name, and why names with several candidates have none."""
    by_name = {target.name: target for target in targets}
    candidates, names = defaultdict(list), defaultdict(list)
    for target in by_name:
        candidates[stem_without_uid(target)].append(target)
    for name in picks:
        names[stem_without_uid(name)].append(name)
    partners: dict[str, Target] = {}
    ambiguous = []
    for stem, here in names.items():
        try:
            pairs = pair_names(here, candidates[stem])
        except ParticleFileError as error:
            ambiguous.append(error.message)
        else:
            partners |= {name: by_name[target] for target, name in pairs.items()}
    return {name: partners[name] for name in picks if name in partners}, ambiguous


def _check_names(
    picks: Mapping[str, Particles],
    targets: Sequence[Target],
    partners: Mapping[str, Target],
    ambiguous: Sequence[str],
    importer: Importer,
) -> Finding:
    missing = [name for name in picks if name not in partners]
    if missing:
        nearest = _nearest(missing[:MAX_EXAMPLES], targets) if not ambiguous else ()
        return Finding(
            "names",
            "fail",
            f"{len(missing)} of {len(picks)} names of the picks match no micrograph",
            (*ambiguous, *nearest)[:MAX_EXAMPLES],
            "RELION leaves such picks out without a word, CryoSPARC stops at the first. Pick from the micrographs that "
            "you import with, or rename: names must agree without folders and suffixes.",
        )
    # Names without a suffix come from the names of coordinate files, or from Topaz: nothing compares them.
    differ = [name for name in picks if partners[name].name != name and without_micrograph_suffix(name) != name]
    if importer == "relion" and differ:
        return Finding(
            "names",
            "fail",
            f"{len(differ)} of {len(picks)} names match, but not letter by letter: RELION would leave their picks out",
            tuple(f"{name} is {partners[name].name}" for name in differ[:MAX_EXAMPLES]),
            "cryotx convert PICKS relion/ --to relion --micrographs FILE.star gives the picks RELION's names.",
        )
    how = "letter by letter" if not differ and importer == "relion" else "by file name"
    return Finding("names", "pass", f"{len(picks)} of {len(picks)} names of the picks match a micrograph, {how}")


def _nearest(missing: Sequence[str], targets: Sequence[Target]) -> list[str]:
    stems = {stem_without_uid(target.name): target.name for target in targets}
    found = []
    for name in missing:
        near = difflib.get_close_matches(stem_without_uid(name), stems, n=1)
        found.append(f"{name}: {f'the nearest is {stems[near[0]]}' if near else 'no micrograph has a name like it'}")
    return found


def _check_uids(partners: Mapping[str, Target], importer: Importer) -> Finding | None:
    differ = [name for name, target in partners.items() if _has_uid(name) != _has_uid(target.name)]
    if not differ:
        return None
    side, other = ("picks", "micrographs") if _has_uid(differ[0]) else ("micrographs", "picks")
    advice = (
        "Import a .cs file, which needs no names: cryotx convert PICKS picks.cs --exposures FILE.cs. Or trim the "
        "prefix in the parameters of Import Particle Stack."
        if importer == "cryosparc"
        else "cryotx convert PICKS OUT --micrographs FOLDER gives the picks the names of these micrographs."
    )
    return Finding(
        "CryoSPARC numbers",
        "warn",
        f"{_counted(len(differ), 'names')} of {side} with CryoSPARC's 21-digit number in front, which the {other} lack",
        tuple(f"{name} is {partners[name].name}" for name in differ[:MAX_EXAMPLES]),
        advice,
    )


def _has_uid(name: str) -> bool:
    return bool(stem_without_uid(name) != without_micrograph_suffix(PurePath(name).name))


def _check_spaces(names: Iterable[str]) -> Finding | None:
    spaced = [name for name in names if re.search(r"\s", name)]
    if not spaced:
        return None
    return Finding(
        "spaces",
        "warn",
        f"{_counted(len(spaced), 'names')} of micrographs with spaces",
        tuple(repr(name) for name in spaced[:MAX_EXAMPLES]),
        "They are quoted in STAR files, which not every program understands: rename the micrographs before importing.",
    )


def _check_stems(targets: Sequence[Target]) -> Finding | None:
    by_stem = defaultdict(list)
    for target in targets:
        by_stem[stem_without_uid(target.name)].append(target.name)
    shared = [names for names in by_stem.values() if len(names) > 1]
    if not shared:
        return None
    return Finding(
        "equal file names",
        "warn",
        f"{_counted(len(shared), 'file names')} shared by several micrographs",
        tuple(" and ".join(names[:3]) for names in shared[:MAX_EXAMPLES]),
        "EMAN2, crYOLO, Topaz and CryoSPARC know a micrograph by its file name alone: import each folder apart.",
    )


def _check_unpicked(targets: Sequence[Target], pairs: Sequence[_Pair]) -> Finding:
    picked = {pair.target.name for pair in pairs if len(pair.particles)}
    without = [target.name for target in targets if target.name not in picked]
    if not picked:
        advice = "Nothing would be imported. Check that these are the picks."
        return Finding("picks", "fail", "no micrograph has a pick", (), advice)
    count = sum(len(pair.particles) for pair in pairs)
    summary = f"{_counted(count, 'picks')} on {len(picked)} of {_counted(len(targets), 'micrographs')}"
    if not without:
        return Finding("picks", "pass", summary)
    advice = "Were they picked, and are they empty? If so, there is nothing to do."
    return Finding("picks", "warn", summary, tuple(f"{name}: none" for name in without[:MAX_EXAMPLES]), advice)


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


# --- files and coordinates -------------------------------------------------------------------------------------------


def _read_header_of(pair: _Pair, sampled: bool) -> _Pair:
    path = pair.target.path
    if path is None:
        return pair
    if path.suffix.lower() in PICTURE_SUFFIXES and not sampled:
        return pair
    if pair.target.shape is not None and not sampled:
        return pair
    try:
        header = read_header(path)
    except MicrographError as error:
        return replace(pair, error=error.message)
    shape = (header.height, header.width)
    return replace(pair, target=replace(pair.target, shape=shape), header_pixel_size=header.pixel_size)


def _check_files(errors: Sequence[str]) -> Finding | None:
    if not errors:
        return None
    return Finding(
        "files",
        "warn",
        f"{_counted(len(errors), 'micrographs')} with picks could not be read",
        tuple(errors[:MAX_EXAMPLES]),
        "What needs their size or their image is not checked. Start cryotx where their names lead to them.",
    )


def _check_outside(pairs: Sequence[_Pair]) -> Finding:
    sized = [(pair, pair.target.shape) for pair in pairs if pair.target.shape]
    if not sized:
        return Finding("image", "skip", "the sizes of the micrographs are not known, so neither what lies outside")
    off = [(pair, shape, len(pair.particles) - len(pair.particles.inside(*shape))) for pair, shape in sized]
    off = [one for one in off if one[2]]
    count = sum(n for _, _, n in off)
    total = sum(len(pair.particles) for pair, _ in sized)
    if not count:
        among = "" if len(sized) == len(pairs) else f" of the {len(sized)} micrographs of known size"
        return Finding("image", "pass", f"{total} of {_counted(total, 'picks')}{among} lie on the image")
    return Finding(
        "image",
        "fail",
        f"{count} of {total} picks lie outside the image, on {_counted(len(off), 'micrographs')}",
        tuple(
            f"{pair.name}: {n} of {len(pair.particles)}, up to {_extent(pair)} on {shape[1]} x {shape[0]} px"
            for pair, shape, n in off[:MAX_EXAMPLES]
        ),
        "RELION stops at a box outside the image. Are these coordinates of larger micrographs (cryotx convert "
        "--scale), or of others?"
        if count > total / 10
        else "RELION stops at a box outside the image: remove these picks (cryotx threshold --edge).",
    )


def _extent(pair: _Pair) -> str:
    x, y = pair.particles.centres.max(axis=0)
    return f"({x:.0f}, {y:.0f})"


def _check_edge(pairs: Sequence[_Pair], diameter: float | None, box: int | None) -> Finding:
    near: list[tuple[str, int, int]] = []
    total, boxes = 0, set()
    for pair in pairs:
        diameter_px = pair.diameter_px(diameter)
        side = box or (box_side_px(diameter_px) if diameter_px else None)
        if side and pair.target.shape:
            inside = pair.particles.inside(*pair.target.shape)
            cut = len(inside) - len(inside.inside(*pair.target.shape, side / 2))
            near += [(pair.name, cut, side)] if cut else []
            total += len(inside)
            boxes.add(side)
    if not boxes:
        return Finding("edge", "skip", "the size of the boxes is not known: give it in pixels, --box")
    sides = f"{min(boxes)} px" if len(boxes) == 1 else f"{min(boxes)} to {max(boxes)} px"
    if not near:
        return Finding("edge", "pass", f"{total} of {_counted(total, 'picks')} have room for a box of {sides}")
    return Finding(
        "edge",
        "warn",
        f"{sum(n for _, n, _ in near)} of {total} picks are nearer to the edge than half a box of {sides}",
        tuple(f"{name}: {n}" for name, n, _ in near[:MAX_EXAMPLES]),
        "Their boxes are cut: RELION repeats the border's pixels in them, CryoSPARC leaves them out. Remove them with "
        "cryotx threshold RUN --edge, in Å, or accept the loss.",
    )


def _check_binning(pairs: Sequence[_Pair]) -> Finding | None:
    sized = [(pair.particles.centres, pair.target.shape) for pair in pairs if pair.target.shape]
    reached = [(centres + 0.5) / shape[::-1] for centres, shape in sized if len(centres)]
    if sum(map(len, reached)) < _BINNED_PICKS:
        return None
    extent = np.concatenate(reached).max(axis=0)
    if extent.max() > _BINNED_EXTENT:
        return None
    factor = max(2, int(1 / extent.max() + 0.05))
    return Finding(
        "scale",
        "fail",
        f"all picks lie in the first {extent[0]:.0%} of the columns and {extent[1]:.0%} of the rows",
        (),
        f"They look like coordinates of micrographs binned by {factor} or so: cryotx convert PICKS OUT --scale "
        f"{factor} turns them into those of the full ones.",
    )


def _check_pixel_size(pairs: Sequence[_Pair]) -> Finding:
    compared = [
        (pair.name, one, other, what)
        for pair in pairs
        for one, other, what in (
            (pair.particles.pixel_size, pair.target.pixel_size or pair.header_pixel_size, "picks"),
            (pair.target.pixel_size, pair.header_pixel_size, "list"),
        )
        if one and other and one > 0
    ]
    differ = [row for row in compared if abs(row[1] / row[2] - 1) > _SAME_PIXEL_SIZE]
    of_picks = [row for row in differ if row[3] == "picks"]
    if of_picks:
        return Finding(
            "pixel size",
            "fail",
            f"the picks of {_counted(len(of_picks), 'micrographs')} are in pixels of another size than the images",
            tuple(f"{name}: picks {one:.4g} Å, micrograph {other:.4g} Å" for name, one, other, _ in of_picks[:5]),
            f"cryotx convert PICKS OUT --scale {of_picks[0][1] / of_picks[0][2]:.6g} turns them into pixels of these.",
        )
    if differ:
        return Finding(
            "pixel size",
            "warn",
            f"the files of {_counted(len(differ), 'micrographs')} state another pixel size than the list of them",
            tuple(f"{name}: list {one:.4g} Å, file {other:.4g} Å" for name, one, other, _ in differ[:MAX_EXAMPLES]),
            "Coordinates in pixels stay right. Correct the one that is wrong before refinement.",
        )
    known = {round(pair.pixel_size, 4) for pair in pairs if pair.pixel_size}
    if not known:
        return Finding("pixel size", "skip", "neither picks nor micrographs know it")
    if max(known) > min(known) * (1 + _SAME_PIXEL_SIZE):
        summary = f"the micrographs have pixel sizes from {min(known):g} to {max(known):g} Å"
        return Finding("pixel size", "warn", summary, (), "Import them as optics groups of their own.")
    agree = "picks and micrographs agree" if any(row[3] == "picks" for row in compared) else "micrographs agree"
    return Finding("pixel size", "pass", f"{agree}: {min(known):g} Å")


def _check_duplicates(pairs: Sequence[_Pair], diameter: float | None) -> Finding:
    doubled: list[tuple[str, int, float]] = []
    for pair in pairs:
        diameter_px, shape = pair.diameter_px(diameter), pair.target.shape
        limit = _DUPLICATE_DIAMETERS * diameter_px if diameter_px else _DUPLICATE_SIDES * max(shape or (1000,))
        close = cKDTree(pair.particles.centres).query_pairs(limit, output_type="ndarray")
        if len(close):
            doubled.append((pair.name, len(np.unique(close[:, 1])), limit))
    if not doubled:
        return Finding("duplicates", "pass", "no pick lies on another one")
    limits = [limit for _, _, limit in doubled]
    within = f"{min(limits):.0f}" if max(limits) - min(limits) < 1 else f"{min(limits):.0f} to {max(limits):.0f}"
    return Finding(
        "duplicates",
        "warn",
        f"{_counted(sum(n for _, n, _ in doubled), 'picks')} within {within} px of another one, on "
        f"{_counted(len(doubled), 'micrographs')}",
        tuple(f"{name}: {n}" for name, n, _ in doubled[:MAX_EXAMPLES]),
        "The same particle twice in both halves spoils the resolution estimate: remove duplicates after the import "
        "(RELION: Subset selection; CryoSPARC: Remove Duplicate Particles).",
    )


# --- what the images say ---------------------------------------------------------------------------------------------


def _fits(pairs: Iterable[_Pair]) -> tuple[dict[str, Fit], list[str]]:
    """Measure the images of these micrographs; those that cannot be read say why."""
    fits, errors = {}, []
    for pair in pairs:
        if pair.error or pair.target.path is None or len(pair.particles) < MIN_PICKS:
            errors += [pair.error] if pair.error else []
            continue
        try:
            # The pixel size does not matter here; PNG and JPG files know none.
            image = read_micrograph(pair.target.path, 1.0).image
        except MicrographError as error:
            errors.append(error.message)
            continue
        fit = measure_fit(image, pair.particles.centres)
        if fit is not None:
            fits[pair.name] = fit
    return fits, errors


def _check_orientation(pairs: Sequence[_Pair], fits: Mapping[str, Fit]) -> Finding:
    if not fits:
        why = f"no image could be measured; it takes one with {MIN_PICKS} picks or more"
        return Finding("orientation", "skip", why)
    together = combined([*fits.values()])
    verdict, evidence = together.orientation, together.evidence
    measured = f"measured on {len(fits)} of {_counted(len(pairs), 'micrographs')}"
    told = ", ".join(f"{evidence[one]:.1f} {one}" for one in evidence)
    wrong = {name: fit.orientation for name, fit in fits.items() if fit.orientation not in (None, "as written")}
    if verdict is None and not wrong:
        return Finding(
            "orientation",
            "warn",
            f"the images cannot tell whether the picks fit as written ({measured}; evidence {told})",
            (),
            "Too few picks on particles, or other micrographs than those that were picked: look at a picture.",
        )
    if verdict == "as written" and not wrong:
        return Finding("orientation", "pass", f"the picks fit as written ({measured}; evidence {told})")
    look = verdict if verdict not in (None, "as written") else next(iter(wrong.values()))
    assert look is not None
    some = "these look" if verdict == look else f"{len(wrong)} of {len(fits)} micrographs look"
    return Finding(
        "orientation",
        "fail",
        f"{some} {_LOOKS[look]} ({measured}; evidence {told})",
        tuple(
            f"{name}: {fits[name].evidence['as written']:.1f} as written, {fits[name].evidence[one]:.1f} {one}"
            for name, one in wrong.items()
            if one is not None
        )[:MAX_EXAMPLES],
        "cryotx convert PICKS OUT --flip-y --micrographs FOLDER turns the coordinates round."
        if look == "upside down"
        else "Correct the coordinates where they were made.",
    )


def _check_position(fits: Mapping[str, Fit]) -> Finding | None:
    offset = combined([*fits.values()]).offset if fits else None
    if offset is None:
        return None
    return Finding(
        "position",
        "fail",
        f"the picks fit better when moved by about ({offset[0]:+.0f}, {offset[1]:+.0f}) px",
        tuple(f"{name}: ({fit.offset[0]:+.0f}, {fit.offset[1]:+.0f}) px" for name, fit in fits.items() if fit.offset)[
            :MAX_EXAMPLES
        ],
        "Half a box to the right and down means that corners of boxes were taken for centres.",
    )
