"""The table of formats holds all that settings name, and an entry is all that a new format takes."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cryotx_cli.config import ConvertConfig, CoordinateFormatName, RunFormatName
from cryotx_cli.coordinates.formats import format_of, read_particles, table
from cryotx_cli.coordinates.formats.entry import MicrographFormat
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.files.text_file import first_line
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.runs.folder import PickFolder, coordinate_files, write_coordinates
from cryotx_cli.workflows.convert import convert

PARTICLES = Particles([[100.5, 200.25], [10, 20]], [1, 1], [80, 80], 1.5)


def test_the_table_has_exactly_the_formats_that_settings_name():
    names = [one.name for one in table.FORMATS]
    assert len(set(names)) == len(names)
    assert set(names) == set(get_args(CoordinateFormatName))
    # What a run writes: its own STAR file stands beside the folder, CryoSPARC's comes with --exposures.
    in_run = {one.name for one in table.FORMATS if one.in_run and not getattr(one, "takes_exposures", False)}
    assert in_run == set(get_args(RunFormatName))


def test_a_suffix_has_one_reader_and_a_file_one_format():
    readers = [one.suffix for one in table.FORMATS if one.recognises]
    assert len(set(readers)) == len(readers)
    assert {one.suffix for one in table.FORMATS} == set(readers)
    places = [one.in_run for one in table.FORMATS if one.in_run]
    assert len(set(places)) == len(places)


def test_names_that_a_format_cannot_hold_are_refused_if_it_is_to_be_written():
    same_stem = ["one/a.mrc", "two/a.mrc"]
    table.require_names(same_stem, ["star", "box"])
    with pytest.raises(ParticleFileError, match=r"one/a\.mrc and two/a\.mrc"):
        table.require_names(same_stem, ["star", "topaz"])
    with pytest.raises(ParticleFileError, match="cannot be written into STAR"):
        table.require_names(['a"b.mrc'], ["star"])
    table.require_names(['a"b.mrc'], ["csv"])


def _write_toy(path, particles, box_px):
    with whole_file(path) as file:
        file.write("toy\n" + "".join(f"{x}|{y}\n" for x, y in particles.centres.tolist()))


def _read_toy(path):
    rows = [[float(cell) for cell in line.split("|")] for line in path.read_text().splitlines()[1:]]
    return Particles(np.array(rows), np.ones(len(rows)), np.full(len(rows), np.nan), np.nan)


TOY = MicrographFormat(
    name="toy",
    suffix=".toy",
    recognises=lambda beginning: first_line(beginning) == "toy",
    read=lambda path, _: {"": _read_toy(path)},
    write=_write_toy,
    endings=("_toy",),
    in_run="toys",
)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(table, "FORMATS", (*table.FORMATS, TOY))


@pytest.mark.usefixtures("toy")
def test_a_new_entry_is_read_converted_and_written_by_runs(tmp_path):
    _write_toy(tmp_path / "in/mics/a_toy.toy", PARTICLES, None)
    assert_array_equal(read_particles(tmp_path / "in")["mics/a"].centres, PARTICLES.centres)
    assert format_of((tmp_path / "in/mics/a_toy.toy").rename(tmp_path / "unknown.xyz")) is TOY

    _write_toy(tmp_path / "in/a.toy", PARTICLES, None)
    done = convert(tmp_path / "in", tmp_path / "out", replace(ConvertConfig(), to="csv"))
    assert (done.micrographs, done.particles) == (1, 2)
    convert(tmp_path / "out", tmp_path / "back", replace(ConvertConfig(), to="toy"))
    assert_array_equal(_read_toy(tmp_path / "back/a_toy.toy").centres, PARTICLES.centres)

    outputs = PickFolder(tmp_path / "p.star").outputs("mics/a")
    assert coordinate_files(outputs, ["toy"]) == {"toy": tmp_path / "p/toys/mics/a_toy.toy"}
    write_coordinates(outputs, PARTICLES, ["toy"], 120.0)
    assert_array_equal(_read_toy(tmp_path / "p/toys/mics/a_toy.toy").centres, PARTICLES.centres)
