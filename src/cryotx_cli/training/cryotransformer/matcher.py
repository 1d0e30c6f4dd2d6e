"""Which query answers for which particle: the one-to-one matching with the least total cost (Eq. 1-2 of the paper)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cryotx_cli.detector.cryotransformer.network import box_corners

CHOICE_ROUNDS = 16  # well-localised queries need three, at most about seven
EXCHANGE_ROUNDS = 4
_IMPOSSIBLE = float("inf")


class ParticleTargets(NamedTuple):
    """The labelled particles of a batch of images, padded to the largest number of them.

    Attributes
    ----------
    boxes
        (B, T, 4): centre x, centre y, width, height as fractions of each image without padding; zeros in padded rows.
    valid
        (B, T) bool, False in padded rows.
    """

    boxes: Tensor
    valid: Tensor

    @classmethod
    def from_boxes(cls, boxes: Sequence[Tensor]) -> "ParticleTargets":
        """Pad one tensor of boxes (n, 4) for each image."""
        if not boxes:
            raise ValueError("a batch needs at least one image")
        padded = boxes[0].new_zeros(len(boxes), max(len(image) for image in boxes), 4)
        valid = torch.zeros(padded.shape[:2], dtype=torch.bool, device=padded.device)
        for row, image in enumerate(boxes):
            padded[row, : len(image)] = image
            valid[row, : len(image)] = True
        return cls(padded, valid)

    def to(self, device: torch.device | str) -> "ParticleTargets":
        """Return the targets on `device`, copied without waiting where the memory is pinned."""
        return ParticleTargets(self.boxes.to(device, non_blocking=True), self.valid.to(device, non_blocking=True))


class Matching(NamedTuple):
    """The query that answers for each target.

    Attributes
    ----------
    query
        (..., T) int64; meaningless where nothing is matched.
    matched
        (..., T) bool; False for padded targets, and for the rest of the targets where queries run out.
    """

    query: Tensor
    matched: Tensor


@dataclass(frozen=True)
class HungarianMatcher:
    """Match queries to particles at the least total cost.

    The cost of a pair (Eq. 2) is ``- class_cost * p(particle) + l1_cost * |b - b'|_1 - giou_cost * GIoU(b, b')``.

    Attributes
    ----------
    class_cost, l1_cost, giou_cost
        Weights of the three terms.
    particle_class
        The output class that means "particle".
    """

    class_cost: float = 1.0
    l1_cost: float = 5.0
    giou_cost: float = 2.0
    particle_class: int = 0

    @torch.no_grad()
    def __call__(self, logits: Tensor, boxes: Tensor, targets: ParticleTargets) -> Matching:
        """Match every decoder layer's answers with the particles of their image.

        On the CPU the assignment is optimal (SciPy). Elsewhere it is `locally_dominant_assignment`, which runs on the
        device and never makes the host wait for it.

        Parameters
        ----------
        logits
            (layers, B, Q, classes + 1).
        boxes
            (layers, B, Q, 4): centre x, centre y, width, height.
        targets
            T padded particles for each of the B images.

        Returns
        -------
        Matching
            (layers, B, T).
        """
        cost = self.pair_costs(logits.float(), boxes.float(), targets.boxes.float())
        valid = targets.valid.expand(len(cost), -1, -1)
        assign = optimal_assignment if cost.device.type == "cpu" else locally_dominant_assignment
        matching = assign(cost.flatten(0, 1), valid.flatten(0, 1))
        return Matching(matching.query.view(valid.shape), matching.matched.view(valid.shape))

    def pair_costs(self, logits: Tensor, boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Return the cost (layers, B, Q, T) of every pair of query and target of an image."""
        probability = logits.softmax(-1)[..., self.particle_class]
        pairs, target_pairs = boxes[..., :, None, :], target_boxes[..., None, :, :]
        # One coordinate at a time: the array of all four differences would be four times the cost matrix.
        l1 = sum((pairs[..., axis] - target_pairs[..., axis]).abs() for axis in range(4))
        cost = self.l1_cost * l1 - self.class_cost * probability[..., None]
        cost = cost - self.giou_cost * generalised_iou(pairs, target_pairs)
        # A network that has diverged still gets a matching, so that the loss itself reports what is not finite.
        return cost.nan_to_num(nan=1e6, posinf=1e6, neginf=1e6)


def optimal_assignment(cost: Tensor, valid: Tensor) -> Matching:
    """Return the assignment of least total cost, computed on the host with SciPy.

    Parameters
    ----------
    cost
        (P, Q, T) cost of each pair of query and target, of P problems.
    valid
        (P, T) bool, which targets exist.

    Returns
    -------
    Matching
        (P, T). All targets are matched, or as many as there are queries.
    """
    query = torch.zeros(valid.shape, dtype=torch.int64)
    matched = torch.zeros(valid.shape, dtype=torch.bool)
    for problem, (costs, exists) in enumerate(zip(cost.cpu().numpy(), valid.cpu().numpy(), strict=True)):
        columns = exists.nonzero()[0]
        rows, chosen = linear_sum_assignment(costs[:, columns])
        query[problem, columns[chosen]] = torch.from_numpy(rows)
        matched[problem, columns[chosen]] = True
    return Matching(query.to(cost.device), matched.to(cost.device))


