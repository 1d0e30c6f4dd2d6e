"""What a training run reports after every step, whichever model it trains."""

from dataclasses import dataclass

from cryotx_cli.coordinates.agreement import Counts
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
    """How picks agree with the labels of held-back micrographs where people labelled, and the average precision."""

    counts: Counts
    average_precision: float


@dataclass(frozen=True)
class FineTuned(StepReport):
    """The last report of fine-tuning.

    Attributes
    ----------
    before, after
        The weights it began with and those it leaves in ``best.safetensors``, on the same held-back `micrographs`.
    helped
        False: the weights it began with agree better, and are what ``best.safetensors`` holds.
    """

    micrographs: tuple[str, ...] = ()
    before: Agreement = Agreement(Counts(), 0.0)
    after: Agreement = Agreement(Counts(), 0.0)
    helped: bool = False
