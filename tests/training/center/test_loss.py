"""Losses of the default model against sums written out by hand and matchings found by trying all of them."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from cryotx_cli.config import CenterConfig
from cryotx_cli.detector.center.network import CenterDETR, CenterOutput, DenseMap, Queries
from cryotx_cli.training.center.data import Crop
from cryotx_cli.training.center.loss import center_losses

RADIUS = 12.0


def crop_of(centres, ignored=(), radius=RADIUS, size=64):
    """A crop with particles at `centres`, those with an index in `ignored` ignored."""
    n = len(centres)
    flags = torch.zeros(n, dtype=torch.bool)
    flags[list(ignored)] = True
    return Crop(
        image=torch.zeros(1, size, size),
        centres=torch.tensor(centres, dtype=torch.float32).reshape(-1, 2),
        radii=torch.full((n,), float(radius)),
        ignored=flags,
        junk=torch.zeros(size, size),
    )


def dense_of(crops, heat=-12.0):
    """A dense map that says `heat` everywhere and nothing else."""
    shape = (len(crops), crops[0].image.shape[-2] // 4, crops[0].image.shape[-1] // 4)
    return DenseMap(
        torch.full(shape, heat), torch.zeros(len(crops), 2, *shape[1:]), torch.zeros(shape), torch.full(shape, -20.0)
    )


def perfect(crops):
    """The dense map that the criterion wants."""
    dense = dense_of(crops)
    for b, crop in enumerate(crops):
        for (x, y), r in zip(((crop.centres + 0.5) / 4).tolist(), crop.radii.tolist(), strict=True):
            column, row = int(x), int(y)
            dense.heat[b, row, column] = 12.0
            dense.offset[b, :, row, column] = torch.tensor([x - column - 0.5, y - row - 0.5])
            dense.log_radius[b, row, column] = math.log(r / RADIUS)
    return dense


def queries_of(*images):
    """Queries of each image from rows of (x, y, radius, logit), x and y as in labels: (0, 0) is a pixel's centre."""
    most = max(len(rows) for rows in images)
    table, valid = torch.zeros(len(images), most, 4), torch.zeros(len(images), most, dtype=torch.bool)
    for b, rows in enumerate(images):
        table[b, : len(rows)], valid[b, : len(rows)] = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4), True
    logits = torch.where(valid, table[..., 3], torch.tensor(-20.0))
    return Queries(logits, table[..., :2] + 0.5, table[..., 2], valid)


def losses(queries, crops, *earlier):
    layers = [*earlier, queries]
    return center_losses(CenterOutput(dense_of(crops), queries, layers), crops, RADIUS)


# --- the dense map ---------------------------------------------------------------------------------------------------


def test_a_perfect_answer_costs_nothing():
    crops = [crop_of([[10, 20], [41.25, 33.5], [59, 3]]), crop_of([[30.3, 30.7]], radius=15)]
    queries = queries_of(
        *[[(*c, r, 12.0) for c, r in zip(k.centres.tolist(), k.radii.tolist(), strict=True)] for k in crops]
    )
    terms = center_losses(CenterOutput(perfect(crops), queries, [queries, queries]), crops, RADIUS)
    assert terms.keys() == {"heat", "offset", "radius", "junk", "score", "centre", "size"}
    for name, value in terms.items():
        assert float(value) == pytest.approx(0, abs=1e-4), name


def test_the_model_and_the_criterion_mean_the_same_pixels():
    # What the criterion wants of the dense map, read by the model, are queries that the criterion finds perfect.
    crops = [crop_of([[10, 20.4], [41.25, 33.5], [59.9, 3]]), crop_of([[30.3, 30.7], [0.1, 62]], radius=15)]
    tiny = CenterConfig(widths=(4, 8, 8, 8), depths=(1, 1, 1), hidden_dim=16, thin_dim=8, heads=2)
    model = CenterDETR(tiny).eval()
    dense = perfect(crops)
    model.dense = lambda thin: dense
    with torch.no_grad():
        output = model(torch.stack([crop.image for crop in crops]))
    assert sum(float(v) for v in center_losses(output, crops, RADIUS).values()) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("radius", [9.0, 12.0, 16.0])
