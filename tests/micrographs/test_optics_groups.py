"""Optics groups that say nothing of their micrographs are told of, and nothing is said of those that do."""

from pathlib import Path

import pytest

from cryotx_cli.events import Event
from cryotx_cli.micrographs.find import find_micrographs

OPTICS = "_rlnOpticsGroup\n_rlnMicrographPixelSize\n1 0.885\n2 0\n3 nan\n4 -1.2\n"
MICROGRAPHS = "_rlnMicrographName\n_rlnOpticsGroup\n"


def said(folder: Path, micrographs: str, optics: str = OPTICS) -> list[Event]:
    star, events = folder / "m.star", list[Event]()
    star.write_text(f"data_optics\n\nloop_\n{optics}\ndata_micrographs\n\nloop_\n{micrographs}\n")
    find_micrographs([star], events.append)
    return events


def test_a_group_with_a_pixel_size_is_not_worth_a_word(tmp_path: Path) -> None:
    assert not said(tmp_path, MICROGRAPHS + "a.mrc 1\nb.mrc 1\n")


@pytest.mark.parametrize(
    ("group", "what"),
    [
        ("2", "has a pixel size of 0"),
        ("3", "has a pixel size of nan"),
        ("4", "has a pixel size of -1.2"),
        ("7", "is not in the table of optics groups"),
    ],
)
def test_one_warning_a_group_names_a_micrograph_and_what_is_done(tmp_path: Path, group: str, what: str) -> None:
    (event,) = said(tmp_path, MICROGRAPHS + f"a.mrc 1\nb.mrc {group}\nc.mrc {group}\n")

    assert event.level == "warning"
    assert f"m.star: optics group {group}, that of 2 micrographs such as b.mrc, {what}. " in event.text
    assert "--pixel-size" in event.text


@pytest.mark.parametrize(
    ("micrographs", "optics"),
    [
        (MICROGRAPHS + "_rlnMicrographPixelSize\na.mrc 7 1.2\n", OPTICS),  # a size of its own
        (MICROGRAPHS + "a.mrc 1\n", "_rlnOpticsGroup\n_rlnVoltage\n1 300\n"),  # none is stated at all
        ("_rlnMicrographName\na.mrc\n", OPTICS),
    ],
)
def test_nothing_is_said_where_groups_do_not_count(tmp_path: Path, micrographs: str, optics: str) -> None:
    assert not said(tmp_path, micrographs, optics)
