"""What a review teaches: complete labels of what is done, and nothing of the rest."""

import json
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from cryotx_cli.config import AdaptConfig, ReviewConfig
from cryotx_cli.errors import ConfigError
from cryotx_cli.review.changes import parsed_change
from cryotx_cli.review.labels import labels_of_review
from cryotx_cli.runs.stored import read_run
from cryotx_cli.workflows.review import review
from reviewed_run import DIAMETER, PIXEL_SIZE, write_micrographs


def change(opened, **what):
    opened.session.change(parsed_change(json.dumps({"id": uuid4().hex, **what}).encode()))


def names(opened):
    return [one.name for one in opened.session.subjects.all()]


@pytest.fixture
def corrected(opened):
    """The first micrograph is done with one pick added and one removed, the third is corrected and not done."""
    first, _, third = names(opened)
    best = opened.session.view(0, None)["candidates"][0][:2]
    change(opened, kind="remove", micrograph=first, points=[best])
    change(opened, kind="add", micrograph=first, points=[[1.5, 2.5]])
    change(opened, kind="add", micrograph=third, points=[[1.5, 2.5]])
    change(opened, kind="mark", micrograph=first, mark="done")
    return opened, tuple(best)


def test_picks_of_what_is_done_are_labels_and_all_other_candidates_there_are_none(corrected, run):
    opened, removed = corrected
    found = labels_of_review(AdaptConfig(data=opened.folder))
    (one,) = found.micrographs
    assert found.unlabelled == 2
    assert one.file.name == names(opened)[0]
    labels, negatives = (set(map(tuple, part.centres.tolist())) for part in (one.labels, one.negatives))
    row = next(iter(read_run(run, to_read=True).rows.values()))
    everything = set(map(tuple, read_run(run, to_read=True).candidates(row)[1].particles.centres.tolist()))
    assert (1.5, 2.5) in labels
    assert removed in negatives
    assert len(labels) == 20
    assert labels | negatives == everything | {(1.5, 2.5)}
    assert not labels & negatives
    assert np.all(one.labels.diameters == DIAMETER / PIXEL_SIZE)


def test_a_mark_that_is_taken_back_teaches_nothing(corrected):
    opened, _ = corrected
    change(opened, kind="undo", micrograph=names(opened)[0])
    assert labels_of_review(AdaptConfig(data=opened.folder)).micrographs == ()


def test_a_micrograph_that_has_changed_since_teaches_nothing(corrected):
    opened, _ = corrected
    path = opened.session.subject(0).path
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    found = labels_of_review(AdaptConfig(data=opened.folder))
    assert found.micrographs == ()
    assert found.changed == (names(opened)[0],)
    path.unlink()
    assert labels_of_review(AdaptConfig(data=opened.folder)).without_micrograph == (names(opened)[0],)


def test_a_micrograph_without_a_particle_is_all_negatives(opened):
    first = names(opened)[0]
    change(opened, kind="box", micrograph=first, box=[-1, -1, 900, 900])
    change(opened, kind="mark", micrograph=first, mark="done")
    (one,) = labels_of_review(AdaptConfig(data=opened.folder)).micrographs
    assert (len(one.labels), len(one.negatives)) == (0, 40)


def test_other_folders_are_no_reviews_and_one_without_a_run_says_what_to_give(run, opened, tmp_path):
    assert labels_of_review(AdaptConfig(data=run)) is None
    write_micrographs(tmp_path / "mics", 1)
    by_hand = review([str(tmp_path / "mics")], ReviewConfig(diameter=60.0, out=tmp_path / "by_hand"))
    by_hand.close()
    with pytest.raises(ConfigError, match="no run has picked"):
        labels_of_review(AdaptConfig(data=tmp_path / "by_hand"))
    with pytest.raises(ConfigError, match="--micrographs"):
        labels_of_review(AdaptConfig(data=opened.folder, micrographs=Path("mics")))
