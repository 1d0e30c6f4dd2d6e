"""What Warp and WarpTools find in the STAR file that is written for them: its reader's rules, written down anew."""

import re

import numpy as np
import pytest

from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.formats.warp import warp_names, write_warp_star
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError

A = Particles([[100.5, 200.25], [10, 20]], [0.5, 0.25], [80, 80], 1.5)
B = Particles([[7.125, 9]], [0.75], [80], 1.5)


def read_as_warp(text):
    """Columns of the first table: names after ``loop_``, values between blanks until a line has another number of them.

    Whoever has a table ``data_particles`` needs ``data_optics``, too.
    """
    blocks = re.findall(r"^data_(\S*)", text, re.MULTILINE)
    assert "particles" not in blocks or "optics" in blocks
    lines = iter(text.partition("loop_")[2].splitlines()[1:])
    names, rows = [], []
    for line in lines:
        if line.startswith("_"):
            names.append(line.split()[0][1:])
        elif len(line.split()) == len(names):
            rows.append(line.split())
        else:
            break
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def test_warp_finds_places_scores_and_micrographs(tmp_path):
    write_warp_star(tmp_path / "p.star", [("average/m1.mrc", A), ("average/m10.mrc", B)])

    columns = read_as_warp((tmp_path / "p.star").read_text())

    assert set(columns) == {"rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "rlnAutopickFigureOfMerit"}
    x, y = (np.array(columns[f"rlnCoordinate{axis}"], float) for axis in "XY")
    scores = np.array(columns["rlnAutopickFigureOfMerit"], float)
    np.testing.assert_allclose(np.column_stack([x, y]), [*A.centres, *B.centres])
    np.testing.assert_allclose(scores, [0.5, 0.25, 0.75])
    assert [name.rpartition("/")[2].rpartition(".")[0] for name in columns["rlnMicrographName"]] == ["m1", "m1", "m10"]


def test_cryotx_reads_it_too(tmp_path):
    write_warp_star(tmp_path / "p.star", [("average/m1.mrc", A), ("average/m10.mrc", B)])

    read = read_particles(tmp_path / "p.star")

    assert list(read) == ["average/m1.mrc", "average/m10.mrc"]
    np.testing.assert_allclose(read["average/m1.mrc"].centres, A.centres)


@pytest.mark.parametrize("names", [["a b.mrc"], ["x y/a.mrc"], ["x/a.mrc", "y/a.mrc"], ["a.mrc", "a.tif"]])
def test_names_that_warp_would_take_for_others_are_refused(tmp_path, names):
    with pytest.raises(ParticleFileError, match="Warp cannot"):
        write_warp_star(tmp_path / "p.star", [(name, A) for name in names])

    assert not (tmp_path / "p.star").exists()


def test_a_micrograph_that_comes_twice_is_one():
    assert warp_names(["x/a.mrc", "x/a.mrc"]) == ["x/a.mrc", "x/a.mrc"]
