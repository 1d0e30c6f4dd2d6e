"""A lab's own labels: from every format they reach the right micrograph, and what has no labels is not empty."""

import math
from dataclasses import replace
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest
from numpy.testing import assert_allclose

from cryotx_cli.coordinates.formats.box import write_box
from cryotx_cli.coordinates.formats.cbox import write_cbox
from cryotx_cli.coordinates.formats.cryosparc import write_cs
from cryotx_cli.coordinates.formats.csv import write_csv
from cryotx_cli.coordinates.formats.eman import write_eman_info
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.star import write_micrograph_star, write_particles_star
from cryotx_cli.coordinates.formats.topaz import write_topaz
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.coco import labelled_image, write_coco
from cryotx_cli.datasets.cryoppp import write_labels
from cryotx_cli.datasets.labelled import find_labels
from cryotx_cli.errors import DatasetError, MicrographError, ParticleFileError

HEIGHT, WIDTH = 60, 80
CENTRES = {"m1": [[10, 20], [30, 41]], "m2": [[55, 8]]}


def labels(name, diameter=12.0):
    centres = np.array(CENTRES[name], float)
    return Particles(centres, np.ones(len(centres)), np.full(len(centres), diameter), np.nan)


def write_mrc(path, voxel=2.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.random.default_rng(0).normal(size=(HEIGHT, WIDTH)).astype(np.float32))
        mrc.voxel_size = voxel


@pytest.fixture
def micrographs(tmp_path):
    """Three micrographs, the last of which nobody has labelled."""
    for name in ("m1", "m2", "m3"):
        write_mrc(tmp_path / "micrographs" / f"{name}.mrc")
    return tmp_path / "micrographs"


def one_file_each(write, ending):
    def all_of(folder):
        folder.mkdir()
        for name in CENTRES:
            write(folder / f"{name}{ending}", labels(name))
        return folder

    return all_of


def relion_survivors(folder):
    folder.mkdir()
    write_particles_star(folder / "particles.star", [(f"MotionCorr/job2/{n}.mrc", labels(n)) for n in CENTRES])
    return folder / "particles.star"


def cryosparc_survivors(folder):
    """Particles of a 2D selection, with the fields that such a job puts out."""
    folder.mkdir()
    fields = [("uid", "<u8"), ("location/micrograph_path", "S80"), ("location/micrograph_shape", "<u4", (2,))]
    fields += [("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4")]
    fields += [("location/micrograph_psize_A", "<f4")]
    rows = [
        (i, f"J2/imported/{17 * 10**19 + int(name[1]):021d}_{name}.mrc", (HEIGHT, WIDTH), x / WIDTH, y / HEIGHT, 1.25)
        for i, (name, (x, y)) in enumerate((name, xy) for name in CENTRES for xy in CENTRES[name])
    ]
    with (folder / "particles_selected.cs").open("wb") as file:
        np.save(file, np.array(rows, dtype=fields))
    return folder / "particles_selected.cs"


def topaz_table(folder):
    folder.mkdir()
    write_topaz(folder / "labels.txt", [(name, labels(name)) for name in CENTRES])
    return folder / "labels.txt"


FORMATS = {
    "relion survivors": relion_survivors,
    "relion manual picks": one_file_each(write_micrograph_star, "_manualpick.star"),
    "box": one_file_each(lambda path, particles: write_box(path, particles, 20), ".box"),
    "cbox": one_file_each(lambda path, particles: write_cbox(path, particles, 20), ".cbox"),
    "csv": one_file_each(write_csv, ".csv"),
    "eman": one_file_each(write_eman_info, "_info.json"),
    "topaz": topaz_table,
    "cryosparc survivors": cryosparc_survivors,
}


@pytest.mark.parametrize("kind", FORMATS)
def test_labels_of_any_program_find_their_micrographs(tmp_path, micrographs, kind):
    data = FORMATS[kind](tmp_path / "labels")

    found = find_labels(data, micrographs)

    assert [one.file.path.name for one in found.micrographs] == ["m1.mrc", "m2.mrc"]
    for one in found.micrographs:
        assert_allclose(one.labels.centres, CENTRES[one.file.path.stem], atol=0.51 if "box" in kind else 0.01)
    assert found.unlabelled == 1
    assert found.without_micrograph == ()


def test_a_box_is_no_diameter_and_a_stated_diameter_is_kept(tmp_path, micrographs):
    boxes = find_labels(FORMATS["box"](tmp_path / "boxes"), micrographs).micrographs
    tables = find_labels(FORMATS["csv"](tmp_path / "tables"), micrographs).micrographs

    estimated = find_labels(FORMATS["cbox"](tmp_path / "cboxes"), micrographs).micrographs

    assert all(np.isnan(one.labels.diameters).all() for one in boxes)
    assert all((one.labels.diameters == 12).all() for one in (*tables, *estimated))


def test_the_labels_know_the_pixel_size_where_the_micrographs_list_does_not(tmp_path, micrographs):
    (first, _) = find_labels(cryosparc_survivors(tmp_path / "labels"), micrographs).micrographs

    assert first.file.pixel_size == pytest.approx(1.25)


