"""The prediction-aware assigners as they were published: tables and a loop over objects.

Slow, large and plain: oracles for the tests and the baseline of `benchmarks/assign.py`. With
`published=True` they are float32 throughout and use `topk`, whose ties are in no order: this is
what is timed. Otherwise logarithms and powers are rounded from float64, and the first of equals
wins.
"""

from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import Tensor

from dense_assigners import border_mask, valid_mask
from motedet.assign import DynamicSoftLabel, PredictionAware, SimOTA, TaskAligned
from motedet.geometry import pairwise_iou
from motedet.priors import PriorGrid
from motedet.structures import IGNORED, PackedTargets, Predictions

CHUNK = 64  # objects whose class costs are tabled at once, to bound the memory


def dense_predicted(
    assigner: PredictionAware,
    grid: PriorGrid,
    targets: PackedTargets,
    predictions: Predictions,
    *,
    published: bool = False,
) -> tuple[Tensor, Tensor]:
    """[B, P] gt_index and [B, P] IoU of the pairs, image by image."""
    answer = torch.full((targets.num_images, grid.num_priors), IGNORED)
    overlap = torch.zeros(answer.shape)
    for image in range(targets.num_images):
        rows = (targets.image_index == image).nonzero()[:, 0]
        keep = torch.ones(grid.num_priors, dtype=torch.bool)
        if targets.valid_sizes is not None:
            keep = valid_mask(grid, *targets.valid_sizes[image])
        if targets.allowed_border is not None:
            keep &= border_mask(grid, *targets.image_sizes[image], targets.allowed_border)
        one = Predictions(
            predictions.scores[image : image + 1, keep],
            predictions.logits[image : image + 1, keep],
            predictions.boxes[image : image + 1, keep],
        )
        codes = torch.zeros(int(keep.sum()), dtype=torch.int64)
        if len(rows) and len(codes):
            gt, labels = targets.boxes[rows], targets.labels[rows]
            codes = dense_image(assigner, grid, keep, gt, labels, one, published)
        first = int(rows[0]) if len(rows) else 0
        answer[image, keep] = torch.where(codes > 0, codes - 1 + first, codes - 1)
    image_of, prior = (answer >= 0).nonzero(as_tuple=True)
    for i, p in zip(image_of.tolist(), prior.tolist(), strict=True):
        box = targets.boxes[answer[i, p]][None]
        overlap[i, p] = pairwise_iou(predictions.boxes[i, p][None], box)[0, 0]
    return answer, overlap


@singledispatch
def dense_image(
    assigner: PredictionAware,
    grid: PriorGrid,
    keep: Tensor,
    gt: Tensor,
    labels: Tensor,
    predictions: Predictions,
    published: bool,
) -> Tensor:
    """[N] of one image: object + 1, 0 background."""
    raise TypeError(f"no dense form of {type(assigner)}")


# --- TAL --------------------------------------------------------------------------------------


@dense_image.register
def _(
    assigner: TaskAligned,
    grid: PriorGrid,
    keep: Tensor,
    gt: Tensor,
    labels: Tensor,
    predictions: Predictions,
    published: bool,
) -> Tensor:
    kind = torch.float32 if published else torch.float64
    centers = grid.centers()[keep]
    overlaps = pairwise_iou(predictions.boxes[0], gt)  # [N, G]
    scores = predictions.scores[0][:, labels]  # [N, G]
    metric = (
        scores.to(kind).pow(assigner.alpha).float() * overlaps.to(kind).pow(assigner.beta).float()
    )
    count = min(assigner.topk, len(metric))
    if published:
        candidates = metric.topk(count, dim=0).indices
    else:
        candidates = metric.argsort(dim=0, descending=True, stable=True)[:count]
    row = torch.arange(len(gt))
    table = torch.full_like(overlaps, -float("inf"))
    for chosen in candidates:
        sides = torch.cat((centers[chosen] - gt[:, :2], gt[:, 2:] - centers[chosen]), dim=1)
        positive = (metric[chosen, row] > 0) & (sides.amin(1) > 0.01)
        table[chosen[positive], row[positive]] = overlaps[chosen[positive], row[positive]]
    best = table.amax(1)
    first = (table == best[:, None]).int().argmax(1)
    return torch.where(best > -float("inf"), first + 1, 0)


# --- dynamic k --------------------------------------------------------------------------------


