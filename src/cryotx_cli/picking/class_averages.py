"""What the picks of a run average to, made while it is picked: at its end, and now and then while a session goes on.

All of it is beside the picks, which are written first: whatever goes wrong here is one line, and the run is whole.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryotx_cli.averages.of_run import ClassesMade, average_run, classes_made_before, enough_picks
from cryotx_cli.config import ClassesConfig, PickConfig, device_names
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.detector.device import choose_device
from cryotx_cli.errors import CryotxError, DeviceError
from cryotx_cli.events import Event, Tell
from cryotx_cli.runs.commands import word_of
from cryotx_cli.runs.stored import StoredRun

_SAMPLE = 2000  # picks that the classes are made with; cryotx classes takes more
_IN_SESSION = 4000  # picks that are averaged while a session goes on: some twenty seconds of a processor


class ClassAverages:
    """Averages the picks of a run.

    Parameters
    ----------
    config
        Settings of the run.
    exposures
        CryoSPARC's by the names of micrographs.
    tell
        Hears what there is to know.

    Attributes
    ----------
    made : ClassesMade or None
        What came of it last.
    """

    def __init__(self, config: PickConfig, exposures: Mapping[str, Exposure], tell: Tell) -> None:
        self.made: ClassesMade | None = None
        self._config = ClassesConfig(classes=config.classes, sample=_SAMPLE, device=_device(config))
        self._exposures, self._tell, self._told = exposures, tell, ""

    def refresh(self, run: StoredRun) -> bool:
        """Average some of the picks so far; return whether there are new classes. Nothing is raised."""
        if not enough_picks(run):
            return False
        try:
            self.made = average_run(run, self._config, self._exposures, most=_IN_SESSION)
        except Exception as error:  # a session goes on
            if _reason(error) != self._told:
                self._told = _reason(error)
                self._tell(Event(f"No class averages for now: {self._told}", "warning"))
            return False
        return True

    def finish(self, run: StoredRun) -> bool:
        """Average all picks, unless that has been done; return whether there are new classes. Nothing is raised.

        An interrupt ends it: the run has its picks.
        """
        again = f"cryotx classes {word_of(run.folder.path)}"
        self.made = classes_made_before(run, self._config)
        if self.made is not None or not any(row.picks for row in run.picked):
            return False  # where nothing was picked, the run has said why
        try:
            if enough_picks(run):
                self._tell(
                    Event("Averaging the picks in classes. All else is written: Ctrl-C leaves out the averages.")
                )
            self.made = average_run(run, self._config, self._exposures, self._tell)
        except KeyboardInterrupt:
            text = f"Interrupted while the picks were averaged: the run is whole but for that, which {again} does."
            self._tell(Event(text, "warning"))
        except CryotxError as error:
            self._tell(Event(f"No class averages: {_reason(error)}", "warning"))
        except Exception as error:
            self._tell(
                Event(f"No class averages ({_reason(error)}); the picks are whole. {again} tries again.", "warning")
            )
        return self.made is not None


def _device(config: PickConfig) -> str:
    """Return the first device of a run, or any where this machine has not got it: a cluster's workers may."""
    device = device_names(config.device)[0]
    try:
        choose_device(device)
    except DeviceError:
        return "auto"
    return device


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, CryotxError) else f"{type(error).__name__}: {error}".splitlines()[0]
