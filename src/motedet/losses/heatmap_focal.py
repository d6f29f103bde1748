"""Focal loss towards a heat map of objects (Zhou et al. 2019, arXiv 1904.07850, eq. 1)."""

import math
from dataclasses import dataclass
from typing import Final, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from motedet.errors import ShapeError

LIMIT: Final = math.log((1 - 1e-4) / 1e-4)  # probabilities are kept within 1e-4 of 0 and of 1


@dataclass(frozen=True, kw_only=True)
class HeatmapFocalLoss:
    """Cross-entropy towards 1 around the centres of objects, and towards 0 elsewhere.

    With p the probability and Y the heat, an entry costs -(1 - p)^2 ln p where Y reaches `thresh`
    and -(1 - Y)^4 p^2 ln(1 - p) elsewhere. At `thresh` 1 only the centres are positive, as in
    CornerNet and CenterNet; Gaussian Assignment (Zhang et al. 2024, IEEE TGRS 62) lowers it. p is
    kept in [1e-4, 1 - 1e-4], beyond which there is no gradient.

    Attributes:
        thresh: heat from which an entry is a full positive.
        weight: multiplies the result.
    """

    kind: Literal["heatmap_focal"] = "heatmap_focal"
    thresh: float = 0.1
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Reject values outside their ranges.

        Raises:
            ValueError: if thresh is not in (0, 1] or weight is negative.
        """
        if not 0 < self.thresh <= 1:
            raise ValueError(f"thresh must be above 0 and at most 1; got {self.thresh}.")
        if self.weight < 0:
            raise ValueError(f"weight must not be negative; got {self.weight}.")

    def __call__(self, logits: Tensor, heat: Tensor) -> Tensor:
        """Loss of every entry, not reduced. Ignored rows are the caller's to mask.

        Args:
            logits: [..., K]; half precision is computed in float32.
            heat: [..., K] in [0, 1], nearly everywhere 0; of the shape of `logits`.

        Returns:
            [..., K].

        Raises:
            ShapeError: if the shapes differ.
        """
        if logits.shape != heat.shape:
            raise ShapeError(
                "HeatmapFocalLoss needs logits and heat of the same shape; "
                f"got {list(logits.shape)} and {list(heat.shape)}."
            )
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return cast("Tensor", _HeatmapFocal.apply(logits, heat, self.thresh, self.weight))

    def num_pos(self, heat: Tensor) -> Tensor:
        """Scalar int64: the positive entries of heat [..., K].

        The loss is published as a sum divided by them, or by 1 if there are none.
        """
        return (heat >= self.thresh).sum()


class _HeatmapFocal(torch.autograd.Function):
    """With z the logit, negated at positives, the loss is sigmoid(z)^2 softplus(z) times a share.

    The share is 1 wherever there is no heat, so that only few entries are looked at one by one. As
    in `FocalLoss`, the gradient is computed along with the loss and is all that is kept.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, logits: Tensor, heat: Tensor, thresh: float, weight: float
    ) -> Tensor:
        """The loss, of the shape of logits."""
        row = heat.flatten().nonzero().flatten()  # [M], few
        value = heat.flatten()[row].to(logits.dtype)  # [M]
        positive = value >= thresh  # [M]
        share = (1 - value) ** 4  # [M]
        share[positive] = 1
        turned = row[positive]

        z = logits.flatten().clamp(-LIMIT, LIMIT)  # [N]
        z[turned] = -z[turned]
        entropy = F.logsigmoid(z.neg()).neg_()  # softplus(z) [N]
        wrong = z.sigmoid_()  # the probability of the wrong answer
        scale = wrong.square().mul_(weight)
        scale[row] *= share
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            slope = (1 - wrong).mul_(2).mul_(entropy).add_(wrong).mul_(scale)
            slope[turned] = -slope[turned]
            slope = slope.view(logits.shape)
            ctx.save_for_backward(slope.masked_fill_(logits.abs() > LIMIT, 0))
        return entropy.mul_(scale).view(logits.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradient of the logits, of their shape."""
        (slope,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad * slope, None, None, None
