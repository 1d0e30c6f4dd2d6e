"""What a training run reports after every step, whichever model it trains."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepReport:
    """Where a run stands. `f1` is set after a validation, on held-out micrographs at the best cut."""

    step: int
    steps: int
    loss: float
    f1: float | None
    seconds: float
