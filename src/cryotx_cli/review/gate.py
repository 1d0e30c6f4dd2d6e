"""Who may talk to the server of a review: one person's browser, let in by a token that holds once.

Any page on the internet may try to send requests to a server of this machine, and any user of the machine can reach it.
So a request counts only with the cookie that the token was changed for; what a foreign page sends is refused by its
Origin, what comes by a foreign name by its Host.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1_000_000
"""Of the body of a request."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_NO_COOKIE = (
    "This page opens with the address that cryotx review has printed; each address holds once, and the terminal shows "
    "the next one.\n"
)


class Gate:
    """Stands before an application and lets through what comes from a browser that has shown the token.

    Parameters
    ----------
    app
        What answers the requests that pass.
    port
        That of the server: browsers send cookies to all ports of a machine, so its name tells them apart.
    is_open
        Whether others than this machine can reach the server; it answers then by its name and addresses, too.
    used
        Called with the next token when the present one has been used.
    """

    def __init__(self, app: ASGIApp, port: int, is_open: bool, used: Callable[[str], None] = lambda _: None) -> None:
        self.token = secrets.token_urlsafe(24)
        self._app, self._used = app, used
        self._cookie, self._secret = f"cryotx_review_{port}", secrets.token_urlsafe(32)
        self._is_open = is_open
        self._names = _LOOPBACK | (_names_of_machine() if is_open else frozenset())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers, lets_in = Headers(scope=scope), False
        refusal = self._refusal(headers, str(scope["method"]))
        if refusal is None and not self._has_cookie(headers):
            lets_in = self._takes_token(scope)
            refusal = None if lets_in else (403, _NO_COOKIE)
        if refusal is not None:
            await _refuse(*refusal)(scope, receive, _guarded(send))
            return
        body = await _body(receive)
        if body is None:
            await _refuse(413, "Too much at once.\n")(scope, receive, _guarded(send))
            return
        await self._app(scope, _replayed(body, receive), _guarded(send, self._set_cookie if lets_in else None))

    def _refusal(self, headers: Headers, method: str) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return 403, "Not the name of this server.\n"
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return 403, "Not a page of this server.\n"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and method not in ("GET", "HEAD"):
            return 403, "Not a page of this server.\n"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return 413, "Too much at once.\n"
        return None

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host).lower()
        if name in self._names:
            return True
        if not self._is_open:
            return False
        try:  # a number cannot be made to mean another machine, as a name can
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _has_cookie(self, headers: Headers) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return found is not None and _same(found.value, self._secret)

    def _takes_token(self, scope: Scope) -> bool:
        given = parse_qs(bytes(scope["query_string"]).decode("latin-1")).get("token", [""])[0]
        if scope["method"] != "GET" or scope["path"] != "/" or not _same(given, self.token):
            return False
        self.token = secrets.token_urlsafe(24)
        self._used(self.token)
        return True

    def _set_cookie(self, headers: MutableHeaders) -> None:
        headers.append("set-cookie", f"{self._cookie}={self._secret}; Path=/; HttpOnly; SameSite=Strict")


def _refuse(status: int, text: str) -> PlainTextResponse:
    # What comes after a refusal is not read.
    return PlainTextResponse(text, status, {"connection": "close", "cache-control": "no-store"})


def _guarded(send: Send, more: Callable[[MutableHeaders], None] | None = None) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
            if more is not None:
                more(headers)
        await send(message)

    return with_headers


async def _body(receive: Receive) -> bytes | None:
    """Read the body of a request; None where it is too large: it may be longer than it says, or say nothing."""
    body = bytearray()
    while True:
        message: Any = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if message["type"] != "http.request" or not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Hand over a body that has been read, then whatever follows it."""
    first = True

    async def replay() -> Any:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _names_of_machine() -> frozenset[str]:
    return frozenset({socket.gethostname().lower(), socket.getfqdn().lower()})
