"""Whether a run may write where it is told to: nobody's file is replaced but those of an earlier run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePath

from cryotx_cli.config import PickConfig, load_config
from cryotx_cli.coordinates.formats.star import is_particles_star_of_ours
from cryotx_cli.coordinates.formats.table import micrograph_formats, table_formats
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.find import Inputs, MicrographFile, listed
from cryotx_cli.runs.folder import is_run

_ANOTHER = "Give --out another name, or move what is there away."
_NAMES = (
    *("config.toml", "report.html", "stop", "png", "thumbnails", "candidates", "decoys"),
    *("classes", "crops", "diagnosis.json", "dropped.json", "sizes.json", "start.json"),
)
"""What a run writes into its folder beside coordinates."""


def check_star_name(out: Path, inputs: Inputs) -> None:
    """Check the name of the merged STAR file, and what lies there already.

    Raises
    ------
    ConfigError
        It is not that of a STAR file, or it is one of the inputs, or it or what is in the folder beside it would be
        replaced and is not of an earlier run of ``cryotx pick``.
    """
    if out.suffix.lower() != ".star" or out.is_dir():
        raise ConfigError(f"--out {out}: not the name of a STAR file", "Give a file such as --out particles.star.")
    if any(os.path.realpath(given) == os.path.realpath(out) for given in listed(inputs)):
        raise ConfigError(f"--out {out}: also an input, which would be overwritten", "Give --out another name.")
    require_own_star(out, "--out ")
    _require_own_folder(out)


def require_apart(file: Path, flag: str, out: Path, inputs: Inputs) -> None:
    """Check that a file which is written beside a run is none that the run reads or writes.

    Parameters
    ----------
    file, flag
        The file, and what the user has given it to.
    out
        The merged STAR file.

    Raises
    ------
    ConfigError
        It is that file, an input, or lies where everything else of the run goes.
    """
    path, star = Path(os.path.realpath(file)), Path(os.path.realpath(out))
    folder = star.with_suffix("")
    if path == star:
        reason = "also --out, which the run replaces"
    elif path == folder or folder in path.parents:
        reason = f"in {out.with_suffix('')}, the folder of the run, where the files are its own"
    elif not path.is_dir() and any(os.path.realpath(given) == str(path) for given in listed(inputs)):
        reason = "also an input, which would be written to"
    else:
        return
    raise ConfigError(f"{flag} {file}: {reason}", f"Give {flag} another name.")


def tell_of_shared_folder(out: Path, files: Iterable[MicrographFile], tell: Tell) -> None:
    """Warn where a new run writes among its micrographs: whoever removes the run's folder removes them, too."""
    folder = out.with_suffix("")
    if not is_run(out) and any(os.path.realpath(file.path.parent) == os.path.realpath(folder) for file in files):
        other = out.with_name(f"{out.stem}_picks.star")
        text = f"The run writes into {folder}, among the micrographs. --out {other} would keep them apart."
        tell(Event(text, "warning"))


def require_own_star(star: Path, flag: str = "") -> None:
    """Refuse to replace a merged STAR file that is there and that no run has written.

    Parameters
    ----------
    flag
        What the user has given the file to, for the message.

    Raises
    ------
    ConfigError
        It is another program's, or that of a run which is no longer there.
    """
    if not os.path.lexists(star):
        return
    if not is_run(star):
        raise ConfigError(
            f"{flag}{star}: there already, and no run of cryotx pick lies beside it: another program's file, perhaps",
            _ANOTHER,
        )
    if not is_particles_star_of_ours(star):
        raise ConfigError(
            f"{flag}{star}: there already, and not what the run beside it has written: another program's file, perhaps",
            _ANOTHER,
        )


def _require_own_folder(out: Path) -> None:
    """Refuse to write among files that have the names of those of a run and are another program's."""
    folder = out.with_suffix("")
    formats = (*micrograph_formats(), *table_formats())
    names = (*_NAMES, *(PurePath(one.in_run).parts[0] for one in formats if one.in_run))
    there = [name for name in names if (folder / name).exists()]
    if not there or (folder / "ledger.jsonl").is_file() or (folder / "diameter.json").is_file():
        return
    try:
        load_config(PickConfig, folder / "config.toml")  # a run that was stopped before it had a ledger
    except CryotxError:
        raise ConfigError(
            f"--out {out}: would replace what is in {folder / there[0]}, which no run of cryotx pick has written",
            _ANOTHER,
        ) from None
