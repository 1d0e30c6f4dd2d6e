"""Training on a processor that has more to do than it has cores: noticed, and told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from cryotx_cli.config import TrainConfig
from cryotx_cli.events import Event
from cryotx_cli.processor import thread_time
from cryotx_cli.training.progress import StepReport

_SECONDS = 15.0  # between two looks
_MUCH = 0.3  # share of their time that threads wait for a core
_TEXT = (
    "This machine has more work than cores: the {} threads of this run wait for a core {:.0%} of their time. Steps may "
    "take less time with OMP_NUM_THREADS=1 before the command."
)


def telling_of_a_crowd(reports: Iterator[StepReport], config: TrainConfig) -> Iterator[StepReport]:
    """Pass on the reports of a run; one of them says so, once, where its threads often wait for a core.

    Threads share each layer of a network, and those that are done wait for the others. Where other work has one of the
    cores, a step may take longer than with one thread: 5.2 and 2.8 s have been seen on two busy cores.
    """
    before, looked_at = None, 0.0
    told = False
    for report in reports:
        now = None if told or time.monotonic() < looked_at + _SECONDS else thread_time()
        if now is not None:
            if before is not None and report.event is None and (waited := now.waited_since(before)) > _MUCH:
                threads = _threads(config)
                told = threads > 1
                report = replace(report, event=Event(_TEXT.format(threads, waited))) if told else report
            before, looked_at = now, time.monotonic()
        yield report


def _threads(config: TrainConfig) -> int:
    """Return how many threads calculate together: one where a GPU does it."""
    import torch

    from cryotx_cli.detector.device import resolve_device

    return torch.get_num_threads() if resolve_device(config.device).type == "cpu" else 1
