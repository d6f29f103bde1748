"""AutoAssign's loss as it was published: every point with every object, image by image.

Written from the description alone; it shares no code with the library but box overlaps.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from motedet.geometry import aligned_giou, pairwise_iou
from motedet.models.dense import HeadOutputs
from motedet.priors import PriorGrid
from motedet.structures import Targets

EPS = 1e-12


def dense_inside(points: Tensor, boxes: Tensor) -> Tensor:
    """[P, G] bool: points [P, 2] strictly inside of boxes [G, 4]."""
    x, y = points[:, None].unbind(-1)
    x1, y1, x2, y2 = boxes[None].unbind(-1)
    return torch.stack((x - x1, y - y1, x2 - x, y2 - y), dim=-1).amin(-1) > 0


def dense_center_weights(
    grid: PriorGrid, boxes: Tensor, labels: Tensor, mean: Tensor, sigma: Tensor
) -> Tensor:
    """[P, G] centre priors, not masked."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    way = (grid.points()[:, None] - center[None]) / grid.strides()[:, None, None] - mean[labels]
    factors = torch.exp(-(way**2) / (2 * sigma[labels] ** 2))  # [P, G, 2]
    return factors[..., 0] * factors[..., 1]


def dense_force(inside: Tensor, weight: Tensor, topk: int) -> Tensor:
    """[P, G] the same with the `topk` points of largest weight where an object had none."""
    inside = inside.clone()
    for g in (~inside.any(0)).nonzero()[:, 0].tolist():
        order = weight[:, g].argsort(descending=True, stable=True)
        inside[order[:topk], g] = True
    return inside


def dense_autoassign(
    grid: PriorGrid,
    outputs: HeadOutputs,
    targets: Sequence[Targets],
    mean: Tensor,
    sigma: Tensor,
    *,
    topk: int | None = None,
    members: Sequence[Tensor] | None = None,
) -> dict[str, Tensor]:
    """The three losses; `members` [P, G] per image replace the points inside of boxes."""
    assert outputs.ctrness is not None
    sums = {"pos": [], "neg": [], "center": []}  # type: dict[str, list[Tensor]]
    total = outputs.logits.new_zeros(())
    points = grid.points()
    for b, target in enumerate(targets):
        boxes, labels, count = target.boxes, target.labels, len(target.boxes)
        probs = outputs.logits[b].sigmoid()  # [P, K]
        objectness = outputs.ctrness[b].sigmoid()[:, None]  # [P, 1]
        negative = torch.ones_like(probs)
        if count:
            inside = dense_inside(points, boxes) if members is None else members[b]
            weight = dense_center_weights(grid, boxes, labels, mean, sigma)
            if topk is not None:
                inside = dense_force(inside, weight.detach(), topk)
            weight = weight * inside
            ltrb = outputs.boxes[b]
            decoded = torch.cat((points - ltrb[:, :2], points + ltrb[:, 2:]), dim=1)  # [P, 4]
            giou = aligned_giou(decoded[:, None].expand(-1, count, 4), boxes[None].to(decoded))
            pair = probs[:, labels] * objectness * torch.exp(-5 * (1 - giou))  # [P, G]
            share = (3 * pair).exp() * weight
            share = share / share.sum(0).clamp(min=EPS)
            found = (pair * share).sum(0).clamp(max=1)
            sums["pos"].append(
                0.25 * F.binary_cross_entropy(found, torch.ones_like(found), reduction="sum")
            )
            best = pairwise_iou(decoded.detach(), boxes.to(decoded)).amax(1)  # [P]
            for g in range(count):
                row = inside[:, g].nonzero()[:, 0]
                if len(row):
                    hardness = 1 / (1 - best[row]).clamp(min=EPS)
                    low, high = hardness.min(), hardness.max()
                    negative[row, labels[g]] = 1 - (hardness - low + EPS) / (high - low + EPS)
            center = count / weight.sum().clamp(min=EPS) if inside.any() else weight.sum() * 0
            sums["center"].append(0.75 * center)
            total = total + weight.detach().sum()
        scaled = probs * objectness * negative.detach()
        error = F.binary_cross_entropy(scaled, torch.zeros_like(scaled), reduction="none")
        sums["neg"].append(0.75 * (scaled**2 * error).sum())
    num_gt = sum(len(t.boxes) for t in targets)
    nothing = mean.sum() * 0 + sigma.sum() * 0 + outputs.boxes.sum() * 0
    return {
        "loss_pos": sum(sums["pos"], start=nothing) / max(1, num_gt),
        "loss_neg": sum(sums["neg"], start=nothing) / total.clamp(min=1),
        "loss_center": sum(sums["center"], start=nothing) / len(targets),
    }