def test_labels_on_an_image_of_another_size_are_rescaled(tmp_path, micrographs):
    exposure = Exposure(1, 1, "J1/m1.mrc", 2 * HEIGHT, 2 * WIDTH, 1.0)
    write_cs(tmp_path / "p.cs", [(exposure, labels("m1"))])
    told = []
    (one,) = find_labels(tmp_path / "p.cs", micrographs, told.append).micrographs
    np.testing.assert_allclose(one.labels.centres, (np.array(CENTRES["m1"]) + 0.5) / 2 - 0.5, atol=1e-3)
    assert "rescaled by 0.5" in told[0].text
    write_cs(tmp_path / "p.cs", [(replace(exposure, width=WIDTH), labels("m1"))])
    with pytest.raises(ParticleFileError, match="and the micrograph has"):
        find_labels(tmp_path / "p.cs", micrographs)


def test_micrographs_are_found_where_relion_says_they_are(tmp_path):
    project = tmp_path / "project"
    for name in CENTRES:
        write_mrc(project / "MotionCorr" / "job2" / f"{name}.mrc")
    (project / "Select").mkdir()

    found = find_labels(relion_survivors(project / "Select" / "job9"))

    assert [one.file.path.resolve() for one in found.micrographs] == [
        project / "MotionCorr" / "job2" / f"{name}.mrc" for name in CENTRES
    ]


def test_labels_may_lie_beside_their_micrographs(micrographs):
    for name in CENTRES:
        write_csv(micrographs / f"{name}.csv", labels(name))

    found = find_labels(micrographs)

    assert [one.file.path.name for one in found.micrographs] == ["m1.mrc", "m2.mrc"]
    assert found.unlabelled == 1


def test_labels_without_micrographs_are_counted(tmp_path, micrographs):
    (micrographs / "m2.mrc").unlink()

    found = find_labels(FORMATS["csv"](tmp_path / "labels"), micrographs)

    assert [one.file.path.name for one in found.micrographs] == ["m1.mrc"]
    assert found.without_micrograph == ("m2",)


def test_an_empty_label_file_makes_no_empty_micrograph(tmp_path, micrographs):
    data = FORMATS["csv"](tmp_path / "labels")
    write_csv(data / "m3.csv", Particles.empty(math.nan))

    found = find_labels(data, micrographs)

    assert len(found.micrographs) == 2
    assert found.unlabelled == 1


def test_labels_of_a_cryoppp_tree_are_turned_to_the_rows_of_the_micrographs(tmp_path):
    for name in ("m1", "m2", "m3"):
        write_mrc(tmp_path / "10001" / "micrographs" / f"{name}.mrc")
    for name in CENTRES:
        write_labels(tmp_path / "10001", f"{name}.mrc", labels(name), HEIGHT)

    found = find_labels(tmp_path)

    for one in found.micrographs:
        assert_allclose(one.labels.centres, CENTRES[one.file.path.stem])
    assert found.unlabelled == 1


def test_a_coco_folder_gives_training_and_validation_images_and_not_the_test_ones(tmp_path):
    images = {"train": ("m1", labels("m1")), "val": ("m2", labels("m2")), "test": ("m3", labels("m1"))}
    for split, (name, particles) in images.items():
        path = tmp_path / "images" / split / f"{name}.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), np.uint8))
        sized = Particles(particles.centres, particles.scores, particles.diameters, 3.0)
        write_coco(tmp_path, split, [labelled_image(f"{name}.png", (HEIGHT, WIDTH), sized)], denoised=False)

    found = find_labels(tmp_path)

    assert [one.file.path.name for one in found.micrographs] == ["m1.png", "m2.png"]
    assert [one.file.pixel_size for one in found.micrographs] == [3.0, 3.0]
    assert_allclose(found.micrographs[0].labels.centres, CENTRES["m1"])


# --- what is refused -------------------------------------------------------------------------------------------------


def test_labels_of_other_micrographs_are_named_beside_them(tmp_path, micrographs):
    (tmp_path / "labels").mkdir()
    write_csv(tmp_path / "labels" / "other.csv", labels("m1"))

    with pytest.raises(DatasetError, match=r"labels are of other, .* names .*m1\.mrc, .*m2\.mrc and 1 more") as caught:
        find_labels(tmp_path / "labels", micrographs)
    assert "--micrographs" in caught.value.hint


def test_labels_that_do_not_say_where_their_micrographs_are(tmp_path):
    with pytest.raises(DatasetError, match="none lie in") as caught:
        find_labels(FORMATS["csv"](tmp_path / "labels"))
    assert "--micrographs" in caught.value.hint


def test_a_tree_brings_its_own_micrographs(tmp_path, micrographs):
    write_mrc(tmp_path / "tree" / "micrographs" / "m1.mrc")
    write_labels(tmp_path / "tree", "m1.mrc", labels("m1"), HEIGHT)

    with pytest.raises(DatasetError, match="brings its own micrographs"):
        find_labels(tmp_path / "tree", micrographs)


def test_micrographs_that_are_not_there(tmp_path):
    with pytest.raises(MicrographError, match="nowhere"):
        find_labels(FORMATS["csv"](tmp_path / "labels"), Path("nowhere"))
