"""Check where picks lie on their micrographs: on the image, away from its edge, in its pixels, on its particles.

Images cost time, so only those of the few micrographs with most picks are read; of all others the headers suffice.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from cryotx_cli.checks.evidence import MIN_PICKS, Fit, Orientation, combined, measure_fit_on
from cryotx_cli.checks.finding import MAX_EXAMPLES, Finding
from cryotx_cli.checks.target import PickedTarget
from cryotx_cli.coordinates.close_pairs import close_pairs
from cryotx_cli.coordinates.formats.box import BOX_PER_DIAMETER
from cryotx_cli.coordinates.grid import SAME_PIXEL_SIZE, Grid, factor_between
from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.micrograph import PICTURE_SUFFIXES, MicrographFile, read_header
from cryotx_cli.micrographs.unread import open_micrograph
from cryotx_cli.processor import threads_to_use
from cryotx_cli.wording import counted

_DUPLICATE_DIAMETERS = 0.1
_DUPLICATE_SIDES = 0.002  # of the long side where the diameter is not known: 8 px of 4096
_BINNED_EXTENT, _BINNED_PICKS = 0.6, 50  # all of 50 picks in 0.6 x 0.6 of the image: never by chance
_LOOKS: dict[Orientation, str] = {
    "as written": "right as they are",
    "upside down": "upside down",
    "mirrored": "mirrored left to right",
    "swapped": "to have x and y exchanged",
}


def check_places(
    micrographs: Sequence[PickedTarget],
    *,
    diameter: float | None,
    box: int | None,
    sample: int,
    run: Path | None = None,
) -> tuple[list[Finding], dict[str, Fit]]:
    """Check the places of picks.

    Parameters
    ----------
    micrographs
        Those that have picks.
    diameter
        Å, for picks that have no diameters of their own.
    box
        Side of the boxes to extract in pixels; None: that of the picks' own boxes, or else one and a half diameters.
    sample
        Of how many micrographs, those with most picks, to read the images. Headers are read of the others, and not
        even those of PNG and JPG files, which have to be decoded for it, nor of micrographs whose shape is given.
    run
        The run of ``cryotx pick`` that the picks are of; None where they are of none.

    Returns
    -------
    list of Finding
        In the order of the checks. Micrographs that cannot be read are one of them.
    dict of str to Fit
        What the image says, of the micrographs whose image was measured, by the name of the picks.
    """
    sampled = {one.name for one in sorted(micrographs, key=lambda one: -len(one.particles))[:sample]}
    pairs = [_read_header_of(one, one.name in sampled) for one in micrographs]
    fits, unreadable = _fits([pair for pair in pairs if pair.name in sampled])
    unreadable += [pair.error for pair in pairs if pair.error and pair.name not in sampled]
    findings = [
        _check_files(unreadable),
        _check_outside(pairs),
        _check_edge(pairs, diameter, box, run),
        _check_binning(pairs),
        _check_grid(pairs),
        _check_pixel_size(pairs),
        _check_duplicates(pairs, diameter),
        _check_orientation(pairs, fits),
        _check_position(fits),
    ]
    return [one for one in findings if one is not None], fits


# --- files and coordinates -------------------------------------------------------------------------------------------


def _read_header_of(pair: PickedTarget, sampled: bool) -> PickedTarget:
    path = pair.target.path
    if path is None:
        return pair
    if path.suffix.lower() in PICTURE_SUFFIXES and not sampled:
        return pair
    if pair.shape is not None and not sampled:
        return pair
    try:
        header = read_header(path)
    except MicrographError as error:
        return replace(pair, error=error.message)
    shape = (header.height, header.width)
    return replace(pair, header_shape=shape, header_pixel_size=header.pixel_size)


def _check_files(errors: Sequence[str]) -> Finding | None:
    if not errors:
        return None
    return Finding(
        "files",
        "warn",
        f"{counted(len(errors), 'micrographs')} with picks could not be read",
        tuple(errors[:MAX_EXAMPLES]),
        "What needs their size or their image is not checked. Start cryotx where their names lead to them.",
    )


def _check_outside(pairs: Sequence[PickedTarget]) -> Finding:
    sized = [(pair, pair.shape) for pair in pairs if pair.shape]
    if not sized:
        return Finding("image", "skip", "the sizes of the micrographs are not known, so neither what lies outside")
    off = [(pair, shape, len(pair.particles) - len(pair.particles.inside(*shape))) for pair, shape in sized]
    off = [one for one in off if one[2]]
    count = sum(n for _, _, n in off)
    total = sum(len(pair.particles) for pair, _ in sized)
    if not count:
        among = "" if len(sized) == len(pairs) else f" of the {len(sized)} micrographs of known size"
        return Finding("image", "pass", f"{total} of {counted(total, 'picks')}{among} lie on the image")
    return Finding(
        "image",
        "fail",
        f"{count} of {total} picks lie outside the image, on {counted(len(off), 'micrographs')}",
        tuple(
            f"{pair.name}: {n} of {len(pair.particles)}, up to {_extent(pair)} on {shape[1]} x {shape[0]} px"
            for pair, shape, n in off[:MAX_EXAMPLES]
        ),
        "RELION stops at a box outside the image. Are these coordinates of larger micrographs (cryotx convert "
        "--scale), or of others?"
        if count > total / 10
        else "RELION stops at a box outside the image: remove these picks (cryotx threshold --edge).",
    )


def _extent(pair: PickedTarget) -> str:
    x, y = pair.particles.centres.max(axis=0)
    return f"({x:.0f}, {y:.0f})"


def _check_edge(pairs: Sequence[PickedTarget], diameter: float | None, box: int | None, run: Path | None) -> Finding:
    near: list[tuple[str, int, int]] = []
    total, measured, boxes, margin = 0, 0, set(), 0.0
    for pair in pairs:
        side = box or pair.box_px(diameter)
        if side and pair.shape:
            inside = pair.particles.inside(*pair.shape)
            cut = len(inside) - len(inside.inside(*pair.shape, side / 2))
            near += [(pair.name, cut, side)] if cut else []
            margin = max(margin, side / 2 * (pair.pixel_size or 0.0))
            total += len(inside)
            measured += 1
            boxes.add(side)
    if not boxes:
        return Finding("edge", "skip", "the size of the boxes is not known: give it in pixels, --box")
    sides = f"{min(boxes)} px" if len(boxes) == 1 else f"{min(boxes)} to {max(boxes)} px"
    if not near:
        return Finding("edge", "pass", f"{total} of {counted(total, 'picks')} have room for a box of {sides}")
    of_some = "" if measured == len(pairs) else f"on the {counted(measured, 'micrographs')} looked at "
    return Finding(
        "edge",
        "warn",
        f"{sum(n for _, n, _ in near)} of {total} picks {of_some}are nearer to the edge than half a box of {sides}",
        tuple(f"{name}: {n}" for name, n, _ in near[:MAX_EXAMPLES]),
        "Their boxes are cut: RELION repeats the border's pixels in them, CryoSPARC leaves them out. "
        f"{_without_the_edge(margin, run)}, or accept the loss.",
    )


def _without_the_edge(margin: float, run: Path | None) -> str:
    """Say what to type to be rid of picks nearer to the edge than `margin` Å; 0 where that is not known."""
    # Upwards: the last digit must not leave one of them.
    edge = f"{math.ceil(10 * margin - 1e-6) / 10:g}" if margin else "in Å"
    if run is None:
        return f"Pick with --edge {edge}"
    return f"cryotx threshold {shlex.quote(str(run))} --edge {edge} removes them"


def _check_binning(pairs: Sequence[PickedTarget]) -> Finding | None:
    sized = [(pair.particles.centres, pair.shape) for pair in pairs if pair.shape]
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


def _check_grid(pairs: Sequence[PickedTarget]) -> Finding | None:
    """Compare the images that picks say they lie on with the micrographs."""
    grids = [(pair, Grid.of(pair.particles), Grid(pair.shape, pair.pixel_size)) for pair in pairs if pair.shape]
    stated = [(pair, one, other) for pair, one, other in grids if one.shape]
    differ = [(pair, one, other) for pair, one, other in stated if one.shape != other.shape]
    if differ:
        rescalable = all(factor_between(one, other) is not None for _, one, other in differ)
        return Finding(
            "grid",
            "fail",
            f"the picks of {counted(len(differ), 'micrographs')} lie on images of another size",
            tuple(f"{pair.name}: picks on {one}, micrograph {other}" for pair, one, other in differ[:MAX_EXAMPLES]),
            "cryotx convert PICKS OUT with --micrographs, or --exposures, brings them into the pixels of these."
            if rescalable
            else "These are no images of the same field of view: give the micrographs that were picked.",
        )
    sizes = [(pair, one.pixel_size, other.pixel_size) for pair, one, other in stated]
    odd = [
        f"{pair.name}: picks {one:.4g} Å, micrograph {other:.4g} Å"
        for pair, one, other in sizes
        if one and other and abs(one / other - 1) > SAME_PIXEL_SIZE
    ]
    if not odd:
        return None
    told = f"the picks of {counted(len(odd), 'micrographs')} lie on images of the same shape and another pixel size"
    return Finding("grid", "warn", told, tuple(odd[:MAX_EXAMPLES]), "Coordinates stay right; one pixel size is wrong.")


def _check_pixel_size(pairs: Sequence[PickedTarget]) -> Finding:
    compared = [
        (pair.name, one, other, what)
        for pair in pairs
        for one, other, what in (
            # Where both shapes are known, they tell more than what is said of the pixels.
            (
                math.nan if pair.particles.shape and pair.shape else pair.particles.pixel_size,
                pair.target.pixel_size or pair.header_pixel_size,
                "picks",
            ),
            (pair.target.pixel_size, pair.header_pixel_size, "list"),
        )
        if one and other and one > 0
    ]
    differ = [row for row in compared if abs(row[1] / row[2] - 1) > SAME_PIXEL_SIZE]
    of_picks = [row for row in differ if row[3] == "picks"]
    if of_picks:
        return Finding(
            "pixel size",
            "fail",
            f"the picks of {counted(len(of_picks), 'micrographs')} are in pixels of another size than the images",
            tuple(f"{name}: picks {one:.4g} Å, micrograph {other:.4g} Å" for name, one, other, _ in of_picks[:5]),
            f"cryotx convert PICKS OUT --scale {of_picks[0][1] / of_picks[0][2]:.6g} turns them into pixels of these.",
        )
    if differ:
        return Finding(
            "pixel size",
            "warn",
            f"the files of {counted(len(differ), 'micrographs')} state another pixel size than the list of them",
            tuple(f"{name}: list {one:.4g} Å, file {other:.4g} Å" for name, one, other, _ in differ[:MAX_EXAMPLES]),
            "Coordinates in pixels stay right. Correct the one that is wrong before refinement.",
        )
    known = {round(pair.pixel_size, 4) for pair in pairs if pair.pixel_size}
    if not known:
        return Finding("pixel size", "skip", "neither picks nor micrographs know it")
    if max(known) > min(known) * (1 + SAME_PIXEL_SIZE):
        summary = f"the micrographs have pixel sizes from {min(known):g} to {max(known):g} Å"
        return Finding("pixel size", "warn", summary, (), "Import them as optics groups of their own.")
    agree = "picks and micrographs agree" if any(row[3] == "picks" for row in compared) else "micrographs agree"
    return Finding("pixel size", "pass", f"{agree}: {min(known):g} Å")


def _check_duplicates(pairs: Sequence[PickedTarget], diameter: float | None) -> Finding:
    doubled: list[tuple[str, int, float]] = []
    for pair in pairs:
        side, shape = pair.box_px(diameter), pair.shape
        size = pair.diameter_px(diameter) or (side / BOX_PER_DIAMETER if side else None)
        limit = _DUPLICATE_DIAMETERS * size if size else _DUPLICATE_SIDES * max(shape or (1000,))
        close, _ = close_pairs(pair.particles.centres, limit)
        if len(close):
            doubled.append((pair.name, len(np.unique(close[:, 1])), limit))
    if not doubled:
        return Finding("duplicates", "pass", "no pick lies on another one")
    limits = [limit for _, _, limit in doubled]
    within = f"{min(limits):.0f}" if max(limits) - min(limits) < 1 else f"{min(limits):.0f} to {max(limits):.0f}"
    return Finding(
        "duplicates",
        "warn",
        f"{counted(sum(n for _, n, _ in doubled), 'picks')} within {within} px of another one, on "
        f"{counted(len(doubled), 'micrographs')}",
        tuple(f"{name}: {n}" for name, n, _ in doubled[:MAX_EXAMPLES]),
        "The same particle twice in both halves spoils the resolution estimate: remove duplicates after the import "
        "(RELION: Subset selection; CryoSPARC: Remove Duplicate Particles).",
    )


# --- what the images say ---------------------------------------------------------------------------------------------


def _fits(pairs: Iterable[PickedTarget]) -> tuple[dict[str, Fit], list[str]]:
    """Measure the images of these micrographs, several at a time; those that cannot be read say why."""
    pairs = [*pairs]
    with ThreadPoolExecutor(max(1, min(threads_to_use(), len(pairs)))) as threads:
        measured = [*threads.map(_measured, pairs)]
    fits = {pair.name: one for pair, one in zip(pairs, measured, strict=True) if isinstance(one, Fit)}
    return fits, [one for one in measured if isinstance(one, str)]


def _measured(pair: PickedTarget) -> Fit | str | None:
    """Return how its picks fit an image, or why that cannot be read; None where there are too few of them."""
    if pair.error or pair.target.path is None or len(pair.particles) < MIN_PICKS:
        return pair.error or None
    try:
        # The pixel size does not matter here; PNG and JPG files know none. No name keeps the pixels in memory.
        file = MicrographFile(pair.target.path, str(pair.target.path))
        return measure_fit_on(open_micrograph(file, 1.0), pair.particles.centres)
    except MicrographError as error:
        return error.message


def _check_orientation(pairs: Sequence[PickedTarget], fits: Mapping[str, Fit]) -> Finding:
    if not fits:
        why = f"no image could be measured; it takes one with {MIN_PICKS} picks or more"
        return Finding("orientation", "skip", why)
    together = combined([*fits.values()])
    verdict, evidence = together.orientation, together.evidence
    measured = f"measured on {len(fits)} of {counted(len(pairs), 'micrographs')}"
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
