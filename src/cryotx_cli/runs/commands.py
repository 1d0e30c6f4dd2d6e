"""Commands to type after a run, whole: each may be copied into a terminal as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from cryotx_cli.micrographs.find import Inputs, listed
from cryotx_cli.runs.folder import PickFolder
from cryotx_cli.runs.settled import Settled

_FEW_INPUTS = 5


@dataclass(frozen=True)
class NextCommands:
    """What to type after a run.

    Parameters
    ----------
    inputs
        As the user gave them. Many, which a pattern of the shell may have named, are written as a pattern if there is
        one that names just these.
    folder
        That of the run.
    """

    inputs: Inputs
    folder: PickFolder

    def pick(self, flags: str) -> str:
        """Return the command that repeats the run with other flags; its picks are replaced."""
        named = listed(self.inputs)
        pattern = _pattern_of(named) if len(named) > _FEW_INPUTS else None
        words = [word_of(one) for one in ([pattern] if pattern else named)]
        settings = f"--out {word_of(self.folder.star)} --config {word_of(self.folder.config)}"
        return f"cryotx pick {' '.join(words)} {settings} {flags}"

    def choose(self, flags: str) -> str:
        """Return the command that chooses its picks anew, without its network."""
        return choose_again(self.folder.path, flags)

    def review(self) -> str:
        """Return the command that opens a page to correct its picks on."""
        return f"cryotx review {word_of(self.folder.path)}"

    def train(self, settled: Settled) -> str:
        """Return the command that adapts its weights to labels, which the user has to name in place of LABELS.

        Micrographs of several inputs are to be named, too.
        """
        named, config = listed(self.inputs), settled.config
        micrographs = word_of(named[0]) if len(named) == 1 and not _is_pattern(named[0]) else "MICROGRAPHS"
        pixel_size = f" --pixel-size {config.pixel_size:g}" if config.pixel_size else ""
        return (
            f"cryotx train --data LABELS --micrographs {micrographs} --diameter {settled.diameter:.0f}{pixel_size} "
            f"--init {word_of(config.weights)} --out model"
        )


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


def _pattern_of(paths: Sequence[str | Path]) -> str | None:
    """Return the pattern that names these files and no others; None if no single star does."""
    folders, names = {Path(path).parent for path in paths}, [Path(path).name for path in paths]
    if len(folders) > 1 or any(_is_pattern(path) for path in paths):
        return None
    pattern = f"{_shared(names)}*{_shared([name[::-1] for name in names])[::-1]}"
    (folder,) = folders
    return str(folder / pattern) if sorted(path.name for path in folder.glob(pattern)) == sorted(names) else None


def _shared(names: Sequence[str]) -> str:
    """Return what all of them begin with."""
    return "".join(letters[0] for letters in takewhile(lambda letters: len({*letters}) == 1, zip(*names, strict=False)))


def _is_pattern(given: str | Path) -> bool:
    return any(letter in str(given) for letter in "*?[")
