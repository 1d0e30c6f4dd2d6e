"""Listening, and ending: a socket, connections that say nothing, and Ctrl-C."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cryotx_cli.errors import ConfigError

_PATIENCE_SECONDS = 10.0  # for the head and body of a request
_MOST_CONNECTIONS = 400
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches a server that listens there."""
    return host in _LOOPBACK


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes any that is free.

    Raises
    ------
    ConfigError
        The port is in use, or the host is none of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
    except OSError as error:
        raise ConfigError(
            f"--host {host}: {error.strerror or error}", "Give a name or number of this machine."
        ) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(256)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"--port {port}: in use by another program", "Give another one, or --port 0 for any that is free."
            ) from error
        raise ConfigError(f"--host {host} --port {port}: {error.strerror or error}", "Give others.") from error
    return listening


class _Patient(H11Protocol):
    """Closes connections on which no whole request comes, and those beyond a number that no browser needs."""

    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._watch is None:
            self._wait()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._watch = self.loop.call_later(_PATIENCE_SECONDS, self._look)

    def _look(self) -> None:
        self._watch = None
        cycle = self.cycle
        if cycle is None or (cycle.more_body and not cycle.response_complete):
            self.transport.close()


class _Stoppable(uvicorn.Server):
    """Ends on Ctrl-C as on any other end: the caller has still something to write."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()  # from here on Ctrl-C is known

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def serve(app: ASGIApp, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests until Ctrl-C or SIGTERM; call `ready` as soon as they are answered."""
    config = uvicorn.Config(
        app,
        http=_Patient,
        ws="none",
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16_384,
    )
    _Stoppable(config, ready).run(sockets=[listening])
