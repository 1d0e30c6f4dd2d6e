"""What a training run reports after every step, whichever model it trains."""

from dataclasses import dataclass

from cryotx_cli.coordinates.agreement import Counts
from cryotx_cli.coordinates.gain import UNKNOWN_GAIN, Gain
from cryotx_cli.events import Event


@dataclass(frozen=True)
class StepReport:
    """Where a run stands.

    `f1` is set after a validation, on held-out micrographs at the best cut; `event` where people should know something.
    """

    step: int
    steps: int
    loss: float
    f1: float | None
    seconds: float
    event: Event | None = None


@dataclass(frozen=True)
class Agreement:
    """How picks agree with the labels of held-back micrographs where people labelled, as ``cryotx evaluate`` says it.

    Attributes
    ----------
    counts
        Of all of them together.
    average_precision, chance, dice
        Area under the precision-recall curve, F1 of as many points at random, and Dice coefficient of the discs.
    parts
        Counts of the micrographs, or of equal parts of them where they are few: always the same ones.
    """

    counts: Counts
    average_precision: float
    chance: float = 0.0
    dice: float = 0.0
    parts: tuple[Counts, ...] = ()


@dataclass(frozen=True)
class FineTuned(StepReport):
    """The last report of fine-tuning.

    Attributes
    ----------
    before, after
        The weights it began with and the best adapted ones, on the same held-back `micrographs`.
    helped
        False: the weights it began with agree better, and are what ``best.safetensors`` holds.
    gain
        Of the adapted weights over those it began with, in F1.
    """

    micrographs: tuple[str, ...] = ()
    before: Agreement = Agreement(Counts(), 0.0)
    after: Agreement = Agreement(Counts(), 0.0)
    helped: bool = False
    gain: Gain = UNKNOWN_GAIN
