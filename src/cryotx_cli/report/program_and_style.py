"""Program and style of a report: files of ``web`` joined into one script and one sheet, so that a page is one file."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_IMPORT = re.compile(r"^import \{[^}]*\} from \"\./(\w+\.js)\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const |let )", re.MULTILINE)

_STYLES = ("elements", "summary", "bar", "plots", "classes", "gallery", "agreement", "viewer", "media", "print")


def source(name: str) -> str:
    """Return the text of a file of the folder ``web``."""
    return files("cryotx_cli.report").joinpath("web", name).read_text(encoding="utf-8")


@cache
def program() -> str:
    """Return the script of a page, `main.js` and all that it imports, each behind what it imports itself.

    The modules share one scope, so no two of them may declare the same name.
    """
    parts: dict[str, str] = {}
    _collect("main.js", parts)
    return "\n".join(["(() => {", '"use strict";', *parts.values(), "})();", ""])


@cache
def style() -> str:
    """Return the style sheet of a page: light or dark as the system, until the reader chooses."""
    dark = source("style/dark.css")
    by_system = dark.replace(':root[data-theme="dark"]', ':root:not([data-theme="light"])')
    assert by_system != dark
    on_screen = ["@media screen {", dark, "}", "@media screen and (prefers-color-scheme: dark) {", by_system, "}"]
    colours = [source("style/light.css"), *on_screen]
    return "\n".join([*colours, *(source(f"style/{name}.css") for name in _STYLES)])


def _collect(name: str, parts: dict[str, str]) -> None:
    text = source(f"program/{name}")
    for imported in _IMPORT.findall(text):
        if imported not in parts:
            _collect(imported, parts)
    parts[name] = _EXPORT.sub("", _IMPORT.sub("", text)).strip()
