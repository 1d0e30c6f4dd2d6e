"""How the paper's model is trained: data and augmentation, steps, resuming, several processes, the refitted head."""

import argparse
import csv
import dataclasses
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cryotx_cli.config import CryotransformerConfig, CryotransformerTrainConfig, RefitConfig
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.coco import image_file, labelled_image, open_coco, write_coco
from cryotx_cli.detector.cryotransformer.checkpoint import (
    DetrCheckpoint,
    DetrInput,
    load_detr_checkpoint,
    save_detr_checkpoint,
)
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig, DetrOutput
from cryotx_cli.detector.cryotransformer.picker import DetrPicker
from cryotx_cli.errors import CheckpointError, DatasetError
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.training import run as run_module
from cryotx_cli.training.cryotransformer import initial_network as initial
from cryotx_cli.training.cryotransformer import train as detr_training
from cryotx_cli.training.cryotransformer.data import TrainingBatches, augmented, input_of, particle_boxes
from cryotx_cli.training.cryotransformer.initial_network import initial_network
from cryotx_cli.training.cryotransformer.refit_head import refit_head
from cryotx_cli.training.cryotransformer.train import train_detr
from cryotx_cli.training.cryotransformer.validation import ScoredBoxes

TINY = DetrConfig(
    backbone="resnet18",
    hidden_dim=32,
    nheads=4,
    enc_layers=1,
    dec_layers=2,
    dim_feedforward=32,
    num_queries=12,
    dropout=0.1,
)
PLAIN = CryotransformerConfig(
    flip=False, crop=False, short_sides=(64, 64), long_side=64, backbone_learning_rate=1e-4, clip_norm=1.0
)
SIZE, DIAMETER = 96, 16.0


