"""Check picks against the micrographs that another program will take them with."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cryotx_cli.checks.finding import Finding
from cryotx_cli.checks.names import Importer, PickCheck, check_picks
from cryotx_cli.checks.target import Target
from cryotx_cli.config import CheckConfig
from cryotx_cli.coordinates.formats.cryosparc import read_exposures
from cryotx_cli.datasets.cryoppp import read_coordinates
from cryotx_cli.errors import ConfigError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.find import Inputs, listed
from cryotx_cli.micrographs.micrograph import find_micrographs
from cryotx_cli.runs.stored import file_of_picks, run_of_picks


def check(picks: str | Path, against: Inputs, config: CheckConfig) -> PickCheck:
    """Check picks before they are imported.

    Parameters
    ----------
    picks
        A coordinate file or a folder of them, whatever `read_coordinates` reads. The folder of a run of ``cryotx pick``
        stands for the STAR file beside it.
    against
        What they will be imported with: a RELION micrographs STAR file, a .cs file of CryoSPARC's exposures, or
        micrographs as files, folders and patterns.
    config
        Sizes that the files do not state, those of a run being known, and how many images to look at.

    Returns
    -------
    PickCheck
        What was found; `passed` says whether the import can go well.

    Raises
    ------
    ConfigError
        If exposures are given together with other micrographs.
    ParticleFileError
        If the picks or the exposures cannot be read.
    MicrographError
        If there are no micrographs.
    """
    run = None
    with suppress(ConfigError):  # the picks can be checked without the settings of their run
        run = run_of_picks(Path(picks))
    picks = file_of_picks(Path(picks))
    told: list[Event] = []
    particles = read_coordinates(picks, told.append)
    targets, importer = _targets(listed(against), particles, told.append)
    result = check_picks(
        particles,
        targets,
        importer,
        diameter=run.settled.diameter if run and config.diameter is None else config.diameter,
        box=run.settled.config.box if run and config.box is None else config.box,
        sample=config.sample,
        run=run.folder.path if run else None,
    )
    return replace(result, findings=[*(Finding("file", "warn", event.text) for event in told), *result.findings])


def _targets(against: list[str | Path], names: Iterable[str], tell: Tell) -> tuple[list[Target], Importer]:
    suffixes = {Path(given).suffix.lower() for given in against}
    if suffixes & {".cs", ".csg"}:
        if len(against) > 1:
            raise ConfigError("--against takes one file of exposures (.cs) and nothing beside it", "Check them apart.")
        return _exposed(Path(against[0]), tell), "cryosparc"
    files = find_micrographs(against, named=names)
    return [*map(Target.of, files)], "relion" if suffixes == {".star"} else "any"


def _exposed(exposures: Path, tell: Tell) -> list[Target]:
    # Paths are relative to the CryoSPARC project, in whose job folders exposures files lie.
    folders = [Path(), *exposures.absolute().parents]
    return [
        Target(
            name,
            next((folder / name for folder in folders if (folder / name).is_file()), None),
            (one.height, one.width),
            one.pixel_size,
        )
        for name, one in read_exposures(exposures, tell).items()
    ]
