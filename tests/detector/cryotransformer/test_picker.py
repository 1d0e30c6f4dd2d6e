"""Picking with the paper's model: its input against recorded ones, its output through networks with known answers."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter

from cryotx_cli.detector.calibration import Calibration
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.cryotransformer.checkpoint import (
    DetrCheckpoint,
    DetrInput,
    load_detr_checkpoint,
    save_detr_checkpoint,
)
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig, DetrOutput
from cryotx_cli.detector.cryotransformer.picker import DetrPicker, colours, network_size, resize
from cryotx_cli.errors import CheckpointError, MicrographError
from cryotx_cli.micrographs.denoise import denoise
from cryotx_cli.micrographs.micrograph import Micrograph
from recorded_formulas import micrograph_by_formula, recorded_arrays, recorded_json

TINY = DetrConfig(
    backbone="resnet18", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=1, dim_feedforward=16, num_queries=8
)


def checkpoint(pipeline="raw", side=64, **changes):
    torch.manual_seed(0)
    config = dataclasses.replace(TINY, **changes)
    return DetrCheckpoint(Detr(config).state_dict(), config, DetrInput(pipeline, side, 2 * side), name="tiny")


def micrograph(image, pixel_size=2.0, name="m.mrc"):
    return Micrograph(image.astype(np.float32), pixel_size, Path(name))


def answering(picker, answer):
    """Let `answer(grey image)` give rows of logit, centre x, centre y, width, height in place of the network."""

    def model(images):
        grey = images[0, 0].numpy() * 0.229 + 0.485
        rows = torch.as_tensor(np.array(answer(grey)), dtype=torch.float32)
        logits = torch.stack([rows[:, 0], torch.zeros(len(rows))], 1)
        return DetrOutput(logits[None, None], rows[None, None, :, 1:])

    picker.model = model
    return picker


def fixed(picker, rows):
    """Let the network answer with `rows` and one query that found nothing."""
    return answering(picker, lambda grey: [*rows, (-9.0, 0.5, 0.5, 0.1, 0.1)])


# ---- input -----------------------------------------------------------------------------------------------------------


def test_sizes_are_those_of_the_original():
    known = recorded_json("e2e.json")["resize_hw"]
    assert len(known) >= 12
    for name, size in known.items():
        assert list(network_size(*map(int, name.split("x")))) == size, name


@pytest.mark.parametrize(
    ("name", "seed", "height", "width", "disks"),
    [
        pytest.param("m1_f32_512x480", 101, 512, 480, 40, marks=pytest.mark.slow),
        ("m3_f32_403x517", 103, 403, 517, 30),
    ],
)
def test_the_network_sees_what_the_original_showed_it(name, seed, height, width, disks):
    image = micrograph_by_formula(seed, height, width, disks)
    prepared = DetrPicker(checkpoint("original")).prepare(micrograph(image), 100.0)
    grey = resize(prepared.astype(np.uint8), *network_size(height, width))

    known = recorded_json("e2e.json")[name]
    assert list(grey.shape) == known["tensor_shape"][2:]
    assert hashlib.sha256(grey.numpy().tobytes()).hexdigest() == known["resized_u8_sha256"]
    crop = recorded_arrays("e2e.npz")[f"{name}__tensor_crop_0_64_64"]
    np.testing.assert_allclose(colours(grey)[:, :64, :64], crop, atol=1e-6)


def test_own_networks_are_shown_the_denoising_of_the_paper():
    image = np.random.default_rng(1).normal(size=(96, 80))
    prepared = DetrPicker(checkpoint("paper")).prepare(micrograph(image), 100.0)
    np.testing.assert_array_equal(prepared, denoise(image.astype(np.float32), "paper"))


def test_raw_input_keeps_the_order_of_grey_levels():
    image = np.random.default_rng(1).normal(5, 3, size=(64, 64)).clip(-3, 13)
    prepared = DetrPicker(checkpoint("raw")).prepare(micrograph(image), 100.0)
    assert (prepared.min(), prepared.max()) == (0, 255)
    assert np.corrcoef(prepared.ravel(), image.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("pipeline", ["raw", "paper", "original"])
def test_an_image_without_contrast_is_named(pipeline):
    with pytest.raises(MicrographError, match=r"flat\.mrc: "):
        DetrPicker(checkpoint(pipeline)).prepare(micrograph(np.ones((64, 64)), name="flat.mrc"), 100.0)


# ---- output ----------------------------------------------------------------------------------------------------------


def test_boxes_become_particles_in_the_pixels_of_the_micrograph():
    picker = fixed(DetrPicker(checkpoint("raw")), [(0.0, 0.5, 0.25, 0.1, 0.2), (2.0, 0.25, 0.75, 0.2, 0.2)])
    found = picker.pick(micrograph(np.random.default_rng(0).normal(size=(100, 200))), 50.0).above(0.01)

    # x = 0.25 of 200 px from the border is pixel 49.5, the first pixel's centre being 0.
    np.testing.assert_allclose(found.centres, [[49.5, 74.5], [99.5, 24.5]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-2)), 0.5], atol=1e-6)
    np.testing.assert_allclose(found.diameters, [(40 + 20) / 2, 20.0], rtol=1e-5)
    assert found.pixel_size == 2.0


def test_networks_of_the_original_answer_in_its_reversed_rows():
    picker = fixed(DetrPicker(checkpoint("original")), [(1.0, 0.5, 0.25, 0.1, 0.1)])
    found = picker.pick(micrograph(np.random.default_rng(0).normal(size=(100, 200))), 50.0).above(0.01)
    np.testing.assert_allclose(found.centres, [[100.0, 75.0]], atol=1e-4)


@pytest.mark.parametrize(("pipeline", "within"), [("raw", 0.6), ("paper", 1.5), ("original", 1.5)])
def test_what_the_network_points_at_is_where_it_was_in_the_micrograph(pipeline, within):
    yy, xx = np.mgrid[:192, :256]
    image = 0.5 * np.random.default_rng(0).normal(size=(192, 256)) + 5 * np.exp(
        -((xx - 171) ** 2 + (yy - 52) ** 2) / (2 * 6**2)
    )

    def brightest(grey):
        weights = np.clip(grey - np.quantile(grey, 0.99), 0, None) ** 2
        rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]] + 0.5
        y, x = ((weights * where).sum() / weights.sum() for where in (rows, columns))
        return [(3.0, x / grey.shape[1], y / grey.shape[0], 0.1, 0.1), (-3.0, 0.5, 0.5, 0.1, 0.1)]

    found = answering(DetrPicker(checkpoint(pipeline, side=96)), brightest).pick(micrograph(image), 50.0)
    # The image of the original is moved by (-3, -3) px of its own frame, which its networks learn to put right.
    moved = [3, -3] if pipeline == "original" else [0, 0]
    assert np.abs(found.centres[0] + moved - [171, 52]).max() < within


def test_scores_are_calibrated_and_a_box_centred_outside_is_dropped():
    own = dataclasses.replace(checkpoint(), calibration=Calibration((-1.0, 1.0), (0.0, 0.5)))
    picker = fixed(DetrPicker(own), [(0.0, 0.5, 0.5, 0.1, 0.1), (1.0, 1.0, 0.5, 0.1, 0.1), (1.0, 0.2, 0.2, 0.1, 0.1)])
    noise = micrograph(np.random.default_rng(0).normal(size=(64, 64)))
    np.testing.assert_allclose(picker.pick(noise, 50.0).scores, [0.5, 0.5, 0.25, 0.0])
    assert len(fixed(picker, [(0.0, 0.5, 1.01, 0.1, 0.1)]).pick(noise, 50.0)) == 1


def dots(count, height, width):
    """Micrograph with bright dots on a jittered grid, one pixel each."""
    rng = np.random.default_rng(3)
    rows = int(np.sqrt(count * height / width))
    columns = count // rows
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2) + 0.5
    centres = np.round(grid * [width / columns, height / rows] + rng.uniform(-1, 1, (len(grid), 2)))
    image = np.zeros((height, width))
    image[centres[:, 1].astype(int), centres[:, 0].astype(int)] = rng.uniform(0.8, 1, len(centres))
    return image, centres


def brightest_dots(queries):
    """Answer with the dots of a window, at most as many as there are queries."""

    def answer(grey):
        peaks = (grey == maximum_filter(grey, 5)) & (grey > 0.4)
        y, x = np.nonzero(peaks)
        best = np.argsort(-grey[y, x])[:queries]
        height, width = grey.shape
        found = [(4.0, (x[i] + 0.5) / width, (y[i] + 0.5) / height, 10 / width, 10 / height) for i in best]
        return found + [(-4.0, 0.5, 0.5, 0.1, 0.1)] * (queries - len(found))

    return answer


def test_a_micrograph_with_more_particles_than_queries_is_picked_in_tiles():
    image, centres = dots(60, 240, 320)
    own = checkpoint("raw", num_queries=20)
    # At the size of the network's input a tile's dots stay dots: input and micrograph have the same pixels.
    own = dataclasses.replace(own, input=DetrInput("raw", 10_000, 320))
    picker = answering(DetrPicker(own), brightest_dots(20))
    located = picker.locate(picker.prepare(micrograph(image), 50.0), micrograph(image))
    found = located.particles.above(0.5)

    (event,) = located.events
    assert event.micrograph == "m.mrc"
    assert event.text.startswith("m.mrc: nearly all 20 queries")
    assert event.text.endswith("picked again in 16 tiles")
    distance = np.linalg.norm(found.centres[:, None] - centres[None], axis=2)
    assert (distance.min(0) < 1.5).all()
    assert len(found) == len(centres)  # none twice on the seams


def test_a_micrograph_with_fewer_is_not():
    image, centres = dots(15, 120, 160)
    own = dataclasses.replace(checkpoint("raw", num_queries=20), input=DetrInput("raw", 10_000, 160))
    picker = answering(DetrPicker(own), brightest_dots(20))
    located = picker.locate(picker.prepare(micrograph(image), 50.0), micrograph(image))
    assert len(located.particles.above(0.5)) == len(centres)
    assert not located.events


def test_a_network_that_always_says_particle_comes_to_an_end():
    picker = answering(DetrPicker(checkpoint()), lambda grey: [(9.0, 0.5, 0.5, 0.1, 0.1)] * 8)
    found = picker.pick(micrograph(np.random.default_rng(0).normal(size=(100, 300))), 50.0)
    assert len(found) >= 8


def test_diameter_is_the_median_of_likely_boxes():
    rows = [(3.0, 0.5, 0.5, 0.1, 0.1), (3.0, 0.2, 0.2, 0.2, 0.2), (3.0, 0.8, 0.2, 0.4, 0.4), (-3.0, 0.8, 0.8, 0.9, 0.9)]
    picker = fixed(DetrPicker(checkpoint()), rows)
    noise = micrograph(np.random.default_rng(0).normal(size=(100, 100)))
    assert picker.estimate_diameter([noise, noise]) == pytest.approx(20 * 2.0)
    with pytest.raises(MicrographError, match="no particles seen in 1 micrographs"):
        fixed(picker, [(-3.0, 0.5, 0.5, 0.1, 0.1)]).estimate_diameter([noise])


# ---- which networks --------------------------------------------------------------------------------------------------


def test_a_network_of_other_objects_does_not_pick():
    with pytest.raises(CheckpointError, match="91 classes"):
        DetrPicker(checkpoint(num_classes=91))


@pytest.mark.slow
def test_fingerprints_differ_where_picks_may():
    own = checkpoint()
    changed = {name: value.clone() for name, value in own.weights.items()}
    changed["class_embed.bias"] += 1e-3
    variants = [
        DetrPicker(own),
        DetrPicker(own, legacy_percentile=25.0),
        DetrPicker(own, legacy_percentile=50.0),
        DetrPicker(dataclasses.replace(own, weights=changed)),
        DetrPicker(dataclasses.replace(own, input=DetrInput("paper", 64, 128))),
        DetrPicker(dataclasses.replace(own, calibration=Calibration((-1.0, 1.0), (0.1, 0.9)))),
    ]
    assert len({picker.fingerprint for picker in variants}) == len(variants)
    assert DetrPicker(checkpoint()).fingerprint == variants[0].fingerprint


def test_a_checkpoint_names_its_model_and_comes_back_equal(tmp_path):
    written = dataclasses.replace(
        checkpoint("paper"), calibration=Calibration((-1.0, 1.0), (0.1, 0.9)), training={"epochs": 3}
    )
    save_detr_checkpoint(written, tmp_path / "own.safetensors")
    read = load_detr_checkpoint(tmp_path / "own.safetensors")
    assert isinstance(read, DetrCheckpoint)
    assert (read.model, read.input, read.calibration) == (written.model, written.input, written.calibration)
    assert read.training == {"epochs": 3}
    assert all(torch.equal(value, written.weights[name]) for name, value in read.weights.items())
    assert [path.name for path in tmp_path.iterdir()] == ["own.safetensors"]
    with pytest.raises(CheckpointError, match="cryotransformer model, not a center model"):
        load_checkpoint(tmp_path / "own.safetensors")
