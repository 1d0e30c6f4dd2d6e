"""The help of a command as plain text: flags under headings, examples at the end.

Typer draws headings with rich alone, which takes half of the time that ``--help`` may take.
"""

from typing import Any

from typer.core import TyperCommand, TyperGroup

ON_BY_DEFAULT = "Default: yes."
"""How the help of a switch ends that is on unless it is turned off."""

_FIRST, _LAST = ("Input", "Model"), ("Output", "Where it runs", "For other programs", "Other")
_EXAMPLES = "\nExamples\n--------\n"
_NAMES_WIDTH = 28
# Lines are not broken behind the word Default, nor at the hyphens of flags.
_TOGETHER = {"Default: ": "Default:\N{NO-BREAK SPACE}", "-": "\N{NON-BREAKING HYPHEN}"}


def examples(help_text: str) -> list[str]:
    """Return the command lines of the section "Examples" of a docstring."""
    return [line.strip() for line in help_text.partition(_EXAMPLES)[2].splitlines() if line.strip()]


class Group(TyperGroup):
    """Commands under one name, such as ``cryotx job``."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return its flags; a switch of Typer's own is off, and to make that of None, Typer would load pydantic."""
        params = super().get_params(ctx)
        for one in params:
            if one.default is None:
                one.default = False
        return params


def commands_of(group: Any, before: str = "") -> dict[str, Any]:
    """Return the commands of a group by what is typed for them, ``pick`` or ``job relion``."""
    found: dict[str, Any] = {}
    for name, command in sorted(group.commands.items()):
        typed = f"{before}{name}"
        found |= commands_of(command, f"{typed} ") if isinstance(command, Group) else {typed: command}
    return found


class Command(TyperCommand):
    """A command whose help shows arguments and flags under the heading of their ``rich_help_panel``.

    Without one an argument stands under "Input", a flag under "Other". Input and model come first, output and where it
    runs last. The lines of the section "Examples" of the docstring follow as they are.
    """

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Write the usage line as people type it: ``[OPTIONS] INPUT...``."""
        return ["[OPTIONS]", *(str(one.metavar) for one in self.params if one.param_type_name == "argument")]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the command does."""
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text((self.help or "").partition(_EXAMPLES)[0])

    def flags_by_heading(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """Return how each argument and flag is written and what it means, under the headings in their order."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in sorted(self.get_params(ctx), key=lambda one: _place(_heading(one))):
            record = parameter.get_help_record(ctx)
            if record is not None:
                headings.setdefault(_heading(parameter), []).append((_names(parameter, record), record[1]))
        return headings

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and flags under their headings."""
        for heading, flags in self.flags_by_heading(ctx).items():
            rows = [(name.ljust(_NAMES_WIDTH), _kept_together(text)) for name, text in flags]
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=_NAMES_WIDTH)
        formatter.buffer[:] = map(_as_written, formatter.buffer)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        lines = examples(self.help or "")
        if lines:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in lines))


def _kept_together(text: str) -> str:
    for written, unbroken in _TOGETHER.items():
        text = text.replace(written, unbroken)
    return text


def _as_written(text: str) -> str:
    for written, unbroken in _TOGETHER.items():
        text = text.replace(unbroken, written)
    return text


def _heading(parameter: Any) -> str:
    return parameter.rich_help_panel or ("Input" if parameter.param_type_name == "argument" else "Other")


def _place(heading: str) -> int:
    """Return where a heading stands; those in the middle keep the order of the settings."""
    if heading in _FIRST:
        return _FIRST.index(heading)
    return len(_FIRST) + (1 + _LAST.index(heading) if heading in _LAST else 0)


def _names(parameter: Any, record: tuple[str, str]) -> str:
    """Return how a parameter is written; of a switch that is off only the form that turns it on."""
    names, text = record
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    off = any("no-" in name for name in parameter.secondary_opts) and not text.endswith(ON_BY_DEFAULT)
    return str(parameter.opts[0]) if off else names
