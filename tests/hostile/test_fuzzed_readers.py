"""Every reader answers damaged files with what they hold or with one clear error, whatever the damage is.

A few hundred damaged files go through in every run. ``CRYOTX_FUZZ_SECONDS=600 pytest tests/hostile -k for_longer -s``
goes on for ten minutes with another seed each time, and prints the counts.
"""

import math
import os
import random
import resource
import shutil
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.cryosparc import read_cs, read_exposures
from cryotx_cli.datasets.coco_checks import read_annotations
from cryotx_cli.datasets.data_sets import read_set_sizes
from cryotx_cli.errors import CryotxError
from cryotx_cli.micrographs.exposures import list_exposures
from cryotx_cli.micrographs.find import read_defoci
from cryotx_cli.micrographs.micrograph import (
    find_micrographs,
    read_header,
    read_micrograph,
    read_stored_pixels,
    require_whole,
)
from cryotx_cli.runs.candidates import read_stored_candidates
from cryotx_cli.simulator.structures import read_structures
from hostile.valid_files import DATASETS, IMAGES, LISTS, SIZES, STRUCTURES, TABLES, damaged

SECONDS_A_FILE = 20  # far beyond what a small file takes, on a machine under load as well
SEVERAL = 12


def read_image(path):
    micrograph = read_micrograph(path, 1.2)
    assert micrograph.image.dtype == np.float32
    assert micrograph.image.ndim == 2
    assert micrograph.image.min() < micrograph.image.max()
    assert np.isfinite(micrograph.image).all()
    assert read_header(path).width == micrograph.image.shape[1]
    assert read_stored_pixels(path)[0].shape == micrograph.image.shape
    require_whole(path)


def unheard(event):
    """Take what is odd about a file: that is no fault of the reader."""


def read_table(path):
    for name, particles in read_particles(path, unheard).items():
        assert isinstance(name, str)
        assert np.isfinite(particles.centres).all()
        assert np.isfinite(particles.scores).all()
        assert not (particles.diameters <= 0).any()


def read_list(path):
    if path.suffix == ".star":
        assert find_micrographs([path])
        assert all(np.isfinite(defocus) for defocus in read_defoci(path).values())
    elif path.suffix == ".cs":
        assert all(exposure.height > 0 for exposure in read_exposures(path, unheard).values())
        assert all(min(particles.shape) > 0 for particles in read_cs(path, unheard).values())
        assert all(one.name for one in list_exposures(path, unheard))
    else:
        stored = read_stored_candidates(path)
        assert stored is None or np.isfinite(stored[1].particles.centres).all()


def read_structure(path):
    alone = path.parent / "alone"  # all of a folder are read
    shutil.rmtree(alone, ignore_errors=True)
    alone.mkdir()
    shutil.copy(path, alone)
    (structure,) = read_structures(alone, np.random.default_rng(0))
    assert np.isfinite(structure.beads).all()
    assert np.isfinite(structure.weights).all()


def read_dataset(path):
    assert all(isinstance(one["image_id"], int) for one in read_annotations(path)["annotations"])


def read_sizes(path):
    for one in read_set_sizes(path).values():
        assert all(size is None or 0 < size < math.inf for size in (one.diameter, one.pixel_size))


READERS = [
    *((name, content, read_sizes) for name, content in SIZES.items()),
    *((name, content, read_image) for name, content in IMAGES.items()),
    *((name, content, read_table) for name, content in TABLES.items()),
    *((name, content, read_list) for name, content in LISTS.items()),
    *((name, content, read_structure) for name, content in STRUCTURES.items()),
    *((name, content, read_dataset) for name, content in DATASETS.items()),
]


def read_one(path: Path, read) -> str:
    """Read a file; return how that ended. What is neither a value nor one clear error fails."""
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read(path)
            outcome = "read"
    except CryotxError as error:
        outcome, message = "refused", error.message
        clear = path.name in message and "\n" not in message and len(message) < 2000
        assert clear, message
    assert time.perf_counter() - started < SECONDS_A_FILE
    return outcome


def fuzz(folder: Path, name: str, content: bytes, read, chance: random.Random) -> str:
    path = folder / name
    path.write_bytes(damaged(content, chance))
    try:
        return read_one(path, read)
    except Exception:
        kept = Path(os.environ.get("CRYOTX_FUZZ_KEEP", folder)) / f"found_{time.time_ns()}_{name}"
        kept.write_bytes(path.read_bytes())
        raise


@pytest.fixture
def folder(tmp_path):
    # What valid lists name: one file of a list is damaged at a time.
    (tmp_path / "a_autopick.star").write_text("data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n")
    (tmp_path / "listed.cs").write_bytes(TABLES["a.cs"])
    return tmp_path


@pytest.mark.parametrize(("name", "content", "read"), READERS, ids=[name for name, *_ in READERS])
def test_whole_files_are_read(folder, name, content, read):
    (folder / name).write_bytes(content)
    if name == "micrographs.star":
        (folder / "mics").mkdir()
        (folder / "mics/a.mrc").write_bytes(IMAGES["a.mrc"])

    assert read_one(folder / name, read) == "read"


@pytest.mark.parametrize(("name", "content", "read"), READERS, ids=[name for name, *_ in READERS])
def test_damaged_files_give_a_value_or_one_clear_error(folder, name, content, read):
    chance = random.Random(name)
    for _ in range(SEVERAL):
        fuzz(folder, name, content, read, chance)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(READERS))
def test_any_bytes_behind_any_beginning(tmp_path_factory, tail, reader):
    name, content, read = reader
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(content[: len(content) // 3] + tail)

    read_one(path, read)


@pytest.mark.slow
def test_damaged_files_for_longer(folder):
    seconds = float(os.environ.get("CRYOTX_FUZZ_SECONDS", "10"))
    seed = time.time_ns() if "CRYOTX_FUZZ_SECONDS" in os.environ else 1
    chance, counts = random.Random(seed), Counter[str]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        name, content, read = chance.choice(READERS)
        counts[f"{name} {fuzz(folder, name, content, read, chance)}"] += 1

    print(f"\nseed {seed}, {counts.total()} files: {dict(sorted(counts.items()))}")
    # The files have a few kilobytes, and what claims to unpack to 64 MiB may be given them.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024
