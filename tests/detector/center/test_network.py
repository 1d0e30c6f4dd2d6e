"""The default model: where its queries come from, and what decoding may and may not change about them."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from cryotx_cli.config import CenterConfig
from cryotx_cli.detector.center.deformable import DeformableAttention, RowMap
from cryotx_cli.detector.center.network import (
    STRIDE,
    CenterDETR,
    DenseMap,
    fold_batch_norms,
    query_limit,
)

TINY = CenterConfig(widths=(4, 8, 12, 16), depths=(1, 1, 1), hidden_dim=16, thin_dim=8, heads=2)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def model():
    return CenterDETR(TINY).eval()


def images(batch=1, height=64, width=96):
    return torch.randn(batch, 1, height, width, generator=torch.Generator().manual_seed(1))


def plant(model, peaks, height=64, width=96, floor=-12.0):
    """Have the dense head say, for each image, a list of (column, row, logit, x offset, y offset, log radius)."""
    shape = (len(peaks), height // STRIDE, width // STRIDE)
    heat, log_radius, junk = torch.full(shape, floor), torch.zeros(shape), torch.zeros(shape)
    offset = torch.zeros(len(peaks), 2, *shape[1:])
    for b, rows in enumerate(peaks):
        for column, row, logit, dx, dy, lr in rows:
            heat[b, row, column], log_radius[b, row, column] = logit, lr
            offset[b, :, row, column] = torch.tensor([dx, dy])
    model.dense = lambda thin: DenseMap(heat, offset, log_radius, junk)


def stir(model):
    """Give the decoder's heads something to say: they start at zero."""
    for head in [*model.score_heads, *(heads[2] for heads in model.shape_heads)]:
        torch.nn.init.normal_(head.weight, std=0.3)


# --- the dense map becomes queries -----------------------------------------------------------------------------------


def test_maps_have_stride_four():
    output = CenterDETR(TINY).eval()(images(2))
    assert output.dense.heat.shape == output.dense.log_radius.shape == output.dense.junk.shape == (2, 16, 24)
    assert output.dense.offset.shape == (2, 2, 16, 24)


def test_planted_peaks_become_queries_at_their_pixels_best_first(model):
    # The centre of cell (column, row) lies at 4 (column + 1/2), 4 (row + 1/2) from the image's corner.
    plant(
        model, [[(3, 10, 0.5, 0.25, -0.5, 0.0), (20, 2, 2.0, 0.0, 0.0, math.log(1.5)), (0, 15, -1.0, 0.0, 0.5, -1.0)]]
    )
    peaks = model(images()).peaks
    assert_close(peaks.logits, torch.tensor([[2.0, 0.5, -1.0]]))
    assert_close(peaks.centres, torch.tensor([[[82.0, 10.0], [15.0, 40.0], [2.0, 64.0]]]))
    assert_close(peaks.radii, torch.tensor([[18.0, 12.0, 12 * math.exp(-1)]]))
    assert peaks.valid.all()


def test_only_local_maxima_are_queries(model):
    plant(model, [[(5, 5, 1.0, 0, 0, 0), (6, 5, 0.9, 0, 0, 0), (6, 6, 0.8, 0, 0, 0), (8, 5, 0.7, 0, 0, 0)]])
    assert_close(model(images()).peaks.logits, torch.tensor([[1.0, 0.7]]))


def test_peaks_below_the_floor_are_no_queries(model):
    floor = math.log(0.01 / 0.99)
    plant(model, [[(5, 5, floor + 0.01, 0, 0, 0), (15, 5, floor - 0.01, 0, 0, 0)]])
    assert model(images()).peaks.logits.shape == (1, 1)


def test_an_image_without_peaks_has_no_detections(model):
    plant(model, [[]])
    assert not model(images()).final.valid.any()


def test_the_best_peaks_survive_a_limit(model):
    plant(model, [[(3 * i + 1, 5, float(i % 4), 0, 0, 0) for i in range(7)]])
    assert_close(model(images(), max_queries=3).peaks.logits, torch.tensor([[3.0, 2.0, 2.0]]))


def test_the_limit_follows_the_area(model):
    plant(model, [[(2 * i, 2 * j, 0.1 * i + 0.001 * j, 0, 0, 0) for i in range(16) for j in range(16)]], 128, 128)
    assert model(images(1, 128, 128)).peaks.logits.shape == (1, query_limit((128, 128), TINY.radius)) == (1, 85)


