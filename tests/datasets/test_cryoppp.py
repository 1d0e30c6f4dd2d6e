"""The CryoPPP layout: which labels belong to which micrograph, and which way up they are."""

from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal

from cryotx_cli.config import ConvertConfig
from cryotx_cli.coordinates.formats import read_particles
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.cryoppp import cryoppp_tree, find_labelled_micrographs, read_coordinates, write_labels
from cryotx_cli.errors import DatasetError, MicrographError, ParticleFileError
from cryotx_cli.micrographs.micrograph import read_micrograph
from cryotx_cli.workflows.convert import convert

REAL = Path(__file__).resolve().parents[3] / "shared/data/real"
HEIGHT, WIDTH = 60, 90


def spot(row, column):
    """An image whose only bright pixel is at (row, column) of the rows as stored in an MRC file."""
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[row, column] = 200
    return image


def write_image(path, image, pixel_size=1.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mrc":
        with mrcfile.new(path, image.astype(np.float32)) as mrc:
            mrc.voxel_size = pixel_size
    elif path.suffix == ".tif":
        tifffile.imwrite(path, image[::-1])
    else:
        cv2.imwrite(str(path), image[::-1])  # CryoPPP's pictures show the MRC file the other way up


def write_table(dataset, stem, text):
    folder = dataset / "ground_truth/particle_coordinates"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.csv").write_text(text)


@pytest.fixture
def dataset(tmp_path):
    """One particle at row 12, column 34 of the MRC rows, in every format: CryoPPP says y = 60 - 12 in all of them."""
    folder = tmp_path / "10999"
    for suffix in (".mrc", ".tif", ".png"):
        write_image(folder / f"micrographs/{suffix[1:]}_a{suffix}", spot(12, 34))
        write_table(folder, f"{suffix[1:]}_a", "X-Coordinate,Y-Coordinate,Diameter\n34,48,20\n")
    return folder


@pytest.mark.parametrize("suffix", [".mrc", ".tif", ".png"])
def test_labels_lie_on_the_particle_that_is_read(dataset, suffix):
    (micrograph,) = [m for m in find_labelled_micrographs(dataset) if m.file.path.suffix == suffix]
    image = read_micrograph(micrograph.file, 1.5).image
    row, column = np.unravel_index(image.argmax(), image.shape)
    # ny - r counts from one past the last row: in a mirrored picture the label lies one pixel below the centre.
    assert_allclose(micrograph.read_particles().centres, [[column, row]], atol=1)
    assert_array_equal(micrograph.read_particles().diameters, [20])
    assert_array_equal(micrograph.read_particles().scores, [1])


def test_mrc_labels_are_turned_exactly(dataset):
    by_stem = {m.stem: m for m in find_labelled_micrographs(dataset)}
    assert_array_equal(by_stem["mrc_a"].read_particles().centres, [[34, 12]])
    assert_array_equal(by_stem["tif_a"].read_particles().centres, [[34, 12]])
    assert_array_equal(by_stem["png_a"].read_particles().centres, [[34, 48]])
    assert by_stem["mrc_a"].read_particles().pixel_size == pytest.approx(1.5)
    assert np.isnan(by_stem["png_a"].read_particles().pixel_size)
    assert {m.dataset for m in by_stem.values()} == {"10999"}


def test_a_micrograph_without_a_table_is_unlabelled_not_empty(dataset):
    write_image(dataset / "micrographs/unlabelled.mrc", spot(1, 1))
    write_image(dataset / "micrographs/empty.mrc", spot(1, 1))
    write_table(dataset, "empty", "X-Coordinate,Y-Coordinate,Diameter\n")
    by_stem = {m.stem: m for m in find_labelled_micrographs(dataset)}
    assert len(by_stem) == 5
    assert by_stem["unlabelled"].labels is None
    assert len(by_stem["empty"].read_particles()) == 0
    with pytest.raises(DatasetError, match=r"unlabelled\.mrc"):
        by_stem["unlabelled"].read_particles()


def test_several_data_sets_in_one_folder(dataset):
    other = dataset.parent / "10017"
    write_image(other / "micrographs/mrc_a.mrc", spot(5, 6))
    write_table(other, "mrc_a", "X-Coordinate,Y-Coordinate,Diameter\n6,55,20\n")
    (dataset.parent / "notes").mkdir()
    found = find_labelled_micrographs(dataset.parent)
    assert [m.dataset for m in found] == ["10017", "10999", "10999", "10999"]
    assert_array_equal(found[0].read_particles().centres, [[6, 5]])


def test_what_is_not_cryoppp_is_refused(dataset, tmp_path):
    for path in (tmp_path / "missing", dataset / "micrographs", dataset / "ground_truth"):
        with pytest.raises(DatasetError, match="not a CryoPPP folder"):
            find_labelled_micrographs(path)
    for image in (dataset / "micrographs").iterdir():
        image.unlink()
    with pytest.raises(MicrographError, match="no micrographs"):
        find_labelled_micrographs(dataset)


def test_two_micrographs_cannot_share_labels(dataset):
    write_image(dataset / "micrographs/more/mrc_a.mrc", spot(1, 1))
    with pytest.raises(DatasetError, match="mrc_a"):
        find_labelled_micrographs(dataset)


def test_broken_labels_are_refused(dataset):
    write_table(dataset, "mrc_a", "X-Coordinate,Y-Coordinate\n1,two\n")
    (micrograph,) = [m for m in find_labelled_micrographs(dataset) if m.stem == "mrc_a"]
    with pytest.raises(ParticleFileError, match=r"mrc_a\.csv"):
        micrograph.read_particles()


def test_the_tree_is_found_from_its_labels(dataset):
    labels = dataset / "ground_truth/particle_coordinates"
    assert cryoppp_tree(dataset) == dataset
    assert cryoppp_tree(dataset.parent) == dataset.parent
    assert cryoppp_tree(labels) == dataset
    assert cryoppp_tree(labels / "mrc_a.csv") == dataset
    assert cryoppp_tree(dataset / "picks.star") is None
    assert cryoppp_tree(dataset / "micrographs") is None


@pytest.mark.parametrize("suffix", [".mrc", ".png"])
def test_written_labels_read_back(tmp_path, suffix):
    micrograph = tmp_path / f"1/micrographs/sim{suffix}"
    write_image(micrograph, spot(3, 4))
    centres = np.array([[0.0, 0.0], [89.0, 59.0], [12.25, 34.5]])
    particles = Particles(centres, np.ones(3), np.array([20.0, 21.0, 22.5]), 1.5)
    table = write_labels(tmp_path / "1", micrograph, particles, HEIGHT)
    assert table == tmp_path / "1/ground_truth/particle_coordinates/sim.csv"
    y = centres[:, 1] if suffix == ".png" else HEIGHT - centres[:, 1]
    assert_allclose(np.loadtxt(table, delimiter=",", skiprows=1), np.column_stack([centres[:, 0], y, [20, 21, 22.5]]))
    (found,) = find_labelled_micrographs(tmp_path)
    assert_allclose(found.read_particles().centres, centres)
    assert_allclose(found.read_particles().diameters, particles.diameters)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/real")
def test_real_labels_lie_on_real_particles():
    """Beta-galactosidase is darker than ice; labels turned the wrong way round are no darker than chance."""
    micrograph = next(m for m in find_labelled_micrographs(REAL / "10017") if m.labels)
    image = cv2.GaussianBlur(read_micrograph(micrograph.file, 1.77).image, (0, 0), 20)
    x, y = micrograph.read_particles().centres.T.round().astype(int)
    as_read, turned = image[y, x].mean(), image[len(image) - 1 - y, x].mean()
    assert as_read < image.mean() - 0.5 * image.std()
    assert abs(turned - image.mean()) < 0.2 * image.std()


def test_coordinates_of_a_data_set_lie_on_the_particles_whatever_reads_them(dataset, tmp_path):
    by_name = {Path(name).name: one.centres.tolist() for name, one in read_coordinates(dataset).items()}
    assert by_name == {"mrc_a.mrc": [[34, 12]], "tif_a.tif": [[34, 12]], "png_a.png": [[34, 48]]}
    (of_labels,) = read_coordinates(dataset / "ground_truth/particle_coordinates/mrc_a.csv").values()
    assert of_labels.centres.tolist() == [[34, 12]]
    convert(dataset, tmp_path / "p.star", ConvertConfig())
    assert {
        Path(name).name: one.centres.tolist() for name, one in read_particles(tmp_path / "p.star").items()
    } == by_name


@pytest.mark.parametrize("folder", [".", "10999"])
def test_labels_of_a_data_set_are_not_read_as_they_stand_from_a_folder_above_it(dataset, tmp_path, folder):
    (tmp_path / "far").mkdir()
    dataset.rename(tmp_path / "far/10999")
    with pytest.raises(ParticleFileError, match=r"holds CryoPPP's labels \(.*far/10999/ground_truth"):
        read_particles(tmp_path if folder == "." else tmp_path / "far" / folder)
