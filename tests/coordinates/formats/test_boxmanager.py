"""napari-boxmanager shows picks where they are: its own reader, by name of the program or as recorded."""

import numpy as np
import pytest

from cryotx_cli.coordinates.formats.star import write_micrograph_star, write_particles_star
from cryotx_cli.coordinates.formats.table import format_named
from cryotx_cli.coordinates.particles import Particles
from read_by_others import by_boxmanager

A = Particles([[100, 200], [10, 20], [31.25, 7.5]], [0.5, 0.25, 0.75], [40, 44, 48], 1.5)
B = Particles([[7.125, 9]], [0.75], [40], 1.5)


@pytest.mark.parametrize(("one", "exact"), [("cbox", 1e-3), ("box", 0.51)])
def test_boxes_of_a_micrograph(tmp_path, one, exact):
    file = tmp_path / f"a.{one}"
    format_named(one).write(file, A, 64)

    shown = by_boxmanager(file)

    assert (shown["kind"], shown["size"]) == ("points", 64)
    np.testing.assert_allclose(shown["points"], A.centres[:, ::-1], atol=exact)


def test_a_star_file_of_a_micrograph(tmp_path):
    write_micrograph_star(tmp_path / "a_autopick.star", A)

    np.testing.assert_allclose(by_boxmanager(tmp_path / "a_autopick.star")["points"], A.centres[:, ::-1], atol=1e-3)


def test_a_star_file_of_several_micrographs_is_a_stack(tmp_path):
    write_particles_star(tmp_path / "p.star", [("m/a.mrc", A), ("m/b.mrc", B)])

    points = np.array(by_boxmanager(tmp_path / "p.star")["points"])

    np.testing.assert_allclose(points[:, 0], [0, 0, 0, 1])
    np.testing.assert_allclose(points[:, 1:], [*A.centres[:, ::-1], *B.centres[:, ::-1]], atol=1e-3)
