"""The set loss (Eq. 3-5 of the paper): after matching, each query is told its class and each matched one its box."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.distributed
from torch import Tensor
from torch.nn import functional as F

from cryotx_cli.detector.cryotransformer.network import DetrOutput
from cryotx_cli.training.cryotransformer.matcher import HungarianMatcher, Matching, ParticleTargets, generalised_iou


class SetLoss(NamedTuple):
    """The loss of a batch.

    Attributes
    ----------
    total
        Scalar with gradient: the weighted sum over the three losses and over all decoder layers.
    terms
        Unweighted scalars without gradient, still on the device: ``loss_ce``, ``loss_bbox``, ``loss_giou`` and
        ``cardinality_error`` of the last decoder layer, the same with ``_0``, ``_1``, ... of the layers before it, and
        ``class_error``, the percentage of matched queries whose most probable class is not "particle".
    """

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class SetCriterion:
    """The loss of a network that answers with a set of boxes.

    For every decoder layer: weighted cross-entropy of the class over all queries, plus L1 distance and
    ``1 - GIoU`` of the matched boxes, divided by the number of particles. With `torch.distributed` the divisors are
    those of all processes together, so that gradients averaged over processes are those of one large batch.

    Attributes
    ----------
    num_classes
        Classes of object; class ``num_classes`` of the network means "no object".
    no_object_weight
        Weight of "no object" in the cross-entropy, small because most queries are unmatched.
    class_weight, l1_weight, giou_weight
        Weights of the three losses.
    matcher
        Decides which query answers for which particle, and which class a particle is. Class 0 is what the paper's
        equations say. The original program used class 1 with ``num_classes`` 1, that is, "particle" and "no object"
        were one class and the class loss taught nothing: ``HungarianMatcher(particle_class=1)``.
    """

    num_classes: int = 1
    no_object_weight: float = 0.1
    class_weight: float = 1.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    matcher: HungarianMatcher = field(default_factory=HungarianMatcher)

    def __call__(self, output: DetrOutput, targets: ParticleTargets) -> SetLoss:
        """Return the loss of `output`, (layers, B, Q, ...), for the particles of its B images."""
        logits, boxes = output.logits.float(), output.boxes.float()
        matching = self.matcher(logits, boxes, targets)
        classes = self._target_classes(matching, queries=logits.shape[2])
        losses = {
            "loss_ce": self._class_loss(logits, classes),
            **_box_losses(boxes, targets, matching),
        }
        total = (
            self.class_weight * losses["loss_ce"]
            + self.l1_weight * losses["loss_bbox"]
            + self.giou_weight * losses["loss_giou"]
        ).sum()
        losses["cardinality_error"] = self._cardinality_error(logits, targets)
        last = len(logits) - 1
        terms = {
            name if layer == last else f"{name}_{layer}": values[layer].detach()
            for layer in range(len(logits))
            for name, values in losses.items()
        }
        terms["class_error"] = self._class_error(logits[-1], matching)
        return SetLoss(total, terms)

    def _target_classes(self, matching: Matching, queries: int) -> Tensor:
        """Return the class (layers, B, Q) that each query should answer."""
        layers, batch, _ = matching.query.shape
        classes = matching.query.new_full((layers, batch, queries + 1), self.num_classes)
        # Unmatched targets write to an extra place: a selection by mask would make the host wait for the device.
        places = torch.where(matching.matched, matching.query, queries)
        return classes.scatter(2, places, self.matcher.particle_class)[..., :queries]

    def _class_loss(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Cross-entropy (layers,), a mean in which "no object" counts `no_object_weight`."""
        weights = torch.where(classes == self.num_classes, self.no_object_weight, 1.0)
        entropy = F.cross_entropy(logits.movedim(-1, 1).flatten(2), classes.flatten(1), reduction="none")
        return (weights.flatten(1) * entropy).sum(1) / _mean_over_processes(weights.flatten(1).sum(1))

    def _cardinality_error(self, logits: Tensor, targets: ParticleTargets) -> Tensor:
        """Return the error (layers,) of the number of objects per image; a figure for the log, without gradient."""
        answered = (logits.argmax(-1) != self.num_classes).sum(2).float()
        return (answered - targets.valid.sum(1)).abs().mean(1)

    def _class_error(self, logits: Tensor, matching: Matching) -> Tensor:
        """Return the percentage of matched queries that are classed wrongly; 100 if nothing is matched."""
        hits = logits.argmax(-1).gather(1, matching.query[-1]) == self.matcher.particle_class
        matched = matching.matched[-1]
        return 100 - 100 * (hits & matched).sum() / matched.sum().clamp(min=1)


def _box_losses(boxes: Tensor, targets: ParticleTargets, matching: Matching) -> dict[str, Tensor]:
    """Return L1 and GIoU loss (layers,) of the matched boxes, divided by the number of particles."""
    answers = boxes.gather(2, matching.query[..., None].expand(-1, -1, -1, 4))
    # Replaced before, not masked after: the gradient of a masked value that is not finite would not be finite either.
    answers = torch.where(matching.matched[..., None], answers, targets.boxes)
    particles = _mean_over_processes(targets.valid.sum().float()).clamp(min=1)
    l1 = (answers - targets.boxes).abs().sum((1, 2, 3))
    giou = torch.where(matching.matched, 1 - generalised_iou(answers, targets.boxes), 0).sum((1, 2))
    return {"loss_bbox": l1 / particles, "loss_giou": giou / particles}


def _mean_over_processes(amount: Tensor) -> Tensor:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return amount
    everywhere = amount.detach().clone()
    torch.distributed.all_reduce(everywhere)
    return everywhere / torch.distributed.get_world_size()
