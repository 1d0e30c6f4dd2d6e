"""The assignment against brute force, and the one that runs on the device against the optimal one."""

import itertools

import pytest
import torch
import torchvision
from scipy.optimize import linear_sum_assignment

from cryotx_cli.training.cryotransformer.matcher import (
    HungarianMatcher,
    ParticleTargets,
    generalised_iou,
    locally_dominant_assignment,
    optimal_assignment,
)


def everything(cost):
    return torch.ones(cost.shape[0], cost.shape[2], dtype=torch.bool, device=cost.device)


def assert_one_to_one(matching, valid, queries):
    """As many targets as possible are matched, none of them padding, and no query twice."""
    for query, matched, exists in zip(matching.query, matching.matched, valid, strict=True):
        used = query[matched].tolist()
        assert len(set(used)) == len(used) == min(int(exists.sum()), queries)
        assert all(0 <= index < queries for index in used)
        assert not (matched & ~exists).any()


def total(cost, matching):
    paid = cost.gather(1, matching.query[:, None]).squeeze(1)
    return torch.where(matching.matched, paid, 0).sum(1)


def localised_answers(seed, queries=600, particles=150, side=0.06, apart=0.8, images=4):
    """Answers as a trained network gives them: every particle found, doublets, and idle queries of low score."""
    random = torch.Generator().manual_seed(seed)
    centres = []
    for _ in range(images):
        placed = torch.empty(0, 2)
        while len(placed) < particles:
            centre = torch.rand(1, 2, generator=random)
            if (torch.cdist(placed, centre) > apart * side).all():
                placed = torch.cat([placed, centre])
        centres.append(placed)
    sides = torch.full((images, particles, 2), side)
    truth = torch.cat([torch.stack(centres), sides], -1)
    doublets = (queries - particles) // 3
    source = torch.cat([torch.arange(particles), torch.randint(particles, (doublets,), generator=random)])
    found = truth[:, source].clone()
    found[..., :2] += 0.1 * side * torch.randn(found[..., :2].shape, generator=random)
    found[..., 2:] *= 1 + 0.05 * torch.randn(found[..., 2:].shape, generator=random)
    idle = torch.rand(images, queries - found.shape[1], 4, generator=random)
    idle[..., 2:] = side * (0.7 + 0.6 * idle[..., 2:])
    boxes = torch.cat([found, idle], 1)
    score = 1.5 * torch.randn(images, queries, generator=random)
    score[:, :particles] += 2
    score[:, particles:] -= 3
    order = torch.randperm(queries, generator=random)
    logits = torch.stack([score, torch.zeros_like(score)], -1)
    return logits[:, order], boxes[:, order], ParticleTargets(truth, torch.ones(images, particles, dtype=torch.bool))


@pytest.mark.parametrize(("queries", "targets"), [(5, 3), (3, 5), (4, 4), (5, 1), (1, 3)])
def test_optimal_assignment_is_the_best_of_all(queries, targets):
    cost = torch.randn(6, queries, targets, generator=torch.Generator().manual_seed(queries))
    matching = optimal_assignment(cost, everything(cost))
    assert_one_to_one(matching, everything(cost), queries)
    for problem in range(len(cost)):
        table = cost[problem].tolist()
        if queries >= targets:
            choices = itertools.permutations(range(queries), targets)
            best = min(sum(table[q][t] for t, q in enumerate(choice)) for choice in choices)
        else:
            choices = itertools.permutations(range(targets), queries)
            best = min(sum(table[q][t] for q, t in enumerate(choice)) for choice in choices)
        assert total(cost, matching)[problem].item() == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_device_assignment_agrees_with_the_optimum_on_localised_answers(seed):
    logits, boxes, targets = localised_answers(seed)
    cost = HungarianMatcher().pair_costs(logits[None], boxes[None], targets.boxes)[0]
    best, ours = optimal_assignment(cost, targets.valid), locally_dominant_assignment(cost, targets.valid)
    assert_one_to_one(ours, targets.valid, 600)
    assert (best.query == ours.query).float().mean() >= 0.99


def test_device_assignment_agrees_with_the_optimum_where_particles_overlap():
    logits, boxes, targets = localised_answers(seed=3, particles=300, apart=0.3)
    cost = HungarianMatcher().pair_costs(logits[None], boxes[None], targets.boxes)[0]
    best, ours = optimal_assignment(cost, targets.valid), locally_dominant_assignment(cost, targets.valid)
    assert (best.query == ours.query).float().mean() >= 0.99