@dense_image.register
def _(
    assigner: SimOTA,
    grid: PriorGrid,
    keep: Tensor,
    gt: Tensor,
    labels: Tensor,
    predictions: Predictions,
    published: bool,
) -> Tensor:
    points, strides = grid.points()[keep], grid.strides()[keep]
    center = (gt[:, :2] + gt[:, 2:]) / 2
    in_box = _inside(points, gt[:, :2], gt[:, 2:])  # [N, G]
    radius = (assigner.radius * strides)[:, None, None]
    in_square = _inside(points, center - radius, center + radius)
    valid = (in_box | in_square).any(1)
    kind = torch.float32 if published else torch.float64
    scores = predictions.scores[0][valid].to(kind)  # [V, K]
    overlaps = pairwise_iou(predictions.boxes[0][valid], gt)  # [V, G]
    classes = F.one_hot(labels, scores.shape[1]).to(kind)  # [G, K]
    costs = []
    for part in torch.split(classes, CHUNK):
        shape = (len(scores), *part.shape)
        entropy = F.binary_cross_entropy(
            scores[:, None].expand(shape), part.expand(shape), reduction="none"
        )
        costs.append(entropy.sum(-1).float())
    apart = -(overlaps + 1e-7).to(kind).log().float()
    penalty = ~(in_box & in_square)[valid] * 1e5
    cost = torch.cat(costs, dim=1) * assigner.cls_weight + apart * assigner.iou_weight + penalty
    return _dynamic_k(cost, overlaps, valid, assigner.topk, published=published)


@dense_image.register
def _(
    assigner: DynamicSoftLabel,
    grid: PriorGrid,
    keep: Tensor,
    gt: Tensor,
    labels: Tensor,
    predictions: Predictions,
    published: bool,
) -> Tensor:
    points, strides = grid.points()[keep], grid.strides()[keep]
    valid = _inside(points, gt[:, :2], gt[:, 2:]).any(1)
    center = (gt[:, :2] + gt[:, 2:]) / 2
    shift = points[valid][:, None] - center[None]
    distance = shift.pow(2).sum(-1).sqrt() / strides[valid][:, None]
    kind = torch.float32 if published else torch.float64
    far = torch.pow(10, (distance - assigner.radius).to(kind)).float()
    overlaps = pairwise_iou(predictions.boxes[0][valid], gt)  # [V, G]
    apart = -(overlaps + 1e-7).to(kind).log().float() * assigner.iou_weight
    logits = predictions.logits[0][valid].to(kind)  # [V, K]
    classes = F.one_hot(labels, logits.shape[1]).to(kind)  # [G, K]
    costs = []
    for part, own in zip(torch.split(classes, CHUNK), torch.split(overlaps, CHUNK, 1), strict=True):
        soft = part * own[..., None].to(kind)  # [V, n, K]
        x = logits[:, None].expand(soft.shape)
        entropy = F.binary_cross_entropy_with_logits(x, soft, reduction="none")
        costs.append((entropy * (soft - x.sigmoid()).abs().pow(2.0)).sum(-1).float())
    cost = torch.cat(costs, dim=1) + apart + far
    return _dynamic_k(cost, overlaps, valid, assigner.topk, published=published)


def _inside(points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """[N, G] whether points [N, 2] are strictly between corners [G, 2] or [N, G, 2]."""
    at = points[:, None]
    return torch.cat((at - low, high - at), dim=-1).amin(-1) > 0


def _dynamic_k(
    cost: Tensor, overlaps: Tensor, valid: Tensor, topk: int, *, published: bool
) -> Tensor:
    """[N] codes from the tables [V, G] of the valid priors [N]."""
    codes = torch.zeros(len(valid), dtype=torch.int64)
    if len(cost) == 0:
        return codes
    matching = torch.zeros(cost.shape, dtype=torch.bool)
    best = overlaps.topk(min(topk, len(overlaps)), dim=0).values
    total = best.sum(0) if published else best.double().sum(0).float()
    numbers = total.int().clamp(min=1).tolist()
    for row, number in enumerate(numbers):
        if published:
            chosen = cost[:, row].topk(number, largest=False).indices
        else:
            chosen = cost[:, row].argsort(stable=True)[:number]
        matching[chosen, row] = True
    several = matching.sum(1) > 1
    if several.any():
        lowest = cost[several].amin(1, keepdim=True)
        first = (cost[several] == lowest).int().argmax(1)
        matching[several] = F.one_hot(first, cost.shape[1]).bool()
    inside = torch.where(matching.any(1), matching.int().argmax(1) + 1, 0)
    codes[valid] = inside
    return codes
