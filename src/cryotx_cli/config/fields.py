"""What settings are made of: their types, their notes, and the class that holds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar, dataclass_transform

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

T = TypeVar("T")

Auto = Literal["auto"]
Length = Annotated[float, Gt(0)]
Probability = Annotated[float, Ge(0), Le(1)]
DenoisingPipeline = Literal["paper", "original"]
Precision = Literal["float32", "bfloat16"]
"""Numbers that the convolutions of a network are computed with."""
RunFormatName = Literal["relion", "box", "cbox", "csv", "eman", "topaz", "warp"]
"""Coordinate formats that a run of picking writes when it is asked for them."""
CoordinateFormatName = Literal[RunFormatName, "star", "cryosparc"]
"""All coordinate formats: what they are stands in `cryotx_cli.coordinates.formats.table`."""
Device = Annotated[str, Doc("Where the network runs: auto, cpu, cuda or cuda:INDEX.")]


@dataclass(frozen=True)
class Panel:
    """The heading under which the help of a command shows a setting and those after it, until the next heading."""

    title: str


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a class of settings: a frozen dataclass with keyword-only fields that refuses unknown TOML keys."""
    cls.__pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


def refuse_together(config: object, defaults: Mapping[str, object]) -> None:
    """Refuse two of the settings away from their defaults: each of them would decide the same thing.

    Raises
    ------
    ValueError
        Two or more are.
    """
    given = [
        f"{name} = {getattr(config, name)}" for name, default in defaults.items() if getattr(config, name) != default
    ]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other, give only one")
