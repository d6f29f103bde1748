"""Later assigners for tiny objects as published: objects x priors tables, object by object."""

import torch
from torch import Tensor

from assignment_scenes import Scene
from dense_assigners import dense_assign, dense_image
from motedet.assign.nwd_rka import NWDRKA
from motedet.assign.simd import SimD
from motedet.geometry import pairwise_iof, similarity_distance, wasserstein
from motedet.priors import Anchors, PriorGrid
from motedet.structures import PackedTargets


def differences(assigner: NWDRKA | SimD, grid: PriorGrid, targets: PackedTargets) -> list[str]:
    """The priors to which an assigner and its dense form say something else, a few of them."""
    got = assigner(grid, targets)
    want = dense_assign(assigner, grid, targets)
    if not torch.equal(got.positive, got.quality > 0):
        return ["quality where there is no match, or none where there is one"]
    return [
        f"image {image} prior {prior}: {got.gt_index[image, prior]} for {want[image, prior]}"
        for image, prior in (got.gt_index != want).nonzero()[:5].tolist()
    ]


def grid_of(priors: Anchors, scene: Scene) -> PriorGrid:
    """The grid of anchors on the pyramid of a scene."""
    fields = {name: getattr(priors, name) for name in Anchors.__dataclass_fields__}
    return Anchors(**{**fields, "strides": scene.strides})(scene.level_sizes)


def out_of_play(priors: Tensor, ignore: Tensor, threshold: float | None) -> Tensor:
    """[N] bool, priors under ignore boxes."""
    if threshold is None or len(ignore) == 0:
        return torch.zeros(len(priors), dtype=torch.bool)
    return pairwise_iof(priors, ignore).amax(1) > threshold


# --- NWD-RKA ----------------------------------------------------------------------------------


@dense_image.register
def _(
    assigner: NWDRKA, grid: PriorGrid, keep: Tensor, gt: Tensor, ignore: Tensor, shrinks: int
) -> Tensor:
    priors = grid.boxes()[keep]
    codes = torch.zeros(len(priors), dtype=torch.int64)
    if len(gt) == 0 or len(priors) == 0:
        return codes
    far = wasserstein(gt[:, None], priors[None])  # [G, N], falling NWD is rising distance
    out = out_of_play(priors, ignore, assigner.ignore_iof)
    codes[out] = -1
    far[:, out] = float("inf")
    table = torch.full_like(far, float("inf"))
    for row in range(len(gt)):
        nearest = far[row].argsort(stable=True)[: assigner.topk]
        table[row, nearest] = far[row, nearest]
    best = table.amin(0)
    first = (table == best).int().argmax(0)
    return torch.where(best < float("inf"), first + 1, codes)


# --- SimD -------------------------------------------------------------------------------------


@dense_image.register
def _(
    assigner: SimD, grid: PriorGrid, keep: Tensor, gt: Tensor, ignore: Tensor, shrinks: int
) -> Tensor:
    priors = grid.boxes()[keep]
    if len(gt) == 0 or len(priors) == 0:
        return torch.zeros(len(priors), dtype=torch.int64)
    table = similarity_distance(gt[:, None], priors[None], m=assigner.m, n=assigner.n)  # [G, N]
    out = out_of_play(priors, ignore, assigner.ignore_iof)
    table[:, out] = -1
    best = table.amax(0)
    first = (table == best).int().argmax(0)
    codes = torch.full((len(priors),), -1)
    codes[best < assigner.neg_simd] = 0
    codes[out] = -1
    strong = best >= assigner.pos_simd
    codes[strong] = first[strong] + 1
    top = table.amax(1)
    for row in range(len(gt)):
        if top[row] >= assigner.min_pos_simd and top[row] > 0:
            codes[table[row] == top[row]] = row + 1
    return codes
