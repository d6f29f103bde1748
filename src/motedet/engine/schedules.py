"""Optimisers and learning-rate curves from their description in a recipe."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from motedet.recipes import OptimizerSpec, ScheduleSpec

NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def build_optimizer(spec: OptimizerSpec, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters, with biases and norms in groups of their own."""
    groups: list[dict[str, object]] = []
    for kind, parameters in _by_kind(module).items():
        lr_factor = spec.bias_lr_factor if kind == "bias" else 1.0
        decay = {
            "bias": spec.bias_decay_factor,
            "norm": spec.norm_decay_factor,
            "weight": 1.0,
        }[kind]
        groups.append(
            {
                "params": parameters,
                "lr": spec.lr * lr_factor,
                "weight_decay": spec.weight_decay * decay,
            }
        )
    if spec.kind == "adamw":
        return torch.optim.AdamW(groups, lr=spec.lr, weight_decay=spec.weight_decay)
    return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)


def build_scheduler(
    spec: ScheduleSpec, optimizer: torch.optim.Optimizer, *, epochs: int, steps_per_epoch: int
) -> LambdaLR:
    """The learning-rate curve, to be moved once per optimiser step."""
    return LambdaLR(optimizer, lr_factor(spec, epochs=epochs, steps_per_epoch=steps_per_epoch))


def lr_factor(spec: ScheduleSpec, *, epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate of a step, relative to the base learning rate.

    Args:
        spec: the curve.
        epochs: length of the training.
        steps_per_epoch: optimiser steps in one epoch.

    Returns:
        A function of the step, counted from 0.
    """
    total = max(epochs * steps_per_epoch, 1)

    def factor(step: int) -> float:
        curve = _curve(spec, step=step, epoch=step // max(steps_per_epoch, 1), total=total)
        if step >= spec.warmup_steps or spec.warmup == "none":
            return curve
        if spec.warmup == "constant":
            return curve * spec.warmup_factor
        return curve * (1 - (1 - step / spec.warmup_steps) * (1 - spec.warmup_factor))

    return factor


def _curve(spec: ScheduleSpec, *, step: int, epoch: int, total: int) -> float:
    """The curve without its warm-up."""
    if spec.kind == "constant":
        return 1.0
    if spec.kind == "step":
        return float(spec.gamma ** sum(epoch >= drop for drop in spec.drop_epochs))
    left = 1 - min(step / total, 1.0)
    shape = left**spec.power if spec.kind == "poly" else 0.5 - 0.5 * math.cos(math.pi * left)
    return spec.final_factor + (1 - spec.final_factor) * shape


def _by_kind(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Trainable parameters as weights, biases, and those of normalisation layers."""
    kinds: dict[str, list[nn.Parameter]] = {"weight": [], "bias": [], "norm": []}
    for layer in module.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            norm = isinstance(layer, NORM_LAYERS)
            kinds["norm" if norm else "bias" if name == "bias" else "weight"].append(parameter)
    return {kind: parameters for kind, parameters in kinds.items() if parameters}