@pytest.mark.parametrize(("queries", "targets"), [(40, 25), (25, 40), (30, 30), (7, 1), (1, 7)])
def test_device_assignment_is_complete_and_nearly_optimal_on_noise(queries, targets):
    random = torch.Generator().manual_seed(0)
    cost = torch.rand(5, queries, targets, generator=random)
    valid = torch.rand(5, targets, generator=random) < 0.7
    best, ours = optimal_assignment(cost, valid), locally_dominant_assignment(cost, valid)
    assert_one_to_one(best, valid, queries)
    assert_one_to_one(ours, valid, queries)
    gap = total(cost, ours) - total(cost, best)
    assert gap.min() > -1e-5
    assert gap.max() < 0.05 * min(queries, targets)


def alike(queries, targets):
    """Costs where all queries answer alike, as in a network that has learned nothing: one mutual choice a round."""
    random = torch.Generator().manual_seed(queries)
    return torch.rand(3, queries, 1, generator=random) + torch.rand(3, 1, targets, generator=random)


@pytest.mark.parametrize("queries", [50, 40])
def test_device_assignment_completes_what_it_has_no_rounds_for(queries):
    cost = alike(queries, 40)
    matching = locally_dominant_assignment(cost, everything(cost), rounds=2)
    assert_one_to_one(matching, everything(cost), queries)
    best = optimal_assignment(cost, everything(cost))
    torch.testing.assert_close(total(cost, matching), total(cost, best), rtol=1e-3, atol=1e-3)


def test_where_queries_run_out_the_rest_of_the_targets_get_none():
    cost = alike(30, 40)
    assert_one_to_one(locally_dominant_assignment(cost, everything(cost), rounds=2), everything(cost), 30)


@pytest.mark.parametrize(("crossed", "query"), [(1.1, [1, 0]), (3.0, [1, 0]), (4.5, [0, 1])])
def test_device_assignment_takes_a_swap_that_pays(crossed, query):
    # Mutual choice pairs 0-0 for 0.0 and is left with 1-1 for 5.0; crossing over costs 1.0 and what is tried.
    cost = torch.tensor([[[0.0, 1.0], [crossed, 5.0]]])
    assert locally_dominant_assignment(cost, everything(cost)).query.tolist() == [query]


def test_on_the_cpu_the_matching_is_the_optimal_one():
    random = torch.Generator().manual_seed(1)
    logits, boxes = torch.randn(1, 6, 30, 2, generator=random), torch.rand(1, 6, 30, 4, generator=random)
    targets = ParticleTargets.from_boxes(list(torch.rand(6, 25, 4, generator=random)))
    cost = HungarianMatcher().pair_costs(logits, boxes, targets.boxes)[0]
    made = HungarianMatcher()(logits, boxes, targets)
    paid = total(cost, type(made)(made.query[0], made.matched[0]))
    least = [problem[linear_sum_assignment(problem)].sum() for problem in cost.double().numpy()]
    torch.testing.assert_close(paid, torch.tensor(least).float())
    assert (total(cost, locally_dominant_assignment(cost, targets.valid)) > paid + 0.01).any()  # they can be told apart


@pytest.mark.parametrize("assign", [optimal_assignment, locally_dominant_assignment])
def test_no_targets_or_no_queries_at_all(assign):
    for cost, valid in [
        (torch.rand(2, 5, 0), torch.zeros(2, 0, dtype=torch.bool)),
        (torch.rand(2, 5, 3), torch.zeros(2, 3, dtype=torch.bool)),
        (torch.rand(2, 0, 3), torch.ones(2, 3, dtype=torch.bool)),
        (torch.rand(2, 0, 0), torch.ones(2, 0, dtype=torch.bool)),
    ]:
        matching = assign(cost, valid)
        assert matching.query.shape == valid.shape
        assert not matching.matched.any()


@pytest.mark.parametrize("assign", [optimal_assignment, locally_dominant_assignment])
def test_permuted_problems_have_permuted_answers(assign):
    cost = torch.rand(1, 12, 9, generator=torch.Generator().manual_seed(5))
    queries, targets = torch.randperm(12), torch.randperm(9)
    before = assign(cost, everything(cost))
    after = assign(cost[:, queries][:, :, targets], everything(cost))
    assert torch.equal(queries[after.query[0]], before.query[0, targets])


def test_cost_is_the_sum_of_class_distance_and_overlap():
    matcher = HungarianMatcher(class_cost=1.5, l1_cost=4, giou_cost=3, particle_class=1)
    logits = torch.tensor([[[[0.0, 1.0, 2.0]]]])
    query, target = [0.5, 0.5, 0.2, 0.4], [0.6, 0.5, 0.2, 0.4]
    probability = torch.e / (1 + torch.e + torch.e**2)
    # Shared 0.1 x 0.4, union and hull both 0.3 x 0.4.
    expected = -1.5 * probability + 4 * 0.1 - 3 * (1 / 3)
    cost = matcher.pair_costs(logits, torch.tensor([[[query]]]), torch.tensor([[target]]))
    assert cost.shape == (1, 1, 1, 1)
    assert cost.item() == pytest.approx(expected, abs=1e-5)


