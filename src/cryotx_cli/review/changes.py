"""What a page may ask for, and a journal keep: each kind of change, with limits on everything in it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from cryotx_cli.coordinates.particles import MAX_COORDINATE
from cryotx_cli.errors import CryotxError

T = TypeVar("T")

MOST_POINTS = 20_000
MOST_CHANGES = 200
"""In one request."""

Coordinate = Annotated[float, Field(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]
Point = tuple[Coordinate, Coordinate]
Points = Annotated[list[Point], Field(min_length=1, max_length=MOST_POINTS)]
Name = Annotated[str, Field(min_length=1, max_length=4096)]
Mark = Literal["done", "bad"]


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    id: Annotated[str, Field(min_length=1, max_length=64)]


class AddPicks(_Change):
    """Particles at these points, x and y in px: new ones, or candidates that were none of the picks."""

    kind: Literal["add"]
    micrograph: Name
    points: Points


class RemovePicks(_Change):
    """No particles at these points, which are the centres of picks."""

    kind: Literal["remove"]
    micrograph: Name
    points: Points


class EraseBox(_Change):
    """No particles in a rectangle of the corners (x, y, x, y), whatever the threshold."""

    kind: Literal["box"]
    micrograph: Name
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate]


class EraseStroke(_Change):
    """No particles within `radius` px of a line through these points, whatever the threshold."""

    kind: Literal["stroke"]
    micrograph: Name
    points: Points
    radius: Annotated[float, Field(gt=0, le=MAX_COORDINATE)]


class SetMark(_Change):
    """The micrograph is done, its labels being complete, or bad, or neither."""

    kind: Literal["mark"]
    micrograph: Name
    mark: Mark | None


class SetCut(_Change):
    """Smallest score of picks and smallest distance in Å between them; None for those of the run."""

    kind: Literal["cut"]
    threshold: Annotated[float, Field(ge=0, le=1)] | None
    distance: Annotated[float, Field(gt=0, le=MAX_COORDINATE)] | None


class TakeBack(_Change):
    """Undo the last change of a micrograph, or do again the last one that was undone."""

    kind: Literal["undo", "redo"]
    micrograph: Name


Change = AddPicks | RemovePicks | EraseBox | EraseStroke | SetMark | SetCut | TakeBack

_Known = Annotated[Change, Field(discriminator="kind")]
_ANY: TypeAdapter[Change] = TypeAdapter(_Known)
_SEVERAL: TypeAdapter[list[Change]] = TypeAdapter(Annotated[list[_Known], Field(min_length=1, max_length=MOST_CHANGES)])


def parsed_change(body: bytes) -> Change:
    """Read a change from JSON.

    Raises
    ------
    CryotxError
        It is none, or beyond the limits.
    """
    return _parsed(_ANY, body)


def parsed_changes(body: bytes) -> list[Change]:
    """Read several changes from a JSON list.

    Raises
    ------
    CryotxError
        There is none in it, one of them is none, or they are beyond the limits.
    """
    return _parsed(_SEVERAL, body)


def _parsed(kind: TypeAdapter[T], body: bytes) -> T:
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise CryotxError(f"not a change: {_stated(first['loc'], first['msg'])}") from error


class _Made(BaseModel):
    """The file that a change was made on."""

    size: Annotated[int, Field(ge=0)]
    modified: int
    checksum: int | None


class _Kept(BaseModel):
    """What a journal knows of a change beyond what a page has asked for."""

    model_config = ConfigDict(allow_inf_nan=False)

    mark: Mark | None = None
    labels: list[tuple[Coordinate, Coordinate, float, Annotated[float, Field(gt=0)]]] | None = None
    of: _Made | None = None

    @model_validator(mode="after")
    def _done_has_labels(self) -> _Kept:
        if self.mark == "done" and self.labels is None:
            raise ValueError("done without labels")
        return self


def flaw_of(line: bytes) -> str | None:
    """Say why a line of a journal is no change; None where it is one, perhaps with more than this version knows."""
    for check in (_ANY.validate_json, _Kept.model_validate_json):
        try:
            check(line, strict=True)
        except ValidationError as error:
            found = [one for one in error.errors(include_url=False) if one["type"] != "extra_forbidden"]
            if found:
                return _stated(found[0]["loc"], found[0]["msg"])
    return None


def _stated(place: tuple[int | str, ...], message: str) -> str:
    return ": ".join(filter(None, [".".join(map(str, place)), message]))
