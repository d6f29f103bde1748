"""A fixed number of candidates per level, as a graph without decisions can have them.

What `Postprocess.candidates` leaves out is in here with the score `OUT`; the rest is equal.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from motedet.export.suppression import OUT
from motedet.models.dense import HeadOutputs
from motedet.models.postprocess import Postprocess


class Chosen(NamedTuple):
    """The same number of candidates in every image.

    Attributes:
        prior: [B, N] int64.
        label: [B, N] int64.
        score: [B, N], `OUT` where there is no candidate.
    """

    prior: Tensor
    label: Tensor
    score: Tensor


def chosen(outputs: HeadOutputs, level_starts: Sequence[int], rule: Postprocess) -> Chosen:
    """The predictions that are to be decoded.

    Args:
        outputs: P predictions of K classes for B images.
        level_starts: index of the first prior of each level.
        rule: how many, and of what.
    """
    bounds = [*level_starts, outputs.logits.shape[1]]
    if rule.rank == "pairs":
        return _best_pairs(outputs, bounds, rule)
    return _best_priors(outputs, bounds, rule)


def best(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Values and places [B, min(count, n)] of the highest of [B, n], best first.

    Where n is not known while the graph is made, there are always `count`, the rest -inf.
    """
    size = values.shape[1]
    if isinstance(size, int):
        top = values.topk(min(count, size))
        return top.values, top.indices
    filler = values.new_full((values.shape[0], count), -torch.inf)
    top = torch.cat((values, filler), dim=1).topk(count)
    return top.values, top.indices.clamp(max=size - 1)


def _best_pairs(outputs: HeadOutputs, bounds: Sequence[int], rule: Postprocess) -> Chosen:
    """The best (prior, class) pairs of each level."""
    num_classes = outputs.logits.shape[2]
    priors, labels, scores = [], [], []
    for start, end in itertools.pairwise(bounds):
        logits, place = best(outputs.logits[:, start:end].flatten(1), rule.pre_nms)  # [B, n]
        priors.append(place // num_classes + start)
        labels.append(place % num_classes)
        scores.append(logits.sigmoid())
    prior = torch.cat(priors, dim=1)  # [B, N]
    probs = torch.cat(scores, dim=1)  # [B, N]
    score = probs
    if outputs.ctrness is not None:
        score = score * outputs.ctrness.gather(1, prior).sigmoid()
    score = score.where(probs > rule.score_thresh, OUT)
    return Chosen(prior, torch.cat(labels, dim=1), score)


def _best_priors(outputs: HeadOutputs, bounds: Sequence[int], rule: Postprocess) -> Chosen:
    """All classes of the best priors of each level."""
    num_classes = outputs.logits.shape[2]
    merit = outputs.logits.amax(dim=-1).sigmoid()  # [B, P]
    if outputs.ctrness is not None:
        merit = merit * outputs.ctrness.sigmoid()
    parts = [
        best(merit[:, start:end], rule.pre_nms)[1] + start
        for start, end in itertools.pairwise(bounds)
    ]
    row = torch.cat(parts, dim=1)  # [B, M]
    prior = row[..., None].expand(-1, -1, num_classes).flatten(1)  # [B, M * K]
    label = torch.arange(num_classes).expand(*row.shape, -1).flatten(1)  # [B, M * K]
    logits = outputs.logits.gather(1, row[..., None].expand(-1, -1, num_classes))  # [B, M, K]
    probs = logits.sigmoid().flatten(1)  # [B, M * K]
    score = probs
    if outputs.ctrness is not None:
        score = score * outputs.ctrness.gather(1, prior).sigmoid()
    score = score.where(probs > rule.score_thresh, OUT)
    return Chosen(prior, label, score)
