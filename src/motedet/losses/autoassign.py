"""The losses of AutoAssign on pairs (Zhu et al. 2020, arXiv 2007.03496, section 3).

Points and objects are not matched: all points in an object's bag share its positive loss by their
confidence, and a point is a negative the less, the better its box fits. Everything is a sum over
the pairs of a segment, so that time and memory grow with the pairs.

Probabilities come as such, not as logits, because they are products. Their cross-entropy is
PyTorch's: logarithms are at least -100, and its gradient never divides by less than 1e-12.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

EPS: Final = 1e-12
SHARPNESS: Final = 3.0  # 1 / tau of eq. 7, as released


def positive_loss(confidence: Tensor, weight: Tensor, gt: Tensor, num_gt: int) -> Tensor:
    """How far each object is from being found by its bag: eq. 7 and 8.

    The confidences of a bag are averaged by weights exp(3 p) w, through which the gradient flows.

    Args:
        confidence: [E] p, in [0, 1], of each pair.
        weight: [E] w, the centre prior of each pair.
        gt: [E] int64, the object of each pair.
        num_gt: G.

    Returns:
        [G] -ln of the average; 100, without a gradient, for an object without pairs.
    """
    share = (SHARPNESS * confidence).exp() * weight  # [E]
    share = share / _segment_sum(share, gt, num_gt).clamp(min=EPS)[gt]
    average = _segment_sum(confidence * share, gt, num_gt)  # [G]
    # rounding may lift an average of ones above one
    return _cross_entropy(average.clamp(max=1), torch.ones_like(average))


@torch.no_grad()
def negative_weights(
    quality: Tensor, gt: Tensor, entry: Tensor, *, num_gt: int, num_entries: int
) -> Tensor:
    """How much of a negative each entry (point and class) is: eq. 9.

    Within a bag f(u) = 1 / (1 - u) is scaled to [0, 1]; the weight is 1 minus that. Where several
    objects of a class share a point the last one counts.

    Args:
        quality: [E] u, the IoU of a pair's box with the object that it fits best.
        gt: [E] int64, rising, the object of each pair.
        entry: [E] int64, that each pair is about.
        num_gt: G.
        num_entries: N.

    Returns:
        [N] in [0, 1]; 1 for entries outside of all bags.
    """
    weight = 1 - _scaled_hardness(quality, gt, num_gt)  # [E]
    order = entry.argsort(stable=True)
    ordered = F.pad(entry[order], (0, 1), value=-1)  # [E + 1]
    last = order[ordered[1:] != ordered[:-1]]
    table = torch.ones(num_entries, dtype=quality.dtype, device=quality.device)
    table[entry[last]] = weight[last]
    return table


@torch.no_grad()
def shared_negative_weights(quality: Tensor, member: Tensor, present: Tensor) -> Tensor:
    """The same where all objects of an image have one bag.

    Args:
        quality: [B, P] IoU of each point's box with the object that it fits best.
        member: [B, P] bool, points in the bag.
        present: [B, K] bool, classes of the image's objects.

    Returns:
        [B, P, K].
    """
    image, prior = member.nonzero().unbind(1)  # [E]
    weight = torch.ones_like(quality)
    weight[image, prior] = 1 - _scaled_hardness(quality[image, prior], image, len(member))
    return weight[..., None].where(present[:, None], 1)


def negative_loss(probs: Tensor, weight: Tensor) -> Tensor:
    """Focal-like cost of every probability where nothing is: eq. 8, x^2 times -ln(1 - x).

    Args:
        probs: [B, P, K], class probability times objectness.
        weight: [B, P, K] in [0, 1], see `negative_weights`.

    Returns:
        [B, P, K], with x = probs * weight.
    """
    scaled = probs * weight  # [B, P, K]
    return scaled**2 * _cross_entropy(scaled, torch.zeros_like(scaled))


def center_loss(weight: Tensor, image: Tensor, objects: Tensor, active: Tensor) -> Tensor:
    """Keeps the centre priors wide: objects of an image over the sum of all its weights.

    Args:
        weight: [E] the centre prior of each pair.
        image: [E] int64, of each pair.
        objects: [B] number of objects, those without pairs included.
        active: [B] bool, images that have any pair; others cost nothing.

    Returns:
        [B].
    """
    total = _segment_sum(weight, image, len(objects))  # [B]
    return (objects / total.clamp(min=EPS)).where(active, 0)


def _scaled_hardness(quality: Tensor, segment: Tensor, count: int) -> Tensor:
    """[E] 1 / (1 - u) in [0, 1] within each segment [E]; 1 where all of a segment are equal."""
    hardness = 1 / (1 - quality).clamp(min=EPS)  # [E]
    least = hardness.new_full((count,), torch.inf).scatter_reduce_(0, segment, hardness, "amin")
    most = hardness.new_full((count,), -torch.inf).scatter_reduce_(0, segment, hardness, "amax")
    return (hardness - least[segment] + EPS) / ((most - least)[segment] + EPS)


def _segment_sum(values: Tensor, segment: Tensor, count: int) -> Tensor:
    """[count] sums of values [E] by segment [E]."""
    return values.new_zeros(count).index_add(0, segment, values)


def _cross_entropy(probs: Tensor, targets: Tensor) -> Tensor:
    """Element by element; NaN stays NaN, which PyTorch answers by ending the process on a GPU."""
    unknown = probs.isnan()
    # mixed precision must not touch probabilities, nor does PyTorch let it
    with torch.autocast(probs.device.type, enabled=False):
        error = F.binary_cross_entropy(probs.masked_fill(unknown, 0), targets, reduction="none")
    return error.masked_fill(unknown, torch.nan)
