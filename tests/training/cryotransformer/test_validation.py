"""What a validation of the paper's model counts: hits, F1 and COCO's average precision, on cases worked by hand."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cryotx_cli.coordinates.agreement import average_precision
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.picker import Detections
from cryotx_cli.training.cryotransformer import validation
from cryotx_cli.training.cryotransformer.validation import score

TRUTH = np.array([[30.0, 30.0], [80.0, 30.0], [30.0, 80.0]])
SIDE = 20.0


def scored(monkeypatch, sides, truth=TRUTH):
    """Score boxes on the first and second particle and, between the two in rank, one on nothing."""
    centres, logits = np.array([[30.0, 30.0], [80.0, 80.0], [80.0, 30.0]]), np.array([3.0, 2.0, 1.0])
    found = Detections(centres, np.asarray(sides) / 2, logits)
    particles = Particles(truth, np.ones(len(truth)), np.full(len(truth), SIDE), 1.0)
    monkeypatch.setattr(validation, "DetrPicker", lambda *_: SimpleNamespace(detect=lambda image: found))
    monkeypatch.setattr(validation, "read_grey_levels", lambda *_: np.zeros((110, 110), np.uint8))
    checkpoint = SimpleNamespace(input=SimpleNamespace(pipeline="paper"))
    return score(checkpoint, SimpleNamespace(images=[SimpleNamespace(particles=particles)]), torch.device("cpu"))


def test_boxes_of_the_right_size_have_coco_precision_like_ours(monkeypatch, capsys):
    """Right, wrong, right of three: precision 1 up to a third of the particles, 2/3 up to two thirds, then nothing."""
    result = scored(monkeypatch, [SIDE, SIDE, SIDE])
    assert result.hits.tolist() == [True, False, True]
    ours = average_precision(result.logits, result.hits, result.wanted)
    assert ours == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    # COCO reads the same curve at the recalls 0, 0.01 ... 1: 34 of them up to a third, 33 more up to two thirds.
    assert result.coco_ap == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)
    assert result.coco_ap == pytest.approx(ours, abs=0.01)
    assert result.f1 == pytest.approx(2 * 2 / (3 + 3))
    assert capsys.readouterr() == ("", "")


def test_a_box_too_small_counts_where_little_overlap_is_asked_for(monkeypatch):
    """Of 16 px inside 20 px, 256 of 400 px overlap: enough for .50, .55 and .60, three of ten thresholds."""
    result = scored(monkeypatch, [SIDE, SIDE, 16.0])
    assert result.hits.tolist() == [True, False, True]  # ours asks for the centre alone
    both, first_alone = (34 * 1 + 33 * 2 / 3) / 101, 34 / 101
    assert result.coco_ap == pytest.approx(0.3 * both + 0.7 * first_alone)


def test_without_particles_there_is_no_coco_precision(monkeypatch):
    result = scored(monkeypatch, [SIDE, SIDE, SIDE], truth=np.zeros((0, 2)))
    assert (result.coco_ap, result.wanted) == (None, 0)


def test_pycocotools_says_nothing_and_brings_no_matplotlib():
    code = "import sys, pycocotools.coco, pycocotools.cocoeval; sys.exit('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
