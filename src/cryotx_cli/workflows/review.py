"""Look at picks in the browser and correct them; the corrected picks are an edition beside the run."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from cryotx_cli.config import ReviewConfig
from cryotx_cli.coordinates.formats.cryosparc import exposures_of
from cryotx_cli.coordinates.formats.star import is_particles_star_of_ours
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.events import Event, Events
from cryotx_cli.micrographs.find import find_micrographs
from cryotx_cli.review.edition import Written, write_edition
from cryotx_cli.review.images import Images
from cryotx_cli.review.journal import JOURNAL, Journal
from cryotx_cli.review.of_files import FileSubjects
from cryotx_cli.review.of_run import RunSubjects
from cryotx_cli.review.session import Session
from cryotx_cli.runs.folder import is_run
from cryotx_cli.wording import counted

if TYPE_CHECKING:
    from cryotx_cli.coordinates.formats.entry import Exposure
    from cryotx_cli.review.subject import Subjects

_FORMATS = ("relion", "box")
_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Address:
    """Where a review can be opened.

    Parameters
    ----------
    url
        The address to open, with a token that holds once.
    tunnel
        What to type on another machine first.
    """

    url: str
    tunnel: str


@dataclass
class _Opened:
    """A review of one run or of micrographs; it belongs to this process.

    Parameters
    ----------
    folder
        Where journal and edition lie.
    journal, session
        What was changed, and what there is to review.
    formats, exposures
        See `write_edition`.
    written
        The moment of the edition; None before the first.
    """

    folder: Path
    journal: Journal
    session: Session
    formats: tuple[str, ...]
    exposures: Mapping[str, Exposure]
    written: tuple[int, int] | None = None


class Review:
    """A review that is open: its journal belongs to this process until `close`.

    Parameters
    ----------
    inputs
        A run of ``cryotx pick``, named by its STAR file or its folder, or micrographs.
    config
        Settings.

    Attributes
    ----------
    events : Events
        What the user should know.

    Raises
    ------
    ConfigError
        Settings are missing, or do not fit.
    CryotxError
        Inputs cannot be read, the folder cannot be written, or another process has it open.
    """

    def __init__(self, inputs: Sequence[str], config: ReviewConfig) -> None:
        self.events = Events()
        self._config = config
        self._writing = Lock()
        self._images = Images()
        self._now = self._open(*_subjects(inputs, config, self.events))
        self._warn()

    @property
    def folder(self) -> Path:
        """Where journal and edition lie."""
        return self._now.folder

    @property
    def session(self) -> Session:
        """What there is to review."""
        return self._now.session

    def _open(self, subjects: Subjects, folder: Path) -> _Opened:
        formats = self._config.formats or subjects.formats
        _require_own(folder)
        names, exposures = [one.name for one in subjects.all()], self._config.exposures
        of_cryosparc = exposures_of(exposures, names, self.events.tell) if exposures else {}
        run = subjects.folder if isinstance(subjects, RunSubjects) else None
        journal = Journal(folder / JOURNAL, run)
        try:
            session = Session(subjects, journal, self._images)
        except BaseException:
            journal.close()
            raise
        if journal.torn:
            self.events.tell(Event("The last change of the journal was never finished, and is left out.", "warning"))
        return _Opened(folder, journal, session, formats, of_cryosparc)

    def turn_to(self, run: Path) -> None:
        """Go on with another run of the same micrographs, after writing what has changed in this one.

        Micrographs that are marked as done or bad are so in the other run, too.

        Raises
        ------
        CryotxError
            There is no such run, its review is open elsewhere, or a file cannot be written. The review goes on with
            this run.
        """
        if not self.is_written:
            self.write()
        before, subjects = self._now, RunSubjects(run)
        after = self._open(subjects, subjects.folder / "review")
        try:
            with before.session.at_rest() as marked:  # a change meanwhile would not be taken over
                after.session.take_over(marked)
                before.journal.close()
        except BaseException:
            after.journal.close()
            raise
        self._now = after
        self._warn()
        self.events.tell(Event(f"The page shows {subjects.folder} now."))

    def write(self) -> Written:
        """Write the corrected picks in all formats.

        Raises
        ------
        CryotxError
            Candidates are missing or damaged, or a file cannot be written.
        """
        with self._writing:
            now = self._now
            written = write_edition(now.session, now.folder, now.formats, now.exposures)
            now.written = written.moment
            self._warn()
        return written

    @property
    def is_written(self) -> bool:
        """Whether the files have all changes, those of the run included; a review without a change needs none."""
        session, written = self._now.session, self._now.written
        if written is None:
            return not session.last
        session.refresh()
        return written == (session.last, session.version)

    def serve(self, tell: Callable[[Address], None]) -> None:
        """Serve the page until Ctrl-C.

        Parameters
        ----------
        tell
            Takes the address, and a new one each time it has been used.

        Raises
        ------
        ConfigError
            The port is in use, or the host is none of this machine.
        """
        from cryotx_cli.review.adapting import Adapting
        from cryotx_cli.review.gate import Gate
        from cryotx_cli.review.server import Server
        from cryotx_cli.review.serving import is_loopback, listen, serve
        from cryotx_cli.review.tiles import Tiles

        with listen(self._config.host, self._config.port) as listening:
            port = int(listening.getsockname()[1])
            is_open = not is_loopback(self._config.host)

            def told(token: str) -> None:
                tell(_address(self._config.host, port, token))

            def adapter() -> Adapting | None:
                run = self.session.subjects
                return Adapting(self.session, run, self.folder) if isinstance(run, RunSubjects) else None

            adapting = adapter()

            def turn() -> None:
                nonlocal adapting
                assert adapting is not None
                self.turn_to(Path(adapting.status()["run"]))
                adapting = adapter()
                server.show(self.session, adapting)

            server = Server(self.session, Tiles(), self._write_for_page, adapting, turn)
            gate = Gate(server.app(), port, is_open, told)
            try:
                serve(gate, listening, lambda: told(gate.token))
            finally:
                if adapting is not None:
                    adapting.stop()

    def close(self) -> None:
        """Let others open it."""
        self._now.journal.close()

    def _warn(self) -> None:
        """Tell what is left out of the files, each of it once."""
        told = {event.text for event in self.events}
        for event in self.session.warnings():
            if event.text not in told:
                self.events.tell(event)

    def _write_for_page(self) -> dict[str, Any]:
        written = self.write()
        return {"star": str(written.star), "micrographs": written.micrographs, "picks": written.picks}


def review(inputs: Sequence[str], config: ReviewConfig) -> Review:
    """Open a review of a run or of micrographs; see `Review`."""
    return Review(inputs, config)


def _subjects(inputs: Sequence[str], config: ReviewConfig, events: Events) -> tuple[Subjects, Path]:
    """Return what is to be reviewed, and the folder of the review."""
    if any(is_run(Path(given)) for given in inputs):
        if len(inputs) > 1:
            raise ConfigError(f"{inputs[0]} and {inputs[1]}: one run at a time", "Start a review for each run.")
        stated = [name for name in ("diameter", "pixel_size") if getattr(config, name) is not None]
        if stated:
            flag = stated[0].replace("_", "-")
            raise ConfigError(f"--{flag}: {inputs[0]} is a run, which has its own", "Leave it out.")
        run = RunSubjects(Path(inputs[0]))
        return run, config.out or run.folder / "review"
    files = find_micrographs(list(inputs), events.tell)
    if config.diameter is None:
        raise ConfigError(
            f"{inputs[0]}: no run of cryotx pick, so --diameter has to say how large particles are",
            "Give it in Å, for example --diameter 160; or give the folder of a run.",
        )
    events.tell(Event(f"{counted(len(files), 'micrographs')} to be picked by hand."))
    return FileSubjects(files, config.diameter, config.pixel_size, _FORMATS), config.out or Path("review")


def _require_own(folder: Path) -> None:
    """Refuse to write over a STAR file that no review has written."""
    star = folder / "particles.star"
    if star.exists() and not ((folder / JOURNAL).is_file() and is_particles_star_of_ours(star)):
        raise ConfigError(
            f"{star}: there already, and no review of cryotx has written it", "Give --out another folder."
        )
    if is_run(star):
        raise CryotxError(
            f"{star}: a run of cryotx pick, which a review never overwrites", "Give --out another folder."
        )


def _machine() -> str:
    """Return the name under which others may reach this machine; the full one may be that of the loopback."""
    full = socket.getfqdn()
    return full if "." in full and not full.startswith("localhost") else socket.gethostname() or "MACHINE"


def _address(host: str, port: int, token: str) -> Address:
    machine = _machine()
    name = machine if host in _EVERYWHERE else "localhost" if host in ("127.0.0.1", "::1") else host
    shown = f"[{name}]" if ":" in name else name
    to = "localhost" if host in _EVERYWHERE else host
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        user = "USER"
    return Address(f"http://{shown}:{port}/?token={token}", f"ssh -N -L {port}:{to}:{port} {user}@{machine}")
