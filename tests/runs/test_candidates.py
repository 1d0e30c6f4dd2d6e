"""Candidates on disk: they read back bit for bit, with the film or without."""

import numpy as np
import pytest

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.runs.candidates import Candidates, read_candidates, write_candidates

CORNER = np.array([[-0.5, -0.5], [-0.5, 47.5], [19.3, 47.5], [31.5, -0.5]])


@pytest.fixture
def found():
    rng = np.random.default_rng(1)
    return Particles(rng.uniform(0, 40, (5, 2)), rng.uniform(0, 1, 5), rng.uniform(8, 12, 5), 1.06)


@pytest.mark.parametrize(
    "film", [None, Region(), Region((CORNER, CORNER[::-1] / 3 + 4))], ids=["older", "none", "film"]
)
def test_candidates_read_back(tmp_path, found, film):
    write_candidates(tmp_path / "c.csv", Candidates(found, 48, 64, film), "its key")
    read = read_candidates(tmp_path / "c.csv", "its key")
    np.testing.assert_array_equal(read.particles.centres, found.centres)
    assert (read.height, read.width, read.particles.pixel_size) == (48, 64, 1.06)
    assert (read.film is None) == (film is None)
    if film is not None:
        assert [one.tolist() for one in read.film.outlines] == [one.tolist() for one in film.outlines]
    assert read_candidates(tmp_path / "c.csv", "another key") is None


def test_the_share_of_film_is_known_where_it_was_looked_for(found):
    assert Candidates(found, 48, 64).film_share is None
    assert Candidates(found, 48, 64, Region()).film_share == 0
    trapezium = 48 * (19.8 + 32) / 2
    assert Candidates(found, 48, 64, Region((CORNER,))).film_share == pytest.approx(trapezium / (48 * 64), abs=1e-4)


def test_a_damaged_outline_is_no_candidates_of_ours(tmp_path, found):
    write_candidates(tmp_path / "c.csv", Candidates(found, 48, 64, Region((CORNER,))), "its key")
    text = (tmp_path / "c.csv").read_text()
    assert '"film": [[[-0.5, -0.5]' in text
    (tmp_path / "c.csv").write_text(text.replace("[[[-0.5, -0.5]", '[[["x", -0.5]'))
    assert read_candidates(tmp_path / "c.csv", "its key") is None
