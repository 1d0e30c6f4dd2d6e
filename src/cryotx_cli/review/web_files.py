"""The files of the page: those in the folder ``web``, and no others."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.responses import PlainTextResponse, Response

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
}


@cache
def _served() -> dict[str, tuple[bytes, str]]:
    """All files by their path in the folder: what is not among them cannot be asked for, whatever the path."""
    return dict(_in(files("cryotx_cli.review").joinpath("web"), ""))


def _in(folder: Traversable, path: str) -> list[tuple[str, tuple[bytes, str]]]:
    found = []
    for entry in folder.iterdir():
        name = f"{path}{entry.name}"
        kind = _KINDS.get(entry.name[entry.name.rfind(".") :])
        if entry.is_dir():
            found += _in(entry, f"{name}/")
        elif kind is not None:
            found.append((name, (entry.read_bytes(), kind)))
    return found


def web_file(name: str) -> Response:
    """Return a file of the page."""
    found = _served().get(name)
    if found is None:
        return PlainTextResponse("There is no such page.\n", 404)
    return Response(found[0], media_type=found[1])
