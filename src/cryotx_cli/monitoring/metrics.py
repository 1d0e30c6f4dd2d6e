"""Counts of a run for Prometheus, on a port of this machine that no other one reaches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.version import __version__

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from cryotx_cli.monitoring.tally import Tally

LOOPBACK = "127.0.0.1"


class Metrics(Collector):
    """Serves what a run has come to, as long as it works.

    Parameters
    ----------
    port
        Where; 0 takes one that is free.
    out
        The merged STAR file: tells runs apart.
    tally
        Counts of the run.
    lost
        Returns how many lines of ``--events`` could not be written.

    Attributes
    ----------
    port : int
        Where it is.
    waiting : bool
        Whether a watched session has nothing to do.
    incomplete : Callable
        Returns how many files are there and not whole.
    warnings : int
        How many warnings have been told.

    Raises
    ------
    ConfigError
        There is no such port.
    CryotxError
        The port is not free.
    """

    def __init__(self, port: int, out: str, tally: Tally, lost: Callable[[], int]) -> None:
        self.waiting, self.warnings = False, 0
        self.incomplete: Callable[[], int] = lambda: 0
        self._out, self._tally, self._lost = out, tally, lost
        self._started, self._latest = time.time(), 0.0
        if not 0 <= port < 1 << 16:
            raise ConfigError(f"--metrics {port}: no port; they are 0 to 65535")
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(port, LOOPBACK, registry)
        except OSError as error:
            raise CryotxError(
                f"--metrics {port}: cannot be served there ({error.strerror or error})",
                "Give another port; one below 1024 is root's, 0 takes one that is free.",
            ) from error
        self.port = int(self._server.server_port)

    def picked(self) -> None:
        """Note that a micrograph has just been picked."""
        self._latest = time.time()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def collect(self) -> Iterator[Metric]:
        """Yield the counts; called by the server's thread."""
        tally = self._tally
        about = GaugeMetricFamily("cryotx_run_info", "What runs.", labels=["version", "out"])
        about.add_metric([__version__, self._out], 1)
        yield about
        micrographs = GaugeMetricFamily("cryotx_micrographs", "Micrographs by what became of them.", labels=["state"])
        for state, count in (("picked", tally.picked), ("skipped", tally.skipped), ("incomplete", self.incomplete())):
            micrographs.add_metric([state], count)
        yield micrographs
        yield GaugeMetricFamily("cryotx_picks", "Picks on the micrographs that are picked.", tally.picks)
        if tally.expected_false is not None:
            text = "Picks that are expected to be no particles."
            yield GaugeMetricFamily("cryotx_expected_false_picks", text, tally.expected_false)
        text = "Micrographs that show support film or large ice crystals."
        yield GaugeMetricFamily("cryotx_film_micrographs", text, tally.with_film)
        text = "Time spent on micrographs, which overlap."
        yield CounterMetricFamily("cryotx_micrograph_seconds", text, tally.seconds)
        yield CounterMetricFamily("cryotx_warnings", "Warnings of the run.", self.warnings)
        yield CounterMetricFamily("cryotx_event_lines_lost", "Lines of --events not written.", self._lost())
        text = "Whether a watched session has picked all that is whole."
        yield GaugeMetricFamily("cryotx_waiting", text, self.waiting)
        yield GaugeMetricFamily("cryotx_start_time_seconds", "When the command was started.", self._started)
        if self._latest:
            text = "When the latest micrograph was picked."
            yield GaugeMetricFamily("cryotx_latest_pick_time_seconds", text, self._latest)
