"""One flag for each setting, and ``--config FILE``: default < TOML file < flag.

The last `Panel` note at or before a setting is the heading under which ``--help`` shows its flag.
"""

import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from annotated_doc import Doc

from cryotx_cli.cli.help import ON_BY_DEFAULT
from cryotx_cli.config import Panel, load_config

Command = Callable[..., None]
Load = Callable[[Path | None, Mapping[str, object]], Any]
"""Makes checked settings of a TOML file and of the settings that flags give, by their dotted names."""

_METAVARS = {bool: "", float: "NUMBER", int: "NUMBER", str: "TEXT", Path: "PATH"}


def settings_flags(
    *config_classes: type, load: Load | None = None, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one flag for each setting of these classes, plus ``--config FILE``.

    The command declares its own arguments and a parameter ``config``, which gets the merged and checked settings.

    Parameters
    ----------
    config_classes
        Classes of settings. A setting that several of them have is one flag, with help and heading of the first.
    load
        Decides which class it is, and makes the settings; without it those of the first class are made.
    without
        Settings that get no flag here.

    Examples
    --------
    >>> @settings_flags(PickConfig)
    ... def pick(micrographs: Annotated[list[str], typer.Argument()], config: PickConfig) -> None: ...
    """
    make: Load = load or (lambda file, given: load_config(config_classes[0], file, given, by_flags=True))

    def decorate(command: Command) -> Command:
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.name != "config"
        ]
        option = typer.Option("--config", help="TOML file of settings; flags override it.", metavar="FILE")
        flags: dict[str, tuple[str, inspect.Parameter]] = {}
        for config_class in config_classes:
            for name, parameter in _flags(config_class):
                if name not in without:
                    flags.setdefault(_key(name), (name, parameter))
        shown = [*own, *(parameter for _, parameter in flags.values()), _parameter("config_file", Path, option)]

        @wraps(command)
        def run(**values: Any) -> None:
            overrides = {name: values.pop(key) for key, (name, _) in flags.items()}
            given = {name: value for name, value in overrides.items() if value is not None}
            config = make(values.pop("config_file"), given)
            command(**values, config=config)

        # Typer reads the signature and the annotations, so both must show the flags and not `config`.
        run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        return run

    return decorate


def _flags(config_class: type, table: str = "", panel: str | None = None) -> Iterator[tuple[str, inspect.Parameter]]:
    """Dotted name and command-line parameter of every setting, nested settings included."""
    hints = get_type_hints(config_class, include_extras=True)
    for field in fields(config_class):
        name = table + field.name
        kind, *notes = (
            get_args(hints[field.name]) if get_origin(hints[field.name]) is Annotated else [hints[field.name]]
        )
        panel = next((note.title for note in notes if isinstance(note, Panel)), panel)
        if is_dataclass(kind):
            yield from _flags(kind, f"{name}.", panel)  # type: ignore[arg-type]
            continue
        spelling = field.name.replace("_", "-")
        negated = bool in _alternatives(kind) and not spelling.startswith("no-")
        flag = f"--{table}{spelling}" + (f"/--{table}no-{spelling}" if negated else "")
        option = typer.Option(
            flag,
            help=next(note.documentation for note in notes if isinstance(note, Doc)) + _default(field.default),
            metavar=_metavar(kind),
            parser=_comma_separated if any(get_origin(one) is tuple for one in _alternatives(kind)) else None,
            rich_help_panel=panel,
        )
        yield name, _parameter(_key(name), _flag_type(kind), option)


def _default(value: Any) -> str:
    if value is None or value is MISSING or isinstance(value, bool):
        return f" {ON_BY_DEFAULT}" if value is True else ""
    return f" Default: {','.join(map(_plain, value)) if isinstance(value, tuple) else _plain(value)}."


def _plain(value: object) -> str:
    if value == Path():
        return "this folder"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _key(name: str) -> str:
    return name.replace(".", "__")


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    """Build an optional parameter; None tells a flag that was not given from one that repeats the default."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _alternatives(kind: Any) -> list[Any]:
    """Split a union into its types, without None and without their limits."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    bare = [get_args(member)[0] if get_origin(member) is Annotated else member for member in members]
    return [member for member in bare if member is not types.NoneType]


def _flag_type(kind: Any) -> Any:
    """Type that Typer reads: one that it knows as it is; numbers and `auto` as text, which `load_config` checks."""
    alternatives = _alternatives(kind)
    known = len(alternatives) == 1 and get_origin(alternatives[0]) is not tuple and alternatives[0] is not float
    return alternatives[0] if known else str


def _metavar(kind: Any) -> str:
    """Return the placeholder in the help: ``NUMBER``, ``NUMBER|auto``, ``rye|wheat``, ``NUMBER,NUMBER``."""
    if get_origin(kind) is tuple:
        if ... in get_args(kind):  # the choices of each would fill a line, and the help names them
            return "NAME,..."
        return ",".join(map(_metavar, get_args(kind)))
    return "|".join(_metavar_word(one) for one in _alternatives(kind))


def _metavar_word(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return _metavar(kind)
    return "|".join(get_args(kind)) if get_origin(kind) is Literal else _METAVARS.get(kind, "TEXT")


def _comma_separated(text: str) -> Any:
    return tuple(part.strip() for part in text.split(","))