def write_dataset(folder, train=6, val=2, particles=4, denoised=True):
    """COCO folder of dark discs on noise."""
    for split, count in (("train", train), ("val", val)):
        images = []
        for number in range(count):
            rng = np.random.default_rng([number, split == "val"])
            cells = rng.permutation(16)[:particles]
            centres = np.stack([cells % 4, cells // 4], 1) * SIZE / 4 + 11.5 + rng.uniform(-2, 2, (particles, 2))
            yy, xx = np.mgrid[:SIZE, :SIZE]
            image = rng.normal(160, 12, (SIZE, SIZE))
            for x, y in centres:
                image[(xx - x) ** 2 + (yy - y) ** 2 <= (DIAMETER / 2) ** 2] -= 90
            path = image_file(folder, split, f"1/m{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8))
            labels = Particles(centres, np.ones(particles), np.full(particles, DIAMETER), 2.0)
            images.append(labelled_image(f"1/m{number}.png", (SIZE, SIZE), labels, "1"))
        write_coco(folder, split, images, denoised)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "coco")


def settings(data, **changes):
    defaults = {
        "data": data,
        "init": "scratch",
        "epochs": 2,
        "batch_size": 2,
        "workers": 0,
        "device": "cpu",
        "learning_rate": 1e-3,
        "cryotransformer": PLAIN,
    }
    return CryotransformerTrainConfig(**{**defaults, **changes})


@pytest.fixture(autouse=True)
def no_heap_of_networks(tmp_path):
    """Remove what a test leaves: a run is hundreds of megabytes, and pytest keeps the folders of three sessions."""
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture
def unvalidated(monkeypatch):
    """Leave out validation, most of the time of a run of three steps."""
    nothing = ScoredBoxes(np.zeros(0), np.zeros(0, bool), 0, None)
    monkeypatch.setattr(detr_training, "_validate", lambda *_: nothing)


def losses(reports):
    return [report.loss for report in reports]


# ---- data ------------------------------------------------------------------------------------------------------------


def bright_image(height, width, centres):
    """One bright square of 5 px at each centre."""
    image = np.full((height, width), 40, np.uint8)
    for x, y in centres:
        image[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3] = 250
    return image


def test_boxes_stay_on_their_particles_however_the_image_is_augmented():
    centres = np.array([[20, 30], [100, 40], [60, 90], [150, 100], [30, 110]], float)
    grey = bright_image(128, 176, centres)
    boxes = np.hstack([centres + 0.5, np.full((5, 2), 24.0)])
    config = CryotransformerConfig(short_sides=(96, 160), long_side=220)
    sizes, counts, mirrored = set(), set(), 0
    for seed in range(40):
        image, found = augmented(grey, boxes, config, np.random.default_rng(seed))
        _, height, width = image.shape
        assert min(height, width) in (96, 128, 160) or max(height, width) in (219, 220)
        assert max(height, width) <= 220
        for x, y, w, h in found.tolist():
            assert image[0, int(y * height), int(x * width)] > image[0].min() + 2.5
            assert w * width == pytest.approx(h * height, rel=0.05)
        sizes.add((height, width))
        counts.add(len(found))
        mirrored += len(found) > 1 and bool((found.diff(dim=0)[:1, 0] < 0).all())
    assert len(sizes) > 5
    assert len(counts) > 1
    assert 8 <= mirrored <= 32


def test_without_augmentation_boxes_are_fractions_of_the_whole_image():
    boxes = np.array([[8.0, 16.0, 16.0, 32.0]])
    image, found = augmented(np.zeros((64, 64), np.uint8), boxes, PLAIN, np.random.default_rng(0))
    assert image.shape == (3, 64, 64)
    np.testing.assert_allclose(found, [[0.125, 0.25, 0.25, 0.5]])
    np.testing.assert_allclose(image[:, 0, 0], -np.array([0.485 / 0.229, 0.456 / 0.224, 0.406 / 0.225]), rtol=1e-5)


def test_particles_at_the_border_keep_their_centres():
    labels = Particles(np.array([[2.0, 50.0]]), np.ones(1), np.full(1, 20.0), 1.0)
    image = labelled_image("m.png", (64, 64), labels)
    assert image.boxes[0, 0] == 0  # the file's box is cut there
    np.testing.assert_allclose(particle_boxes(image), [[2.5, 50.5, 20, 20]])


def batches(data, processes=1, rank=0, batch_size=2, accumulate=1, **changes):
    config = dataclasses.replace(PLAIN, accumulate=accumulate, flip=True)
    values = {"epochs": 2, "seed": 3, "batch_size": batch_size, "processes": processes, "rank": rank, **changes}
    return TrainingBatches(open_coco(data, "train"), DetrInput("paper", 64, 64), config, **values)


def names(steps):
    return [[name for batch in step for name in batch.names] for step in steps]


def test_every_epoch_sees_every_image_once_in_another_order(data):
    seen = [name for step in names(batches(data)) for name in step]
    assert len(seen) == 12
    assert sorted(seen[:6]) == sorted(seen[6:]) == [f"1/m{i}.png" for i in range(6)]
    assert seen[:6] != seen[6:]


def test_processes_share_the_steps_of_one(data):
    whole = names(batches(data, batch_size=2))
    parts = [names(batches(data, batch_size=1, processes=2, rank=rank)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole
    assert names(batches(data, batch_size=1, accumulate=2)) == whole


def test_batches_do_not_depend_on_workers_or_on_where_a_run_was_resumed(data):
    alone = list(batches(data))
    loader = torch.utils.data.DataLoader(batches(data), batch_size=None, num_workers=2)
    for one, other in zip(alone, loader, strict=True):
        assert torch.equal(one[0].images, other[0].images)
        assert torch.equal(one[0].targets.boxes, other[0].targets.boxes)
    assert torch.equal(next(iter(batches(data, first=4)))[0].images, alone[4][0].images)


def test_more_images_a_step_than_there_are_images(data):
    (step,) = batches(data, batch_size=8, epochs=1)
    assert len(step[0].names) == 8
    assert len(set(step[0].names)) == 6


def test_a_network_that_answers_what_it_was_taught_picks_the_labels(data):
    config = {"batch_size": 1, "epochs": 1, "seed": 3}
    (batch,) = TrainingBatches(open_coco(data, "train"), DetrInput("paper", 64, 64), PLAIN, **config).step(0)
    image = next(one for one in open_coco(data, "train").images if one.file_name == batch.names[0])
    picker = DetrPicker(DetrCheckpoint(Detr(TINY).state_dict(), TINY, DetrInput("paper", 64, 64)))
    boxes = batch.targets.boxes[0]
    logits = torch.tensor([[9.0, 0.0]] * 4 + [[-9.0, 0.0]])
    answers = DetrOutput(logits[None, None], torch.cat([boxes, boxes[:1]])[None, None])
    picker.model = lambda images: answers
    found = picker.pick(Micrograph(np.random.default_rng(0).normal(size=(SIZE, SIZE)), 2.0, Path("m.mrc")), 32.0)
    np.testing.assert_allclose(found.above(0.5).centres, image.particles.centres, atol=1e-3)
    np.testing.assert_allclose(found.above(0.5).diameters, DIAMETER, rtol=1e-4)


def test_images_nobody_knows_to_be_denoised_or_not_are_refused(tmp_path):
    folder = write_dataset(tmp_path, train=1, val=1)
    file = folder / "annotations/instances_train.json"
    file.write_text(file.read_text().replace('"denoised": true', '"other": 1'))
    with pytest.raises(DatasetError, match="whether the images are denoised"):
        input_of(open_coco(folder, "train"), PLAIN)


@pytest.mark.parametrize(("denoised", "pipeline"), [(True, "paper"), (False, "raw")])
def test_the_input_of_a_dataset_goes_with_its_images(tmp_path, denoised, pipeline):
    folder = write_dataset(tmp_path, train=1, val=1, denoised=denoised)
    assert input_of(open_coco(folder, "train"), CryotransformerConfig()) == DetrInput(pipeline, 800, 1333)


# ---- how a run starts ------------------------------------------------------------------------------------------------


def test_from_scratch_everything_learns_with_real_batch_norm(data):
    model = initial_network(settings(data), TINY)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())


def test_the_network_is_that_of_the_paper_unless_told_otherwise(data, monkeypatch):
    built = []
    monkeypatch.setattr(initial, "load_imagenet_weights", lambda backbone, name: built.append(name))
    with torch.device("meta"):
        model = initial_network(settings(data, init="imagenet"))
        other = initial_network(settings(data, init="imagenet", backbone="resnet34"))
    assert model.config == DetrConfig()
    assert other.config == DetrConfig(backbone="resnet34")
    assert built == ["resnet152", "resnet34"]


def save_published(path, config=TINY):
    torch.manual_seed(4)
    weights = Detr(config).state_dict()
    torch.save({"model": weights, "args": argparse.Namespace(nheads=config.nheads, dropout=config.dropout)}, path)
    return weights


def test_published_weights_start_a_run_but_for_their_meaningless_class_layer(data, tmp_path):
    weights = save_published(tmp_path / "original.pth")
    model = initial_network(settings(data, init=str(tmp_path / "original.pth")))
    assert model.config == TINY
    differing = {name for name, value in model.state_dict().items() if not torch.equal(value, weights[name])}
    assert differing == {"class_embed.weight", "class_embed.bias"}
    with pytest.raises(CheckpointError, match="those of resnet18"):
        initial_network(settings(data, init=str(tmp_path / "original.pth"), backbone="resnet50"))


def test_a_published_network_of_many_classes_starts_with_one(data, tmp_path):
    save_published(tmp_path / "detr.pth", dataclasses.replace(TINY, num_classes=91))
    assert initial_network(settings(data, init=str(tmp_path / "detr.pth"))).config.num_classes == 1


def test_own_weights_start_a_run(data, tmp_path):
    weights = Detr(TINY).state_dict()
    save_detr_checkpoint(DetrCheckpoint(weights, TINY), tmp_path / "own.safetensors")
    model = initial_network(settings(data, init=str(tmp_path / "own.safetensors")))
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    with pytest.raises(CheckpointError, match="no such file"):
        initial_network(settings(data, init=str(tmp_path / "nowhere.safetensors")))


# ---- a run -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_learns_and_leaves_weights_that_pick(data, tmp_path):
    out = tmp_path / "run"
    config = settings(data, epochs=12, cryotransformer=dataclasses.replace(PLAIN, lr_drop=11))
    reports = list(train_detr(out, config, dataclasses.replace(TINY, dropout=0.0)))

    assert [report.step for report in reports] == list(range(1, 37))
    assert {report.steps for report in reports} == {36}
    assert np.mean(losses(reports)[-6:]) < 0.85 * np.mean(losses(reports)[:6])
    assert [report.step for report in reports if report.f1 is not None] == list(range(3, 37, 3))
    best = max(report.f1 for report in reports if report.f1 is not None)
    checkpoint = load_detr_checkpoint(out / "best.safetensors")
    validation = open_coco(data, "val")
    assert checkpoint.input == DetrInput("paper", 64, 64)
    assert detr_training.score(checkpoint, validation, torch.device("cpu")).f1 == pytest.approx(best, abs=1e-6)
    pixels = cv2.imread(str(validation.path(validation.images[0])), cv2.IMREAD_UNCHANGED)
    picks = DetrPicker(load_detr_checkpoint(out / "last.safetensors")).pick(
        Micrograph(pixels.astype(np.float32), 2.0, Path("m.png")), 32.0
    )
    assert 0 < len(picks) <= 12
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == sorted({20, *range(3, 37, 3)})
    assert float(rows[-1]["loss"]) == pytest.approx(reports[-1].loss, rel=1e-4)
    assert {"loss_ce", "loss_bbox", "loss_giou", "loss_ce_0", "gradient_norm", "f1", "coco_ap"} < set(rows[0])
    assert list((out / "tensorboard").iterdir())
    rates = [group["lr"] for group in torch.load(out / "state.pt", weights_only=True)["optimizer"]["param_groups"]]
    assert rates == pytest.approx([1e-4, 1e-5])  # a tenth of both in the last epoch


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(data, tmp_path, monkeypatch, unvalidated):
    shown = dataclasses.replace(PLAIN, flip=True, crop=True, short_sides=(32, 64))
    config = settings(data, epochs=1, cryotransformer=shown)
    whole = losses(train_detr(tmp_path / "whole", config, TINY))
    with monkeypatch.context() as often:
        often.setattr(run_module, "SAVE_SECONDS", 0.0)
        first = losses(islice(train_detr(tmp_path / "parts", config, TINY), 2))
    rest = losses(train_detr(tmp_path / "parts", dataclasses.replace(config, resume=True)))

    assert first + rest == whole
    logs = [(tmp_path / run / "log.csv").read_text().splitlines() for run in ("whole", "parts")]
    assert [row.split(",")[0] for row in logs[0]] == [row.split(",")[0] for row in logs[1]] == ["step", "3"]


@pytest.mark.slow
def test_an_interrupted_run_stops_on_time_and_can_be_resumed(data, tmp_path):
    config = settings(data, epochs=1, minutes=1e-6)
    (only,) = train_detr(tmp_path / "run", config, TINY)
    assert (only.step, only.steps) == (1, 3)
    assert only.f1 is not None
    rest = list(train_detr(tmp_path / "run", dataclasses.replace(config, minutes=None, resume=True)))
    assert [report.step for report in rest] == [2, 3]


def test_a_folder_with_a_run_is_kept_and_one_without_cannot_be_resumed(data, tmp_path, unvalidated):
    list(train_detr(tmp_path / "run", settings(data, minutes=1e-6), TINY))
    with pytest.raises(DatasetError, match="holds a run already"):
        next(train_detr(tmp_path / "run", settings(data), TINY))
    with pytest.raises(CheckpointError, match="no run to resume"):
        next(train_detr(tmp_path / "other", settings(data, resume=True), TINY))
    torch.save({"model": {}}, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="not the state of a run of this model"):
        next(train_detr(tmp_path, settings(data, resume=True), TINY))


def test_a_loss_that_is_not_finite_names_its_images_and_spares_the_weights(data, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "SAVE_SECONDS", 0.0)
    config = settings(data, learning_rate=1e30)
    with pytest.raises(DatasetError, match=r"not finite.*1/m\d\.png, 1/m\d\.png"):
        list(train_detr(tmp_path / "run", config, TINY))
    assert (tmp_path / "run/state.pt").exists()


@pytest.mark.slow
def test_gradients_of_several_batches_make_one_step(data, tmp_path, unvalidated):
    network = dataclasses.replace(TINY, dropout=0.0)
    config = settings(data, init="imagenet", epochs=1)
    save_published(tmp_path / "start.pth", network)  # frozen batch norm: an image does not depend on its batch
    together = dataclasses.replace(config, init=str(tmp_path / "start.pth"), batch_size=3)
    apart = dataclasses.replace(
        together, batch_size=1, cryotransformer=dataclasses.replace(PLAIN, accumulate=3, flip=False)
    )
    np.testing.assert_allclose(
        losses(train_detr(tmp_path / "a", together)), losses(train_detr(tmp_path / "b", apart)), rtol=1e-4
    )


# ---- processes -------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
from pathlib import Path
import torch
from cryotx_cli.config import load_train_config
from cryotx_cli.training import run
from cryotx_cli.training.cryotransformer import train as detr_training
torch.set_num_threads(1)
pause = float(sys.argv[3])
if pause:
    run.SAVE_SECONDS = 0.0  # a run to be killed has to have a state to go on from
config = load_train_config(sys.argv[2])
for report in detr_training.train_detr(Path(sys.argv[1]), config):
    print(report.step, repr(report.loss), flush=True)
    time.sleep(pause)
"""


def start(out, config, tmp_path, pause=0.0, **environment):
    from cryotx_cli.config import save_config

    file = tmp_path / f"{out.name}-{len(list(tmp_path.iterdir()))}.toml"
    save_config(config, file)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out), str(file), str(pause)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def printed_losses(text):
    return {int(step): float(loss) for step, loss in (line.split() for line in text.splitlines())}


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(data, tmp_path):
    save_published(tmp_path / "start.pth", dataclasses.replace(TINY, dropout=0.0))
    config = settings(data, init=str(tmp_path / "start.pth"), epochs=1, batch_size=2)
    alone = losses(train_detr(tmp_path / "one", config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    half = dataclasses.replace(config, batch_size=1)
    both = [start(tmp_path / "two", half, tmp_path, **shared, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]
    texts = [process.communicate(timeout=400)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert texts[1] == ""  # the first one reports
    np.testing.assert_allclose(list(printed_losses(texts[0]).values()), alone, rtol=2e-4)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_end(data, tmp_path):
    save_published(tmp_path / "start.pth")
    config = settings(data, init=str(tmp_path / "start.pth"), epochs=3)
    torch.set_num_threads(1)
    whole = losses(train_detr(tmp_path / "whole", config))
    process = start(tmp_path / "killed", config, tmp_path, pause=0.3)
    for _ in range(5):  # in the middle of the second epoch
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    again = start(tmp_path / "killed", dataclasses.replace(config, resume=True), tmp_path)
    rest = printed_losses(again.communicate(timeout=400)[0])

    assert again.returncode == 0
    assert 5 <= min(rest) <= 7
    for step, loss in rest.items():
        assert loss == pytest.approx(whole[step - 1], rel=1e-5)


# ---- the class layer alone -------------------------------------------------------------------------------------------


def write_found_dataset(folder, network, count=10):
    """Yield images whose labelled particles are exactly the boxes of four queries of a network, and which queries."""
    picker = DetrPicker(
        DetrCheckpoint(network.state_dict(), network.config, DetrInput("paper", 64, 64)), legacy_percentile=0.0
    )
    chosen = []
    for number in range(count):
        grey = np.random.default_rng([number, 5]).integers(0, 255, (SIZE, SIZE)).astype(np.uint8)
        path = image_file(folder, "train", f"m{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), grey)
        centres = picker.answers(grey.astype(np.float32))[1][:, :2].double().numpy() * SIZE - 0.5
        while number == 0 and len(chosen) < 4:  # apart, so that no two of them count as one particle
            gaps = np.linalg.norm(centres[:, None] - centres[chosen], axis=2).min(1, initial=np.inf)
            chosen.append(int(np.flatnonzero(gaps > 6)[0]))
        labels = Particles(centres[chosen], np.ones(4), np.full(4, 3.0), 1.0)
        yield labelled_image(f"m{number}.png", (SIZE, SIZE), labels), chosen


@pytest.fixture
def boxes(tmp_path):
    """Save weights whose queries answer in different places, with a meaningless class layer; return the network."""
    torch.manual_seed(1)
    network = Detr(TINY).eval()
    with torch.no_grad():
        network.query_embed.weight *= 5
        network.bbox_embed.layers[2].weight *= 30
    small = DetrInput("paper", 64, 64)
    save_detr_checkpoint(DetrCheckpoint(network.state_dict(), TINY, small), tmp_path / "boxes.safetensors")
    return network


@pytest.mark.slow
def test_a_refitted_class_layer_tells_particles_from_the_rest(boxes, tmp_path):
    images, chosen = zip(*write_found_dataset(tmp_path / "coco", boxes), strict=True)
    write_coco(tmp_path / "coco", "train", images, denoised=True)
    config = RefitConfig(data=tmp_path / "coco", init=str(tmp_path / "boxes.safetensors"), device="cpu")
    reports = list(refit_head(tmp_path / "run", config))

    assert [report.step for report in reports] == list(range(1, 11))
    assert math.isfinite(reports[-1].loss)
    assert reports[-1].f1 > 0.9
    checkpoint = load_detr_checkpoint(tmp_path / "run/last.safetensors")
    assert not checkpoint.degenerate_class_head
    before = boxes.state_dict()
    changed = {name for name, value in checkpoint.weights.items() if not torch.equal(value, before[name])}
    assert changed == {"class_embed.weight", "class_embed.bias"}
    unseen = np.random.default_rng(99).integers(0, 255, (SIZE, SIZE)).astype(np.float32)
    logits, found = DetrPicker(checkpoint).answers(unseen)
    odds, centres = (logits[:, 0] - logits[:, 1]).numpy(), found[:, :2].numpy() * SIZE
    far = np.linalg.norm(centres[:, None] - centres[chosen[0]], axis=2).min(1) > 3
    assert far.any()
    assert odds[chosen[0]].min() > 0 > np.median(odds[far])
    with pytest.raises(DatasetError, match="holds a run already"):
        next(refit_head(tmp_path / "run", config))


def test_refitting_needs_boxes_on_particles(boxes, tmp_path):
    far = write_dataset(tmp_path / "coco", train=2, particles=0)
    config = RefitConfig(data=far, init=str(tmp_path / "boxes.safetensors"), device="cpu")
    with pytest.raises(DatasetError, match="none of 24 boxes are on labelled particles"):
        list(refit_head(tmp_path / "run", config))


def test_refitting_is_for_networks_of_particles(data, tmp_path):
    save_published(tmp_path / "detr.pth", dataclasses.replace(TINY, num_classes=91))
    config = RefitConfig(data=data, init=str(tmp_path / "detr.pth"), device="cpu")
    with pytest.raises(CheckpointError, match="91 classes"):
        list(refit_head(tmp_path / "run", config))
