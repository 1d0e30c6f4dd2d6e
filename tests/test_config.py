"""Merging, checking and saving of settings."""

import dataclasses
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import pytest
from annotated_doc import Doc
from annotated_types import Ge, Gt

from cryotx_cli import config as config_module
from cryotx_cli.config import PickConfig, load_config, save_config, settings
from cryotx_cli.errors import ConfigError

CONFIG_CLASSES = [
    cls for cls in vars(config_module).values() if isinstance(cls, type) and hasattr(cls, "__pydantic_config__")
]


@settings
class Lens:
    """Settings inside other settings."""

    voltage: Annotated[float, Gt(0), Doc("Acceleration voltage in kV.")] = 300.0


@settings
class Microscope:
    """Settings with every kind of value."""

    frames: Annotated[int, Ge(1), Doc("Number of frames.")] = 40
    defocus: Annotated[Annotated[float, Gt(0)] | Literal["auto"], Doc("Defocus in µm.")] = "auto"
    gain: Annotated[Path | None, Doc("Gain reference.")] = None
    split: Annotated[tuple[float, float], Doc("Two fractions.")] = (0.9, 0.1)
    cryo: Annotated[bool, Doc("Is it cold?")] = True
    lens: Lens = field(default_factory=Lens)


def write(folder: Path, text: str) -> Path:
    file = folder / "settings.toml"
    file.write_text(text)
    return file


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, "frames = 20\ndefocus = 1.5\n[lens]\nvoltage = 200\n")

    merged = load_config(Microscope, file, {"frames": 10})

    assert merged == Microscope(frames=10, defocus=1.5, lens=Lens(voltage=200.0))


def test_a_flag_reaches_a_nested_setting_beside_those_of_the_file(tmp_path: Path) -> None:
    assert load_config(Microscope, write(tmp_path, "frames = 3"), {"lens.voltage": 120}).lens.voltage == 120
    assert load_config(Microscope, None, {"lens.voltage": 120}) == Microscope(lens=Lens(voltage=120))


def test_a_value_where_a_table_belongs_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lens: .*found 3"):
        load_config(Microscope, write(tmp_path, "lens = 3"), {"lens.voltage": 120})


def test_every_problem_is_shown_at_once_with_its_toml_path(tmp_path: Path) -> None:
    file = write(tmp_path, 'frames = 0\ndefocus = "deep"\nframe = 4\n[lens]\nvoltage = -1\ncolour = "red"\n')

    with pytest.raises(ConfigError) as caught:
        load_config(Microscope, file)

    problems = caught.value.message.removeprefix(f"{file}: ").split("; ")
    assert [problem.split(":")[0] for problem in problems] == [
        "frames",
        "defocus",
        "lens.voltage",
        "lens.colour",
        "frame",
    ]
    assert "greater than or equal to 1, found 0" in problems[0]
    assert problems[1].count("found") == 1
    assert "'auto'" in problems[1]
    assert "unknown setting" in problems[3]


@pytest.mark.parametrize("text", ["frames = ", "frames: 4", "[lens", b"\xff\xfe\x00"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ConfigError, match=r"settings\.toml: not a TOML file"):
        load_config(Microscope, file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read"):
        load_config(Microscope, tmp_path / "nowhere.toml")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_setting_is_a_finite_number(value: float) -> None:
    with pytest.raises(ConfigError, match="finite"):
        load_config(Microscope, None, {"lens.voltage": value})


def test_saved_settings_load_back_equal(tmp_path: Path) -> None:
    written = Microscope(
        frames=7, defocus=2.25, gain=Path("gain.mrc"), split=(0.5, 0.5), cryo=False, lens=Lens(voltage=200.0)
    )

    save_config(written, tmp_path / "config.toml")

    assert load_config(Microscope, tmp_path / "config.toml") == written
    assert [file.name for file in tmp_path.iterdir()] == ["config.toml"]


def test_saving_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "frames = 5\n")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_config(Microscope(), file)

    assert file.read_text() == "frames = 5\n"
    assert [one.name for one in tmp_path.iterdir()] == ["settings.toml"]


@pytest.mark.parametrize(
    "given",
    [
        {"threshold": 0.5, "percentile": 25},
        {"threshold": 0.5, "expected_count": 300},
        {"percentile": 25, "expected_count": 300},
    ],
)
def test_ways_to_cut_exclude_each_other(given: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(PickConfig, None, given)

    assert all(name in caught.value.message for name in given)


@pytest.mark.parametrize("given", [{"threshold": "auto", "percentile": 25}, {"threshold": 0}, {"expected_count": 1}])
def test_one_way_to_cut_is_fine(given: dict[str, object]) -> None:
    chosen = load_config(PickConfig, None, given)

    assert {name: getattr(chosen, name) for name in given} == given


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("diameter", 0),
        ("diameter", "large"),
        ("threshold", 1.01),
        ("threshold", -0.1),
        ("percentile", 101),
        ("edge", -1),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name}: .*found {value!r}"):
        load_config(PickConfig, None, {name: value})


def with_defaults(config_class: type) -> Any:
    """Settings of which those are given that have to be, all of them paths or texts."""
    hints = get_type_hints(config_class)
    required = [
        one.name
        for one in dataclasses.fields(config_class)
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    ]
    return config_class(**{name: hints[name]("given") for name in required})


@pytest.mark.parametrize("config_class", CONFIG_CLASSES, ids=lambda cls: cls.__name__)
def test_every_setting_has_help_and_a_default_that_passes_its_own_limits(config_class: type) -> None:
    for name, hint in get_type_hints(config_class, include_extras=True).items():
        if not dataclasses.is_dataclass(hint):
            assert any(isinstance(note, Doc) and note.documentation for note in get_args(hint)), name
    defaults = with_defaults(config_class)

    assert load_config(config_class, None, dataclasses.asdict(defaults)) == defaults


@pytest.mark.parametrize("config_class", CONFIG_CLASSES, ids=lambda cls: cls.__name__)
def test_a_setting_that_may_be_none_is_none_by_default(config_class: type) -> None:
    # TOML has no null: any other default could not be turned off, and a saved None would come back as that default.
    for name, hint in get_type_hints(config_class).items():
        if type(None) in get_args(hint):
            assert getattr(with_defaults(config_class), name) is None, name


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("diameter", "16nm", "--diameter: should be a number of Å or 'auto', found '16nm'"),
        ("pixel_size", "1.2A", "--pixel-size: should be a number of Å per pixel, found '1.2A'"),
        ("threshold", "high", "--threshold: should be a number or 'auto', found 'high'"),
    ],
)
def test_what_is_no_number_is_told_what_it_should_count(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(PickConfig, overrides={name: value}, by_flags=True)

    assert caught.value.message == said
