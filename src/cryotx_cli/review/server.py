"""The addresses of a review: the page, its tiles, what it asks and what it changes.

Adapting goes on to another run, and a page may sleep meanwhile. So each request says of which run its page knows, and
one of another run is refused: its positions are of other micrographs, its changes of picks that nobody sees any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cryotx_cli.errors import CryotxError
from cryotx_cli.review.adapting import Adapting
from cryotx_cli.review.changes import parsed_change, parsed_changes
from cryotx_cli.review.journal import ReviewEndedError
from cryotx_cli.review.session import Session
from cryotx_cli.review.subject import Cut
from cryotx_cli.review.tiles import Look, Tiles
from cryotx_cli.review.web_files import web_file

T = TypeVar("T")


class AdaptStart(BaseModel):
    """What a page says to start adapting: steps of training, None for as many as the command takes."""

    model_config = ConfigDict(extra="forbid")

    steps: Annotated[int, Field(ge=1, le=100_000)] | None = None


Write = Callable[[], dict[str, Any]]
"""Writes the edition and returns what to say of it."""

_TILES_AT_ONCE = 4
_OPEN_CACHE = {"cache-control": "private, max-age=3600"}
_MOST_ANGSTROM, _MOST_CONTRAST = 1000.0, 20.0


class Server:
    """Answers the pages of a review.

    Parameters
    ----------
    session
        The review.
    tiles
        Where pictures come from.
    write
        Writes the edition.
    adapting
        Adapts the model; None where there is no run to adapt.
    turn
        Goes on to the run that adapting has made: calls `show` with the review of it.
    """

    def __init__(
        self,
        session: Session,
        tiles: Tiles,
        write: Write,
        adapting: Adapting | None = None,
        turn: Callable[[], None] | None = None,
    ) -> None:
        self._tiles, self._write, self._turn = tiles, write, turn
        self._turning = Lock()
        self._tile_slots: anyio.CapacityLimiter | None = None
        self.show(session, adapting)

    def show(self, session: Session, adapting: Adapting | None) -> None:
        """Answer pages with this review from now on."""
        self._session, self._adapting = session, adapting

    def app(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/", self._page),
            Route("/web/{name:path}", self._web),
            Route("/api/review", self._listing),
            Route("/api/micrographs/{position:int}", self._micrograph),
            Route("/api/counts", self._counts),
            Route("/api/changes", self._changes, methods=["GET"]),
            Route("/api/changes", self._change, methods=["POST"]),
            Route("/api/classes", self._classes),
            Route("/classes/{number:int}", self._class_picture),
            Route("/api/edition", self._edition, methods=["POST"]),
            Route("/api/adapt", self._adapt, methods=["GET"]),
            Route("/api/adapt", self._start_adapting, methods=["POST"]),
            Route("/api/adapt/stop", self._stop_adapting, methods=["POST"]),
            Route("/api/adapt/show", self._show_adapted, methods=["POST"]),
            Route("/tiles/{position:int}/{level:int}/{column:int}/{row:int}", self._tile),
        ]
        handlers: Any = {CryotxError: _told, ReviewEndedError: _told_of_other_run, OSError: _told_of_file}
        return Starlette(routes=routes, exception_handlers=handlers)

    def _asked(self, request: Request, is_first: bool = False) -> Session:
        """Return the review, if it is that of the run that the page knows; the first request knows none."""
        session, known = self._session, request.query_params.get("run")
        if known != session.run and not (is_first and known is None):
            raise ReviewEndedError(
                f"This review shows {session.subjects.title} now; the page is of another run.", "Load the page again."
            )
        return session

    async def _page(self, request: Request) -> Response:
        return web_file("page.html")

    async def _web(self, request: Request) -> Response:
        return web_file(request.path_params["name"])

    async def _listing(self, request: Request) -> Response:
        return JSONResponse(await _in_thread(self._asked(request, is_first=True).listing))

    async def _micrograph(self, request: Request) -> Response:
        distance = _number(request, "distance", None, math.inf)
        return JSONResponse(await _in_thread(self._asked(request).view, request.path_params["position"], distance))

    async def _counts(self, request: Request) -> Response:
        cut = Cut(_number(request, "threshold", None, 1.0), _number(request, "distance", None, math.inf))
        return JSONResponse(await _in_thread(self._asked(request).counts, cut))

    async def _changes(self, request: Request) -> Response:
        after = _number(request, "after", 0.0, math.inf)
        return JSONResponse(await _in_thread(self._asked(request).since, int(after or 0)))

    async def _change(self, request: Request) -> Response:
        session, body = self._asked(request), await request.body()
        if body.lstrip()[:1] == b"[":  # a page sends all that have come together while it waited
            return JSONResponse(await _in_thread(session.change_all, parsed_changes(body)))
        return JSONResponse(await _in_thread(session.change, parsed_change(body)))

    async def _edition(self, request: Request) -> Response:
        self._asked(request)
        return JSONResponse(await _in_thread(self._write))

    async def _classes(self, request: Request) -> Response:
        classes = self._asked(request).subjects.classes
        return JSONResponse([] if classes is None else await _in_thread(classes.rows))

    async def _class_picture(self, request: Request) -> Response:
        classes = self._asked(request).subjects.classes
        if classes is None:
            raise CryotxError("there are no classes without a run")
        picture = await _in_thread(classes.picture, request.path_params["number"])
        return Response(picture, media_type="image/png")

    async def _adapt(self, request: Request) -> Response:
        return JSONResponse(await _in_thread(self._adapter(request).status))

    async def _start_adapting(self, request: Request) -> Response:
        try:
            start = AdaptStart.model_validate_json(await request.body())
        except ValidationError as error:
            raise CryotxError(f"steps: {error.errors(include_url=False, include_input=False)[0]['msg']}") from error
        await _in_thread(self._adapter(request).start, start.steps)
        return await self._adapt(request)

    async def _stop_adapting(self, request: Request) -> Response:
        await _in_thread(self._adapter(request).stop)
        return await self._adapt(request)

    async def _show_adapted(self, request: Request) -> Response:
        await _in_thread(self._turn_for, request)
        return JSONResponse({})

    def _turn_for(self, request: Request) -> None:
        with self._turning:  # two pages may ask for it at once
            adapting = self._adapter(request)
            if self._turn is None or adapting.status()["phase"] != "done":
                raise CryotxError("there are no adapted picks to show")
            self._turn()

    def _adapter(self, request: Request) -> Adapting:
        self._asked(request)
        if self._adapting is None:
            raise CryotxError("there is no run to adapt: pick the micrographs first", "See cryotx train --data.")
        return self._adapting

    async def _tile(self, request: Request) -> Response:
        look = Look(
            _number(request, "lowpass", 0.0, _MOST_ANGSTROM) or 0.0,
            max(0.05, _number(request, "contrast", 1.0, _MOST_CONTRAST) or 1.0),
            request.query_params.get("invert") == "1",
        )
        if self._tile_slots is None:
            self._tile_slots = anyio.CapacityLimiter(_TILES_AT_ONCE)
        found = request.path_params
        place = found["position"], found["level"], found["column"], found["row"]
        make = partial(self._picture, self._asked(request), *place, look)
        tile = await anyio.to_thread.run_sync(make, limiter=self._tile_slots)
        return Response(tile, media_type="image/jpeg", headers=_OPEN_CACHE)

    def _picture(self, session: Session, position: int, level: int, column: int, row: int, look: Look) -> bytes:
        subject = session.subject(position)
        pixel_size = session.pixel_size(subject)
        return self._tiles.tile(subject.path, pixel_size, level, column, row, look)


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    return await anyio.to_thread.run_sync(partial(work, *arguments))


def _number(request: Request, name: str, default: float | None, most: float) -> float | None:
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise CryotxError(f"{name}: {text[:60]!r} is no number from 0 to {most:g}")
    return value


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, CryotxError)
    return JSONResponse({"error": error.message, "hint": error.hint}, 422)


async def _told_of_other_run(request: Request, error: Exception) -> Response:
    assert isinstance(error, ReviewEndedError)
    return JSONResponse({"error": error.message, "hint": error.hint}, 409)


async def _told_of_file(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    return JSONResponse({"error": f"{error.filename}: {error.strerror or error}", "hint": ""}, 422)
