"""How often what shows a whole run is written again: clocks are pretended."""

import pytest

from cryotx_cli.runs import refreshed
from cryotx_cli.runs.refreshed import Refreshed


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(refreshed, "time", clock)
    return clock


def test_it_is_written_only_if_stale_and_not_too_often(clock):
    written = []
    part = Refreshed(lambda: written.append(clock.now), 5.0)
    for second in range(30):
        clock.now = float(second)
        part.is_stale = part.is_stale or second in (1, 2, 6, 7, 20)
        part.if_due()
    assert written == [5.0, 10.0, 20.0]


def test_slow_writing_takes_a_small_share_of_the_time(clock):
    spent = []

    def slow():
        clock.now += 2.0
        spent.append(2.0)

    part = Refreshed(slow, 5.0)
    while clock.now < 1000:
        clock.now += 1.0
        part.is_stale = True
        part.if_due()
    assert 0.03 * clock.now < sum(spent) < 0.06 * clock.now


def test_a_failure_is_tried_again(clock):
    tries = []

    def fails_once():
        tries.append(clock.now)
        if len(tries) == 1:
            raise OSError(28, "No space left")

    part = Refreshed(fails_once, 5.0)
    part.is_stale = True
    clock.now = 6.0
    with pytest.raises(OSError, match="No space left"):
        part.if_due()
    clock.now = 12.0
    part.if_due()
    part.if_due()
    assert tries == [6.0, 12.0]
