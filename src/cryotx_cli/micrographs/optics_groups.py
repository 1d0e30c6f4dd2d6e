"""Optics groups of a STAR file that say nothing of the micrographs that belong to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cryotx_cli.events import Event
from cryotx_cli.files.star_blocks import Table, table_for
from cryotx_cli.wording import counted

_GROUP, _SIZE = "rlnOpticsGroup", "rlnMicrographPixelSize"


def odd_optics_groups(star: Path, tables: Sequence[Table], table: Table) -> Iterator[Event]:
    """Tell of groups of a table of micrographs that are not in the table of optics, or whose pixel size is none.

    Nothing where the micrographs have a pixel size of their own, or where no table states those of groups.
    """
    optics = table_for(tables, table, _GROUP, _SIZE)
    if optics is None or _GROUP not in table or _SIZE in table:
        return
    stated = dict(optics.optional_numbers(_GROUP, _SIZE).tolist())
    groups = table.optional_numbers(_GROUP)[:, 0].tolist()
    odd: dict[tuple[float, str], list[str]] = defaultdict(list)
    for name, group in zip(table.texts("rlnMicrographName"), groups, strict=True):
        size = stated.get(group, np.nan)
        if group not in stated:
            odd[group if group > 0 else 0, "is not in the table of optics groups"].append(name)
        elif not (size > 0 and np.isfinite(size)):
            odd[group, f"has a pixel size of {size:g}"].append(name)
    for (group, reason), names in odd.items():
        whose = f"{counted(len(names), 'micrographs')} such as {names[0]}"
        yield Event(
            f"{star}: optics group {group:g}, that of {whose}, {reason}."
            " The pixel size in their headers is taken instead, or that of --pixel-size.",
            "warning",
        )