@pytest.mark.parametrize(
    ("shape", "radius", "limit"),
    [
        ((256, 256), 12.0, 341),  # 1.5 x 65536 / (24^2 / 2)
        ((512, 256), 12.0, 682),
        ((256, 256), 24.0, 85),
        ((16, 16), 12.0, 64),
        ((4096, 4096), 12.0, 2500),
    ],
)
def test_query_limit(shape, radius, limit):
    assert query_limit(shape, radius) == limit


def test_radii_stay_within_a_factor_of_the_nominal_one(model):
    with torch.no_grad():
        model.dense_head[1].bias[0], model.dense_head[1].bias[3] = 3.0, 50.0
    assert_close(
        model(images()).peaks.radii, torch.full((1, 1), 12 * math.exp(1.5)).expand_as(model(images()).peaks.radii)
    )


# --- the decoder -----------------------------------------------------------------------------------------------------


def test_an_untrained_decoder_returns_the_peaks_exactly(model):
    output = model(images(2))
    assert output.peaks.logits.shape[1] > 10
    assert len(output.layers) == 2
    for layer in output.layers:
        for name in ("logits", "centres", "radii", "valid"):
            assert torch.equal(getattr(layer, name), getattr(output.peaks, name)), name


def test_a_decoder_moves_queries_by_radii(model):
    plant(model, [[(10, 8, 1.5, 0, 0, math.log(2.0)), (20, 8, 1.0, 0, 0, 0.0)]])
    shape, score = model.shape_heads[0][2], model.score_heads[0]
    with torch.no_grad():
        shape.bias.copy_(torch.tensor([0.25, -0.5, math.log(1.2)]))
        score.bias.fill_(-0.75)
    first, last = model(images()).layers
    assert_close(first.centres, torch.tensor([[[42 + 6.0, 34 - 12.0], [82 + 3.0, 34 - 6.0]]]))
    assert_close(first.radii, torch.tensor([[28.8, 14.4]]))
    assert_close(first.logits, torch.tensor([[0.75, 0.25]]))
    assert torch.equal(last.centres, first.centres)


def test_one_step_changes_a_radius_by_no_more_than_e(model):
    plant(model, [[(10, 8, 1.0, 0, 0, 0.0)]])
    with torch.no_grad():
        model.shape_heads[1][2].bias[2] = -30.0
    assert_close(model(images()).final.radii, torch.tensor([[12 / math.e]]))


def test_without_decoder_layers_the_peaks_are_the_answer():
    output = CenterDETR(replace(TINY, decoder_layers=0)).eval()(images())
    assert output.layers == []
    assert output.final is output.peaks


def test_images_of_a_batch_do_not_see_each_other(model):
    stir(model)
    pair = images(2)
    together = model(pair)
    assert not together.final.valid.all()  # one has fewer peaks, so its queries are padded
    for b in range(2):
        alone = model(pair[b : b + 1])
        kept = together.final.valid[b]
        assert kept.sum() == alone.final.valid.sum()
        for name in ("logits", "centres", "radii"):
            assert_close(getattr(together.final, name)[b][kept], getattr(alone.final, name)[0], rtol=1e-4, atol=1e-4)
        assert not torch.equal(alone.final.logits, alone.peaks.logits)


def test_padding_is_marked_and_scores_nothing(model):
    stir(model)
    plant(model, [[(3, 3, 1.0, 0, 0, 0), (9, 9, 0.5, 0, 0, 0)], [(5, 5, 2.0, 0, 0, 0)], []])
    output = model(images(3))
    for stage in (output.peaks, *output.layers):
        assert stage.valid.tolist() == [[True, True], [True, False], [False, False]]
        assert (stage.logits[~stage.valid].sigmoid() < 1e-6).all()


