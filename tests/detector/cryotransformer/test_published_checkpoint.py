"""Files of other programs: what is read from them, and what is refused."""

import argparse
import dataclasses
import pickle
from pathlib import Path

import pytest
import torch

from cryotx_cli.detector.cryotransformer.backbone import RESNETS
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.detector.cryotransformer.published_checkpoint import read_published_checkpoint
from cryotx_cli.errors import CheckpointError
from recorded_formulas import recorded_json

SMALL = DetrConfig(
    backbone="resnet18", hidden_dim=32, nheads=4, enc_layers=1, dec_layers=2, dim_feedforward=48, num_queries=9
)


def save_as_original(path, model, **arguments):
    """Write what the original's training program writes after an epoch."""
    config = model.config
    arguments = {
        "backbone": config.backbone,
        "dilation": config.dilation,
        "nheads": config.nheads,
        "dropout": 0.1,
        "lr_drop": 200,
        "output_dir": "output/",
        "device": "cuda",
        "frozen_weights": None,
        **arguments,
    }
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 200)
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimiser.state_dict(),
            "lr_scheduler": scheduler.state_dict(),
            "epoch": 199,
            "args": argparse.Namespace(**arguments),
        },
        path,
    )


def save_shapes(path, config, change=lambda weights: None, **extra):
    """Write weights of the right shapes that take no space: every tensor repeats one number."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Detr(config).state_dict().items()}
    weights = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    change(weights)
    torch.save({"model": weights, **extra}, path)


@torch.no_grad()
def test_a_file_of_the_original_gives_its_network_back(tmp_path):
    model = Detr(dataclasses.replace(SMALL, pre_norm=True, position_embedding="learned")).eval()
    save_as_original(tmp_path / "original.pth", model, nheads=4)
    checkpoint = read_published_checkpoint(tmp_path / "original.pth")
    assert checkpoint.config == model.config
    assert checkpoint.epoch == 199
    assert checkpoint.arguments["lr_drop"] == 200
    assert checkpoint.degenerate_class_head
    images = torch.randn(1, 3, 64, 96)
    built = checkpoint.build()
    assert not built.training
    assert torch.equal(built(images).boxes, model(images).boxes)


def test_a_file_of_facebookresearch_detr_is_a_sound_head_with_default_heads(tmp_path):
    config = dataclasses.replace(SMALL, num_classes=91, nheads=8)
    torch.save({"model": Detr(config).state_dict()}, tmp_path / "detr.pth")
    checkpoint = read_published_checkpoint(str(tmp_path / "detr.pth"))
    assert checkpoint.config == config
    assert not checkpoint.degenerate_class_head
    assert checkpoint.epoch is None
    assert checkpoint.arguments == {}


@pytest.mark.parametrize(
    "backbone", [pytest.param(one, marks=[pytest.mark.slow] * one.endswith(("101", "152"))) for one in RESNETS]
)
def test_the_backbone_is_told_by_its_blocks(tmp_path, backbone):
    config = dataclasses.replace(SMALL, backbone=backbone, nheads=8)
    save_shapes(tmp_path / "weights.pth", config)
    assert read_published_checkpoint(tmp_path / "weights.pth").config == config


@pytest.mark.parametrize(
    ("name", "arguments", "dilation"),
    [
        ("detr-r50-dc5-f0fb7ef5.pth", None, True),
        ("detr-r50-e632da11.pth", None, False),
        ("mine.pth", {"dilation": True}, True),
        ("dc5.pth", {"dilation": False}, False),
    ],
)
def test_dilation_comes_from_the_arguments_or_else_from_the_name(tmp_path, name, arguments, dilation):
    extra = {} if arguments is None else {"args": argparse.Namespace(**arguments)}
    save_shapes(tmp_path / name, dataclasses.replace(SMALL, backbone="resnet50", nheads=8), **extra)
    assert read_published_checkpoint(tmp_path / name).config.dilation is dilation


@pytest.mark.parametrize(
    ("keys", "config"),
    [
        ("r152_600_default", DetrConfig()),
        ("detr_r101_dc5_style", DetrConfig(backbone="resnet101", dilation=True, num_classes=91, num_queries=100)),
    ],
)
def test_published_key_lists_give_the_published_networks(tmp_path, keys, config):
    listed = recorded_json(f"state_dict_{keys}.json")
    weights = {key: torch.zeros(1).expand(shape) for key, shape, _ in listed}
    torch.save({"model": weights}, tmp_path / f"{keys}.pth")
    checkpoint = read_published_checkpoint(tmp_path / f"{keys}.pth")
    assert checkpoint.config == config
    assert checkpoint.degenerate_class_head == (config.num_classes == 1)


def test_recorded_arguments_are_read(tmp_path):
    record = recorded_json("train_dataset_eval.json")
    arguments = record["checkpoint_args"]
    names = {field.name for field in dataclasses.fields(DetrConfig)}
    config = DetrConfig(**{name: value for name, value in arguments.items() if name in names})
    assert {"model", "args", "epoch"} <= set(record["checkpoint_keys"])
    save_shapes(tmp_path / "checkpoint.pth", config, epoch=3, args=argparse.Namespace(**arguments))
    assert read_published_checkpoint(tmp_path / "checkpoint.pth").config == config


@pytest.fixture(scope="module")
def published():
    return Detr(SMALL)


@pytest.fixture(scope="module")
def original_file(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "original.pth"
    save_as_original(path, published)
    return path


class RunsCode:
    """Unpickling it creates a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (Path(self.marker),))


