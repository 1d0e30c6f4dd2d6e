"""What is wrong with a run that finds little or something else: a look at some of its micrographs, and what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cryotx_cli.coordinates.grid import SAME_PIXEL_SIZE
from cryotx_cli.detector.particle_picker import ENOUGH_PARTICLES, ParticlePicker
from cryotx_cli.detector.size_sweep import CLEARLY_BETTER, CONVINCING_F1, STEP, SizeSweep
from cryotx_cli.errors import CryotxError
from cryotx_cli.micrographs.micrograph import Micrograph, MicrographFile, read_header, read_micrograph
from cryotx_cli.runs.commands import NextCommands
from cryotx_cli.runs.diagnosis import Diagnosis
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.settled import Settled
from cryotx_cli.runs.verdict import beside_noise
from cryotx_cli.wording import counted

LOOKED_AT = 3
"""Micrographs at most."""
_STEPS = 7  # either way from the given diameter: from an eleventh to eleven times of it, for nm are taken for Å
_FIELD_OF = 6  # micrographs: the field of each is as large as if there were so many
_FEW = 5  # picks a micrograph
_FITS = 1.25  # a diameter that is farther off than this is wrong
_CLEAR = 0.6  # expected F1 of what is seen at another size: what is less may be ice
# Particles a micrograph: fewer may be dirt, and fewer than ENOUGH_PARTICLES in all are no reason to change a setting.
_SEEN = 3.0
_MOSTLY_FILM = 0.3  # of the area: particles are looked for beside it and not found
_RATE = 0.2
_NAMED = 3  # micrographs at most: a list of more tells nobody anything


@dataclass(frozen=True)
class Run:
    """What a run has come to.

    Parameters
    ----------
    settled
        Its settings.
    picked
        Its micrographs with their lines in the ledger.
    found
        What comparing with noise has shown; None if nothing was compared.
    size_ratio
        Median size of its picks over the diameter that was given; None if there are too few to tell.
    commands
        What to type after it.
    """

    settled: Settled
    picked: Sequence[tuple[MicrographFile, LedgerRow]]
    found: FalseDiscovery | None
    size_ratio: float | None
    commands: NextCommands

    @property
    def picks(self) -> int:
        """How many there are."""
        return sum(row.picks for _, row in self.picked)

    @property
    def false(self) -> float:
        """How many of them are expected to be false."""
        return sum(row.expected_false or 0.0 for _, row in self.picked)

    @property
    def is_suspicious(self) -> bool:
        """Whether it has few picks, mostly false ones, or picks of another size than was said."""
        if not self.picked or not self.settled.cut_by_run:
            return False
        wrong_size = self.size_ratio is not None and not 1 / _FITS <= self.size_ratio <= _FITS
        return self.picks < _FEW * len(self.picked) or self.false > self.picks / 2 or wrong_size


def diagnose(run: Run, picker: ParticlePicker) -> Diagnosis | None:
    """Look at some micrographs of a suspicious run in many sizes, and say what is wrong and what to do.

    Parameters
    ----------
    run
        What it has come to.
    picker
        One that compares with noise.

    Returns
    -------
    Diagnosis or None
        None where all is as it should be: few particles, but those of the size that was said.
    """
    files = [file for file, _ in run.picked]
    files = files[:: math.ceil(len(files) / LOOKED_AT)]
    micrographs = [one for one in (_read(file, run.settled) for file in files) if one is not None]
    if not micrographs:
        return None
    sweep = _swept(micrographs, run.settled.diameter, picker)
    diameter, best = sweep.diameter(), sweep.best()
    if best is None or best.evidence < CONVINCING_F1:
        turned = _swept([replace(one, image=-one.image) for one in micrographs], run.settled.diameter, picker)
        other, evidence = turned.best(), 0.0 if best is None else best.evidence
        convinces = other is not None and other.evidence >= max(CONVINCING_F1, evidence + CLEARLY_BETTER)
        if other is not None and convinces and turned.shown(other) >= ENOUGH_PARTICLES:
            return _other_contrast(run, turned.diameter() or other.implied)
    film = float(np.mean([_film(one, run.settled, picker) for one in micrographs]))
    if diameter is None or best is None or best.count < _SEEN:
        return _nothing(run, sweep, film, _other_pixel_size(files[0], micrographs[0].pixel_size))
    if not 1 / _FITS <= diameter / run.settled.diameter <= _FITS:
        if best.evidence < _CLEAR or sweep.shown(best) < ENOUGH_PARTICLES:
            return _nothing(run, sweep, film, _other_pixel_size(files[0], micrographs[0].pixel_size))
        if len(micrographs) > 1 and sweep.shown_by(best) == 1:
            return _in_one_alone(run, diameter, len(micrographs))
        return _other_size(run, files[0], micrographs[0].pixel_size, diameter, best.count)
    return _faint(run) if film < _MOSTLY_FILM else None


def _read(file: MicrographFile, settled: Settled) -> Micrograph | None:
    try:
        return settled.with_dark_particles(read_micrograph(file, settled.config.pixel_size))
    except (CryotxError, OSError):  # it was there when it was picked
        return None


def _swept(micrographs: Sequence[Micrograph], diameter: float, picker: ParticlePicker) -> SizeSweep:
    sweep = SizeSweep(picker, [diameter * STEP**step for step in range(-_STEPS, _STEPS + 1)], _FIELD_OF)
    for micrograph in micrographs:
        sweep.add(micrograph)
    return sweep


def _film(micrograph: Micrograph, settled: Settled, picker: ParticlePicker) -> float:
    return picker.film_share(picker.prepare(micrograph, settled.diameter))


def _other_size(run: Run, file: MicrographFile, pixel_size: float, diameter: float, count: float) -> Diagnosis:
    given = run.settled.diameter
    seen = (
        f"The particles seem to measure {_about(diameter)} Å, not {given:.0f} Å, if a pixel measures {pixel_size:g} Å: "
        f"{count:.0f} or more of them in a part of a micrograph that noise does not explain."
    )
    known = _other_pixel_size(file, pixel_size)
    if known is not None:
        if 1 / _FITS <= diameter * known / pixel_size / given <= _FITS:
            command = run.commands.pick(f"--pixel-size {known:g}")
            return Diagnosis(
                "pixel size",
                f"{seen} The micrographs themselves say {known:g} Å per pixel, with which they measure "
                f"{_about(diameter * known / pixel_size)} Å, as was said:\n{command}",
                (command,),
                diameter,
                known,
            )
        seen += f" (The micrographs themselves say {known:g} Å per pixel, not {pixel_size:g}.)"
    right = pixel_size * given / diameter
    commands = tuple(
        run.commands.pick(flag) for flag in (f"--diameter {_about(diameter)}", f"--pixel-size {right:.3g}")
    )
    return Diagnosis(
        "size",
        f"{seen} If {pixel_size:g} Å per pixel is right:\n{commands[0]}\nIf {given:.0f} Å is right, the pixel size is "
        f"off by a factor of {_factor(given / diameter)}:\n{commands[1]}",
        commands,
        diameter,
        right,
    )


def _in_one_alone(run: Run, diameter: float, looked_at: int) -> Diagnosis:
    command = run.commands.pick(f"--diameter {_about(diameter)}")
    text = (
        f"One of {looked_at} micrographs that were looked at shows something of about {_about(diameter)} Å, the "
        f"others do not: dirt, mottled ice, or particles in that one alone. At {run.settled.diameter:.0f} Å, as was "
        f"said, few candidates are clear. Look at the pictures; only if particles are so large there:\n{command}"
    )
    return Diagnosis("size", text, (command,), diameter)


def _other_pixel_size(file: MicrographFile, used: float) -> float | None:
    """Return what a list or the header of a micrograph says of its pixel size, if that is another than the one used."""
    try:
        stated = (file.pixel_size, read_header(file.path).pixel_size)
    except (CryotxError, OSError):
        stated = (file.pixel_size, None)
    return next((size for size in stated if size and abs(size / used - 1) > SAME_PIXEL_SIZE), None)


def _other_contrast(run: Run, diameter: float) -> Diagnosis:
    other = "bright" if run.settled.contrast == "dark" else "dark"
    command = run.commands.pick(f"--contrast {other} --diameter {_about(diameter)}")
    text = f"Particles seem to be {other} in these micrographs, of about {_about(diameter)} Å:\n{command}"
    return Diagnosis("contrast", text, (command,), diameter)


def _nothing(run: Run, sweep: SizeSweep, film: float, other_pixel_size: float | None) -> Diagnosis:
    low, high = sweep.span
    sizes = f"at no size from {low:.0f} to {high:.0f} Å"
    if film >= _MOSTLY_FILM:
        return Diagnosis(
            "film",
            f"{film:.0%} of what is in these micrographs looks like support film or large ice crystals; beside it "
            f"there are no more candidates than in noise {sizes}. There is nothing here to pick: look at the pictures.",
        )
    commands = tuple(run.commands.pick(f"--pixel-size {size:g}") for size in [other_pixel_size] if size)
    stated = "".join(
        f"The micrographs themselves say {other_pixel_size:g} Å per pixel, which is not what was used. If that is "
        f"right:\n{command}\n"
        for command in commands
    )
    return Diagnosis(
        "noise",
        f"{_all_noise(run)}no more candidates than in noise of the same spectrum, {sizes}. {_exceptions(run)}{stated}"
        "If you see particles, mark those of five micrographs on a page and press Adapt there:\n"
        f"{run.commands.review()}",
        commands,
    )


def _all_noise(run: Run) -> str:
    """Begin with what the run as a whole is: noise, unless the few picks that it has convince or are all over it."""
    is_sure = run.picks and run.found is not None and run.found.own_cuts.convincing
    is_everywhere = all(row.picks for _, row in run.picked)
    return "There are " if is_sure or is_everywhere else "This run shows no more than noise: there are "


def _exceptions(run: Run) -> str:
    """Name the micrographs that have picks nevertheless, if they are few."""
    with_picks = [file.path.stem for file, row in run.picked if row.picks]
    if not with_picks:
        return "What the eye may see there does not look like particles to the network. "
    names = f" ({', '.join(with_picks)})" if len(with_picks) <= _NAMED else ""
    what = "The exception: " if len(with_picks) < len(run.picked) else "There are "
    return (
        f"{what}{counted(run.picks, 'picks')} in {len(with_picks)} of "
        f"{counted(len(run.picked), 'micrographs')}{names}, which may be dirt. "
    )


def _faint(run: Run) -> Diagnosis | None:
    """Say how many picks a rate of false ones leaves that can be looked at; nothing where few picks are sure."""
    found = run.found
    if found is None:
        return None
    first = round(np.count_nonzero(found.candidates >= found.cut_at(_RATE)) / found.micrographs * len(run.picked))
    if run.false <= _RATE * run.picks and first < run.picks + len(run.picked):
        return None
    command = run.commands.choose(f"--fdr {_RATE:g}")
    look = f" Look at the best {first}, of which a fifth is expected to be false:\n{command}\n" if first else " "
    if run.picks and not found.own_cuts.convincing:
        seen = f"{beside_noise([row for _, row in run.picked])} {run.false:.0f} of them are expected to be false."
    else:
        seen = (
            f"The diameter fits, but particles are faint or few: {counted(run.picks, 'picks')} in "
            f"{counted(len(run.picked), 'micrographs')}, of which {run.false:.0f} are expected to be false."
        )
    return Diagnosis(
        "faint",
        f"{seen}{look}If they are your particles, some hundred of them teach the model to find more (LABELS: good "
        f"ones, for instance after 2D classification):\n{run.commands.train(run.settled)}",
        (command,) if first else (),
        run.settled.diameter,
    )


def _about(diameter: float) -> str:
    """To two digits or three: more is not known."""
    step = 5 if diameter >= 100 else 1
    return f"{step * round(diameter / step):.0f}"


def _factor(ratio: float) -> str:
    return f"{max(ratio, 1 / ratio):.2g}"
