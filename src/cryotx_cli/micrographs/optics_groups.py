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
    odd: dict[str, list[str]] = defaultdict(list)
    for name, group in zip(table.texts("rlnMicrographName"), groups, strict=True):
        size = stated.get(group, np.nan)
        if group in stated and not (size > 0 and np.isfinite(size)):
            odd[f"optics group {group:g} has a pixel size of {size:g}"].append(name)
        elif group not in stated:
            which = "" if np.isnan(group) else f" {group:g}"
            odd[f"there is no optics group{which}"].append(name)
    for what, names in odd.items():
        yield Event(
            f"{star}: {what}, which is that of {counted(len(names), 'micrographs')}, such as {names[0]}. The pixel "
            "size in their headers is taken instead, or that of --pixel-size.",
            "warning",
        )
