"""Adapting from the page: ``cryotx train`` on what is done, then ``cryotx pick`` once more, as two commands.

They run in processes of their own, as if they had been typed: the page shows the lines to type, and what they say.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from typing import IO, Any, Literal

from cryotx_cli.coordinates.agreement import match
from cryotx_cli.errors import CryotxError
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.review.of_run import RunSubjects
from cryotx_cli.review.session import Session
from cryotx_cli.runs.stored import read_run

_PROGRESS = re.compile(r"^(\d+)/(\d+) (steps|micrographs)")
_ROW = re.compile(r"^(before|after)((?: +[\d.]+){7})\s*$")
_VERDICTS = ("Adapted in ", "Adapting did not help")
_COLUMNS = ("picks", "precision", "recall", "f1", "chance", "dice", "ap")
_MOST_LINES = 200

Phase = Literal["idle", "training", "picking", "done", "failed", "stopped"]


@dataclass
class Status:
    """How far it has come.

    `table` has the rows before and after, `verdict` what the training says of them, `difference` how the picks change.
    """

    phase: Phase = "idle"
    step: int = 0
    steps: int = 0
    lines: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    table: list[dict[str, Any]] = field(default_factory=list)
    verdict: str = ""
    difference: dict[str, Any] | None = None
    run: str | None = None


class Adapting:
    """Runs the two commands, one start at a time.

    Parameters
    ----------
    session
        The review.
    subjects
        Its run.
    folder
        That of the review.
    """

    def __init__(self, session: Session, subjects: RunSubjects, folder: Path) -> None:
        self._session, self._subjects, self._folder = session, subjects, folder
        self._lock = Lock()
        self._status = Status()
        self._process: subprocess.Popen[str] | None = None
        self._thread: Thread | None = None
        self._stopping = False

    def status(self) -> dict[str, Any]:
        """Return how far it has come, with the micrographs that it would learn from."""
        with self._lock:
            done = sum(
                one.row.error is None and self._session.history(one).corrections.mark == "done"
                for one in self._subjects.all()
            )
            return {**vars(self._status), "lines": self._status.lines[-12:], "labelled": done}

    def start(self, steps: int | None) -> None:
        """Start it.

        Parameters
        ----------
        steps
            Of training; None for those of the command.

        Raises
        ------
        CryotxError
            It is under way already, or there are too few micrographs to learn from.
        """
        if self.status()["labelled"] < 2:
            raise CryotxError(
                "two micrographs at least have to be done: one to learn from and one to judge by",
                "Five are a good number.",
            )
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise CryotxError("adapting is under way already")
            commands, star = self._commands(steps)
            self._stopping = False
            self._status = Status("training", commands=[_typed(one) for one in commands], run=str(star))
            self._thread = Thread(target=self._run, args=(commands, star), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop it, and wait until its process has ended."""
        with self._lock:
            self._stopping = True
            process = self._process
        if process is not None:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        if self._thread is not None:
            self._thread.join(10)

    def _commands(self, steps: int | None) -> tuple[list[list[str]], Path]:
        """Return what to run, and the merged STAR file that comes of it."""
        run = self._subjects.folder
        for number in count(1):
            star = run.with_name(f"{run.name}_adapted{number}.star")
            weights = self._folder / f"adapted{number}"
            if not any(path.exists() for path in (star, star.with_suffix(""), weights)):
                break
        train = ["train", "--data", str(self._folder), "--out", str(weights)]
        train += ["--init", self._subjects.weights] if self._subjects.weights != "default" else []
        train += ["--steps", str(steps)] if steps is not None else []
        pick = ["pick", str(self._list_of_micrographs()), "--config", str(run / "config.toml"), "--out", str(star)]
        return [train, [*pick, "--weights", str(weights / "best.safetensors")]], star

    def _list_of_micrographs(self) -> Path:
        """Write all micrographs of the run as a STAR file, by the names that it knows them by."""
        path = self._folder / "micrographs.star"
        with whole_file(path) as file:
            file.write("\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographPixelSize #2\n")
            for one in self._subjects.all():
                if one.row.error is None:
                    here = Path(one.name).exists() and Path(one.name).samefile(one.path)
                    name = one.name if here else str(one.path.absolute())
                    file.write(f"{_quoted(name)} {self._session.pixel_size(one)!r}\n")
        return path

    def _run(self, commands: Sequence[Sequence[str]], star: Path) -> None:
        try:
            for phase, command in zip(("training", "picking"), commands, strict=True):
                self._tell(phase=phase, step=0, steps=0)
                if not self._finished(command):
                    self._tell(phase="stopped" if self._stopping else "failed")
                    return
            self._tell(phase="done", difference=self._difference(star))
        except (CryotxError, OSError) as error:
            self._tell(phase="failed")
            self._line(error.message if isinstance(error, CryotxError) else str(error))

    def _finished(self, command: Sequence[str]) -> bool:
        """Run one of the commands; return whether it has come to its end."""
        with self._lock:
            if self._stopping:
                return False
            process = subprocess.Popen(
                [sys.executable, "-m", "cryotx_cli", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C in the terminal is for the review, which stops it in order
            )
            self._process = process
        readers = [Thread(target=self._read, args=(one,), daemon=True) for one in (process.stdout, process.stderr)]
        for one in readers:
            one.start()
        for one in readers:
            one.join()
        code = process.wait()
        with self._lock:
            self._process = None
        return code in (0, 3) and not self._stopping  # 3: some micrographs were skipped

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._line(line.rstrip())

    def _line(self, line: str) -> None:
        progress, row = _PROGRESS.match(line), _ROW.match(line)
        with self._lock:
            if progress:
                self._status.step, self._status.steps = int(progress[1]), int(progress[2])
            if row:
                values = map(float, row[2].split())
                self._status.table.append({"weights": row[1], **dict(zip(_COLUMNS, values, strict=True))})
            if line.startswith(_VERDICTS):
                self._status.verdict = line
            if line:
                self._status.lines = [*self._status.lines[-_MOST_LINES:], line]

    def _tell(self, **what: Any) -> None:
        with self._lock:
            for name, value in what.items():
                setattr(self._status, name, value)

    def _difference(self, star: Path) -> dict[str, Any]:
        """Compare the picks of the new run with those of the old one, micrograph by micrograph."""
        before, after = read_run(self._subjects.folder, to_read=True), read_run(star, to_read=True)
        now = {os.path.realpath(after.folder.micrograph_of(row)): row for row in after.picked}
        rows = []
        for subject in self._subjects.all():
            row = now.get(os.path.realpath(subject.path))
            old = before.candidates(subject.row)
            new = None if row is None else after.candidates(row)
            if row is None or old is None or new is None:
                continue
            earlier, later = before.picks(subject.row, old[1]).particles, after.picks(row, new[1]).particles
            radius = before.settled.diameter / earlier.pixel_size / 2
            kept = int((match(later.centres, earlier.centres, radius) >= 0).sum())
            rows.append({"position": subject.position, "before": len(earlier), "after": len(later), "kept": kept})
        return {"micrographs": rows, "command": shlex.join(["cryotx", "review", str(star.with_suffix(""))])}


def _typed(command: Sequence[str]) -> str:
    return shlex.join(["cryotx", *command])


def _quoted(name: str) -> str:
    return f'"{name}"' if any(one.isspace() for one in name) else name
