"""Whether the paper's set loss can learn: a small cryotransformer is to know 16 simulated micrographs by heart.

Run: ``python benchmarks/overfit.py [--out runs/overfit]``. The same network is trained twice from the same weights in
the same order: with the paper's classes, and with those of the original program, where "particle" and "no object" are
one. A stopped run goes on where it was.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from cryotx_cli.config import CryotransformerConfig, MakeCocoConfig, SimulateConfig
from cryotx_cli.coordinates.agreement import average_precision
from cryotx_cli.datasets.coco import CocoDataset, open_coco
from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.training.cryotransformer.data import augmented, input_of, particle_boxes, read_grey_levels
from cryotx_cli.training.cryotransformer.loss import SetCriterion
from cryotx_cli.training.cryotransformer.matcher import HungarianMatcher, ParticleTargets
from cryotx_cli.training.cryotransformer.validation import score
from cryotx_cli.workflows.make_coco import make_coco
from cryotx_cli.workflows.simulate import simulate
from machine import describe_machine
from result_folder import claim

SIDE, STORED_SIDE = 128, 256
MICROGRAPHS = SimulateConfig(micrographs=16, size=STORED_SIDE, pixel_size=3.2, severity=0.0, seed=3)
LOSS = CryotransformerConfig(short_sides=(SIDE, SIDE), flip=False, crop=False)
Row = dict[str, float]
CONVENTIONS = {"paper": 0, "original": 1}  # the class that means "particle"; 1 is "no object" in both


@dataclass(frozen=True)
class Recipe:
    """What differs from the paper's training, besides the size of the images and the absence of augmentation."""

    queries: int = 25
    layers: int = 3
    steps: int = 300
    warm_up: int = 50
    learning_rate: float = 3e-4
    bfloat16: bool = True
    seed: int = 1


def main() -> None:
    defaults = Recipe()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/overfit"), help="folder of data and states")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="optimiser steps of either run")
    parser.add_argument("--queries", type=int, default=defaults.queries)
    parser.add_argument("--layers", type=int, default=defaults.layers, help="of encoder and of decoder")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--only", choices=CONVENTIONS, help="train with these classes alone")
    arguments = parser.parse_args()
    recipe = replace(
        defaults,
        steps=arguments.steps,
        queries=arguments.queries,
        layers=arguments.layers,
        learning_rate=arguments.learning_rate,
    )
    dataset = simulated(arguments.out)
    images, targets = examples(dataset)
    claim(arguments.out, describe(recipe, targets))
    print(f"{describe_machine('torch', 'torchvision')}\n{describe(recipe, targets)}\n", flush=True)
    rows = {}
    for name in [arguments.only] if arguments.only else CONVENTIONS:
        model, seconds = train(arguments.out / f"{name}.pt", recipe, CONVENTIONS[name], images, targets)
        rows[name] = measure(model, CONVENTIONS[name], dataset, images, targets) | {"CPU minutes": seconds / 60}
    print_table(rows)


def simulated(out: Path) -> CocoDataset:
    if not (out / "coco" / "annotations").exists():
        for _ in simulate(out / "micrographs", MICROGRAPHS):
            pass
        for _ in make_coco(out / "micrographs", out / "coco", MakeCocoConfig(split=(1.0, 0.0, 0.0))):
            pass
    return open_coco(out / "coco", "train")


def examples(dataset: CocoDataset) -> tuple[Tensor, ParticleTargets]:
    """Return all images in one batch with their particles: there is nothing random to read anew."""
    pipeline, nothing_random = input_of(dataset, LOSS).pipeline, np.random.default_rng(0)
    pairs = [
        augmented(read_grey_levels(dataset, image, pipeline), particle_boxes(image), LOSS, nothing_random)
        for image in dataset.images
    ]
    return torch.stack([image for image, _ in pairs]), ParticleTargets.from_boxes([boxes for _, boxes in pairs])


def criterion(particle_class: int) -> SetCriterion:
    matcher = HungarianMatcher(l1_cost=LOSS.l1_weight, giou_cost=LOSS.giou_weight, particle_class=particle_class)
    return SetCriterion(
        no_object_weight=LOSS.no_object_weight, l1_weight=LOSS.l1_weight, giou_weight=LOSS.giou_weight, matcher=matcher
    )


def network(recipe: Recipe) -> Detr:
    torch.manual_seed(recipe.seed)
    shape = DetrConfig(
        backbone="resnet18",
        frozen_backbone=False,
        enc_layers=recipe.layers,
        dec_layers=recipe.layers,
        num_queries=recipe.queries,
        dropout=0.0,
    )
    return Detr(shape)


