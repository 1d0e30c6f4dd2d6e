"""An External job of CryoSPARC, by cryosparc-tools: made or taken up, started, told how it goes, and ended."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryotx_cli.errors import ConfigError
from cryotx_cli.hosts.cryosparc_session import answer_in, asked_of

INPUT, PARTICLES, MICROGRAPHS = "exposures", "particles", "micrographs"
_PARTICLE_SLOTS, _MICROGRAPH_SLOTS = ["location", "pick_stats"], ["micrograph_blob"]
_ACTIVE = ("running", "waiting")
_SECONDS_BETWEEN_LOOKS = 5.0
_SILENCE = 60.0  # seconds without a line of the log after one that was not taken: one that hangs takes minutes
_TITLE = "cryotx: particle picking"


class CryosparcJob:
    """An External job.

    Parameters
    ----------
    job
        The job of cryosparc-tools.
    say
        Takes a sentence where CryoSPARC cannot be told something.
    """

    def __init__(self, job: Any, say: Callable[[str], None]) -> None:
        self._job, self._say, self._complained = job, say, False
        self._silent_until = -math.inf
        self._over = threading.Event()
        self.uid: str = job.uid
        self.status_found = ""  # what somebody in CryoSPARC has made of the job while it ran

    @property
    def folder(self) -> Path:
        """The folder of the job, as CryoSPARC knows it."""
        with asked_of("the folder of the job"):
            return Path(self._job.dir)

    def exposures(self) -> Any:
        """Return the exposures that are connected, a ``cryosparc.dataset.Dataset``.

        Raises
        ------
        CryotxError
            There are none.
        """
        with asked_of(f"the exposures of {self.uid}"):
            return self._job.load_input(INPUT, slots="all")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let CryoSPARC show the job as running, and as completed or failed in the end.

        Raises
        ------
        KeyboardInterrupt
            In the block, as soon as somebody kills the job in CryoSPARC.
        CryotxError
            CryoSPARC does not let it start.
        """
        with asked_of(f"to start {self.uid}", "A job that is completed is not started again: leave --job out."):
            self._job.start("running")
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        try:
            yield
        except KeyboardInterrupt:
            self._over.set()
            if not self.status_found:
                # cryosparc-tools kills no External job.
                text = f"Stopped from outside. To go on with it: the same command with --job {self.uid}"
                self._told(lambda: self._job.stop(error=text))
            raise
        except Exception as error:
            self._over.set()
            message, hint = getattr(error, "message", None) or repr(error), getattr(error, "hint", "")
            self._told(lambda: self._job.stop(error=f"{message}\n{hint}".strip()))
            raise
        finally:
            self._over.set()
            watch.join(timeout=1)
        with asked_of(f"to complete {self.uid}"):
            self._job.stop()

    def log(self, text: str, level: str = "text", name: str | None = None) -> None:
        """Add a line to the log of the job, in place of the one of the same name; what cannot be told is left out."""
        if time.monotonic() >= self._silent_until:
            self._told(lambda: self._job.log(text, level=level, **({"name": name} if name else {})))

    def show(self, picture: Path, text: str) -> None:
        """Add a picture to the log of the job."""
        if time.monotonic() >= self._silent_until:
            self._told(lambda: self._job.log_plot(picture, text))

    def save(self, output: str, uids: Any, fields: Callable[[str], Any], picture: Path | None) -> None:
        """Save an output.

        Parameters
        ----------
        output
            `PARTICLES` or `MICROGRAPHS`.
        uids
            CryoSPARC's number of each row.
        fields
            Returns the column of a name; None where there is none, and CryoSPARC's zeros stay.
        picture
            A PNG that stands for it.

        Raises
        ------
        CryotxError
            CryoSPARC does not take it.
        """
        with asked_of(f"to take the {output}", f"The picks are kept: repeat the command with --job {self.uid}."):
            table = self._job.alloc_output(output, uids)
            for name in table.fields():
                column = fields(name) if name != "uid" else None
                if column is not None:
                    table[name] = column
            self._job.save_output(output, table)
        if picture is not None:
            self._told(lambda: self._job.set_output_image(output, picture))
            if output == PARTICLES:
                self._told(lambda: self._job.set_tile_image(picture))

    def _told(self, tell: Callable[[], object]) -> None:
        try:
            tell()
        except Exception as error:  # of the network, of the server: whatever it is, the picks do not depend on it
            self._silent_until = time.monotonic() + _SILENCE
            if not self._complained:
                self._complained = True
                self._say(f"CryoSPARC cannot be told how {self.uid} goes ({answer_in(error)}); it goes on.")

    def _watch(self) -> None:
        """Interrupt the command when somebody kills, clears or deletes the job."""
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            try:
                found = str(self._job.cs.api.jobs.find_one(self._job.project_uid, self.uid).status)
            except Exception as error:  # it may answer next time
                found = "deleted" if getattr(error, "code", 0) == 404 else "running"
            if found not in _ACTIVE and not self._over.is_set():
                self.status_found = found
                os.kill(os.getpid(), signal.SIGTERM)
                return


def make_job(session: Any, project: str, workspace: str, exposures: str, say: Callable[[str], None]) -> CryosparcJob:
    """Make an External job that has these exposures as its input.

    Parameters
    ----------
    session
        Of `cryosparc_session.connect`.
    project, workspace
        Where, such as P3 and W1.
    exposures
        A job and its output, such as ``J12:exposures``.
    say
        As `CryosparcJob` takes it.

    Raises
    ------
    ConfigError
        There is no such output.
    CryotxError
        CryoSPARC refuses.
    """
    source, _, output = exposures.partition(":")
    with asked_of(f"for {source} in {project}"):
        outputs = session.find_job(project, source).outputs
    fitting = [name for name, one in outputs.items() if one.type == "exposure"]
    output = output or (fitting[0] if len(fitting) == 1 else "")
    if output not in fitting:
        known = ", ".join(f"{source}:{name}" for name in fitting) or "none"
        raise ConfigError(f"--exposures {exposures}: is no output of exposures; {source} has {known}")
    with asked_of(f"for a job in {workspace} of {project}"):
        job = session.create_external_job(project, workspace, title=_TITLE)
        job.connect(INPUT, source, output, slots=_MICROGRAPH_SLOTS, title="Exposures")
        job.add_output("particle", PARTICLES, slots=_PARTICLE_SLOTS, title="Picked particles")
        job.add_output(
            "exposure", MICROGRAPHS, slots=_MICROGRAPH_SLOTS, passthrough=INPUT, title="Micrographs that were picked"
        )
    return CryosparcJob(job, say)


def take_up_job(session: Any, project: str, uid: str, say: Callable[[str], None]) -> CryosparcJob:
    """Go on with an External job that was made by `make_job`.

    Raises
    ------
    ConfigError
        It is another one.
    CryotxError
        CryoSPARC refuses.
    """
    with asked_of(f"for {uid} in {project}"):
        try:
            job = session.find_external_job(project, uid)
        except TypeError as error:
            raise ConfigError(f"--job {uid}: is no External job", "Leave it out to make a new one.") from error
    if {INPUT} - set(job.inputs) or {PARTICLES, MICROGRAPHS} - set(job.outputs):
        raise ConfigError(f"--job {uid}: is no job of cryotx", "Leave it out to make a new one.")
    return CryosparcJob(job, say)
