"""Commands to type after a run, whole: each may be copied into a terminal as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

from cryotx_cli.micrographs.find import Inputs, listed
from cryotx_cli.runs.folder import PickFolder

_FEW_INPUTS = 5


def pick_again(inputs: Inputs, folder: PickFolder) -> str:
    """Return the command that repeats a run; flags may follow, which then count.

    Parameters
    ----------
    inputs
        As the user gave them. Of many, which a pattern of the shell may have named, only the first are written, and
        ``...`` stands for the rest.
    folder
        That of the run: the settings in it are repeated, and its picks are replaced.
    """
    named = listed(inputs)
    words = [word_of(one) for one in named[:_FEW_INPUTS]] + ["..."] * (len(named) > _FEW_INPUTS)
    return f"cryotx pick {' '.join(words)} --out {word_of(folder.star)} --config {word_of(folder.config)}"


def choose_again(run: Path, flags: str) -> str:
    """Return the command that chooses the picks of a run anew, without its network.

    Parameters
    ----------
    run
        Its folder.
    flags
        Say how.
    """
    return f"cryotx threshold {word_of(run)} {flags}"


def word_of(path: str | Path) -> str:
    """Return a path as a shell has to be given it, one that begins like a flag included."""
    return shlex.quote(str(path) if not str(path).startswith("-") else f"./{path}")
