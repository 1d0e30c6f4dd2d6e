"""Picks of a run as labels: those of the classes that are kept, and against them those of the others."""

import os
import shutil

import mrcfile
import numpy as np
import pytest
import starfile
from numpy.testing import assert_allclose

from averaged_runs import average, pick, picked_and_averaged
from cryotx_cli.config import AdaptConfig, ThresholdConfig
from cryotx_cli.errors import ConfigError
from cryotx_cli.picking.run_labels import labels_of_run
from cryotx_cli.workflows.threshold import threshold


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged")
    picked_and_averaged(folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run") / "p"


def in_classes(run, numbers):
    """Places of the picks in these classes by micrograph, in the order of rows, from RELION's table."""
    table = starfile.read(run / "classes/particles.star")["particles"]
    chosen = table[table["rlnClassNumber"].isin(numbers)]
    return {
        name: rows[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(float)
        for name, rows in chosen.groupby("rlnMicrographName")
    }


def in_order(centres):
    return centres[np.lexsort(centres.T)]


def same(found, expected):
    assert_allclose(in_order(np.asarray(found)), in_order(np.asarray(expected)), atol=2e-3)


@pytest.mark.parametrize("named", ["p", "p.star"])
def test_kept_classes_are_labels_and_the_others_no_particles(run, named):
    found = labels_of_run(AdaptConfig(data=run.parent / named, keep_classes="2, 4"))

    kept, dropped = in_classes(run, [2, 4]), in_classes(run, [1, 3])
    assert len(found.micrographs) == 3
    for one in found.micrographs:
        same(one.labels.centres, kept[one.file.name])
        same(one.negatives.centres, dropped[one.file.name])
        assert set(one.labels.diameters) == set(one.negatives.diameters) == {10.0}  # px: 20 Å of 2 Å
        assert one.file.pixel_size == 2.0
        assert one.file.path.is_file()


def test_a_run_alone_gives_its_picks_and_what_was_taken_out_is_none(run):
    everything = in_classes(run, [1, 2, 3, 4])
    out = in_classes(run, [3])
    for one in labels_of_run(AdaptConfig(data=run)).micrographs:
        same(one.labels.centres, everything[one.file.name])
        assert len(one.negatives) == 0

    threshold(run, ThresholdConfig(drop_classes="3", images=False))

    for one in labels_of_run(AdaptConfig(data=run)).micrographs:
        same(one.labels.centres, in_classes(run, [1, 2, 4])[one.file.name])
        same(one.negatives.centres, out[one.file.name])


def test_what_was_dropped_counts_by_the_classes_that_are_named_now(run):
    threshold(run, ThresholdConfig(drop_classes="3", images=False))
    for one in labels_of_run(AdaptConfig(data=run, keep_classes="3")).micrographs:
        same(one.labels.centres, in_classes(run, [3])[one.file.name])
        same(one.negatives.centres, in_classes(run, [1, 2, 4])[one.file.name])

    out = in_classes(run, [3])
    average(run)  # of the picks that are left

    for one in labels_of_run(AdaptConfig(data=run, keep_classes="1")).micrographs:
        others = in_classes(run, [2, 3, 4])[one.file.name]
        same(one.labels.centres, in_classes(run, [1])[one.file.name])
        same(one.negatives.centres, np.concatenate([others, out[one.file.name]]))


def test_classes_of_picks_before_another_threshold_are_refused(run):
    before = sum(len(labels) for labels in in_classes(run, [1, 2, 3, 4]).values())
    for value in (0.8, 0.1):
        done = threshold(run, ThresholdConfig(threshold=value, images=False))
        assert done.after != before
        with pytest.raises(ConfigError, match="its classes are those of other picks") as refused:
            labels_of_run(AdaptConfig(data=run, keep_classes="1"))
        assert refused.value.hint == f"Make them again: cryotx classes {run}"

    average(run)

    for one in labels_of_run(AdaptConfig(data=run, keep_classes="1")).micrographs:
        same(one.labels.centres, in_classes(run, [1])[one.file.name])


def test_classes_of_images_that_were_swapped_since_are_refused(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    picked_and_averaged(folder)
    first, second, between = (folder / "mics" / name for name in ("m0.mrc", "m1.mrc", "m"))
    for old, new in ((first, between), (second, first), (between, second)):
        old.rename(new)
    pick(folder)

    with pytest.raises(ConfigError, match="its classes are those of other picks") as refused:
        labels_of_run(AdaptConfig(data=folder / "p", keep_classes="1"))
    assert refused.value.hint == f"Make them again: cryotx classes '{folder / 'p'}'"


def test_micrographs_that_are_gone_or_others_are_left_out_and_named(tmp_path):
    picked_and_averaged(tmp_path)
    mics = tmp_path / "mics"
    (mics / "m0.mrc").unlink()
    with mrcfile.open(mics / "m1.mrc", "r+") as mrc:
        mrc.data[:] = 0
    os.utime(mics / "m2.mrc", (1, 1))  # as of a copy

    found = labels_of_run(AdaptConfig(data=tmp_path / "p", keep_classes="1"))

    assert [name.rsplit("/")[-1] for name in found.without_micrograph] == ["m0.mrc"]
    assert [name.rsplit("/")[-1] for name in found.changed] == ["m1.mrc"]
    assert [one.file.path.name for one in found.micrographs] == ["m2.mrc"]


def test_other_labels_are_read_as_before(run, tmp_path):
    assert labels_of_run(AdaptConfig(data=tmp_path)) is None
    assert labels_of_run(AdaptConfig(data=run.with_suffix(".star"))) is None
    assert labels_of_run(AdaptConfig(data=tmp_path / "nothing.star")) is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"keep_classes": "9"}, "--keep-classes 9: '9' is no class of this run, which has 1 to 4"),
        ({"keep_classes": "1,x"}, "'x' is no class"),
        ({"keep_classes": "1", "micrographs": "."}, r"--micrographs \.: the run"),
        ({"micrographs": "."}, r"--micrographs \.: the run"),
    ],
)
def test_settings_that_do_not_fit_are_refused(run, settings, told):
    with pytest.raises(ConfigError, match=told):
        labels_of_run(AdaptConfig(data=run, **settings))


def test_keeping_classes_takes_a_run_that_has_some(run, tmp_path):
    with pytest.raises(ConfigError, match="is no run of cryotx pick"):
        labels_of_run(AdaptConfig(data=tmp_path, keep_classes="1"))
    shutil.rmtree(run / "classes")
    with pytest.raises(ConfigError, match="there are no classes of this run"):
        labels_of_run(AdaptConfig(data=run, keep_classes="1"))
