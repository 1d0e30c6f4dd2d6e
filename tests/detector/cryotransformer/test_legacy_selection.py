"""The original's selection, against recorded runs of it and against its definition in plain Python."""

import numpy as np
import pytest
import torch

from cryotx_cli.detector.cryotransformer.legacy_selection import legacy_centres, legacy_selection
from recorded_formulas import recorded_arrays, recorded_json

HEADER = "Micrograph_Name    X_Coordinate    Y_Coordinate    Class_Number    AnglePsi    Confidence_Score"


def box_text(name, picks, height):
    """Write picks as the original does: y counted from the last row, sentinels for class and angle."""
    rows = [
        f"{name}\t{x}\t{height - y}\t-9999\t-9999\t{score!s}"
        for (x, y), score in zip(legacy_centres(picks.boxes).tolist(), picks.scores, strict=True)
    ]
    return "".join(row + "\r\n" for row in [HEADER, *rows])


@pytest.mark.parametrize(
    "case",
    [
        "p1_mixed_600",
        "p2_origlike_600",
        "p3_goodlike_600",
        "p4_mixed_16",
        "p5_mixed_600_q0",
        "p6_mixed_600_q50_nms30",
    ],
)
def test_picks_are_those_of_the_original(case):
    record = recorded_json("postprocess.json")[case]
    arrays = recorded_arrays("postprocess.npz")
    known = record["params"]
    logits = torch.from_numpy(arrays[f"{case}__pred_logits"])
    boxes = torch.from_numpy(arrays[f"{case}__pred_boxes"])
    picks = legacy_selection(logits, boxes, known["h"], known["w"], quantile=known["q"], overlap=known["nms"])

    assert picks.queries.tolist() == record["query_indices_after_nms_in_output_order"]
    np.testing.assert_array_equal(picks.boxes, arrays[f"{case}__out_boxes_xyxy"])
    np.testing.assert_allclose(picks.scores, arrays[f"{case}__out_scores"].ravel(), rtol=1e-6)
    assert box_text("mic_a.mrc", picks, known["h"]) == record["box_text"]["mic_a_CryoTransformer.box"]

    # An overlap above one suppresses nothing: what is left is the choice made before.
    chosen = legacy_selection(logits, boxes, known["h"], known["w"], quantile=known["q"], overlap=1.1)
    assert sorted(chosen.queries.tolist()) == record["kept_query_indices_before_nms"]
    np.testing.assert_allclose(chosen.scores, arrays[f"{case}__nms_in_scores"].ravel(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [("m1_f32_512x480", 512, 480), ("m3_f32_403x517", 403, 517), ("m4_i16_256x240", 256, 240)],
)
def test_picks_of_a_whole_run_are_those_of_the_original(name, height, width):
    record, arrays = recorded_json("e2e.json"), recorded_arrays("e2e.npz")
    logits, boxes = (torch.from_numpy(arrays[f"{name}__pred_{what}"]) for what in ("logits", "boxes"))
    picks = legacy_selection(
        logits.reshape(-1, 2),
        boxes.reshape(-1, 4),
        height,
        width,
        quantile=record["_meta"]["quartile"],
        overlap=record["_meta"]["nms"],
    )
    assert box_text(f"{name}.mrc", picks, height) == record["box_text"][f"{name}_CryoTransformer.box"]


def test_a_single_pick_is_returned_where_the_original_raises():
    record, arrays = recorded_json("postprocess.json"), recorded_arrays("postprocess.npz")
    assert record["p7_single"]["error"].startswith("ValueError")
    picks = legacy_selection(
        torch.from_numpy(arrays["p7_single__pred_logits"]), torch.from_numpy(arrays["p7_single__pred_boxes"]), 512, 640
    )
    assert picks.queries.tolist() == [0]
    assert picks.boxes.shape == (1, 4)
    np.testing.assert_allclose(picks.scores, arrays["p7_single__nms_in_scores"])


def test_scores_are_ranked_over_all_classes_and_given_to_the_first_queries():
    # Query 3 has the two highest scores, and yet queries 0, 1, 2 are kept, with scores 3 and 1 of other queries.
    logits = torch.tensor([[-3.0, -2.0], [-1.0, -4.0], [1.0, -5.0], [3.0, 2.0]])
    boxes = torch.tensor([[0.1, 0.1, 0.1, 0.1], [0.4, 0.4, 0.1, 0.1], [0.7, 0.7, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1]])
    picks = legacy_selection(logits, boxes, 100, 200)
    assert picks.queries.tolist() == [0, 1, 2]
    np.testing.assert_allclose(picks.scores, 1 / (1 + np.exp([-3.0, -2.0, -1.0])), rtol=1e-6)
    np.testing.assert_allclose(picks.boxes[1], [70, 35, 90, 45], rtol=1e-6)


def test_overlap_counts_pixels_inclusively():
    # Widths of 9 count as 10: shared 10 x 6 of a union of 10 x 14, 0.4286; without it 9 x 5 of 9 x 13, 0.3846.
    boxes = torch.tensor([[0.5, 0.50, 0.09, 0.09], [0.5, 0.54, 0.09, 0.09], [0.1, 0.1, 0.01, 0.01]])
    logits = torch.tensor([[3.0, -9.0], [2.0, -9.0], [1.0, -9.0]])
    kept = {overlap: legacy_selection(logits, boxes, 100, 100, quantile=0, overlap=overlap) for overlap in (0.41, 0.44)}
    assert kept[0.41].queries.tolist() == [0]
    assert kept[0.44].queries.tolist() == [0, 1]


def test_equal_scores_leave_nothing():
    picks = legacy_selection(torch.zeros(5, 2), torch.rand(5, 4), 10, 10)
    assert len(picks.queries) == len(picks.boxes) == len(picks.scores) == 0


def test_centres_are_truncated_towards_zero():
    centres = legacy_centres(np.array([[-3.7, 2.9, 10.2, 8.1]], dtype=np.float32))
    assert centres.tolist() == [[3.5, 5.0]]
