"""A JSON object for each thing that happens in a run of picking, as ``pick-events-1.schema.json`` describes them."""

from __future__ import annotations

import json
import math
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from cryotx_cli.config import PickConfig
from cryotx_cli.events import Event
from cryotx_cli.runs.folder import PickFolder, absolute_path, coordinate_files
from cryotx_cli.runs.result import PickResult, PickSummary
from cryotx_cli.runs.settled import Settled
from cryotx_cli.version import __version__

SCHEMA = "cryotx-pick-events-1"
"""Name and version, which is in every line. Fields may be added to a version; none is renamed or left out."""

_SOME = 20  # of the inputs are named: a shell may have made thousands of a glob


@dataclass(frozen=True)
class Asked:
    """What a run was asked for.

    Parameters
    ----------
    command
        As it was typed.
    inputs
        Micrographs, as they were given.
    out
        The merged STAR file to write.
    config
        Settings, as they were given.
    """

    command: str
    inputs: tuple[str, ...]
    out: Path
    config: PickConfig


def pick_events_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a line."""
    text = files("cryotx_cli.monitoring").joinpath("pick-events-1.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


class PickEvents:
    """Makes lines of what happens in one start of a run.

    Parameters
    ----------
    write
        Takes a line without its end.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._number, self._run = write, 0, uuid.uuid4().hex[:12]
        self._folder: PickFolder | None = None
        self._settled: Settled | None = None

    def started(self, asked: Asked) -> None:
        """Tell what was asked for, before anything is done."""
        self._tell(
            "started",
            cryotx=__version__,
            command=asked.command,
            folder=str(Path.cwd()),
            host=socket.gethostname(),
            pid=os.getpid(),
            inputs=[str(absolute_path(one)) for one in asked.inputs[:_SOME]],
            inputs_given=len(asked.inputs),
            out=str(absolute_path(asked.out)),
            watch=asked.config.watch,
            settings=asdict(asked.config),
        )

    def ready(self, folder: PickFolder, settled: Settled, device: str, estimated: bool, micrographs: int) -> None:
        """Tell what has been settled: micrographs are picked from now on."""
        self._folder, self._settled = folder, settled
        self._tell(
            "ready",
            micrographs=micrographs,
            weights=settled.config.weights,
            device=device,
            diameter=settled.diameter,
            diameter_estimated=estimated,
            contrast=settled.contrast,
            run=str(absolute_path(folder.path)),
        )

    def result(self, result: PickResult) -> None:
        """Tell what became of a micrograph."""
        row = result.row
        named = {"micrograph": row.micrograph, "path": row.path}
        if result.particles is None:
            self._tell("skipped", **named, error=result.error)
            return
        self._tell(
            "picked",
            **named,
            picks=row.picks,
            candidates=row.candidates,
            expected_false=row.expected_false,
            dropped_at_border=row.dropped_at_border,
            dropped_beside_better=row.dropped_beside_better,
            pixel_size=result.particles.pixel_size,
            defocus=row.defocus,
            film_share=row.film_share,
            seconds=round(result.seconds, 3),
            earlier=result.resumed,
            files=self._files(result),
        )

    def waiting(self, incomplete: int, micrographs: int, picks: int) -> None:
        """Tell that there is nothing to do, and how many files are there but not whole."""
        self._tell("waiting", incomplete=incomplete, micrographs=micrographs, picks=picks)

    def overview(self, file: Path, micrographs: int) -> None:
        """Tell that a file that shows all micrographs has been written."""
        what = "report" if file.suffix == ".html" else "picks"
        self._tell("overview", what=what, path=str(absolute_path(file)), micrographs=micrographs)

    def said(self, event: Event) -> None:
        """Tell what a user is told."""
        self._tell(event.level, text=event.text, micrograph=event.micrograph)

    def ended(
        self, status: str, exit_code: int, by_signal: str | None, error: Mapping[str, str], summary: PickSummary | None
    ) -> None:
        """Tell how it ended; nothing comes after this."""
        totals = summary and {
            "micrographs": summary.micrographs,
            "picks": summary.particles,
            "earlier": summary.resumed,
            "skipped": len(summary.skipped),
            "left": summary.left,
            "expected_false": summary.expected_false,
            "dropped_at_border": summary.dropped_at_border,
            "dropped_beside_better": summary.dropped_beside_better,
            "with_film": summary.film,
            "box": summary.box,
            "classes": summary.classes,
            "class_counts": summary.class_counts and asdict(summary.class_counts),
            "seconds": round(summary.seconds, 3),
        }
        self._tell(
            "ended",
            status=status,
            exit_code=exit_code,
            signal=by_signal,
            error=error.get("message"),
            hint=error.get("hint"),
            totals=totals,
        )

    def _files(self, result: PickResult) -> dict[str, str]:
        if self._folder is None or self._settled is None:
            return {}
        outputs, config = self._folder.outputs(result.row.stem, result.row.relion), self._settled.config
        found = {**coordinate_files(outputs, self._settled.formats), "candidates": outputs.candidates}
        if config.images:
            found["png"] = outputs.png
        return {kind: str(absolute_path(path)) for kind, path in found.items()}

    def _tell(self, event: str, **fields: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"schema": SCHEMA, "event": event, "time": now, "start": self._run, "number": self._number}
        self._number += 1
        self._write(json.dumps(_plain({**head, **fields}), allow_nan=False))


def _plain(value: Any) -> Any:
    """Return what JSON can hold: null where a number is not known, paths as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
