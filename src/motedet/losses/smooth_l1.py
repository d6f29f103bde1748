"""Losses on encoded boxes, coordinate by coordinate."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class L1Loss:
    """Absolute difference.

    Attributes:
        weight: multiplies the result.
    """

    kind: Literal["l1"] = "l1"
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Reject a negative weight.

        Raises:
            ValueError: if the weight is negative.
        """
        if self.weight < 0:
            raise ValueError(f"weight must not be negative; got {self.weight}.")

    def __call__(self, pred_deltas: Tensor, target_deltas: Tensor) -> Tensor:
        """Loss of deltas [N, 4] against [N, 4]; returns [N, 4], not reduced."""
        return self.weight * (pred_deltas - target_deltas).abs()


@dataclass(frozen=True, kw_only=True)
class SmoothL1Loss:
    """Absolute difference with a rounded tip (Girshick 2015, eq. 3).

    Attributes:
        beta: below this difference the loss is quadratic.
        weight: multiplies the result.
    """

    kind: Literal["smooth_l1"] = "smooth_l1"
    beta: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Reject values outside their ranges.

        Raises:
            ValueError: if beta is not positive or weight is negative.
        """
        if self.beta <= 0 or self.weight < 0:
            raise ValueError(
                "beta must be positive and weight must not be negative; "
                f"got {self.beta} and {self.weight}."
            )

    def __call__(self, pred_deltas: Tensor, target_deltas: Tensor) -> Tensor:
        """Loss of deltas [N, 4] against [N, 4]; returns [N, 4], not reduced."""
        distance = (pred_deltas - target_deltas).abs()  # [N, 4]
        quadratic = 0.5 * distance * distance / self.beta
        linear = distance - 0.5 * self.beta
        return self.weight * torch.where(distance < self.beta, quadratic, linear)
