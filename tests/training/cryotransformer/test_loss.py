"""The set loss against recorded values, the paper's equations in plain Python, and another implementation."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.distributed

from cryotx_cli.detector.cryotransformer.network import DetrOutput
from cryotx_cli.training.cryotransformer.loss import SetCriterion
from cryotx_cli.training.cryotransformer.matcher import HungarianMatcher, ParticleTargets
from recorded_formulas import recorded_arrays, recorded_json


def fractions(stream, *shape):
    return stream.randint(0, 65536, size=shape, dtype=np.int32).astype(np.float64) / 65536


def recorded_outputs(seed, images, queries, outputs, layers):
    stream, logits, boxes = np.random.RandomState(seed), [], []
    for _ in range(layers):
        logits.append(8 * fractions(stream, images, queries, outputs) - 4)
        centres = fractions(stream, images, queries, 2)
        boxes.append(np.concatenate([centres, 0.02 + 0.18 * fractions(stream, images, queries, 2)], -1))
    tensors = [torch.from_numpy(np.stack(values).astype(np.float32)).requires_grad_() for values in (logits, boxes)]
    return DetrOutput(*tensors)


def recorded_targets(seed, counts):
    stream, boxes = np.random.RandomState(seed), []
    for n in counts:
        side = 0.05 + 0.05 * fractions(stream, n, 1)
        boxes.append(np.concatenate([0.1 + 0.8 * fractions(stream, n, 2), side, side], -1).astype(np.float32))
    return ParticleTargets.from_boxes([torch.from_numpy(image) for image in boxes])


def random_outputs(seed, layers=2, images=2, queries=6, outputs=2):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(layers, images, queries, outputs, generator=random)
    boxes = 0.1 + 0.6 * torch.rand(layers, images, queries, 4, generator=random)
    return DetrOutput(logits.requires_grad_(), boxes.requires_grad_())


def random_targets(seed, counts=(3, 1)):
    random = torch.Generator().manual_seed(seed)
    return ParticleTargets.from_boxes([0.1 + 0.4 * torch.rand(n, 4, generator=random) for n in counts])


@pytest.mark.parametrize(
    "case",
    [
        "c1_origconv_lab1_nc1",
        "c2_correct_lab0_nc1",
        "c3_detrconv_lab1_nc2",
        "c4_correct_600q",
        "c5_orig_600q",
        "c6_correct_more_targets_than_queries",
        "c7_correct_all_empty",
    ],
)
def test_matching_losses_and_gradients_are_those_of_the_original(case):
    record = recorded_json("criterion.json")[case]
    gradients = recorded_arrays("criterion_grads.npz")
    known = record["params"]
    output = recorded_outputs(known["seed_o"], known["bs"], known["nq"], known["num_classes"] + 1, known["naux"] + 1)
    targets = recorded_targets(known["seed_t"], known["counts"])
    criterion = SetCriterion(num_classes=known["num_classes"], matcher=HungarianMatcher(particle_class=known["label"]))

    matching = criterion.matcher(output.logits, output.boxes, targets)
    for layer, images in enumerate(record["indices"]):
        for image, (queries, chosen) in enumerate(images):
            matched = matching.matched[layer, image].nonzero()[:, 0].tolist()
            assert {t: matching.query[layer, image, t].item() for t in matched} == dict(
                zip(chosen, queries, strict=True)
            )

    loss = criterion(output, targets)
    assert loss.terms.keys() == record["losses"].keys()
    for name, value in record["losses"].items():
        assert loss.terms[name].item() == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert loss.total.item() == pytest.approx(record["total_weighted"], rel=1e-5)

    loss.total.backward()
    for name, tensor in (("logits", output.logits), ("boxes", output.boxes)):
        gradient = tensor.grad[-1].numpy()
        assert np.linalg.norm(gradient) == pytest.approx(gradients[f"{case}__grad_{name}_l2"].item(), rel=1e-5)
        if f"{case}__grad_{name}" in gradients:
            np.testing.assert_allclose(gradient, gradients[f"{case}__grad_{name}"], atol=1e-6)


def loss_by_the_equations(logits, boxes, images, matched, no_object):
    """Return class, L1 and GIoU loss of one decoder layer, from Python numbers and the equations."""
    entropy = weights = l1 = giou = 0.0
    for image, answers in enumerate(logits):
        for query, z in enumerate(answers):
            target = matched[image].get(query)
            wanted, weight = (no_object, 0.1) if target is None else (0, 1.0)
            entropy += weight * (math.log(sum(math.exp(value) for value in z)) - z[wanted])
            weights += weight
            if target is None:
                continue
            b, t = boxes[image][query], images[image][target]
            l1 += sum(abs(p - q) for p, q in zip(b, t, strict=True))
            shared = hull = 1.0
            for axis in (0, 1):
                low = [box[axis] - box[axis + 2] / 2 for box in (b, t)]
                high = [box[axis] + box[axis + 2] / 2 for box in (b, t)]
                shared *= max(0.0, min(high) - max(low))
                hull *= max(high) - min(low)
            union = b[2] * b[3] + t[2] * t[3] - shared
            giou += 1 - (shared / union - (hull - union) / hull)
    particles = sum(len(image) for image in images)
    return entropy / weights, l1 / particles, giou / particles


@pytest.mark.parametrize("counts", [(3, 1), (1, 0)])
@pytest.mark.parametrize("outputs", [2, 3])
def test_losses_follow_the_equations(outputs, counts):
    output, targets = random_outputs(1, outputs=outputs), random_targets(2, counts)
    criterion = SetCriterion(num_classes=outputs - 1)
    loss = criterion(output, targets)
    matching = criterion.matcher(output.logits, output.boxes, targets)
    images = [image[exists].tolist() for image, exists in zip(targets.boxes, targets.valid, strict=True)]
    total = 0.0
    for layer, suffix in ((0, "_0"), (1, "")):
        matched = [
            {int(query): t for t, query in enumerate(matching.query[layer, image]) if matching.matched[layer, image, t]}
            for image in range(2)
        ]
        expected = loss_by_the_equations(
            output.logits[layer].tolist(), output.boxes[layer].tolist(), images, matched, no_object=outputs - 1
        )
        terms = [loss.terms[name + suffix].item() for name in ("loss_ce", "loss_bbox", "loss_giou")]
        assert terms == pytest.approx(expected, rel=1e-4)
        total += expected[0] + 5 * expected[1] + 2 * expected[2]
    assert loss.total.item() == pytest.approx(total, rel=1e-4)


def test_losses_are_those_of_another_implementation():
    other = pytest.importorskip("transformers.loss.loss_for_object_detection")
    output, targets = random_outputs(3, layers=3, queries=12), random_targets(4, counts=(5, 2))
    loss = SetCriterion()(output, targets)
    witness = other.ImageLoss(
        matcher=other.HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2),
        num_classes=1,
        eos_coef=0.1,
        losses=["labels", "boxes", "cardinality"],
    )
    layers = [{"logits": z, "pred_boxes": b} for z, b in zip(output.logits, output.boxes, strict=True)]
    labels = [
        {"class_labels": torch.zeros(int(exists.sum()), dtype=torch.int64), "boxes": image[exists]}
        for image, exists in zip(targets.boxes, targets.valid, strict=True)
    ]
    expected = witness({**layers[-1], "auxiliary_outputs": layers[:-1]}, labels)
    assert len(expected) == 12
    for name, value in expected.items():
        assert loss.terms[name].item() == pytest.approx(value.item(), rel=1e-5), name


def test_gradient_is_the_slope_of_the_loss():
    output, targets = random_outputs(5), random_targets(6)
    loss = SetCriterion()(output, targets)
    loss.total.backward()
    random = torch.Generator().manual_seed(7)
    for tensor in output:
        direction = torch.randn(tensor.shape, generator=random)
        step = 1e-3 * direction
        ahead, behind = (
            SetCriterion()(DetrOutput(*(o.detach() + (sign * step if o is tensor else 0) for o in output)), targets)
            for sign in (1, -1)
        )
        slope = (ahead.total - behind.total).item() / 2e-3
        assert (tensor.grad * direction).sum().item() == pytest.approx(slope, rel=2e-2, abs=1e-2)


def test_order_of_queries_images_and_labels_does_not_count():
    output, targets = random_outputs(8, queries=9), random_targets(9, counts=(4, 4))
    before = SetCriterion()(output, targets)
    queries, labels = torch.randperm(9), torch.randperm(4)
    shuffled = DetrOutput(*(tensor[:, [1, 0]][:, :, queries] for tensor in output))
    after = SetCriterion()(shuffled, ParticleTargets(targets.boxes[[1, 0]][:, labels], targets.valid))
    for name, value in before.terms.items():
        assert after.terms[name].item() == pytest.approx(value.item(), rel=1e-5), name


def test_padding_of_targets_does_not_count():
    output, targets = random_outputs(10), random_targets(11)
    padded = ParticleTargets(
        torch.cat([targets.boxes, torch.zeros(2, 5, 4)], 1),
        torch.cat([targets.valid, torch.zeros(2, 5, dtype=torch.bool)], 1),
    )
    torch.testing.assert_close(SetCriterion()(output, padded).total, SetCriterion()(output, targets).total)


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (9, 8)])
def test_no_label_one_label_and_more_labels_than_queries(counts):
    output, targets = random_outputs(12), random_targets(13, counts)
    loss = SetCriterion()(output, targets)
    loss.total.backward()
    assert loss.total.isfinite()
    matched = sum(min(n, 6) for n in counts)
    for gradient in output.boxes.grad:
        assert (gradient.abs().sum(-1) > 0).sum() == matched
    assert output.logits.grad.isfinite().all()


def test_perfect_answers_cost_nothing():
    targets = random_targets(14, counts=(3, 3))
    boxes = torch.cat([targets.boxes, torch.rand(2, 4, 4)], 1)[None]
    logits = torch.full((1, 2, 7, 2), -30.0)
    logits[:, :, :3, 0] = 30
    logits[:, :, 3:, 1] = 30
    loss = SetCriterion()(DetrOutput(logits, boxes), targets)
    assert loss.total.item() == pytest.approx(0, abs=1e-5)
    assert loss.terms["class_error"] == loss.terms["cardinality_error"] == 0


def test_the_class_error_is_that_of_the_last_layer():
    # Of three particles the two queries of the first layer lie on the first two, those of the last on the last two:
    # there the query on the second particle is classed right, the one on the third wrong.
    particles = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]])
    boxes = torch.stack([particles[:2], particles[1:]])[:, None]
    logits = torch.tensor([[[[3.0, 0.0], [0.0, 3.0]]]]).expand(2, 1, 2, 2)
    loss = SetCriterion()(DetrOutput(logits, boxes), ParticleTargets.from_boxes([particles]))
    assert loss.terms["class_error"].item() == pytest.approx(50)


@pytest.mark.parametrize(("logits", "error"), [([3.0, 0.0], 0), ([0.0, 3.0], 100)])
def test_the_class_error_of_a_single_particle(logits, error):
    box = torch.tensor([[0.2, 0.2, 0.1, 0.1]])
    output = DetrOutput(torch.tensor([[[logits]]]), box[None, None])
    assert SetCriterion()(output, ParticleTargets.from_boxes([box])).terms["class_error"].item() == pytest.approx(error)


def test_the_class_loss_teaches_only_where_particle_and_no_object_differ():
    output, targets = random_outputs(15, queries=8), random_targets(16)
    taught = {}
    for particle_class in (0, 1):
        matcher = HungarianMatcher(particle_class=particle_class)
        criterion = SetCriterion(l1_weight=0, giou_weight=0, matcher=matcher)
        gradient = torch.autograd.grad(criterion(output, targets).total, output.logits)[0]
        raised = gradient[..., 0] < 0  # descent raises the score of class 0 here
        matching = matcher(output.logits, output.boxes, targets)
        is_matched = torch.zeros_like(raised)
        for layer, image in np.ndindex(2, 2):
            is_matched[layer, image, matching.query[layer, image][matching.matched[layer, image]]] = True
        taught[particle_class] = torch.equal(raised, is_matched), bool(raised.any())
    assert taught == {0: (True, True), 1: (False, False)}


@pytest.mark.parametrize("broken", ["logits", "boxes"])
def test_answers_that_are_not_finite_show_in_the_loss(broken):
    output = random_outputs(17)
    with torch.no_grad():
        getattr(output, broken)[1] = torch.nan
    assert SetCriterion()(output, random_targets(18)).total.isnan()


def test_the_host_never_waits_for_the_device():
    # A tensor on the meta device has no values: whatever the host would have to know raises an error.
    output = DetrOutput(*(torch.rand(s, device="meta", requires_grad=True) for s in ((3, 2, 10, 2), (3, 2, 10, 4))))
    targets = random_targets(19, counts=(5, 7)).to("meta")
    loss = SetCriterion()(output, targets)
    loss.total.backward()
    assert output.logits.grad.shape == output.logits.shape
    with pytest.raises((RuntimeError, NotImplementedError)):
        loss.total.item()


def test_divisors_are_means_over_processes(monkeypatch):
    # Three processes, each with the same batch: the sums are three times as large, and the loss is that of one.
    output, targets = random_outputs(24), random_targets(25)
    alone = SetCriterion()(output, targets)
    for name, stand_in in (
        ("is_initialized", lambda: True),
        ("get_world_size", lambda: 3),
        ("all_reduce", lambda amount: amount.mul_(3)),
    ):
        monkeypatch.setattr(torch.distributed, name, stand_in)
    torch.testing.assert_close(SetCriterion()(output, targets).total, alone.total)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_losses_on_a_gpu_are_nearly_those_on_the_cpu_and_need_no_synchronisation():
    output, targets = random_outputs(20, queries=50), random_targets(21, counts=(9, 4))
    expected = SetCriterion()(output, targets)
    there = DetrOutput(*(tensor.detach().cuda().requires_grad_() for tensor in output))
    targets = targets.to("cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = SetCriterion()(there, targets)
        loss.total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.total.item() == pytest.approx(expected.total.item(), rel=0.02)


def half_of_the_batch(rank, folder):
    """One of two processes: write the loss and its gradient for image `rank`."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    output, targets = random_outputs(22), random_targets(23, counts=(5, 1))
    mine = DetrOutput(*(tensor.detach()[:, rank : rank + 1].requires_grad_() for tensor in output))
    loss = SetCriterion()(mine, ParticleTargets(targets.boxes[rank : rank + 1], targets.valid[rank : rank + 1]))
    loss.total.backward()
    torch.save([loss.total.detach(), mine.logits.grad, mine.boxes.grad], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_average_to_one_with_both_images(tmp_path):
    places = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=places) for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    output, targets = random_outputs(22), random_targets(23, counts=(5, 1))
    loss = SetCriterion()(output, targets)
    loss.total.backward()
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.testing.assert_close((halves[0][0] + halves[1][0]) / 2, loss.total.detach())
    for place, tensor in ((1, output.logits), (2, output.boxes)):
        # Averaging over two processes halves what each contributes.
        torch.testing.assert_close(torch.cat([half[place] for half in halves], 1) / 2, tensor.grad)


if __name__ == "__main__":
    half_of_the_batch(int(sys.argv[1]), sys.argv[2])
