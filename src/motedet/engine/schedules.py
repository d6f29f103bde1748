"""Optimisers, learning-rate curves and loss scales from their description in a recipe."""

import logging
import math
from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from motedet.errors import RecipeError
from motedet.recipes import OptimizerSpec, ScheduleSpec, TrainSpec

KINDS: Final = ("weight", "bias", "norm")  # of parameters
NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)

logger = logging.getLogger(__name__)


def build_optimizer(spec: OptimizerSpec, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters of a detector.

    Weights, biases and normalisation layers have groups of their own, in this order, and so have
    the parts with their own learning rate and the parameters without weight decay.

    Args:
        spec: rates by kind and by name.
        module: the detector; the names in `spec` are those of its parameters.

    Raises:
        RecipeError: if a name in `spec` belongs to no parameter.
    """
    _refuse_unknown_names(spec, module)
    groups = [
        {"params": parameters, **_rates(spec, group)}
        for group, parameters in _grouped(spec, module).items()
    ]
    if spec.kind == "adamw":
        return torch.optim.AdamW(groups, lr=spec.lr, weight_decay=spec.weight_decay)
    return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)


def build_scheduler(
    spec: ScheduleSpec, optimizer: torch.optim.Optimizer, *, steps: int, steps_per_epoch: int
) -> LambdaLR:
    """The learning-rate curve, to be moved once per optimiser step."""
    return LambdaLR(optimizer, lr_factor(spec, steps=steps, steps_per_epoch=steps_per_epoch))


def lr_factor(spec: ScheduleSpec, *, steps: int, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate of a step, relative to the base learning rate.

    Args:
        spec: the curve.
        steps: length of the training in optimiser steps.
        steps_per_epoch: optimiser steps in one epoch.

    Returns:
        A function of the step, counted from 0.
    """
    total = max(steps, 1)

    def factor(step: int) -> float:
        epoch = step // max(steps_per_epoch, 1)
        reached = epoch * steps_per_epoch if spec.per == "epoch" else step
        curve = _curve(spec, step=reached, epoch=epoch, total=total)
        if step >= spec.warmup_steps or spec.warmup == "none":
            return curve
        if spec.warmup == "constant":
            return curve * spec.warmup_factor
        return curve * (1 - (1 - step / spec.warmup_steps) * (1 - spec.warmup_factor))

    return factor


class StaticScaler(torch.amp.GradScaler):
    """Multiplies the loss by one number for good; a step whose gradient overflows is left out."""

    def __init__(self, scale: float, *, device: str) -> None:
        super().__init__(device, init_scale=scale)
        self.scale_for_good = float(scale)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Forget the step, and keep the number."""
        super().update(self.scale_for_good if new_scale is None else new_scale)


def static_precision(spec: TrainSpec, device: str) -> MixedPrecision | None:
    """What holds the recipe's loss scale; None where Lightning's own precision does.

    Args:
        spec: of the training.
        device: "cpu" or "cuda". Lightning trains in bfloat16 on a CPU, which needs no scale.
    """
    if spec.loss_scale is None:
        return None
    if device == "cpu":
        logger.warning(
            "train.loss_scale=%g is not used: on a CPU, 16-mixed becomes bf16-mixed, which needs "
            "no scale",
            spec.loss_scale,
        )
        return None
    scaler = StaticScaler(spec.loss_scale, device=device)
    return MixedPrecision("16-mixed", device, scaler)


def _curve(spec: ScheduleSpec, *, step: int, epoch: int, total: int) -> float:
    """The curve without its warm-up."""
    if spec.kind == "constant":
        return 1.0
    if spec.kind == "step":
        return float(spec.gamma ** sum(epoch >= drop for drop in spec.drop_epochs))
    left = 1 - min(step / total, 1.0)
    shape = left**spec.power if spec.kind == "poly" else 0.5 - 0.5 * math.cos(math.pi * left)
    return spec.final_factor + (1 - spec.final_factor) * shape


class _Group(NamedTuple):
    """What parameters with the same rates have in common; groups are ordered by it."""

    kind: int  # an index of KINDS
    part: int  # 0, or 1 + an index of `lr_factors`
    undecayed: bool


def _grouped(spec: OptimizerSpec, module: nn.Module) -> dict[_Group, list[nn.Parameter]]:
    """The trainable parameters by group, groups in order, parameters in that of the module."""
    groups: dict[_Group, list[nn.Parameter]] = {}
    for path, layer in module.named_modules():
        for last, parameter in layer.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            name = f"{path}.{last}" if path else last
            kind = "norm" if isinstance(layer, NORM_LAYERS) else "bias" if last == "bias" else ""
            undecayed = any(text in name for text in spec.no_decay)
            group = _Group(KINDS.index(kind or "weight"), _part(spec, name), undecayed)
            groups.setdefault(group, []).append(parameter)
    return dict(sorted(groups.items(), key=lambda item: item[0]))


def _part(spec: OptimizerSpec, name: str) -> int:
    """0, or 1 + the index of the longest path in `lr_factors` that holds a parameter."""
    paths = list(spec.lr_factors)
    holding = [path for path in paths if _holds(path, name)]
    return 1 + paths.index(max(holding, key=len)) if holding else 0


def _holds(path: str, name: str) -> bool:
    return f"{name}.".startswith(f"{path}.")


def _rates(spec: OptimizerSpec, group: _Group) -> dict[str, float]:
    """Learning rate and weight decay of a group."""
    kind = KINDS[group.kind]
    lr = spec.lr * (spec.bias_lr_factor if kind == "bias" else 1.0)
    decay = {"bias": spec.bias_decay_factor, "norm": spec.norm_decay_factor, "weight": 1.0}[kind]
    return {
        "lr": lr * [1.0, *spec.lr_factors.values()][group.part],
        "weight_decay": 0.0 if group.undecayed else spec.weight_decay * decay,
    }


def _refuse_unknown_names(spec: OptimizerSpec, module: nn.Module) -> None:
    """A name that matches nothing is a slip, and would silently train otherwise than meant."""
    names = [name for name, _ in module.named_parameters()]
    parts = ", ".join(sorted({name.partition(".")[0] for name in names}))
    for path in spec.lr_factors:
        if not any(_holds(path, name) for name in names):
            raise RecipeError(
                f"train.optimizer.lr_factors: the detector has no part {path!r}; its parts are "
                f"{parts}, and longer paths inside them."
            )
    for text in spec.no_decay:
        if not any(text in name for name in names):
            raise RecipeError(
                f"train.optimizer.no_decay: no parameter of the detector has {text!r} in its name; "
                f"names start with {parts}. Leave it out, or correct it."
            )
