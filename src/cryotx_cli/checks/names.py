"""Check picks against the micrographs that another program will take them with, before it does.

Each check answers with one `Finding`. Here are those of names: whether each has a micrograph, micrographs left without
picks, CryoSPARC's numbers, spaces, equal file names. `cryotx_cli.checks.places` has those of coordinates and images.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cryotx_cli.checks.evidence import Fit
from cryotx_cli.checks.finding import MAX_EXAMPLES, Finding
from cryotx_cli.checks.places import check_places
from cryotx_cli.checks.target import PickedTarget, Target
from cryotx_cli.coordinates.formats.star_particles import read_particles_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.micrographs.micrograph import without_micrograph_suffix
from cryotx_cli.micrographs.names import (
    NAMES_AGREE,
    bare_name,
    difference,
    has_uid,
    pairing,
)
from cryotx_cli.wording import counted

Importer = Literal["relion", "cryosparc", "any"]
"""Who takes the picks: it decides how names are compared."""

SAMPLE = 10
"""Micrographs whose images are read, unless the caller says otherwise."""


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


def check_picks(
    picks: Mapping[str, Particles],
    targets: Sequence[Target],
    importer: Importer = "any",
    *,
    diameter: float | None = None,
    box: int | None = None,
    sample: int = SAMPLE,
    run: Path | None = None,
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
    diameter, box, sample, run
        As `check_places` takes them.

    Returns
    -------
    PickCheck
        Micrographs that cannot be read are a finding, not an error.
    """
    partners, ambiguous = _partners(picks, targets)
    count = sum(map(len, picks.values()))
    if not count:
        return PickCheck(len(targets), 0, 0, [_check_unpicked(targets, picks, partners)])
    if not partners:
        return PickCheck(len(targets), 0, count, [_check_names(picks, targets, partners, ambiguous, importer)])
    names = [
        _check_names(picks, targets, partners, ambiguous, importer),
        _check_uids(partners, importer),
        _check_spaces(target.name for target in partners.values()),
        _check_stems(targets),
        _check_unpicked(targets, picks, partners),
    ]
    micrographs = [PickedTarget(name, picks[name], target) for name, target in partners.items()]
    places, fits = check_places(micrographs, diameter=diameter, box=box, sample=sample, run=run)
    findings = [one for one in names if one is not None] + places
    return PickCheck(len(targets), len(partners), count, findings, fits)


