"""When, where and by which command a run was started: for whoever finds its report later."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from cryotx_cli.errors import CryotxError
from cryotx_cli.files.whole_file import whole_file

_NAME = "start.json"


@dataclass(frozen=True)
class Start:
    """How a run came about.

    Parameters
    ----------
    day
        When it was started, as 2026-11-30.
    folder
        Where: what is relative in the commands is relative to it.
    command
        That of ``cryotx pick``, as it was typed.
    choice
        The last ``cryotx threshold`` that has chosen its picks anew; empty where none has.
    """

    day: str
    folder: str
    command: str
    choice: str = ""


def note_start(run: Path, command: str, anew: bool = False) -> None:
    """Keep how a run was started; the same command goes on with it, and changes nothing.

    Parameters
    ----------
    run
        Its folder.
    command
        As it was typed.
    anew
        Everything is picked again, whatever is there.
    """
    with suppress(CryotxError, OSError):  # no room, no working folder: the run itself has more to say
        now, before = Start(date.today().isoformat(), str(Path.cwd()), command), start_of(run)
        same = before is not None and not anew and (before.folder, before.command) == (now.folder, now.command)
        _write(run, replace(before, choice="") if before is not None and same else now)


def note_choice(run: Path, command: str) -> None:
    """Keep that the picks of a run were chosen anew by this command, if it is known how the run was started."""
    before = start_of(run)
    if before is not None:
        with suppress(CryotxError):
            _write(run, replace(before, choice=command))


def start_of(run: Path) -> Start | None:
    """Return how a run was started; None where nobody knows, as in older runs and those of a Python program."""
    try:
        start = Start(**json.loads((run / _NAME).read_text(encoding="utf-8")))
        date.fromisoformat(start.day)
    except (OSError, ValueError, TypeError):
        return None
    return start


def _write(run: Path, start: Start) -> None:
    with whole_file(run / _NAME) as file:
        json.dump(asdict(start), file)