def test_heat_is_a_penalty_reduced_focal_loss(radius):
    # Zhou et al. 2019, "Objects as points": alpha 2, beta 4; a Gaussian of sigma = diameter / 6 softens the negatives.
    crops = [crop_of([[10.2, 20.9], [37.0, 18.0], [50.0, 60.0]], radius=radius)]
    heat = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
    dense = dense_of(crops)._replace(heat=heat)
    found = center_losses(CenterOutput(dense, queries_of([]), []), crops, RADIUS)["heat"]
    p = torch.sigmoid(heat[0]).double().numpy()
    expected, cells = 0.0, {(int((x + 0.5) // 4), int((y + 0.5) // 4)) for x, y in crops[0].centres.tolist()}
    for row, column in itertools.product(range(16), range(16)):
        place = 4 * column + 1.5, 4 * row + 1.5  # of the cell's centre, in pixels
        nearest = min(math.dist(place, c) for c in crops[0].centres.tolist())
        target = math.exp(-(nearest**2) / (2 * (2 * radius / 6) ** 2))
        q = p[row, column]
        hit = (column, row) in cells
        expected -= (1 - q) ** 2 * math.log(q) if hit else (1 - target) ** 4 * q**2 * math.log(1 - q)
    assert float(found) == pytest.approx(expected / 3, rel=1e-4)


@pytest.mark.parametrize(("heat", "wrong_at"), [(-100.0, (5, 2)), (100.0, (0, 15))])
def test_a_network_that_is_utterly_sure_and_wrong_has_a_finite_loss(heat, wrong_at):
    # Probabilities are taken between 1e-4 and 1 - 1e-4.
    crops = [crop_of([[10, 20]])]
    dense = perfect(crops)
    least = float(center_losses(CenterOutput(dense, queries_of([]), []), crops, RADIUS)["heat"])
    dense.heat[0][wrong_at] = heat
    found = float(center_losses(CenterOutput(dense, queries_of([]), []), crops, RADIUS)["heat"])
    assert found - least == pytest.approx(-((1 - 1e-4) ** 2) * math.log(1e-4), rel=1e-4)


@pytest.mark.parametrize(
    ("centre", "column", "row"),
    [((-9, 30), 0, 7), ((70, 30), 15, 7), ((30, -9), 7, 0), ((30, 70), 7, 15), ((64, 64), 15, 15), ((-5, -5), 0, 0)],
)
def test_a_particle_beyond_the_border_belongs_to_the_cell_at_the_border(centre, column, row):
    crops = [crop_of([[40, 40]]), crop_of([centre])]
    dense = perfect(crops[:1] * 2)
    dense.heat[:], dense.heat.requires_grad = 0.0, True
    dense.offset[1] = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(1))
    dense.log_radius[1] = torch.randn(16, 16, generator=torch.Generator().manual_seed(2))
    terms = center_losses(CenterOutput(dense, queries_of([]), []), crops, RADIUS)
    wanted = (np.array(centre) + 0.5) / 4 - [column + 0.5, row + 0.5]
    offset = np.abs(dense.offset[1, :, row, column].numpy() - wanted).sum()
    assert float(terms["offset"].detach()) == pytest.approx(0.5 * offset / 2, rel=1e-4)
    assert float(terms["radius"].detach()) == pytest.approx(0.5 * abs(float(dense.log_radius[1, row, column])) / 2)
    terms["heat"].backward()
    assert (dense.heat.grad[1] < 0).nonzero().tolist() == [[row, column]]


def test_offset_and_radius_cost_half_their_error():
    crops = [crop_of([[10, 20]], radius=15)]
    dense = perfect(crops)
    dense.offset[0, :, 5, 2] += torch.tensor([0.2, -0.3])
    dense.log_radius[0, 5, 2] -= 0.4
    terms = center_losses(CenterOutput(dense, queries_of([]), []), crops, RADIUS)
    assert float(terms["offset"]) == pytest.approx(0.25, rel=1e-4)
    assert float(terms["radius"]) == pytest.approx(0.2, rel=1e-4)


def test_junk_is_learned_by_the_share_of_each_cell():
    crop = crop_of([])
    crop.junk[:2, :4] = 1.0  # half of the first cell
    junk = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = center_losses(CenterOutput(dense_of([crop])._replace(junk=junk), queries_of([]), []), [crop], RADIUS)[
        "junk"
    ]
    p = torch.sigmoid(junk[0]).double()
    share = torch.zeros(16, 16, dtype=torch.float64)
    share[0, 0] = 0.5
    expected = -(share * p.log() + (1 - share) * (1 - p).log()).mean()
    assert float(found) == pytest.approx(0.2 * float(expected), rel=1e-5)


def test_without_decoder_layers_only_the_dense_map_learns():
    crops = [crop_of([[10, 20]])]
    terms = center_losses(CenterOutput(dense_of(crops), queries_of([]), []), crops, RADIUS)
    assert terms.keys() == {"heat", "offset", "radius", "junk"}


# --- the set of queries ----------------------------------------------------------------------------------------------


def bce(logit, target):
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def test_a_matched_example_by_hand():
    # The first two queries match; the third is a second answer to the first particle, the fourth is nowhere.
    crops = [crop_of([[20, 20], [44, 40]])]
    rows = [(23, 24, 12, 1.0), (44, 37, 15, 0.5), (20, 26, 12, 0.8), (5, 60, 12, -1.0)]
    terms = losses(queries_of(rows), crops)
    # |d| / r = 5/12 and 3/12; q = exp(-(d / 0.3 D)^2); the target is q^1.5
    targets = [math.exp(-((5 / 12 / 0.6) ** 2)) ** 1.5, math.exp(-((3 / 12 / 0.6) ** 2)) ** 1.5]
    negatives = sum((1 / (1 + math.exp(-z))) ** 1.5 * bce(z, 0) for z in (0.8, -1.0))
    assert float(terms["score"]) == pytest.approx(
        (bce(1.0, targets[0]) + bce(0.5, targets[1]) + negatives) / 2, rel=1e-5
    )
    assert float(terms["centre"]) == pytest.approx(((3 + 4) / 12 + 3 / 12) / 2, rel=1e-5)
    assert float(terms["size"]) == pytest.approx(0.5 * math.log(15 / 12) / 2, rel=1e-4)


def test_the_better_score_wins_between_equal_distances():
    terms = losses(queries_of([(25, 20, 12, -1.0), (20, 25, 14, 2.0)]), [crop_of([[20, 20]])])
    assert float(terms["size"]) == pytest.approx(0.5 * math.log(14 / 12), rel=1e-4)


def test_a_far_query_is_no_partner():
    # Cost 2 d / r - 2 p: at d = 2 r and p = 1/2 it is 3, the limit.
    near, far = ([(20 + d, 20, 12, 0.0)] for d in (23.9, 24.1))
    crops = [crop_of([[20, 20]])]
    assert float(losses(queries_of(near), crops)["centre"]) == pytest.approx(23.9 / 12, rel=1e-4)
    terms = losses(queries_of(far), crops)
    assert float(terms["centre"]) == float(terms["size"]) == 0
    assert float(terms["score"]) == pytest.approx(0.5**1.5 * math.log(2), rel=1e-5)


def best_matching(rows, centres, radius=RADIUS):
    """Pairs of least cost where leaving both alone costs 3, by trying every partial assignment."""
    best, chosen = 0.0, ()
    costs = {
        (i, j): 2 * math.dist(row[:2], centre) / radius - 2 / (1 + math.exp(-row[3])) - 3
        for i, row in enumerate(rows)
        for j, centre in enumerate(centres)
    }
    for size in range(1, min(len(rows), len(centres)) + 1):
        for some in itertools.combinations(range(len(centres)), size):
            for order in itertools.permutations(range(len(rows)), size):
                pairs = tuple(zip(order, some, strict=True))
                total = sum(costs[pair] for pair in pairs)
                if all(costs[pair] < 0 for pair in pairs) and total < best:
                    best, chosen = total, pairs
    return chosen


@pytest.mark.parametrize("seed", range(40))
def test_matching_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 90, (rng.integers(1, 4), 2)).round(1)
    rows = np.array([[*rng.uniform(0, 90, 2), rng.uniform(9, 16), rng.normal()] for _ in range(rng.integers(1, 5))])
    terms = losses(queries_of(rows.tolist()), [crop_of(centres.tolist(), size=96)])
    pairs = best_matching(rows.tolist(), centres.tolist())
    assert float(terms["centre"]) == pytest.approx(
        sum(np.abs(rows[i, :2] - centres[j]).sum() / RADIUS for i, j in pairs) / len(centres), rel=1e-4, abs=1e-6
    )
    assert float(terms["size"]) == pytest.approx(
        sum(0.5 * abs(math.log(rows[i, 2] / RADIUS)) for i, _ in pairs) / len(centres), rel=1e-3, abs=1e-6
    )


def test_a_missed_particle_takes_no_query_from_its_neighbour():
    # On a line: a distant query, a particle, its own query half a radius off, and a particle that nothing is near.
    rows = [(10, 30, 12, 0.0), (136, 30, 12, 0.0)]
    crops = [crop_of([[130, 30], [250, 30]], size=272)]
    terms = losses(queries_of(rows), crops)
    assert float(terms["centre"]) == pytest.approx(6 / 12 / 2, rel=1e-4)


def test_layers_share_the_matching_of_the_last():
    crops = [crop_of([[20, 20], [40, 40]])]
    last = queries_of([(20, 20, 12, 2.0), (40, 40, 12, 2.0)])
    swapped = queries_of([(40, 40, 12, 2.0), (20, 20, 12, 2.0)])
    terms = losses(last, crops, swapped)
    assert float(terms["centre"]) == pytest.approx(2 * (20 + 20) / 12 / 2, rel=1e-5)


def test_padded_queries_count_for_nothing():
    crops = [crop_of([[20, 20]]), crop_of([[40, 30]])]
    rows = [(22, 20, 13, 1.0), (50, 50, 12, 0.3)]
    together = losses(queries_of(rows, [(41, 30, 12, 1.0)]), crops)
    first, second = losses(queries_of(rows), crops[:1]), losses(queries_of([(41, 30, 12, 1.0)]), crops[1:])
    for name in ("score", "centre", "size"):
        assert_close(together[name], (first[name] + second[name]) / 2)


def test_terms_are_means_over_the_particles_of_a_batch():
    crops = [crop_of([[20, 20], [40, 40]], ignored=[])] * 2
    rows = [(23, 20, 13, 1.0), (40, 44, 12, 0.3), (8, 8, 12, 0.0)]
    once, twice = losses(queries_of(rows), crops[:1]), losses(queries_of(rows, rows), crops)
    for name in once:
        assert_close(once[name], twice[name])


# --- ignored particles and empty images ------------------------------------------------------------------------------


def test_ignored_particles_pull_on_nothing_around_them():
    crops = [crop_of([[20, 20], [46, 46]], ignored=[1])]
    dense = dense_of(crops, heat=0.0)
    dense.heat.requires_grad_()
    dense.offset.requires_grad_()
    queries = queries_of([(21, 20, 12, 1.0), (45, 47, 12, 1.0), (50, 44, 12, 0.5), (60, 10, 12, 0.5)])
    queries.logits.requires_grad_()
    queries.centres.requires_grad_()
    sum(center_losses(CenterOutput(dense, queries, [queries]), crops, RADIUS).values()).backward()

    places = 4 * torch.stack(torch.meshgrid(torch.arange(16), torch.arange(16), indexing="xy"), -1) + 1.5
    near = (places - 46).norm(dim=-1) < 0.8 * RADIUS
    assert near.sum() > 10
    assert (dense.heat.grad[0][near] == 0).all()
    assert (dense.heat.grad[0][~near] != 0).all()
    assert dense.offset.grad[0, :, 11, 11].tolist() == [0, 0]
    assert (queries.logits.grad[0] != 0).tolist() == [True, False, False, True]
    assert (queries.centres.grad[0].abs().sum(-1) > 0).tolist() == [True, False, False, False]


@pytest.mark.parametrize(("distance", "taught"), [(0.75, False), (0.85, True)])
def test_queries_within_four_fifths_of_an_ignored_radius_are_left_alone(distance, taught):
    crops = [crop_of([[46, 46]], ignored=[0])]
    # The first is the particle's own; the second is asked about.
    queries = queries_of([(46, 46, 12, 2.0), (46 - distance * RADIUS, 46, 12, 0.5)])
    queries.logits.requires_grad_()
    losses(queries, crops)["score"].backward()
    assert (queries.logits.grad[0] != 0).tolist() == [False, taught]


def test_the_query_of_an_ignored_particle_is_left_alone_wherever_it_lies():
    crops = [crop_of([[10, 10], [10, 50], [50, 10]]), crop_of([[30, 30]], ignored=[0])]
    far = [(5, 5, 12, 0.5), (60, 60, 12, 0.5), (60, 5, 12, 0.5), (5, 60, 12, 0.5)]
    # A radius away, in the second image the third of five: its partner, but not within four fifths of the radius.
    second = [*far[:2], (30, 42, 12, 1.0), *far[2:]]
    first = [(10, 10, 12, 1.0), (10, 50, 12, 1.0), (50, 10, 12, 1.0), (60, 60, 12, 0.5), (30, 60, 12, 0.5)]
    queries = queries_of(first, second)
    queries.logits.requires_grad_()
    losses(queries, crops)["score"].backward()
    assert (queries.logits.grad[0, 3:] != 0).all()
    assert (queries.logits.grad[1] != 0).tolist() == [True, True, False, True, True]


def test_only_particles_that_count_are_counted():
    rows = [(23, 20, 13, 1.0), (46, 47, 12, 2.0)]
    ignoring = losses(queries_of(rows), [crop_of([[20, 20], [46, 46]], ignored=[1])])
    alone = losses(queries_of(rows[:1]), [crop_of([[20, 20]])])
    for name in ("score", "centre", "size"):
        assert_close(ignoring[name], alone[name])


def test_an_empty_image_teaches_what_is_no_particle():
    crops = [crop_of([])]
    queries = queries_of([(20, 20, 12, 1.0)])
    queries.logits.requires_grad_()
    dense = dense_of(crops, heat=0.0)
    dense.heat.requires_grad_()
    terms = center_losses(CenterOutput(dense, queries, [queries]), crops, RADIUS)
    assert (
        float(terms["offset"].detach()) == float(terms["radius"]) == float(terms["centre"]) == float(terms["size"]) == 0
    )
    sum(terms.values()).backward()
    assert (dense.heat.grad > 0).all()
    assert (queries.logits.grad > 0).all()


@pytest.mark.parametrize("ignored", [[], [0, 1]])
def test_an_image_whose_particles_are_all_ignored_is_finite(ignored):
    terms = losses(queries_of([(20, 20, 12, 1.0)]), [crop_of([[20, 20], [40, 40]], ignored=ignored)])
    assert all(torch.isfinite(value) for value in terms.values())


@pytest.mark.parametrize("spoiled", ["logits", "centres"])
def test_broken_numbers_come_out_as_a_broken_loss(spoiled):
    # The training loop stops at a loss that is not finite and says so.
    queries = queries_of([(20, 20, 12, 1.0), (40, 40, 12, 1.0)])
    getattr(queries, spoiled)[:] = math.nan
    crops = [crop_of([[20, 20], [40, 40]])]
    dense = dense_of(crops)._replace(heat=torch.full((1, 16, 16), math.nan))
    terms = center_losses(CenterOutput(dense, queries, [queries]), crops, RADIUS)
    assert not torch.isfinite(torch.stack(list(terms.values())).sum())