def test_the_weights_of_the_cost_are_those_of_the_paper():
    # 1 for the probability of class 0, 5 for L1, 2 for the generalised IoU: squares of 0.04 apart in a hull of 0.36.
    logits = torch.tensor([[[[1.0, 0.0]]]])
    query, target = [0.1, 0.1, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]
    cost = HungarianMatcher().pair_costs(logits, torch.tensor([[[query]]]), torch.tensor([[target]]))
    giou = -(0.36 - 0.08) / 0.36
    assert cost.item() == pytest.approx(-torch.e / (1 + torch.e) + 5 * 0.8 - 2 * giou, abs=1e-5)


@pytest.mark.parametrize("axis", range(4))
def test_each_coordinate_counts_in_the_distance(axis):
    query, target = torch.full((1, 1, 1, 4), 0.4), torch.full((1, 1, 4), 0.4)
    target[..., axis] += 0.3
    cost = HungarianMatcher(class_cost=0, l1_cost=2, giou_cost=0).pair_costs(torch.zeros(1, 1, 1, 2), query, target)
    assert cost.item() == pytest.approx(0.6, abs=1e-6)


def test_every_layer_and_image_is_matched_on_its_own():
    random = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(3, 2, 8, 2, generator=random), torch.rand(3, 2, 8, 4, generator=random)
    images = [torch.rand(n, 4, generator=random) for n in (5, 2)]
    together = HungarianMatcher()(logits, boxes, ParticleTargets.from_boxes(images))
    assert together.matched.sum(-1).tolist() == [[5, 2]] * 3
    for layer, image in itertools.product(range(3), range(2)):
        part = slice(layer, layer + 1), slice(image, image + 1)
        alone = HungarianMatcher()(logits[part], boxes[part], ParticleTargets.from_boxes([images[image]]))
        assert torch.equal(alone.query[0, 0], together.query[layer, image, : len(images[image])])


def test_a_diverged_network_is_matched_all_the_same():
    logits, boxes = torch.full((1, 1, 4, 2), torch.nan), torch.rand(1, 1, 4, 4)
    boxes[0, 0, 1] = torch.inf
    targets = ParticleTargets.from_boxes([torch.rand(3, 4)])
    assert HungarianMatcher()(logits, boxes, targets).matched.all()


def test_targets_are_padded_with_zeros():
    first, second = torch.rand(2, 4), torch.rand(3, 4)
    targets = ParticleTargets.from_boxes([first, second, torch.empty(0, 4)])
    assert targets.valid.tolist() == [[True, True, False], [True, True, True], [False, False, False]]
    assert torch.equal(targets.boxes[0, :2], first)
    assert torch.equal(targets.boxes[1], second)
    assert (targets.boxes[~targets.valid] == 0).all()
    with pytest.raises(ValueError, match="image"):
        ParticleTargets.from_boxes([])


def test_generalised_iou_of_boxes_on_a_grid_counts_cells():
    random = torch.Generator().manual_seed(0)
    low = torch.randint(0, 12, (40, 2, 2), generator=random)
    high = low + torch.randint(1, 8, (40, 2, 2), generator=random)
    values = generalised_iou(*torch.cat([0.5 * (low + high), (high - low).float()], dim=2).unbind(1))
    for corners, value in zip(torch.stack([low, high], dim=2).tolist(), values.tolist(), strict=True):
        a, b = (
            {(x, y) for x in range(x0, x1) for y in range(y0, y1)}  # the cells of one box
            for (x0, y0), (x1, y1) in corners
        )
        columns, rows = ({cell[axis] for cell in a | b} for axis in (0, 1))
        hull = (max(columns) - min(columns) + 1) * (max(rows) - min(rows) + 1)
        assert value == pytest.approx(len(a & b) / len(a | b) - (hull - len(a | b)) / hull, abs=1e-5)


def test_generalised_iou_is_that_of_torchvision():
    a, b = (torch.rand(n, 4, generator=torch.Generator().manual_seed(n)) for n in (30, 20))
    corners = (torchvision.ops.box_convert(boxes, "cxcywh", "xyxy") for boxes in (a, b))
    torch.testing.assert_close(generalised_iou(a[:, None], b), torchvision.ops.generalized_box_iou(*corners))


def test_generalised_iou_of_points_is_finite():
    points = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.2, 0.5, 0.0, 0.0]], requires_grad=True)
    value = generalised_iou(points[:, None], points)
    value.sum().backward()
    assert value.isfinite().all()
    assert points.grad.isfinite().all()
