"""The paper's network against recorded outputs, against another implementation, and against its own promises."""

import hashlib
import math
import re
from functools import cache
from urllib.error import URLError

import numpy as np
import pytest
import torch

from cryotx_cli.detector.cryotransformer.backbone import Backbone, load_imagenet_weights
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig, box_corners, pad_to_batch
from cryotx_cli.detector.cryotransformer.position_encoding import position_encoding
from cryotx_cli.errors import CheckpointError, ConfigError
from cryotx_cli.training.cryotransformer.loss import SetCriterion
from cryotx_cli.training.cryotransformer.matcher import HungarianMatcher, ParticleTargets
from recorded_formulas import parameter_by_formula, recorded_arrays, recorded_json

TINY = {"backbone": "resnet18", "hidden_dim": 32, "nheads": 4, "enc_layers": 1, "dec_layers": 2, "dim_feedforward": 48}


def recorded_config(name):
    meta = recorded_json("model_meta.json")
    return DetrConfig(dropout=0.0, **meta["configs"].get(name, {}))


def image_by_formula(seed, height, width):
    stream = np.random.RandomState(seed)
    blocks = stream.randint(-32768, 32768, size=(3, -(-height // 16), -(-width // 16)), dtype=np.int32) / 16384
    blocks = np.repeat(np.repeat(blocks, 16, 1), 16, 2)[:, :height, :width]
    noise = stream.randint(-32768, 32768, size=(3, height, width), dtype=np.int32) / 16384
    return (0.875 * blocks + 0.125 * noise).astype(np.float32)


@cache
def network_by_formula(name):
    network = Detr(recorded_config(name)).eval()
    filled = {key: parameter_by_formula(key, tuple(old.shape)) for key, old in network.state_dict().items()}
    network.load_state_dict({key: torch.from_numpy(new.astype(np.float32)) for key, new in filled.items()})
    return network


@torch.no_grad()
def assert_recorded_outputs(network, images, padding, record, prefix):
    output = network(images, padding)
    last = len(output.logits) - 1
    for layer in range(last + 1):
        key = prefix if layer == last else f"{prefix}aux{layer}_"
        np.testing.assert_allclose(output.logits[layer], record[key + "pred_logits"], atol=1e-3, rtol=0)
        np.testing.assert_allclose(output.boxes[layer], record[key + "pred_boxes"], atol=1e-4, rtol=0)


def test_formulas_give_the_inputs_that_were_recorded():
    meta = recorded_json("model_meta.json")
    for name, known in meta["filler_checksums"].items():
        values = parameter_by_formula(name, known["shape"]).astype(np.float32)
        assert hashlib.sha256(values.tobytes()).hexdigest() == known["sha256"], name
    for call, sha256 in meta["image_checksums"].items():
        image = image_by_formula(*map(int, re.findall(r"\d+", call)))
        assert hashlib.sha256(image.tobytes()).hexdigest() == sha256, call


@pytest.mark.parametrize(
    "name",
    [
        "A_r18",
        "B_r50",
        pytest.param("C_r50_dc5", marks=pytest.mark.slow),
        "D_r18_prenorm",
        pytest.param("G_r34", marks=pytest.mark.slow),
    ],
)
def test_outputs_are_those_of_the_original(name):
    network, record = network_by_formula(name), recorded_arrays(f"model_{name}.npz")
    meta = recorded_json("model_meta.json")
    one = torch.from_numpy(image_by_formula(*meta["single"][name]))[None]
    assert_recorded_outputs(network, one, None, record, "single_")
    batch, padding = pad_to_batch([torch.from_numpy(image_by_formula(*size)) for size in meta["batch"]])
    if "batch_mask_packed" in record:
        shape = tuple(record["batch_mask_shape"])
        mask = np.unpackbits(record["batch_mask_packed"])[: math.prod(shape)].reshape(shape)
        np.testing.assert_array_equal(padding, mask.astype(bool))
    assert_recorded_outputs(network, batch, padding, record, "batch_")


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["s256x320_", "s800x827_"])
def test_outputs_of_the_default_network_are_those_of_the_original(prefix):
    network, record = network_by_formula("F_r152_600"), recorded_arrays("model_F_r152_600.npz")
    size = recorded_json("model_meta.json")["full"]["inputs"][prefix]
    assert_recorded_outputs(network, torch.from_numpy(image_by_formula(*size))[None], None, record, prefix)


@torch.no_grad()
def test_stages_are_those_of_the_original():
    network, record = network_by_formula("A_r18"), recorded_arrays("model_A_r18.npz")
    sizes = recorded_json("model_meta.json")["batch"]
    batch, _ = pad_to_batch([torch.from_numpy(image_by_formula(*size)) for size in sizes])
    cell_padding = torch.from_numpy(record["batch_featmask"])
    resnet, encode_positions = network.backbone
    features, positions = resnet(batch), encode_positions(cell_padding)
    np.testing.assert_allclose(features, record["batch_feat"], atol=2e-4)
    np.testing.assert_allclose(positions, record["batch_pos"], atol=1e-5)
    cells = network.input_proj(features)
    np.testing.assert_allclose(cells, record["batch_inputproj"], atol=2e-4)
    found, memory = network.transformer(
        cells.flatten(2).transpose(1, 2),
        positions.flatten(2).transpose(1, 2),
        network.query_embed.weight,
        cell_padding.flatten(1),
    )
    np.testing.assert_allclose(memory.transpose(1, 2).reshape(cells.shape), record["batch_memory"], atol=1e-3)
    np.testing.assert_allclose(found, record["batch_hs"], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("A_r18", None),
        ("C_r50_dc5", None),
        ("E_r18_learnedpos", None),
        pytest.param("r152_600_default", DetrConfig(), marks=pytest.mark.slow),
        ("detr_r101_dc5_style", DetrConfig(backbone="resnet101", dilation=True, num_classes=91, num_queries=100)),
    ],
)
def test_parameters_have_the_published_names_in_the_published_order(name, config):
    with torch.device("meta"):
        state = Detr(config or recorded_config(name)).state_dict()
    ours = [[key, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for key, tensor in state.items()]
    assert ours == recorded_json(f"state_dict_{name}.json")


def test_what_learns_is_what_learned_in_the_original():
    meta = recorded_json("model_meta.json")["full"]
    with torch.device("meta"):
        sizes = [(p.numel(), p.requires_grad) for p in Detr(DetrConfig()).parameters()]
        small = Detr(recorded_config("A_r18"))
    assert sum(size for size, _ in sizes) == meta["params_total"]
    assert sum(size for size, learns in sizes if learns) == meta["params_trainable"]
    frozen = [name for name, parameter in small.named_parameters() if not parameter.requires_grad]
    assert frozen == recorded_json("train_dataset_eval.json")["frozen_parameters"]


@pytest.mark.parametrize(("convention", "particle_class"), [("orig_label1", 1), ("correct_label0", 0)])
def test_first_training_step_has_the_recorded_losses_and_gradients(convention, particle_class):
    step = recorded_json("train_dataset_eval.json")[convention]["steps"][0]
    network = network_by_formula("A_r18")
    network.zero_grad()
    batch, padding = pad_to_batch([torch.from_numpy(image_by_formula(*size)) for size in ((2, 96, 128), (3, 128, 104))])
    stream, boxes = np.random.RandomState(2009), []
    for n in (5, 3):
        side = 0.05 + 0.05 * stream.randint(0, 65536, size=(n, 1), dtype=np.int32) / 65536
        centre = 0.1 + 0.8 * stream.randint(0, 65536, size=(n, 2), dtype=np.int32) / 65536
        boxes.append(torch.from_numpy(np.concatenate([centre, side, side], -1).astype(np.float32)))
    criterion = SetCriterion(matcher=HungarianMatcher(particle_class=particle_class))
    loss = criterion(network(batch, padding), ParticleTargets.from_boxes(boxes))
    loss.total.backward()

    assert loss.total.item() == pytest.approx(step["total"], rel=1e-5)
    for name, value in step["losses"].items():
        assert loss.terms[name].item() == pytest.approx(value, rel=1e-4, abs=1e-4), name
    norms = {name: p.grad.norm().item() for name, p in network.named_parameters() if p.grad is not None}
    assert norms.keys() == step["grad_l2_per_param"].keys()
    for name, norm in step["grad_l2_per_param"].items():
        # The first self-attention of the decoder sees zeros only: its gradient is rounding.
        if name != "transformer.decoder.layers.0.self_attn.in_proj_weight":
            assert norms[name] == pytest.approx(norm, rel=1e-3, abs=1e-5), name
    network.zero_grad()


def randomise(network, seed):
    """Give every parameter and every batch statistic a value of its own, so that no two can be confused."""
    torch.manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() <= 1:
            tensor.normal_(0.7 if name.endswith("weight") else 0.0, 0.2)
        else:
            tensor.normal_(0, 1.5 / math.sqrt(tensor[0].numel()))


def transformers_name(name):
    """Translate one of our parameter names into that of `transformers`' DETR (projections are split there)."""
    rules = [
        (r"backbone\.0\.body\.conv1\.(\w+)", r"model.backbone.model.embedder.embedder.convolution.\1"),
        (r"backbone\.0\.body\.bn1\.(\w+)", r"model.backbone.model.embedder.embedder.normalization.\1"),
        (
            r"backbone\.0\.body\.layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)",
            lambda m: (
                f"model.backbone.model.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.layer.{int(m[4]) - 1}."
                f"{'convolution' if m[3] == 'conv' else 'normalization'}.{m[5]}"
            ),
        ),
        (
            r"backbone\.0\.body\.layer(\d)\.(\d+)\.downsample\.(\d)\.(\w+)",
            lambda m: (
                f"model.backbone.model.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.shortcut."
                f"{('convolution', 'normalization')[int(m[3])]}.{m[4]}"
            ),
        ),
        (r"query_embed\.weight", "model.query_position_embeddings.weight"),
        (r"input_proj\.(\w+)", r"model.input_projection.\1"),
        (r"class_embed\.(\w+)", r"class_labels_classifier.\1"),
        (r"bbox_embed\.(.+)", r"bbox_predictor.\1"),
        (r"transformer\.decoder\.norm\.(\w+)", r"model.decoder.layernorm.\1"),
        (r"transformer\.(\w+\.layers\.\d+)\.linear([12])\.(\w+)", r"model.\1.mlp.fc\2.\3"),
        (r"transformer\.(\w+\.layers\.\d+)\.self_attn\.out_proj\.(\w+)", r"model.\1.self_attn.o_proj.\2"),
        (r"transformer\.(\w+\.layers\.\d+)\.multihead_attn\.out_proj\.(\w+)", r"model.\1.encoder_attn.o_proj.\2"),
        (r"transformer\.(\w+\.layers\.\d+)\.self_attn\.in_proj_(\w+)", r"model.\1.self_attn.{}_proj.\2"),
        (r"transformer\.(\w+\.layers\.\d+)\.multihead_attn\.in_proj_(\w+)", r"model.\1.encoder_attn.{}_proj.\2"),
        (r"transformer\.(\w+\.layers\.\d+)\.norm1\.(\w+)", r"model.\1.self_attn_layer_norm.\2"),
        (r"transformer\.(encoder\.layers\.\d+)\.norm2\.(\w+)", r"model.\1.final_layer_norm.\2"),
        (r"transformer\.(decoder\.layers\.\d+)\.norm2\.(\w+)", r"model.\1.encoder_attn_layer_norm.\2"),
        (r"transformer\.(decoder\.layers\.\d+)\.norm3\.(\w+)", r"model.\1.final_layer_norm.\2"),
    ]
    return next(re.sub(pattern, new, name) for pattern, new in rules if re.fullmatch(pattern, name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "layer_type", "sizes", "depths"),
    [
        ("resnet18", "basic", [64, 128, 256, 512], [2, 2, 2, 2]),
        ("resnet50", "bottleneck", [256, 512, 1024, 2048], [3, 4, 6, 3]),
    ],
)
@torch.no_grad()
def test_outputs_are_those_of_another_implementation(backbone, layer_type, sizes, depths):
    transformers = pytest.importorskip("transformers", minversion="5.0")
    config = DetrConfig(**{**TINY, "backbone": backbone}, num_queries=7, num_classes=3)
    network = Detr(config).eval()
    randomise(network, seed=1)
    resnet = transformers.ResNetConfig(
        embedding_size=64, hidden_sizes=sizes, depths=depths, layer_type=layer_type, out_features=["stage4"]
    )
    names = {label: str(label) for label in range(config.num_classes)}
    witness = transformers.DetrForObjectDetection(
        transformers.DetrConfig(
            backbone_config=resnet,
            d_model=config.hidden_dim,
            num_queries=config.num_queries,
            encoder_layers=config.enc_layers,
            decoder_layers=config.dec_layers,
            encoder_ffn_dim=config.dim_feedforward,
            decoder_ffn_dim=config.dim_feedforward,
            encoder_attention_heads=config.nheads,
            decoder_attention_heads=config.nheads,
            id2label=names,
            label2id={name: label for label, name in names.items()},
        )
    ).eval()
    translated = {}
    for name, tensor in network.state_dict().items():
        other = transformers_name(name)
        if "{}" in other:
            translated |= {other.format(part): piece for part, piece in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            translated[other] = tensor
    witness.load_state_dict(translated)

    batch, padding = pad_to_batch([torch.randn(3, 96, 128), torch.randn(3, 128, 70)])
    ours = network(batch, padding)
    theirs = witness(pixel_values=batch, pixel_mask=(~padding).long())
    torch.testing.assert_close(ours.logits[-1], theirs.logits, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(ours.boxes[-1], theirs.pred_boxes, atol=2e-5, rtol=1e-4)
    assert ours.logits[-1].std() > 0.1  # weights that switch the network off would agree too


@pytest.mark.parametrize("changes", [{}, {"pre_norm": True}, {"position_embedding": "learned"}])
@torch.no_grad()
def test_permuted_queries_give_permuted_answers(changes):
    network = Detr(DetrConfig(**TINY, num_queries=9, **changes)).eval()
    randomise(network, seed=2)
    images = torch.randn(1, 3, 64, 96)
    before = network(images)
    order = torch.randperm(9)
    network.query_embed.weight.copy_(network.query_embed.weight[order])
    after = network(images)
    torch.testing.assert_close(after.logits, before.logits[:, :, order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.boxes, before.boxes[:, :, order], atol=1e-4, rtol=1e-4)
    assert before.boxes.std(dim=2).min() > 1e-4


@torch.no_grad()
def test_padding_mask_without_padding_changes_nothing():
    network = Detr(DetrConfig(**TINY, num_queries=5)).eval()
    images = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(network(images).boxes, network(images, torch.zeros(2, 64, 96, dtype=torch.bool)).boxes)


@torch.no_grad()
def test_what_lies_in_padding_is_not_seen():
    network = Detr(DetrConfig(**TINY, num_queries=5)).eval()
    randomise(network, seed=3)
    image = torch.randn(1, 3, 64, 512)
    padding = torch.zeros(1, 64, 512, dtype=torch.bool)
    padding[..., 128:] = True
    other = image.clone()
    other[..., 480:] = torch.randn(1, 3, 64, 32)  # beyond the reach of the convolutions of unpadded cells
    cells = network.backbone[0](torch.cat([image, other]))[..., :4]
    assert torch.equal(cells[0], cells[1])
    torch.testing.assert_close(network(image, padding).logits, network(other, padding).logits)
    assert not torch.allclose(network(image).logits, network(other).logits)


@torch.no_grad()
def test_sine_positions_follow_the_formula():
    padding = torch.ones(2, 5, 7, dtype=torch.bool)
    padding[0, :5, :7] = False
    padding[1, :3, :4] = False
    encoding = position_encoding("sine", 16)(padding)
    assert encoding.shape == (2, 16, 5, 7)
    for image, (height, width) in enumerate([(5, 7), (3, 4)]):
        for row, column, channel in [(0, 0, 0), (2, 3, 1), (1, 2, 6), (2, 1, 7), (0, 3, 8), (2, 2, 11), (1, 0, 15)]:
            share = (row + 1) / height if channel < 8 else (column + 1) / width
            wave = channel % 8
            angle = 2 * math.pi * share / 10000 ** (2 * (wave // 2) / 8)
            expected = math.cos(angle) if wave % 2 else math.sin(angle)
            assert encoding[image, channel, row, column].item() == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_learned_positions_look_up_column_and_row():
    encode = position_encoding("learned", 8)
    encoding = encode(torch.zeros(2, 3, 5, dtype=torch.bool))
    assert encoding.shape == (2, 8, 3, 5)
    assert torch.equal(encoding[1, :, 2, 4], torch.cat([encode.col_embed.weight[4], encode.row_embed.weight[2]]))


def test_bfloat16_leaves_boxes_in_single_precision():
    network = Detr(DetrConfig(**TINY, num_queries=5)).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(torch.randn(1, 3, 64, 64))
    assert output.logits.dtype == output.boxes.dtype == torch.float32
    assert output.boxes.min() > 0
    assert output.boxes.max() < 1
    # A value that bfloat16 could hold has its lowest 16 bits empty.
    assert (output.boxes.contiguous().view(torch.int32) & 0xFFFF).any()


def test_dilation_halves_the_stride():
    images = torch.randn(1, 3, 96, 64)
    for dilation, shape in [(False, (3, 2)), (True, (6, 4))]:
        backbone = Backbone("resnet50", dilation=dilation).eval()
        features = backbone(images)
        assert features.shape == (1, backbone.channels, *shape)
        assert backbone.stride == 96 // shape[0]


def test_from_scratch_everything_learns_and_batch_statistics_are_real():
    network = Detr(DetrConfig(**TINY, frozen_backbone=False, num_queries=5)).train()
    assert all(parameter.requires_grad for parameter in network.parameters())
    mean = network.backbone[0].body.bn1.running_mean.clone()
    network(torch.randn(2, 3, 64, 64)).boxes.sum().backward()
    assert not torch.equal(network.backbone[0].body.bn1.running_mean, mean)
    assert network.backbone[0].body.conv1.weight.grad.abs().sum() > 0
    weight = network.backbone[0].body.layer4[0].conv2.weight
    bound = math.sqrt(6 / (9 * (weight.shape[0] + weight.shape[1])))  # Glorot & Bengio 2010, Eq. 16
    assert bound * 0.99 < weight.abs().max().item() <= bound


@pytest.mark.parametrize("frozen", [True, False])
def test_imagenet_weights_come_from_the_cache(tmp_path, monkeypatch, frozen):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache_folder = tmp_path / "hub" / "checkpoints"
    cache_folder.mkdir(parents=True)
    published = Backbone("resnet18", frozen=False).body.state_dict() | {"fc.weight": torch.randn(1000, 512)}
    published["bn1.running_mean"] = torch.randn(64)
    torch.save(published, cache_folder / "resnet18-f37072fd.pth")
    backbone = Backbone("resnet18", frozen=frozen)
    load_imagenet_weights(backbone, "resnet18")
    for name, tensor in backbone.body.state_dict().items():
        torch.testing.assert_close(tensor, published[name])


def test_imagenet_weights_that_cannot_be_had_are_explained(tmp_path, monkeypatch):
    def no_network(*_args, **_kwargs):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(CheckpointError, match=r"resnet18.*no route to host") as caught:
        load_imagenet_weights(Backbone("resnet18"), "resnet18")
    assert str(tmp_path) in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"backbone": "resnet19"}, "resnet19"),
        ({"backbone": "resnet34", "dilation": True}, "dilat"),
        ({"nheads": 5}, "nheads"),
        ({"hidden_dim": 30, "nheads": 3}, "hidden_dim"),
        ({"position_embedding": "rotary"}, "position_embedding"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, named):
    with pytest.raises(ConfigError, match=named):
        Detr(DetrConfig(**{**TINY, **changes}))


def test_more_cells_than_learned_positions_are_refused():
    with pytest.raises(ConfigError, match="51"):
        position_encoding("learned", 8)(torch.zeros(1, 4, 51, dtype=torch.bool))


def test_box_corners_of_known_boxes():
    boxes = torch.tensor([[0.5, 0.25, 0.5, 0.125], [0.0, 1.0, 0.25, 0.5]])
    assert box_corners(boxes).tolist() == [[0.25, 0.1875, 0.75, 0.3125], [-0.125, 0.75, 0.125, 1.25]]
