"""What the commands have in common that RELION starts: how it writes flags, and how it hears of the end."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from cryotx_cli.cli.help import Command
from cryotx_cli.hosts.relion_marks import failure_marked, marked

JobFolder = Annotated[
    Path, typer.Option("--o", metavar="DIR", help="Folder of the job; all output goes there.", rich_help_panel="Output")
]
Micrographs = Annotated[
    Path | None, typer.Option("--in_mics", metavar="STAR", help="Micrographs STAR file.", rich_help_panel="Input")
]
Threads = Annotated[
    int | None,
    typer.Option("--j", min=1, metavar="NUMBER", help="Threads of the processor.", rich_help_panel="Where it runs"),
]
Gpu = Annotated[
    str | None,
    typer.Option(
        "--gpu", metavar="TEXT", help="GPUs as RELION numbers them, 0 or 0,1.", rich_help_panel="Where it runs"
    ),
]
PipelineControl = Annotated[
    Path | None,
    typer.Option(
        "--pipeline_control",
        metavar="DIR",
        help="Where RELION looks for how it has ended.",
        rich_help_panel="Output",
    ),
]

_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")
_NOWHERE = Path("/dev/null")


class RelionCommand(Command):
    """A command that marks in the folder of its job how it has ended, wrong usage included.

    RELION hands its parameters on as ``--label value``: a label may be written with ``_`` for ``-``, what is on or off
    may have the value Yes or No, and a label without a value is as good as none.
    """

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read the flags."""
        with failure_marked(_folder_in(args)):
            return super().make_context(info_name, self._as_typed(args), parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Do the job."""
        with marked(ctx.params["pipeline_control"] or ctx.params["out"]):
            return super().invoke(ctx)

    def _as_typed(self, args: list[str]) -> list[str]:
        """Return the flags as they are typed elsewhere."""
        on = {flag: one for one in self.params for flag in (*one.opts, *one.secondary_opts)}
        typed: list[str] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            flag = word if word in on or not word.startswith("--") else _with_hyphens(word)
            known = on.get(flag)
            if known is not None and getattr(known, "is_flag", False):
                value = rest.pop(0).lower() if rest and rest[0].lower() in (*_YES, *_NO) else "yes"
                if value in _YES:
                    typed.append(flag)
                elif known.secondary_opts:
                    typed.append(known.secondary_opts[0] if flag in known.opts else known.opts[0])
            elif known is not None and "=" not in word and (not rest or rest[0].startswith("--")):
                continue
            else:
                typed += [flag, *([rest.pop(0)] if known is not None else [])]
        return typed


def _with_hyphens(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}"


def _folder_in(args: list[str]) -> Path:
    """Return where RELION looks for the marks of a job that has these flags."""
    values = dict(pairwise(args))
    return Path(values.get("--pipeline_control") or values.get("--o") or _NOWHERE)
