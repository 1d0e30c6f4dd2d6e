"""Settings from defaults, TOML files and flags, checked; and back into TOML.

Importing this module is cheap. pydantic is imported when settings are checked, not before.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from annotated_doc import Doc

from cryotx_cli.errors import ConfigError
from cryotx_cli.files.whole_file import whole_path

T = TypeVar("T")


def load_config(
    config_class: type[T],
    file: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    by_flags: bool = False,
) -> T:
    """Merge defaults, a TOML file and flags, the later ones winning, and check the result.

    Parameters
    ----------
    config_class
        One of the settings classes of this module.
    file
        TOML file; tables are nested settings.
    overrides
        Settings by name, those of nested classes with dots: ``{"model.width": 96}``.
    by_flags
        Whether the overrides are flags that somebody typed: errors call them so.

    Raises
    ------
    ConfigError
        The file cannot be read, or some settings cannot be used; names all of them at once.
    """
    typed = (overrides or {}) if by_flags else ()
    return checked_settings(config_class, merged_settings(file, overrides), file, typed)


def merged_settings(file: str | Path | None, overrides: Mapping[str, object] | None) -> dict[str, Any]:
    """Merge a TOML file and flags, the latter winning, as `load_config` does, but check nothing.

    Raises
    ------
    ConfigError
        The file cannot be read.
    """
    values = _read_toml(Path(file)) if file is not None else {}
    for name, value in (overrides or {}).items():
        *tables, key = name.split(".")
        table = values
        for part in tables:
            table = table.setdefault(part, {})
        if isinstance(table, dict):  # else the file holds a value where a table belongs, which is found when checked
            table[key] = value
    return values


def checked_settings(
    config_class: type[T], values: Mapping[str, object], file: str | Path | None = None, typed: Collection[str] = ()
) -> T:
    """Make settings of values by name, nested ones in dictionaries.

    Parameters
    ----------
    typed
        Names, with dots, of those that were given as flags: errors call them so.

    Raises
    ------
    ConfigError
        Some cannot be used; names all of them at once, and the file that they are of.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(config_class).validate_python(values)
    except ValidationError as error:
        where = f"{file}: " if file is not None else ""
        problems = "; ".join(_as_typed(one, typed) for one in _problems(config_class, error.errors()))
        raise ConfigError(where + problems, "--help lists the settings and what they take.") from None


def save_config(config: Any, path: str | Path) -> None:
    """Write settings as TOML, whole or not at all; ``load_config`` reads them back equal.

    Parameters
    ----------
    config
        An instance of one of the settings classes. Settings that are None are left out: TOML has no null.
    path
        File to write; replaced if it exists.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    import tomli_w

    with whole_path(path) as unfinished:
        unfinished.write_text(tomli_w.dumps(_plain(asdict(config))), encoding="utf-8")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})", "--config takes a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a TOML file ({error})", "Write one `name = value` a line.") from error


def _problems(config_class: type, errors: list[Any]) -> list[str]:
    """One text a setting: pydantic reports each alternative of a union apart, below the setting itself."""
    reasons: dict[str, list[str]] = {}
    found: dict[str, str] = {}
    for error in errors:
        name = _setting_name(config_class, error["loc"])
        match error["type"]:
            case "unexpected_keyword_argument":
                reason = "unknown setting"
            case "float_parsing":
                reason = f"should be a number{_unit(config_class, error['loc'])}"
            case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
                unit = _unit(config_class, error["loc"]).removeprefix(" of")
                reason = f"{error['msg'].removeprefix('Input ')}{unit}"
            case _:
                reason = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
        reasons.setdefault(name, []).append(reason)
        found[name] = f", found {error['input']!r}" if name else ""
    told = {
        name: " or ".join([first, *(text.removeprefix("should be ") for text in rest)])
        for name, (first, *rest) in reasons.items()
    }
    return [f"{name}{': ' if name else ''}{text}{found[name]}" for name, text in told.items()]


def _as_typed(problem: str, typed: Collection[str]) -> str:
    """Write names of settings as the flags that they were given by: ``--pixel-size``."""
    for name in sorted(typed, key=len, reverse=True):
        problem = re.sub(rf"(?<![-\w.]){re.escape(name)}(?![-\w.])", f"--{name.replace('_', '-')}", problem)
    return re.sub(r"(--[-\w.]+) = ", r"\1 ", problem)


def _setting_name(config_class: type, path: tuple[str | int, ...]) -> str:
    """Dotted TOML path of a setting, without the types that pydantic appends to it."""
    return ".".join(name for _, name in _on_the_way(config_class, path))


def _on_the_way(config_class: type, path: tuple[str | int, ...]) -> Iterator[tuple[type, str]]:
    """Yield the classes on the path of a setting, each with the name of the setting there."""
    inner: Any = config_class
    for part in path:
        if not is_dataclass(inner):
            return
        yield inner, str(part)  # type: ignore[misc]
        inner = get_type_hints(inner).get(str(part))


def _unit(config_class: type, path: tuple[str | int, ...]) -> str:
    """Say what a setting counts in, which the line that documents it names."""
    *_, (inner, name) = _on_the_way(config_class, path)
    notes = getattr(get_type_hints(inner, include_extras=True)[name], "__metadata__", ())
    said = " ".join(note.documentation for note in notes if isinstance(note, Doc))
    return next((f" of {unit}" for unit in ("Å per pixel", "Å") if unit in said), "")


def _plain(value: Any) -> Any:
    """Dictionaries, numbers and strings alone, without the settings that are None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return str(value) if isinstance(value, Path) else value