class EvaluatesCode(RunsCode):
    def __reduce__(self):
        return (eval, (f"open({str(self.marker)!r}, 'w').close()",))


@pytest.mark.parametrize("attack", [RunsCode, EvaluatesCode])
@pytest.mark.parametrize("place", ["beside", "in the arguments", "old format", "bare pickle"])
def test_code_in_a_file_is_refused_unexecuted(tmp_path, attack, place):
    file, marker = tmp_path / "evil.pth", tmp_path / "executed"
    weights = {"model": {"class_embed.weight": torch.zeros(2, 32)}}
    if place == "beside":
        torch.save({**weights, "epoch": attack(marker)}, file)
    elif place == "in the arguments":
        torch.save({**weights, "args": argparse.Namespace(nheads=attack(marker))}, file)
    elif place == "old format":
        torch.save({**weights, "epoch": attack(marker)}, file, _use_new_zipfile_serialization=False)
    else:
        file.write_bytes(pickle.dumps({"model": {}, "epoch": attack(marker)}))
    with pytest.raises(CheckpointError) as caught:
        read_published_checkpoint(file)
    assert not marker.exists()
    assert "evil.pth" in caught.value.message
    assert "refused" in caught.value.message
    # The attack is real: an unrestricted reader executes it.
    if place == "bare pickle":
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert marker.exists()


def test_other_classes_of_argparse_are_refused(tmp_path):
    torch.save({"model": {}, "args": argparse.FileType("w")}, tmp_path / "file_type.pth")
    with pytest.raises(CheckpointError, match=r"refused.*argparse\.FileType"):
        read_published_checkpoint(tmp_path / "file_type.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pth.*no such file"):
        read_published_checkpoint(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("content", [b"", b"not weights at all\n" * 40, b"PK\x03\x04" + bytes(200), b"\x80\x02}q\x00."])
def test_what_is_no_file_of_weights_is_named(tmp_path, content):
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\.pth"):
        read_published_checkpoint(tmp_path / "broken.pth")


def test_a_file_cut_off_is_named(tmp_path, original_file):
    whole = original_file.read_bytes()
    for share in (0.1, 0.6, 0.99):
        (tmp_path / "cut.pth").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match=r"cut\.pth"):
            read_published_checkpoint(tmp_path / "cut.pth")


def test_a_folder_is_not_a_file_of_weights(tmp_path):
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        read_published_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "no network"),
        ({"state_dict": {}}, "no network"),
        ({"model": {"weight": 3}}, "no network"),
        ({"model": {"fc.weight": torch.zeros(2, 2)}}, r"class_embed\.weight is missing"),
    ],
)
def test_a_file_without_a_detector_is_explained(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=message):
        read_published_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda w: w.pop("bbox_embed.layers.1.bias"), r"bbox_embed\.layers\.1\.bias"),
        (lambda w: w.update({"mask_head.lay1.weight": torch.zeros(1)}), r"mask_head\.lay1\.weight"),
        (lambda w: w.update({"input_proj.weight": torch.zeros(7, 512, 1, 1)}), r"input_proj\.weight"),
        (lambda w: w.update({"backbone.0.body.layer2.7.conv1.weight": torch.zeros(1)}), r"\(2, 3, 2, 2\) blocks"),
    ],
)
def test_weights_that_fit_no_network_are_explained(tmp_path, change, named):
    save_shapes(tmp_path / "odd.pth", SMALL, change, args=argparse.Namespace(nheads=4))
    with pytest.raises(CheckpointError, match=named):
        read_published_checkpoint(tmp_path / "odd.pth")


def test_training_starts_from_published_weights_with_new_head_and_queries(original_file, published):
    model = Detr(dataclasses.replace(SMALL, num_classes=2, num_queries=20, frozen_backbone=False))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    left = read_published_checkpoint(original_file).as_detr_checkpoint().initialise(model)
    assert sorted(left) == ["class_embed.bias", "class_embed.weight", "query_embed.weight"]
    for name, tensor in model.state_dict().items():
        kept = name in left or name.endswith("num_batches_tracked")
        assert torch.equal(tensor, before[name] if kept else published.state_dict()[name]), name


def test_training_starts_from_all_of_the_weights_where_they_fit(original_file, published):
    model = Detr(SMALL)
    assert read_published_checkpoint(original_file).as_detr_checkpoint().initialise(model) == []
    assert torch.equal(model.class_embed.weight, published.class_embed.weight)


@pytest.mark.parametrize("change", [{"dec_layers": 1}, {"hidden_dim": 64}])
def test_training_another_architecture_is_refused_and_nothing_is_changed(original_file, change):
    model = Detr(dataclasses.replace(SMALL, **change))
    before = model.class_embed.weight.clone()
    with pytest.raises(CheckpointError, match="another architecture") as caught:
        read_published_checkpoint(original_file).as_detr_checkpoint().initialise(model)
    assert "resnet18 with 1+2 layers of width 32" in caught.value.hint
    assert torch.equal(model.class_embed.weight, before)