def train(
    state: Path, recipe: Recipe, particle_class: int, images: Tensor, targets: ParticleTargets
) -> tuple[Detr, float]:
    """Return the trained network and the CPU seconds it took, those before an interruption included."""
    model, loss = network(recipe).to(memory_format=torch.channels_last), criterion(particle_class)
    images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=LOSS.weight_decay)
    done, spent = 0, 0.0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        done, spent = saved["step"], saved["seconds"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    began = time.process_time() - spent
    model.train()
    for step in range(done + 1, recipe.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, step / recipe.warm_up)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            output = model(images)
        result = loss(output, targets)
        optimizer.zero_grad(set_to_none=True)
        result.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), LOSS.clip_norm)
        optimizer.step()
        spent = time.process_time() - began
        if step % 10 == 0 or step == recipe.steps:
            parts = ", ".join(f"{name} {result.terms[f'loss_{name}']:.3f}" for name in ("ce", "bbox", "giou"))
            print(
                f"{state.stem} step {step}: total {result.total:.3f}, {parts}, {spent / 60:.1f} CPU minutes", flush=True
            )
        if step % 50 == 0 or step == recipe.steps:
            content = {"step": step, "seconds": spent, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(content, state.with_suffix(".new"))
            state.with_suffix(".new").replace(state)
    return model, spent


@torch.no_grad()
def measure(model: Detr, particle_class: int, dataset: CocoDataset, images: Tensor, targets: ParticleTargets) -> Row:
    """Score the trained network on what it was trained on, as `cryotx pick` would use it."""
    model.eval()
    logits, boxes = model(images)
    matching = criterion(particle_class).matcher(logits[-1:], boxes[-1:], targets)
    query, matched = matching.query[0], matching.matched[0]
    is_matched = torch.zeros(logits.shape[1:3], dtype=torch.bool)
    for row, (queries, valid) in enumerate(zip(query, matched, strict=True)):
        is_matched[row, queries[valid]] = True
    probability = logits[-1].softmax(-1)[..., 0]
    found = boxes[-1].gather(1, query[..., None].expand(-1, -1, 4))
    distance = (found[..., :2] - targets.boxes[..., :2]).norm(dim=-1)
    scored = score(
        DetrCheckpoint(model.state_dict(), model.config, input_of(dataset, LOSS)), dataset, torch.device("cpu")
    )
    shuffles = (np.random.default_rng(seed).permutation(scored.logits) for seed in range(100))
    return {
        "AP at d/2": average_precision(scored.logits, scored.hits, scored.wanted),
        "AP of the same boxes in random order": float(
            np.mean([average_precision(order, scored.hits, scored.wanted) for order in shuffles])
        ),
        "particles whose matched box lies within d/2": float(
            (distance < targets.boxes[..., 2] / 2)[matched].float().mean()
        ),
        "p(particle), matched queries, mean": float(probability[is_matched].mean()),
        "p(particle), unmatched queries, mean": float(probability[~is_matched].mean()),
        "chance that a matched query scores above an unmatched one": area_under_roc(
            logits[-1, ..., 0] - logits[-1, ..., 1], is_matched
        ),
    }


def area_under_roc(scores: Tensor, positive: Tensor) -> float:
    """Return the chance that a positive scores above a negative (Mann and Whitney), ties counting half."""
    ranks = rankdata(scores.flatten().numpy())
    hits = positive.flatten().numpy()
    least = hits.sum() * (hits.sum() + 1) / 2
    return float((ranks[hits].sum() - least) / (hits.sum() * (~hits).sum()))


def describe(recipe: Recipe, targets: ParticleTargets) -> str:
    count = targets.valid.sum(1)
    diameter = float(targets.boxes[targets.valid][0, 2]) * SIDE
    return (
        f"data      {len(count)} simulated micrographs (severity {MICROGRAPHS.severity:g}) of {STORED_SIDE} x "
        f"{STORED_SIDE} px at {MICROGRAPHS.pixel_size:g} Å, denoised, shown at {SIDE} x {SIDE} px;\n"
        f"          {int(count.sum())} particles of {diameter:.0f} px there, {int(count.min())} to {int(count.max())} "
        f"a micrograph; no augmentation, all {len(count)} in every batch\n"
        f"network   ResNet-18 from scratch with real batch norm, {recipe.layers} + {recipe.layers} layers, "
        f"{recipe.queries} queries, no dropout\n"
        f"training  {recipe.steps} steps of AdamW at {recipe.learning_rate:g}, backbone too, warm-up of "
        f"{recipe.warm_up} steps, {'bfloat16' if recipe.bfloat16 else 'float32'}; loss weights as in the paper"
    )


def print_table(rows: dict[str, Row]) -> None:
    labels = next(iter(rows.values()))
    width = max(map(len, labels))
    print(f"\n{'':<{width}}" + "".join(f"{name:>12}" for name in rows))
    for label in labels:
        print(f"{label:<{width}}" + "".join(f"{row[label]:>12.4g}" for row in rows.values()))


if __name__ == "__main__":
    main()
