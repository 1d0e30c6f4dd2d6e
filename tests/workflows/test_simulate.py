"""`cryotx simulate`: a CryoPPP tree whose labels fit its micrographs as every command reads them."""

from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cryotx_cli.config import SimulateConfig
from cryotx_cli.datasets.cryoppp import find_labelled_micrographs
from cryotx_cli.errors import DatasetError
from cryotx_cli.micrographs.image import normalise
from cryotx_cli.micrographs.micrograph import read_micrograph
from cryotx_cli.simulator.structures import Structure, procedural_structure
from cryotx_cli.workflows import simulate as workflow
from cryotx_cli.workflows.simulate import simulate

CONFIG = SimulateConfig(micrographs=2, size=256, pixel_size=5.0, seed=4, severity=0.0)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    out = tmp_path_factory.mktemp("tree") / "out"
    list(simulate(out, replace(CONFIG, proteins=2)))
    return out


def test_every_micrograph_is_reported_when_it_is_there(tmp_path):
    run = simulate(tmp_path / "out", replace(CONFIG, micrographs=3))
    first = next(run)
    assert first.path == tmp_path / "out" / "sim01" / "micrographs" / "sim01_0001.mrc"
    assert first.path.is_file()
    assert [written.path.name for written in run] == ["sim01_0002.mrc", "sim01_0003.mrc"]


def test_the_folder_is_a_cryoppp_tree_of_all_data_sets(tree):
    found = find_labelled_micrographs(tree)
    assert [(m.dataset, m.stem) for m in found] == [
        ("sim01", "sim01_0001"),
        ("sim01", "sim01_0002"),
        ("sim02", "sim02_0001"),
        ("sim02", "sim02_0002"),
    ]
    assert all(m.labels is not None for m in found)


def test_micrographs_are_float_mrc_files_that_know_their_pixel_size(tree):
    for labelled in find_labelled_micrographs(tree):
        with mrcfile.open(labelled.file.path) as mrc:
            assert mrc.data.dtype == np.float32
            assert mrc.data.shape == (256, 256)
        assert read_micrograph(labelled.file).pixel_size == pytest.approx(5.0)


def test_labels_lie_on_dark_particles(tmp_path, monkeypatch):
    # Read back as training and evaluation read them: y of a CryoPPP label counts from the last row.
    points = np.random.default_rng(0).normal(0, 25, (1200, 3))
    ball = Structure.from_beads(points, np.full(1200, 2500.0), "ball", np.random.default_rng(0))
    monkeypatch.setattr(workflow, "read_structures", lambda folder, rng: [ball])
    list(simulate(tmp_path / "out", replace(CONFIG, micrographs=4, size=320, structures=tmp_path)))
    dark, turned = [], []
    for labelled in find_labelled_micrographs(tmp_path / "out"):
        image = read_micrograph(labelled.file).image
        particles = labelled.read_particles()
        height, width = image.shape
        assert particles.pixel_size == pytest.approx(5.0)
        image = normalise(image)
        for x, y in particles.inside(height, width, 8.0).centres.round().astype(int):
            dark.append(image[y - 2 : y + 3, x - 2 : x + 3].mean())
            y = height - 1 - y
            turned.append(image[y - 2 : y + 3, x - 2 : x + 3].mean())
    assert len(dark) > 40
    assert np.mean(dark) < -3
    assert np.mean(turned) > -0.5


def test_labels_are_on_the_image_and_know_the_diameter(tree):
    for dataset in ("sim01", "sim02"):
        diameters = []
        for labelled in find_labelled_micrographs(tree / dataset):
            particles = labelled.read_particles()
            assert len(particles.inside(256, 256)) == len(particles)
            diameters += particles.diameters.tolist()
        assert np.ptp(diameters) == 0  # of one protein
    first, second = (find_labelled_micrographs(tree / d)[0].read_particles().diameters[0] for d in ("sim01", "sim02"))
    assert first != second


def test_a_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        list(simulate(tmp_path / name, replace(CONFIG, seed=seed)))
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert len(first) == 4
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_more_micrographs_do_not_change_the_first_ones(tmp_path):
    list(simulate(tmp_path / "few", CONFIG))
    list(simulate(tmp_path / "more", replace(CONFIG, micrographs=3, proteins=1)))
    few, more = contents(tmp_path / "few"), contents(tmp_path / "more")
    assert len(more) == 6
    assert all(more[name] == content for name, content in few.items())


def test_files_are_never_mixed_with_others(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not empty"):
        next(simulate(tmp_path, CONFIG))
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_an_empty_folder_may_be_there(tmp_path):
    assert next(simulate(tmp_path, CONFIG)).path.is_file()


def test_particles_may_come_from_files(tmp_path, monkeypatch):
    structure = replace(procedural_structure(np.random.default_rng(11)), name="mine", diameter=200.0)
    monkeypatch.setattr(workflow, "read_structures", lambda folder, rng: [structure])
    list(simulate(tmp_path / "out", replace(CONFIG, structures=tmp_path)))
    diameters = [m.read_particles().diameters for m in find_labelled_micrographs(tmp_path / "out")]
    assert_array_equal(np.unique(np.concatenate(diameters)), [40.0])


def test_a_folder_without_structures_is_named_before_anything_is_written(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty"):
        next(simulate(tmp_path / "out", replace(CONFIG, structures=tmp_path / "empty")))
    assert not (tmp_path / "out").exists()
