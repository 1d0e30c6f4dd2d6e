"""The report of a run: one HTML file that needs no network, with a threshold to move and picks that follow it.

The file holds, for every micrograph, how many candidates have each score (in hundredths), and for those of the gallery
the candidates themselves and a small picture. Browsers cut, count and draw, by the program in ``web/program``. Where
the truth is known the file also holds how many hits there are at each cut, and crops of misses and false picks.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import jinja2
import numpy as np

from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.report.crop import CROP_DIAMETERS
from cryotx_cli.report.gallery import positions_in_gallery
from cryotx_cli.report.model import ReportMicrograph, ReportRun
from cryotx_cli.report.packing import CUTS, PackedMicrograph, lowest_score, pictures
from cryotx_cli.report.page_data import crop_data, page_data
from cryotx_cli.report.program_and_style import program, source, style
from cryotx_cli.report.truth import Disagreement
from cryotx_cli.report.wording import stated_day, stated_diameter, stated_origin, stated_settings
from cryotx_cli.version import __version__


def write_report(
    path: str | Path,
    run: ReportRun,
    micrographs: Iterable[ReportMicrograph],
    crops: Sequence[tuple[Disagreement, bytes | None]] = (),
) -> None:
    """Write the report of a run.

    Nothing in it depends on when and on which machine it is written: the same picks of the same run in the same place
    give the same bytes.

    Parameters
    ----------
    path
        HTML file to write, whole or not at all.
    run
        The run.
    micrographs
        All of them in the order of the input. Looked at one by one: an iterator need not hold them all. With an
        `RunAgreement` all those without an error have a `Truth`.
    crops
        Misses and false picks to show, in this order, each with its JPEG (None: not available).

    Raises
    ------
    ParticleFileError
        The file cannot be written.
    """
    low, high = run.scores
    cuts = low + (high - low) * CUTS
    cuts[-1] = high  # whatever the rounding: the best score is in reach
    dropped = run.classes.dropped if run.classes else frozenset()
    packed = [
        PackedMicrograph.of(position, micrograph, cuts, run.found, dropped)
        for position, micrograph in enumerate(micrographs)
    ]
    picked = [one for one in packed if one.micrograph.error is None]
    skipped = [one for one in packed if one.micrograph.error is not None]
    gallery = [packed[position] for position in positions_in_gallery([one.micrograph for one in packed])]
    picks = np.array([one.micrograph.picks for one in picked], int)
    looked_at = [one.micrograph.film for one in picked if one.micrograph.film is not None]
    false_picks = sum(one.false_picks for one in picked)
    floor = lowest_score(gallery)
    script = program()
    shown = crop_data(crops)
    left_out = [(one.micrograph.name, one.micrograph.error) for one in skipped]
    data = page_data(run, picked, skipped, gallery, floor)
    taken = sum(len(str(one["jpeg"])) for one in shown) + len(json.dumps(data["classes"]))
    parts = _template().generate(
        run=run,
        version=__version__,
        style=style(),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        picks=picks,
        median=float(np.median(picks)) if len(picks) else 0.0,
        skipped=[*left_out, *(run.agreement.left_out if run.agreement else ())],
        false_picks=false_picks,
        false_share=false_picks / picks.sum() if run.found and picks.sum() else None,
        settings=stated_settings(run, picked),
        day=stated_day(run),
        origin=stated_origin(run),
        diameter=stated_diameter(run, picked),
        labels=sum(len(one.micrograph.truth.particles) for one in picked if one.micrograph.truth),
        gallery_size=len(gallery),
        film=sum(map(bool, looked_at)),
        looked_at=len(looked_at),
        unpicked=sum(one.micrograph.unpicked for one in picked),
        data=data,
        crops=shown,
        crop_diameters=CROP_DIAMETERS,
        pictures=pictures(gallery, floor, taken),
    )
    with whole_file(path) as file:
        file.writelines(parts)


@cache  # to compile it takes longer than to write a page, and a watched run writes one again and again
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source("template.html"))