def check_run(
    star: Path, targets: Sequence[Target], diameter: float, sample: int = 3, box: int | None = None
) -> list[Finding]:
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
    box
        Side of the boxes to extract in pixels; None: what suits the diameter.

    Returns
    -------
    list of Finding
        Those that warn or fail. Pixel sizes are left out: the user may have corrected those of the files.

    Raises
    ------
    ParticleFileError
        If the file cannot be read.
    """
    result = check_picks(
        read_particles_star(star),
        targets,
        "relion",
        diameter=diameter,
        box=box,
        sample=sample,
        run=star.with_suffix(""),
    )
    return [one for one in result.findings if one.level in ("warn", "fail") and one.check != "pixel size"]


# --- names -----------------------------------------------------------------------------------------------------------


def _partners(picks: Iterable[str], targets: Sequence[Target]) -> tuple[dict[str, Target], list[str]]:
    """Return the micrograph of each name, and why names with several candidates have none."""
    by_name = {target.name: target for target in targets}
    pairs = pairing(picks, by_name)
    partners = {name: by_name[target] for target, name in pairs.partners.items()}
    return {name: partners[name] for name in picks if name in partners}, pairs.problems


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
            "you import with, or rename. " + NAMES_AGREE,
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
    loose = [name for name in picks if bare_name(name) != bare_name(partners[name].name)]
    if importer == "cryosparc" and set(loose) & set(differ):
        return Finding(
            "names",
            "fail",
            f"{len(loose)} of {len(picks)} names match, but for endings: CryoSPARC would not find their micrographs",
            tuple(f"{name} is {partners[name].name}" for name in loose[:MAX_EXAMPLES]),
            "cryotx convert PICKS OUT.star --micrographs FOLDER gives the picks the names of these micrographs.",
        )
    how = "letter by letter" if not differ and importer == "relion" else "by file name"
    how += f", {len(loose)} of them but for endings: {loose[0]} is {partners[loose[0]].name}" if loose else ""
    return Finding("names", "pass", f"{len(picks)} of {len(picks)} names of the picks match a micrograph, {how}")


def _nearest(missing: Sequence[str], targets: Sequence[Target]) -> list[str]:
    stems = {bare_name(target.name): target.name for target in targets}
    found = []
    for name in missing:
        longer = difference(name, stems.values())
        near = difflib.get_close_matches(bare_name(name), stems, n=1)
        nearest = f"the nearest is {stems[near[0]]}" if near else "no micrograph has a name like it"
        found.append(longer or f"{name}: {nearest}")
    return found


def _check_uids(partners: Mapping[str, Target], importer: Importer) -> Finding | None:
    differ = [name for name, target in partners.items() if has_uid(name) != has_uid(target.name)]
    if not differ:
        return None
    side, other = ("picks", "micrographs") if has_uid(differ[0]) else ("micrographs", "picks")
    advice = (
        "Import a .cs file, which needs no names: cryotx convert PICKS picks.cs --exposures FILE.cs. Or trim the "
        "prefix in the parameters of Import Particle Stack."
        if importer == "cryosparc"
        else "cryotx convert PICKS OUT --micrographs FOLDER gives the picks the names of these micrographs."
    )
    return Finding(
        "CryoSPARC numbers",
        "warn",
        f"{counted(len(differ), 'names')} of {side} with CryoSPARC's 21-digit number in front, which the {other} lack",
        tuple(f"{name} is {partners[name].name}" for name in differ[:MAX_EXAMPLES]),
        advice,
    )


def _check_spaces(names: Iterable[str]) -> Finding | None:
    spaced = [name for name in names if re.search(r"\s", name)]
    if not spaced:
        return None
    return Finding(
        "spaces",
        "warn",
        f"{counted(len(spaced), 'names')} of micrographs with spaces",
        tuple(repr(name) for name in spaced[:MAX_EXAMPLES]),
        "They are quoted in STAR files, which not every program understands: rename the micrographs before importing.",
    )


def _check_stems(targets: Sequence[Target]) -> Finding | None:
    by_stem = defaultdict(list)
    for target in targets:
        by_stem[bare_name(target.name)].append(target.name)
    shared = [names for names in by_stem.values() if len(names) > 1]
    if not shared:
        return None
    return Finding(
        "equal file names",
        "warn",
        f"{counted(len(shared), 'file names')} shared by several micrographs",
        tuple(" and ".join(names[:3]) for names in shared[:MAX_EXAMPLES]),
        "EMAN2, crYOLO, Topaz and CryoSPARC know a micrograph by its file name alone: import each folder apart.",
    )


def _check_unpicked(
    targets: Sequence[Target], picks: Mapping[str, Particles], partners: Mapping[str, Target]
) -> Finding:
    picked = {target.name for name, target in partners.items() if len(picks[name])}
    without = [target.name for target in targets if target.name not in picked]
    if not picked:
        advice = "Nothing would be imported. Check that these are the picks."
        return Finding("picks", "fail", "no micrograph has a pick", (), advice)
    count = sum(len(picks[name]) for name in partners)
    summary = f"{counted(count, 'picks')} on {len(picked)} of {counted(len(targets), 'micrographs')}"
    if not without:
        return Finding("picks", "pass", summary)
    advice = "Were they picked, and are they empty? If so, there is nothing to do."
    return Finding("picks", "warn", summary, tuple(f"{name}: none" for name in without[:MAX_EXAMPLES]), advice)