def locally_dominant_assignment(cost: Tensor, valid: Tensor, rounds: int = CHOICE_ROUNDS) -> Matching:
    """Return nearly the assignment of least total cost, with tensor operations of fixed number and shape only.

    In each round every free target chooses its cheapest free query and every free query its cheapest free target, and
    who chose each other is matched (locally dominant edges, Preis 1999). Targets that are still free after the last
    round take, in order, the free queries that are cheapest for any of them: rare, except with a network that has
    learned nothing yet. In the end targets exchange their queries where both together gain, which repairs most of
    what choosing one pair at a time got wrong among particles that touch.

    Parameters
    ----------
    cost
        (P, Q, T) finite cost of each pair of query and target, of P problems.
    valid
        (P, T) bool, which targets exist.
    rounds
        Rounds of mutual choice.

    Returns
    -------
    Matching
        (P, T). All targets are matched, or as many as there are queries.
    """
    queries, targets = cost.shape[1:]
    query = cost.new_zeros(valid.shape, dtype=torch.int64)
    matched = torch.zeros_like(valid)
    if queries == 0 or targets == 0:
        return Matching(query, matched)
    target = torch.arange(targets, device=cost.device)
    open_cost = cost.masked_fill(~valid[:, None, :], _IMPOSSIBLE)
    for _ in range(rounds):
        least, choice = open_cost.min(dim=1)
        mutual = (open_cost.argmin(dim=2).gather(1, choice) == target) & least.isfinite()
        query = torch.where(mutual, choice, query)
        matched = matched | mutual
        taken = _mark(choice, mutual, queries)
        open_cost = open_cost.masked_fill(mutual[:, None, :] | taken[:, :, None], _IMPOSSIBLE)
    return _exchange(cost, _give_the_rest(open_cost, valid, Matching(query, matched)))


def _give_the_rest(open_cost: Tensor, valid: Tensor, matching: Matching) -> Matching:
    """Match the free targets, in order, with the free queries that are cheapest for any of them."""
    best = open_cost.amin(dim=2)
    cheapest = best.argsort(dim=1)  # free queries first: the others cost infinity
    free = valid & ~matching.matched
    place = (free.cumsum(dim=1) - 1).clamp(min=0, max=best.shape[1] - 1)
    available = best.isfinite().sum(dim=1, keepdim=True)
    given = free & (free.cumsum(dim=1) <= available)
    query = torch.where(given, cheapest.gather(1, place), matching.query)
    return Matching(query, matching.matched | given)


def _exchange(cost: Tensor, matching: Matching) -> Matching:
    """Let pairs of targets swap their queries where that lowers their common cost, the best swap of each first."""
    query, matched = matching
    size = query.shape[1]
    target = torch.arange(size, device=query.device)
    for _ in range(EXCHANGE_ROUNDS):
        crossed = cost.gather(1, query[:, :, None].expand(-1, -1, size))  # [p, s, t]: cost of t with the query of s
        own = crossed.diagonal(dim1=1, dim2=2)
        gain = own[:, :, None] + own[:, None, :] - crossed - crossed.transpose(1, 2)
        best, partner = gain.masked_fill(~(matched[:, :, None] & matched[:, None, :]), -_IMPOSSIBLE).max(dim=2)
        # A gain within rounding would be exchanged back and forth.
        agreed = (partner.gather(1, partner) == target) & (best > 1e-5)
        query = torch.where(agreed, query.gather(1, partner), query)
    return Matching(query, matched)


def _mark(index: Tensor, where: Tensor, size: int) -> Tensor:
    """Return a mask (P, size) that is True at `index` (P, T) wherever `where` (P, T) is."""
    # What must not be marked goes to one extra place, since a selection by mask would have a shape unknown to the host.
    marks = torch.zeros(len(index), size + 1, dtype=torch.bool, device=index.device)
    marks.scatter_(1, torch.where(where, index, size), True)
    return marks[:, :size]


def generalised_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the generalised intersection over union, -1 to 1 (Rezatofighi et al. 2019).

    Parameters
    ----------
    boxes, others
        (..., 4) centre x, centre y, width, height; they may broadcast.

    Returns
    -------
    torch.Tensor
        (...,) ``IoU - (hull - union) / hull`` with the hull, the smallest box around both.
    """
    a, b = box_corners(boxes), box_corners(others)
    shared = _area(torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:]))
    hull = _area(torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:]))
    union = _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - shared
    tiny = torch.finfo(a.dtype).tiny  # two points at one place
    return shared / union.clamp(min=tiny) - (hull - union) / hull.clamp(min=tiny)


def _area(low: Tensor, high: Tensor) -> Tensor:
    sides = (high - low).clamp(min=0)
    return sides[..., 0] * sides[..., 1]