def test_an_image_without_queries_spoils_no_gradient(model):
    model.train()
    stir(model)
    plant(model, [[(3, 3, 1.0, 0, 0, 0)], []])
    final = model(images(2)).final
    (final.logits[final.valid].sum() + final.centres[final.valid].sum()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 20
    assert all(torch.isfinite(g).all() for g in gradients)


def test_the_decoder_does_not_teach_the_heat_map(model):
    stir(model)
    final = model(images()).final
    (final.logits.sum() + final.centres.sum() + final.radii.sum()).backward()
    assert model.dense_head[1].weight.grad is None
    assert model.stem[0].weight.grad.abs().sum() > 0  # it does teach the features


def test_half_precision_arithmetic_leaves_detections_in_full_precision(model):
    stir(model)
    with torch.autocast("cpu", torch.bfloat16):
        final = model(images()).final
    assert final.logits.dtype == final.centres.dtype == final.radii.dtype == torch.float32
    assert torch.isfinite(final.centres).all()


def test_deformable_attention_looks_where_it_should():
    # Maps that hold their own coordinates (px from the corner) return the mean of the points that were looked at:
    # four points on a ray for each head, at 1/4, 1/2, 3/4 and 1 radius, here with equal weights.
    heads, width, height = 4, 128, 64
    attention = DeformableAttention(8, heads)
    with torch.no_grad():
        attention.weights.weight.zero_()
        attention.weights.bias.zero_()
        attention.out.weight.copy_(torch.eye(8))
        attention.out.bias.zero_()
    values = []
    for stride in (4, 8, 16):
        y, x = torch.meshgrid(
            (torch.arange(height // stride) + 0.5) * stride,
            (torch.arange(width // stride) + 0.5) * stride,
            indexing="ij",
        )
        values.append(torch.stack([x, y]).expand(1, heads, 2, -1, -1))
    size = torch.tensor([width, height])
    centres, radii = torch.tensor([[40.0, 30.0], [90.5, 25.25]]), torch.tensor([12.0, 8.0])
    found = attention(torch.randn(1, 2, 8), (centres / size)[None], (radii[:, None] / size)[None], values)
    rays = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    expected = centres[:, None] + 0.625 * radii[:, None, None] * rays
    assert_close(found[0], expected.flatten(1), atol=1e-4, rtol=1e-5)


def test_inference_computes_what_training_differentiates(model):
    """On a processor, what nobody differentiates is computed in fewer passes."""
    stir(model)
    for layer in model.decoder:
        torch.nn.init.normal_(layer.cross.offsets.weight, std=0.2)  # some places lie outside the image
        torch.nn.init.normal_(layer.cross.weights.weight)
    for projection in model.values:
        torch.nn.init.normal_(projection.bias)
    batch = images(3, 64, 96).contiguous(memory_format=torch.channels_last)
    slow = model(batch)
    with torch.inference_mode():
        fast = model(batch)
    assert slow.final.logits.requires_grad
    assert slow.final.logits.shape[1] > 20
    for name in ("logits", "centres", "radii"):
        assert_close(getattr(fast.final, name), getattr(slow.final, name).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [4, 16], ids=["sums projected", "map projected"])
def test_a_table_of_rows_is_sampled_like_a_grid(channels):
    heads, points, n, height, width = 2, 3, 50, 5, 7
    level = torch.randn(2, channels, height, width)
    weight, bias = torch.randn(16, channels), torch.randn(16)
    places, weights = torch.rand(2, heads, n, points, 2) * 1.6 - 0.3, torch.rand(2, heads, n, points)
    table = RowMap.of(level, weight, bias, heads)
    by_query = [places[..., axis].permute(1, 3, 0, 2).flatten(2) for axis in (0, 1)]
    image = torch.tensor([0, 1], dtype=torch.int32).repeat_interleave(n)
    got = table.attended(*by_query, weights.permute(1, 3, 0, 2).flatten(2), image)

    values = F.conv2d(level, weight[:, :, None, None], bias).unflatten(1, (heads, -1)).flatten(0, 1)
    sampled = F.grid_sample(values, 2 * places.flatten(0, 1) - 1, align_corners=False)
    wanted = (sampled * weights.flatten(0, 1)[:, None]).sum(-1).view(2, heads, -1, n).permute(1, 0, 3, 2).flatten(1, 2)
    assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_the_default_size_is_that_of_the_specification():
    count = sum(p.numel() for p in CenterDETR(CenterConfig()).parameters())
    assert count == pytest.approx(3.6e6, rel=0.01)


def test_folding_batch_norms_changes_no_answer(model):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2.0)
    before = model.dense(model.features(images())[0])
    fold_batch_norms(model)
    after = model.dense(model.features(images())[0])
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    assert before.heat.std() > 1e-4  # the maps say something that could differ
    for one, other in zip(before, after, strict=True):
        assert_close(one, other, atol=1e-5, rtol=1e-4)
