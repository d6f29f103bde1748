import itertools
import math

import pytest
import torch
from torch import nn

from motedet.engine.schedules import build_optimizer, lr_factor
from motedet.recipes import OptimizerSpec, ScheduleSpec


def test_step_drops_at_the_start_of_the_named_epochs() -> None:
    factor = lr_factor(
        ScheduleSpec(warmup="none", drop_epochs=(2, 3)), epochs=4, steps_per_epoch=10
    )
    assert [factor(s) for s in (0, 19, 20, 29, 30)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_linear_warmup_climbs_from_its_factor_to_one() -> None:
    spec = ScheduleSpec(kind="constant", warmup="linear", warmup_steps=10, warmup_factor=0.1)
    factor = lr_factor(spec, epochs=1, steps_per_epoch=100)
    assert [factor(s) for s in (0, 5, 10)] == pytest.approx([0.1, 0.55, 1.0])


def test_constant_warmup_stays_at_its_factor() -> None:
    spec = ScheduleSpec(kind="constant", warmup="constant", warmup_steps=10, warmup_factor=1 / 3)
    factor = lr_factor(spec, epochs=1, steps_per_epoch=100)
    assert [factor(s) for s in (0, 9, 10)] == pytest.approx([1 / 3, 1 / 3, 1.0])


@pytest.mark.parametrize("kind", ["cosine", "poly"])
def test_falling_curves_end_at_the_final_factor(kind: str) -> None:
    spec = ScheduleSpec.model_validate({"kind": kind, "warmup": "none", "final_factor": 0.01})
    factor = lr_factor(spec, epochs=2, steps_per_epoch=50)
    values = [factor(s) for s in range(101)]
    assert values[0] == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.01)
    assert all(a >= b for a, b in itertools.pairwise(values))


def test_cosine_is_half_way_in_the_middle() -> None:
    factor = lr_factor(ScheduleSpec(kind="cosine", warmup="none"), epochs=1, steps_per_epoch=100)
    assert math.isclose(factor(50), 0.5)


def test_biases_and_norms_have_their_own_rates() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    spec = OptimizerSpec(
        lr=0.1, weight_decay=0.2, bias_lr_factor=2, bias_decay_factor=0, norm_decay_factor=0.5
    )
    optimizer = build_optimizer(spec, module)
    rates = {
        id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]
    }
    assert rates[id(module[0].weight)] == (0.1, 0.2)
    assert rates[id(module[0].bias)] == (0.2, 0.0)
    assert rates[id(module[1].weight)] == rates[id(module[1].bias)] == (0.1, 0.1)
    assert len(rates) == 6


def test_frozen_parameters_are_left_out() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    for kind, cls in (("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)):
        optimizer = build_optimizer(OptimizerSpec.model_validate({"kind": kind}), module)
        assert isinstance(optimizer, cls)
        assert sum(len(g["params"]) for g in optimizer.param_groups) == 2
