"""A training run on disk and on the clock, whatever it trains: folder, settings, state, log, deadline.

Every way of training has a loop of its own, which calls what is here. A run that was stopped or killed goes on from the
state that it saved last: what had been logged after it is forgotten, as the steps it tells of are taken again.
"""

from __future__ import annotations

import csv
import math
import pickle
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from cryotx_cli.config import RefitConfig, TrainConfig, load_train_config, save_config
from cryotx_cli.errors import CheckpointError, CryotxError, DatasetError
from cryotx_cli.files.whole_file import whole_file, whole_path

LOG_EVERY = 20  # steps
SAVE_SECONDS = 150.0
_STATE = "state.pt"
_ANOTHER = "Choose another --out."

_DAMAGED = (
    OSError,
    EOFError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
"""What reading and restoring a state raises where the file is cut short, overwritten, or of something else."""


@dataclass
class Progress:
    """How far a run has come, and the best validation so far with its step."""

    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    best_step: int = 0


class WeightAverage:
    """Exponential moving average of a model's state, buffers included; decay min(0.999, (1 + n) / (10 + n))."""

    def __init__(self, model: nn.Module) -> None:
        self.state = {k: v.detach().clone().float() for k, v in model.state_dict().items()}
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's present state."""
        self.updates += 1
        keep = min(0.999, (1 + self.updates) / (10 + self.updates))
        for key, value in model.state_dict().items():
            self.state[key].lerp_(value.float(), 1 - keep)


M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Learner(Generic[M]):
    """Everything that learning changes: what a state holds beside the progress.

    Attributes
    ----------
    way
        What is trained and on what, as people say it: a run goes on only as what it was.
    """

    way: str
    model: M
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None = None


# ---- folder and settings ---------------------------------------------------------------------------------------------


def open_folder(out: Path, resume: bool, way: str) -> dict[str, Any] | None:
    """Return the state in a run's folder if the run is to be resumed; else there must be none.

    Raises
    ------
    CheckpointError
        If there is nothing to resume, or it is damaged, or of a run that trains something else.
    DatasetError
        If there is a run that is not to be resumed.
    """
    file = out / _STATE
    if not resume:
        if file.is_file():
            raise DatasetError(f"{out}: holds a run already", "Add --resume to go on with it or choose another --out.")
        return None
    if not file.is_file():
        raise CheckpointError(f"{out}: no run to resume here", "Leave out --resume to start one.")
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        found = state.get("way", way)  # one that does not say is tried: its weights fit or do not
    except _DAMAGED as error:
        raise unusable_state(out) from error
    if found != way:
        raise CheckpointError(
            f"{file}: the run in it trains {found}, not {way}", "Choose another --out, or repeat the run's settings."
        )
    return state


def make_folder(out: Path, config: TrainConfig) -> None:
    """Make the folder of a run and write its settings there: with --config they repeat it.

    Raises
    ------
    DatasetError
        If it cannot be made, or holds files that would be replaced and are not those of such a run.
    """
    _require_own(out, config)
    try:
        out.mkdir(parents=True, exist_ok=True)
        save_config(config if isinstance(config, RefitConfig) else replace(config, resume=False), out / "config.toml")
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written ({error.strerror})", "Choose another --out.") from error


def _require_own(out: Path, config: TrainConfig) -> None:
    weights = [out / name for name in ("best.safetensors", "last.safetensors") if (out / name).exists()]
    there = [*weights, *(out / name for name in ("config.toml", "log.csv") if (out / name).exists())]
    if not there:
        return
    try:
        earlier: TrainConfig | None = load_train_config(out / "config.toml")
    except CryotxError:
        earlier = None
    if earlier is None:
        raise DatasetError(f"{out}: holds {there[0].name}, which no run of cryotx train has written", _ANOTHER)
    if weights and type(earlier) is not type(config):
        raise DatasetError(f"{out}: holds {there[0].name} of a run that trains something else", _ANOTHER)


def plain_settings(config: TrainConfig) -> dict[str, Any]:
    """Return settings for the record in a checkpoint: it names files and folders, not where they lay."""
    places = {"data", "micrographs", "structures", "init"}
    return {k: Path(v).name if k in places else v for k, v in asdict(config).items() if v is not None}


# ---- state -----------------------------------------------------------------------------------------------------------


def save_state(out: Path, learner: Learner[Any], progress: Progress, **more: Any) -> None:
    """Write everything that a run needs to go on, whole or not at all.

    Parameters
    ----------
    more
        What else there is to know before the model can be built.

    Raises
    ------
    CheckpointError
        If the file cannot be written.
    """
    average = learner.average
    state = {
        "way": learner.way,
        "model": learner.model.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "run": asdict(progress),
        "random": torch.get_rng_state(),
        **({"average": average.state, "updates": average.updates} if average else {}),
        **more,
    }
    try:
        with whole_path(out / _STATE) as unfinished:
            torch.save(state, unfinished)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by the latter
        raise CheckpointError(
            f"{out / _STATE}: cannot be written ({error})",
            "Make room; then --resume goes on from the state that was saved before.",
        ) from error


def restore(out: Path, state: Mapping[str, Any], learner: Learner[Any]) -> Progress:
    """Put the state of `open_folder` in its places, and return how far the run had come.

    Raises
    ------
    CheckpointError
        If it does not fit the model.
    """
    try:
        learner.model.load_state_dict(state["model"])
        learner.optimizer.load_state_dict(state["optimizer"])
        if learner.average is not None:
            places = {name: value.device for name, value in learner.average.state.items()}
            learner.average.state = {name: value.to(places[name]) for name, value in state["average"].items()}
            learner.average.updates = state["updates"]
        if "random" in state:
            torch.set_rng_state(state["random"])
        return Progress(**state["run"])
    except _DAMAGED as error:
        raise unusable_state(out) from error


def unusable_state(out: Path) -> CheckpointError:
    """Return the error for a state that is damaged, or that does not fit the model."""
    return CheckpointError(
        f"{out / _STATE}: not the state of a run of this model",
        "Start anew in another folder, from its weights with --init.",
    )


# ---- time ------------------------------------------------------------------------------------------------------------


class Stopwatch:
    """How long a run has taken, all its resumptions together; when it is to be saved, and when its time is over."""

    def __init__(self, progress: Progress, minutes: float | None, save_seconds: float | None = None) -> None:
        now = time.monotonic()
        self.progress, self.save_seconds = progress, SAVE_SECONDS if save_seconds is None else save_seconds
        self.began, self.saved = now - progress.seconds, now
        self.deadline = math.inf if minutes is None else now + 60 * minutes

    def count_step(self) -> None:
        """Note that one more step is done."""
        self.progress.step += 1
        self.progress.seconds = time.monotonic() - self.began

    @property
    def is_over(self) -> bool:
        """Whether the minutes that were given are over."""
        return time.monotonic() > self.deadline

    @property
    def wants_saving(self) -> bool:
        """Whether it is long since the state was saved."""
        return time.monotonic() - self.saved > self.save_seconds

    def note_saved(self) -> None:
        """Note that the state was saved just now."""
        self.saved = time.monotonic()


def keep_state(out: Path, learner: Learner[Any], watch: Stopwatch, now: bool, **more: Any) -> None:
    """Save the state of a run if it is to be `now`, or long since the last time; see `save_state`."""
    if now or watch.wants_saving:
        save_state(out, learner, watch.progress, **more)
        watch.note_saved()


# ---- loss and log ----------------------------------------------------------------------------------------------------


def require_finite(terms: Mapping[str, float], where: str = "") -> None:
    """Stop a run that has diverged.

    Parameters
    ----------
    where
        What was learned from, if that is known.

    Raises
    ------
    DatasetError
        If a term of the loss is not finite.
    """
    odd = ", ".join(f"{name} {value:g}" for name, value in terms.items() if not math.isfinite(value))
    if odd:
        raise DatasetError(
            f"the loss is not finite ({odd})" + (f" at {where}" if where else ""),
            f"{'Look at these images; else resume' if where else 'Resume'} from the last saved state with a lower "
            "--learning-rate.",
        )


class StepLog:
    """log.csv: one row every few steps. A resumed run keeps the rows up to the step of its state and goes on below.

    Parameters
    ----------
    path
        The file.
    step
        How far the run has come; 0 keeps nothing.
    number_format
        Of the terms of the loss.

    Raises
    ------
    DatasetError
        If the file is not the log of a run.
    """

    def __init__(self, path: Path, step: int, number_format: str = ".4f") -> None:
        self.path, self.number_format = path, number_format
        self.columns, self.rows = _rows_until(path, step)

    def __enter__(self) -> StepLog:
        self._start(self.columns)
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def is_due(self, progress: Progress, f1: float | None) -> bool:
        """Whether a step has a row: one every 20 steps, and those after which there was a validation."""
        return progress.step % LOG_EVERY == 0 or f1 is not None

    def write(
        self,
        progress: Progress,
        terms: Mapping[str, float],
        f1: float | None,
        epoch: int | None = None,
        **more: float | None,
    ) -> None:
        """Write a row: step, seconds, terms of the loss, F1 and what `more` a validation said."""
        row = {"step": f"{progress.step}"} | ({} if epoch is None else {"epoch": f"{epoch}"})
        row["seconds"] = f"{progress.seconds:.1f}"
        row |= {name: f"{value:{self.number_format}}" for name, value in terms.items()}
        row |= {name: "" if value is None else f"{value:.4f}" for name, value in {"f1": f1, **more}.items()}
        new = [name for name in row if name not in self.columns]
        if new:
            self.file.close()
            self._start([*self.columns, *new])
        self.rows.append(row)
        self.writer.writerow(row)
        self.file.flush()

    def _start(self, columns: list[str]) -> None:
        """Write the rows there are, whole or not at all, and go on below them."""
        self.columns = columns
        with whole_file(self.path) as file:
            writer = csv.DictWriter(file, columns)
            if columns:
                writer.writeheader()
            writer.writerows(self.rows)
        self.file = self.path.open("a", newline="")
        self.writer = csv.DictWriter(self.file, columns)


def _rows_until(path: Path, step: int) -> tuple[list[str], list[dict[str, str]]]:
    """Columns of a log and its rows up to a step; nothing if there are no such rows."""
    if not path.is_file():
        return [], []
    with path.open(newline="", errors="replace") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        if columns and columns[0] != "step":
            raise DatasetError(f"{path}: is not the log of a run", "Choose another --out.")
        # A killed process may have left half a row, which lacks values.
        whole = [row for row in reader if None not in row and None not in row.values() and row["step"].isdigit()]
    rows = [row for row in whole if int(row["step"]) <= step]
    return (columns, rows) if rows else ([], [])
