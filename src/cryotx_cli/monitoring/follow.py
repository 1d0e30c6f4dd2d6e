"""Follows one start of ``cryotx pick`` for other programs: its events as lines, its counts for Prometheus."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from cryotx_cli.events import Event
from cryotx_cli.monitoring.lines import Lines
from cryotx_cli.monitoring.pick_events import SCHEMA, Asked, PickEvents
from cryotx_cli.monitoring.tally import Tally
from cryotx_cli.runs.folder import PickFolder
from cryotx_cli.runs.followers import Followers, Stage
from cryotx_cli.runs.result import PickResult, PickSummary
from cryotx_cli.runs.settled import read_settled

if TYPE_CHECKING:
    from cryotx_cli.monitoring.metrics import Metrics

_SIGNALS = 128  # the exit code of a command that a signal has ended is larger by the number of that signal
_WAITING_SECONDS = 60.0  # from one line to the next while a session has nothing to do


class _Run(Protocol):
    """What is asked of a run."""

    followers: Followers
    device: str

    def __len__(self) -> int: ...

    @property
    def estimate(self) -> object: ...

    @property
    def waiting(self) -> int: ...

    @property
    def summary(self) -> PickSummary: ...


class FollowedPick:
    """One start of a run as other programs hear of it.

    Parameters
    ----------
    asked
        What it was asked for.
    lines
        Where its events go; None for nowhere.
    port
        Where its counts are served; None for nowhere.
    say
        Takes a sentence for the user.
    """

    def __init__(self, asked: Asked, lines: Lines | None, port: int | None, say: Callable[[str], None]) -> None:
        self._tally, self._lines = Tally(), lines
        self._events = PickEvents(lines.write) if lines else None
        self._metrics = None if port is None else self._served(port, asked, say)
        self._run: _Run | None = None
        self._waits_since: float | None = None
        self._exit_code = 0
        self._signal: str | None = None
        if self._events:
            self._events.started(asked)

    def follow(self, run: _Run) -> None:
        """Hear of what happens in a run that has been settled."""
        self._run = run
        run.followers.add(self._happened)
        if self._metrics:
            self._metrics.incomplete = lambda: run.waiting
        if self._events:
            folder = PickFolder(run.summary.star, to_read=True)
            settled = read_settled(folder.config)
            self._events.ready(folder, settled, run.device, run.estimate is not None, len(run))

    def said(self, event: Event) -> None:
        """Hear what the user is told."""
        if self._metrics:
            self._metrics.warnings += event.level == "warning"
        if self._events:
            self._events.said(event)

    def by_signal(self, name: str) -> None:
        """Note the signal that ends the run."""
        self._signal = self._signal or name

    def finished(self, exit_code: int) -> None:
        """Note that the run has come to its end, which is told when the context is left."""
        self._exit_code = exit_code

    def ended(self, exit_code: int, error: BaseException | None) -> None:
        """Tell how it ended, and let go of everything."""
        status = "finished" if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        if self._events:
            summary = self._run.summary if self._run else None
            if isinstance(error, KeyboardInterrupt) and exit_code > _SIGNALS:
                self.by_signal(signal.Signals(exit_code - _SIGNALS).name)
            code = self._exit_code if error is None else exit_code
            self._events.ended(status, code, self._signal, _told(error), summary)
        self.close()

    def close(self) -> None:
        """Let go of file and port."""
        if self._metrics:
            self._metrics.close()
        if self._lines:
            self._lines.close()

    def _happened(self, happening: PickResult | Stage) -> None:
        if isinstance(happening, PickResult):
            self._result(happening)
        elif happening.kind == "waiting":
            self._waits()
        elif self._events and happening.file:
            self._events.overview(happening.file, happening.micrographs)

    def _result(self, result: PickResult) -> None:
        self._waits_since = None
        self._tally.add(result)
        if self._metrics:
            self._metrics.waiting = False
            if result.particles is not None and not result.resumed:
                self._metrics.picked()
        if self._events:
            self._events.result(result)

    def _waits(self) -> None:
        now = time.monotonic()
        if self._waits_since is not None and now - self._waits_since < _WAITING_SECONDS:
            return
        self._waits_since = now
        if self._metrics:
            self._metrics.waiting = True
        if self._events and self._run:
            self._events.waiting(self._run.waiting, self._tally.picked, self._tally.picks)

    def _served(self, port: int, asked: Asked, say: Callable[[str], None]) -> Metrics:
        from cryotx_cli.monitoring.metrics import LOOPBACK, Metrics  # a server is loaded for those who ask

        metrics = Metrics(port, str(asked.out), self._tally, self._lines_lost)
        say(f"Counts for Prometheus: http://{LOOPBACK}:{metrics.port}/metrics")
        return metrics

    def _lines_lost(self) -> int:
        return self._lines.lost if self._lines else 0


@contextmanager
def followed(
    asked: Asked,
    events: str | None,
    metrics: int | None,
    say: Callable[[str], None],
    exit_code: Callable[[BaseException], int],
) -> Iterator[FollowedPick]:
    """Follow a run in this context, whose end is the end of the run.

    Parameters
    ----------
    asked
        What the run was asked for.
    events
        Where lines go: a file, a named pipe, or ``-``; None for nowhere.
    metrics
        The port of counts; None for none.
    say
        Takes a sentence for the user.
    exit_code
        Returns that of an error.

    Raises
    ------
    ConfigError, CryotxError
        Lines cannot be written there, or the port is not free.
    """
    lines = Lines(events, "--events", f'"schema": "{SCHEMA.rpartition("-")[0]}', say) if events is not None else None
    try:
        run = FollowedPick(asked, lines, metrics, say)
    except BaseException:
        if lines:
            lines.close()
        raise
    try:
        yield run
    except BaseException as error:
        run.ended(exit_code(error), error)
        raise
    run.ended(0, None)


def _told(error: BaseException | None) -> Mapping[str, str]:
    if error is None or isinstance(error, KeyboardInterrupt):
        return {}
    message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
    return {"message": str(message), "hint": str(getattr(error, "hint", ""))}
