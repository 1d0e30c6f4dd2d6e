"""Write the tables of flags in this folder's pages anew from the settings of the commands: ``python docs/flags.py``.

With ``--check`` it writes nothing and fails where a page is not what the settings say.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from typer.main import get_command

from cryotx_cli.cli.app import app
from cryotx_cli.cli.help import commands_of

HERE = Path(__file__).parent
BEGIN, END = "<!-- Flags as docs/flags.py writes them from the settings -->", "<!-- End of flags -->"


def tables(command: Any) -> str:
    """Return a table of arguments and flags for each heading of the help of a command."""
    context = command.make_context(command.name, [], resilient_parsing=True)
    parts = []
    for heading, flags in command.flags_by_heading(context).items():
        rows = [f"| {_code(names)} | {_meaning(text)} |" for names, text in flags if "--help" not in names]
        parts.append("\n".join([f"| {_meaning(heading)} | |", "|---|---|", *rows]))
    off = [
        f"`{one.secondary_opts[0]}`"
        for one in command.params
        if any("no-" in flag for flag in one.secondary_opts) and one.secondary_opts[0] not in "\n".join(parts)
    ]
    if off:
        parts.append(f"What a settings file turns on can be turned off: {', '.join(off)}.")
    return "\n\n".join(parts)


def _code(names: str) -> str:
    """Return names as code; in a table even there a bar would end the cell."""
    return " / ".join(f"`{name}`" for name in names.replace("|", r"\|").split(" / "))


def _meaning(text: str) -> str:
    stated = re.sub(r"\s*\[(required|default: [^]]*)\]$", lambda found: f" {found[1].capitalize()}.", text)
    plain = re.sub(r"([|*<])", r"\\\1", stated)
    return re.sub(r"(?<![\w-])--[a-z][a-z0-9._-]*\w", r"`\g<0>`", plain)  # else two hyphens become a dash


def page_with_tables(page: str, command: Any) -> str:
    """Return a page with the tables of its command between the two marks, which follow ``## Flags``."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or not before.rstrip().endswith("## Flags"):
        raise SystemExit(f"docs/{command.name}.md: no flags between '{BEGIN}' and '{END}' below '## Flags'")
    return f"{before}{BEGIN}\n\n{tables(command)}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write the tables or check them; return the exit code."""
    commands = commands_of(get_command(app))
    stale = []
    for name, command in commands.items():
        path = HERE / f"{name.split()[-1]}.md"
        page = path.read_text(encoding="utf-8")
        wanted = page_with_tables(page, command)
        if page != wanted:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(wanted, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"Flags are not as the settings say in {', '.join(stale)}: run make flags", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
