"""What backbone and denoising do to the loss of cryotransformer, the question of section 2.3 of its paper.

Run: ``python benchmarks/ablation.py [--backbones resnet18 resnet34] [--epochs 12] [--help]``. Every combination learns
from the same simulated micrographs, denoised and raw, as `cryotx train` does. The defaults take minutes on a CPU and
show that the comparison works, not what is better. On a GPU, in the paper's own size::

    python benchmarks/ablation.py --backbones resnet50 resnet101 resnet152 --init imagenet --proteins 22
        --micrographs 300 --size 4096 --pixel-size 1.2 --short-sides 480 800 --layers 6 --queries 600
        --batch-size 2 --learning-rate 1e-4 --epochs 300

A stopped run goes on where it was. Losses are those of the last decoder layer after the last epoch, without dropout and
augmentation: means over the training and over the held-out micrographs.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cryotx_cli.config import CryotransformerConfig, CryotransformerTrainConfig, MakeCocoConfig, SimulateConfig
from cryotx_cli.datasets.coco import CocoDataset, open_coco
from cryotx_cli.detector.cryotransformer.backbone import RESNETS
from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint, load_detr_checkpoint
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.training.cryotransformer.data import TrainingBatches
from cryotx_cli.training.cryotransformer.train import criterion, train_detr
from cryotx_cli.workflows.make_coco import make_coco
from cryotx_cli.workflows.simulate import simulate
from machine import describe_machine
from result_folder import claim

PREPARATIONS = {"denoised": True, "raw": False}
SPLITS = {"training": "train", "held out": "val"}
HELD_OUT = 0.2


def main() -> None:
    arguments = read_arguments()
    claim(arguments.out, describe(arguments))
    print(f"{describe_machine('torch', 'torchvision')}\n{describe(arguments)}\n", flush=True)
    simulated(arguments)
    rows = {}
    for backbone in arguments.backbones:
        for preparation in PREPARATIONS:
            out = arguments.out / f"{backbone}-{preparation}"
            rows[backbone, preparation] = measure(arguments, backbone, arguments.out / preparation, out)
    for split in SPLITS:
        print_table(split, {name: row[split] for name, row in rows.items()})
    minutes = {" ".join(name): row["clock"]["minutes"] for name, row in rows.items()}
    print("\nwall-clock minutes  " + ", ".join(f"{name} {spent:.1f}" for name, spent in minutes.items()))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder of data and runs")
    parser.add_argument("--backbones", nargs="+", choices=RESNETS, default=["resnet18", "resnet34"])
    parser.add_argument("--init", choices=("scratch", "imagenet"), default="scratch")
    parser.add_argument("--micrographs", type=int, default=20, help="of each protein; a fifth is held out")
    parser.add_argument("--proteins", type=int, default=1)
    parser.add_argument("--size", type=int, default=256, help="height and width of a micrograph in pixels")
    parser.add_argument("--pixel-size", type=float, default=3.2, help="Å")
    parser.add_argument("--severity", type=float, default=0.2, help="of the simulated conditions, 0 to 1")
    parser.add_argument("--short-sides", type=int, nargs=2, default=(96, 128), help="of what the network sees, in px")
    parser.add_argument("--layers", type=int, default=3, help="of encoder and of decoder")
    parser.add_argument("--queries", type=int, default=25)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def describe(arguments: argparse.Namespace) -> str:
    return (
        f"data      {arguments.proteins} x {arguments.micrographs} simulated micrographs of {arguments.size} x "
        f"{arguments.size} px at {arguments.pixel_size:g} Å, severity {arguments.severity:g}; a fifth held out\n"
        f"network   started from {arguments.init}, shown short sides of {arguments.short_sides[0]} to "
        f"{arguments.short_sides[1]} px, {arguments.layers} + {arguments.layers} layers, {arguments.queries} queries\n"
        f"training  {arguments.epochs} epochs in batches of {arguments.batch_size}, learning rate "
        f"{arguments.learning_rate:g}, of the ResNet {backbone_rate(arguments):g}"
    )


def backbone_rate(arguments: argparse.Namespace) -> float:
    """Return the ResNet's learning rate: the paper's is small because its ResNet has learned from ImageNet."""
    rate: float = arguments.learning_rate * (1.0 if arguments.init == "scratch" else 0.1)
    return rate


def simulated(arguments: argparse.Namespace) -> None:
    """Write the micrographs, and of the same ones a denoised and a raw dataset."""
    tree = arguments.out / "micrographs"
    if not tree.exists():
        drawn = SimulateConfig(
            micrographs=arguments.micrographs,
            proteins=arguments.proteins,
            size=arguments.size,
            pixel_size=arguments.pixel_size,
            severity=arguments.severity,
        )
        for _ in simulate(tree, drawn):
            pass
    for preparation, denoised in PREPARATIONS.items():
        for _ in make_coco(
            tree, arguments.out / preparation, MakeCocoConfig(split=(1 - HELD_OUT, HELD_OUT, 0)), denoised
        ):
            pass


def settings(arguments: argparse.Namespace, backbone: Any, dataset: Path) -> CryotransformerTrainConfig:
    return CryotransformerTrainConfig(
        data=dataset,
        backbone=backbone,
        init=arguments.init,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        device=arguments.device,
        cryotransformer=CryotransformerConfig(
            short_sides=tuple(arguments.short_sides), backbone_learning_rate=backbone_rate(arguments)
        ),
    )


def measure(arguments: argparse.Namespace, backbone: str, dataset: Path, out: Path) -> dict[str, dict[str, float]]:
    """Train one combination, or finish its training, and return its losses by split and its wall-clock minutes."""
    network = DetrConfig(
        backbone=backbone,
        enc_layers=arguments.layers,
        dec_layers=arguments.layers,
        num_queries=arguments.queries,
    )
    config = replace(settings(arguments, backbone, dataset), resume=(out / "state.pt").exists())
    for now in train_detr(out, config, network):
        if now.f1 is not None:
            print(f"{out.name}: step {now.step} of {now.steps}, F1 {now.f1:.3f} on held-out micrographs", flush=True)
    checkpoint = load_detr_checkpoint(out / "last.safetensors")
    splits = {name: losses(checkpoint, open_coco(dataset, split), config) for name, split in SPLITS.items()}
    return splits | {"clock": {"minutes": checkpoint.training["seconds"] / 60}}


@torch.no_grad()
def losses(checkpoint: DetrCheckpoint, dataset: CocoDataset, config: CryotransformerTrainConfig) -> dict[str, float]:
    """Return the parts of the loss, and their weighted sum, averaged over the micrographs of a dataset."""
    device, side = resolve_device(config.device), config.cryotransformer.short_sides[1]
    still = replace(config.cryotransformer, flip=False, crop=False, short_sides=(side, side), accumulate=1)
    model, loss = Detr(checkpoint.model).to(device).eval(), criterion(still)
    model.load_state_dict(checkpoint.weights)
    sums: dict[str, float] = {}
    for [batch] in TrainingBatches(dataset, checkpoint.input, still, batch_size=1, epochs=1, seed=0):
        terms = loss(model(batch.images.to(device), batch.padding.to(device)), batch.targets.to(device)).terms
        for name in ("loss_ce", "loss_bbox", "loss_giou", "class_error"):
            sums[name] = sums.get(name, 0.0) + float(terms[name]) / len(dataset)
    total = sums["loss_ce"] + still.l1_weight * sums["loss_bbox"] + still.giou_weight * sums["loss_giou"]
    return {"total": total, **sums}


def print_table(split: str, rows: dict[tuple[str, str], dict[str, float]]) -> None:
    parts = next(iter(rows.values()))
    print(f"\n{split:<20}" + "".join(f"{part:>12}" for part in parts))
    for name, row in rows.items():
        print(f"{' '.join(name):<20}" + "".join(f"{row[part]:>12.3f}" for part in parts))


if __name__ == "__main__":
    main()
