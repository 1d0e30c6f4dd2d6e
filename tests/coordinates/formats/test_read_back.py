"""What is written is read back and belongs to the micrograph that it was written for, whatever files are called."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.table import format_named, micrograph_formats, table_formats
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.micrographs.names import output_stems, pair_names, relion_stems
from cryotx_cli.runs.folder import PickFolder

PIECES = [
    *"ab12 _.-'\"#$%;~[]\\",
    "m1", "m2", "_DW", "_noDW", "_PS", ".mrc", ".mrc.mrc", ".tif", ".tiff.mrc", ".star", ".box", ".cs", "_autopick",
    "_info", "_manualpick", "_topazpicks", "_patch_aligned_doseweighted", "_fractions", "_EER", "data_", "loop_",
    "012951868257382468663_", "D:\\", "é", "e\u0301", "粒子", "\u00a0", "\u2028", "\udcff", "\udce9", "\t", "\n",
    "\x7f", "😀",
]  # fmt: skip
STEMS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
SUFFIXES = st.sampled_from([".mrc", ".mrc", ".mrc", ".mrcs", ".mrc.gz", ".tif", ".png", ""])
NAMES = st.tuples(STEMS, SUFFIXES).map("".join).filter(lambda name: not name.startswith(".") and len(name) < 150)
TREES = st.lists(
    st.tuples(st.sampled_from(["", "x/", "x y/"]), NAMES).map("".join), min_size=1, max_size=4, unique=True
)


def particles_of(number):
    """As many as nobody else has, in places where nobody else has any."""
    centres = [[100 * number + 10.0 * i, 5.0 * number] for i in range(number)]
    return Particles(centres, [1.0] * number, [20.0] * number, 1.5)


def require_read_back(path, names):
    read = read_particles(path, lambda _: None)
    partners = pair_names(read, names)
    for number, name in enumerate(names, 1):
        here = read[partners[name]]
        assert len(here) == number
        assert abs(here.centres - particles_of(number).centres).max() < 1


def legal(names):
    """What one folder of a file system can hold together: no file has the name of a folder."""
    folders = {str(folder) for name in names for folder in Path(name).parents}
    return folders.isdisjoint(names) and len({Path(name) for name in names}) == len(names)


def written(write):
    """Whether a file was written, or its names were refused with the way out."""
    try:
        write()
    except ParticleFileError as error:
        return not ("Rename" in error.hint or "apart" in error.hint)
    return True


def in_folder(names):
    return [f"Movies/{name}" for name in names]


@pytest.mark.parametrize("one", [one.name for one in micrograph_formats()])
@settings(max_examples=30, deadline=None)
@given(TREES)
@example(["a.mrc", "a.mrc.mrc"])
@example(["a.mrc", "a.tif", "a.mrc.mrc"])
@example(["m_autopick.mrc", "m.mrc"])
@example(["m_info.mrc", "m_DW.mrc", "m.mrc", "m_noDW.mrc"])
@example(["a\udcff.mrc", "a.mrc"])
def test_a_file_for_each_micrograph(one, names):
    names = in_folder(names)
    assume(legal(names))
    try:
        stems = output_stems(names)
    except ParticleFileError:
        return
    with tempfile.TemporaryDirectory() as folder:
        run = PickFolder(Path(folder, "p.star"))
        places = relion_stems(names, stems)
        for number, (stem, relion) in enumerate(zip(stems, places, strict=True), 1):
            format_named(one).write(run.outputs(stem, relion).coordinates[one], particles_of(number), 40)
        require_read_back(run.path / format_named(one).in_run, names)
        if one == "relion":
            files = [str(run.outputs(*both).coordinates[one]) for both in zip(stems, places, strict=True)]
            if written(
                lambda: format_named(one).index.write(run.path / "relion/autopick.star", zip(names, files, strict=True))
            ):
                require_read_back(run.path / "relion", names)


@pytest.mark.parametrize("one", [one.name for one in table_formats()])
@settings(max_examples=30, deadline=None)
@given(TREES)
@example(["a.mrc", "a.mrc.mrc"])
@example(["'a.mrc", "a.mrc"])
@example(["x/a.mrc", "a.mrc"])
def test_a_table_of_all_micrographs(one, names):
    names = in_folder(names)
    assume(legal(names))
    pairs = [(name, particles_of(number)) for number, name in enumerate(names, 1)]
    if one == "cryosparc":  # whose own names of exposures are UTF-8
        assume(all(name.isprintable() for name in names))
    exposures = {name: Exposure(number, 1, name, 1000, 1000, 1.5) for number, name in enumerate(names, 1)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"p{format_named(one).suffix}")
        if written(lambda: format_named(one).write(path, pairs, exposures)):
            require_read_back(path, names)
        else:
            assert not path.exists()
