"""From settings to flags."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from annotated_doc import Doc
from annotated_types import Gt
from typer.testing import CliRunner

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import Panel, load_config, settings
from cryotx_cli.errors import ConfigError


@settings
class Oven:
    """Settings inside settings."""

    fan_speed: Annotated[int, Doc("Turns a second.")] = 3
    keep_warm: Annotated[bool, Doc("Stay on.")] = False


@settings
class Bread:
    """One setting of each kind."""

    minutes: Annotated[float, Gt(0), Doc("Time in the oven.")] = 40.0
    water: Annotated[float | Literal["auto"], Doc("Millilitres of water.")] = "auto"
    flour: Annotated[Literal["rye", "wheat"], Doc("What it is made of.")] = "wheat"
    tin: Annotated[Path | None, Doc("What it lies in.")] = None
    split: Annotated[tuple[float, float], Doc("Fractions of two loaves.")] = (0.5, 0.5)
    with_salt: Annotated[bool, Doc("Add salt.")] = True
    oven: Oven = field(default_factory=Oven)


def bake(*arguments: str) -> Any:
    """Run a command that was given the flags of `Bread` and return what it was called with."""
    called: dict[str, Any] = {}
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @settings_flags(Bread)
    def command(
        guests: Annotated[list[str], typer.Argument()],
        config: Bread,
        table: Annotated[str, typer.Option()] = "round",
    ) -> None:
        called.update(guests=guests, table=table, config=config)

    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return called or result


def test_without_flags_the_defaults_hold() -> None:
    assert bake("ann", "bob") == {"guests": ["ann", "bob"], "table": "round", "config": Bread()}


def test_every_kind_of_flag_reaches_its_setting() -> None:
    flags = "--minutes 30 --water 300 --flour rye --tin box --split 0.75,0.25 --no-with-salt --oven.fan-speed 9"

    called = bake("ann", "--table", "long", *flags.split(), "--oven.keep-warm")

    assert called["table"] == "long"
    assert called["config"] == Bread(
        minutes=30.0,
        water=300.0,
        flour="rye",
        tin=Path("box"),
        split=(0.75, 0.25),
        with_salt=False,
        oven=Oven(fan_speed=9, keep_warm=True),
    )


def test_a_flag_that_repeats_the_default_still_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "bread.toml"
    file.write_text("minutes = 10\nwith_salt = false\nflour = 'rye'\n")

    config = bake("ann", "--config", str(file), "--minutes", "40", "--with-salt")["config"]

    assert config == Bread(flour="rye")


@pytest.mark.parametrize(
    "flags", [["--minutes", "0"], ["--minutes", "long"], ["--water", "much"], ["--split", "1"], ["--split", "a,b"]]
)
def test_a_value_that_cannot_be_used_names_its_setting(flags: list[str]) -> None:
    with pytest.raises(ConfigError, match=flags[0].removeprefix("--")):
        bake("ann", *flags)


@pytest.mark.parametrize("flags", [["--flour", "sand"], ["--oven.fan-speed", "1.5"], ["--salt"]])
def test_a_value_of_the_wrong_type_is_wrong_usage(flags: list[str]) -> None:
    result = bake("ann", *flags)

    assert result.exit_code == 2
    assert flags[0] in result.stderr


def test_help_shows_each_setting_with_its_default() -> None:
    text = " ".join(bake("--help").stdout.split())

    assert "--minutes NUMBER Time in the oven. Default: 40." in text
    assert "--water NUMBER|auto Millilitres of water. Default: auto." in text
    assert "--flour rye|wheat" in text
    assert "--split NUMBER,NUMBER Fractions of two loaves. Default: 0.5,0.5." in text
    assert "--with-salt / --no-with-salt Add salt. Default: yes." in text
    assert "--oven.keep-warm / --oven.no-keep-warm Stay on." in text
    assert "--config FILE" in text
    assert "--config-file" not in text


@settings
class Dough:
    """Settings under headings, of which two hold more than one."""

    rye: Annotated[int, Doc("Grams of rye.")] = 1
    yeast: Annotated[int, Panel("Leaven"), Doc("Grams of yeast.")] = 2
    hours: Annotated[int, Doc("Time to rise.")] = 3
    oven: Annotated[Oven, Panel("Oven")] = field(default_factory=Oven)
    formats: Annotated[tuple[Literal["loaf", "roll"], ...], Panel("Leaven"), Doc("Shapes: loaf, roll.")] = ("loaf",)


def command_of(*config_classes: type, **given: Any) -> Any:
    @settings_flags(*config_classes, **given)
    def knead(config: Any) -> None:
        print(config)

    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(knead)
    return app


def test_a_heading_holds_until_the_next_one() -> None:
    parameters = typer.main.get_command(command_of(Dough)).params
    headings = {parameter.opts[0]: parameter.rich_help_panel for parameter in parameters}  # type: ignore[attr-defined]

    assert headings == {
        "--rye": None,
        "--yeast": "Leaven",
        "--hours": "Leaven",
        "--oven.fan-speed": "Oven",
        "--oven.keep-warm": "Oven",
        "--formats": "Leaven",
        "--config": None,
    }
    assert "--formats NAME,...  " in CliRunner().invoke(command_of(Dough), ["--help"]).stdout


def test_several_classes_share_the_flags_that_both_have_and_what_is_given_decides(tmp_path: Path) -> None:
    @settings
    class Cake:
        """Shares `hours` with `Dough`."""

        hours: Annotated[int, Doc("Time in the oven.")] = 1
        sugar: Annotated[int, Doc("Grams of sugar.")] = 5

    def load(file: Path | None, given: Any) -> Any:
        return load_config(Cake if "sugar" in given else Dough, file, given)

    app = command_of(Dough, Cake, load=load)
    file = tmp_path / "dough.toml"
    file.write_text("hours = 7")

    assert CliRunner().invoke(app, ["--config", str(file)]).stdout == f"{Dough(hours=7)}\n"
    assert CliRunner().invoke(app, ["--hours", "2", "--sugar", "6"]).stdout == f"{Cake(hours=2, sugar=6)}\n"
    assert "Time to rise. Default: 3." in CliRunner().invoke(app, ["--help"]).stdout
