"""Training beside other work: told once, where threads really wait, and never on a machine that has cores enough."""

from collections.abc import Iterator

import pytest
import torch

from cryotx_cli.config import CenterTrainConfig
from cryotx_cli.events import Event
from cryotx_cli.processor import ThreadTime
from cryotx_cli.training import crowded
from cryotx_cli.training.crowded import telling_of_a_crowd
from cryotx_cli.training.progress import StepReport

CPU = CenterTrainConfig(device="cpu")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock that goes on by 10 s whenever it is asked, and two threads to calculate with."""
    clock = iter(range(1000, 100_000, 10))
    monkeypatch.setattr(crowded.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    return


def reports(count: int = 20, event_at: int = -1) -> Iterator[StepReport]:
    for step in range(count):
        yield StepReport(step, count, 1.0, None, 0.0, Event("Something else.") if step == event_at else None)


def told(monkeypatch: pytest.MonkeyPatch, waited: float, **more: int) -> list[str]:
    """What a run says whose threads wait this share of their time for a core."""
    times = iter(ThreadTime((1 - waited) * at, waited * at) for at in range(0, 1000, 10))
    monkeypatch.setattr(crowded, "thread_time", lambda: next(times))
    return [one.event.text for one in telling_of_a_crowd(reports(**more), CPU) if one.event]


@pytest.mark.usefixtures("machine")
def test_it_is_told_once_that_threads_wait_for_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = told(monkeypatch, 0.6)
    assert "the 2 threads of this run wait for a core 60% of their time" in text
    assert "OMP_NUM_THREADS=1" in text


@pytest.mark.usefixtures("machine")
def test_nothing_is_told_where_there_are_cores_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, 0.1) == []
    monkeypatch.setattr(crowded, "thread_time", lambda: None)  # a system that does not say
    assert not any(one.event for one in telling_of_a_crowd(reports(), CPU))


@pytest.mark.usefixtures("machine")
def test_a_run_with_one_thread_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert told(monkeypatch, 0.6) == []


@pytest.mark.usefixtures("machine")
def test_what_else_a_run_has_to_say_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(8):
        texts = told(monkeypatch, 0.6, event_at=step)
        assert len(texts) == 2
        assert "Something else." in texts
