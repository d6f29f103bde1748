import itertools
import math

import pytest
import torch
from torch import nn

from motedet.engine.schedules import (
    StaticScaler,
    build_optimizer,
    build_scheduler,
    lr_factor,
    static_precision,
)
from motedet.errors import RecipeError
from motedet.recipes import OptimizerSpec, ScheduleSpec, TrainSpec


def test_step_drops_at_the_start_of_the_named_epochs() -> None:
    factor = lr_factor(
        ScheduleSpec(warmup="none", drop_epochs=(2, 3)), steps=40, steps_per_epoch=10
    )
    assert [factor(s) for s in (0, 19, 20, 29, 30)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_linear_warmup_climbs_from_its_factor_to_one() -> None:
    spec = ScheduleSpec(kind="constant", warmup="linear", warmup_steps=10, warmup_factor=0.1)
    factor = lr_factor(spec, steps=100, steps_per_epoch=100)
    assert [factor(s) for s in (0, 5, 10)] == pytest.approx([0.1, 0.55, 1.0])


def test_constant_warmup_stays_at_its_factor() -> None:
    spec = ScheduleSpec(kind="constant", warmup="constant", warmup_steps=10, warmup_factor=1 / 3)
    factor = lr_factor(spec, steps=100, steps_per_epoch=100)
    assert [factor(s) for s in (0, 9, 10)] == pytest.approx([1 / 3, 1 / 3, 1.0])


@pytest.mark.parametrize("kind", ["cosine", "poly"])
def test_falling_curves_end_at_the_final_factor(kind: str) -> None:
    spec = ScheduleSpec.model_validate({"kind": kind, "warmup": "none", "final_factor": 0.01})
    factor = lr_factor(spec, steps=100, steps_per_epoch=50)
    values = [factor(s) for s in range(101)]
    assert values[0] == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.01)
    assert all(a >= b for a, b in itertools.pairwise(values))


def test_cosine_is_half_way_in_the_middle() -> None:
    factor = lr_factor(ScheduleSpec(kind="cosine", warmup="none"), steps=100, steps_per_epoch=100)
    assert math.isclose(factor(50), 0.5)


@pytest.mark.parametrize("kind", ["cosine", "poly"])
def test_a_curve_per_epoch_stays_where_its_epoch_began(kind: str) -> None:
    per_step = ScheduleSpec.model_validate({"kind": kind, "warmup": "none", "final_factor": 0.1})
    per_epoch = per_step.model_copy(update={"per": "epoch"})
    moving = lr_factor(per_step, steps=40, steps_per_epoch=10)
    steady = lr_factor(per_epoch, steps=40, steps_per_epoch=10)
    assert [steady(s) for s in range(41)] == [moving(s // 10 * 10) for s in range(41)]


def test_the_warmup_moves_within_an_epoch_whatever_the_curve() -> None:
    spec = ScheduleSpec(kind="cosine", per="epoch", warmup_steps=4, warmup_factor=0.5)
    factor = lr_factor(spec, steps=20, steps_per_epoch=5)
    quarter = 0.5 + 0.5 * math.cos(math.pi / 4)
    assert [factor(s) for s in range(6)] == pytest.approx([0.5, 0.625, 0.75, 0.875, 1, quarter])


def test_a_curve_per_epoch_without_steps_in_an_epoch() -> None:
    spec = ScheduleSpec(kind="cosine", per="epoch", warmup="none")
    assert lr_factor(spec, steps=0, steps_per_epoch=0)(0) == 1.0


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


def test_a_curve_may_end_amid_an_epoch() -> None:
    spec = ScheduleSpec(kind="poly", power=1.0, warmup="none")
    factor = lr_factor(spec, steps=8, steps_per_epoch=5)
    assert [factor(s) for s in (0, 2, 6, 8)] == pytest.approx([1, 0.75, 0.25, 0])


class Detector(nn.Module):
    """Three parts, with names as those of detectors."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(4))
        self.bbox_head = nn.ModuleDict(
            {"norm": nn.BatchNorm2d(4), "cls": nn.Conv2d(4, 2, 1), "reg": nn.Conv2d(4, 4, 1)}
        )
        self.bbox_head_of_another = nn.Conv2d(4, 2, 1, bias=False)


def rates(spec: OptimizerSpec, module: nn.Module) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay by name."""
    groups = build_optimizer(spec, module).param_groups
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    return {name: found[id(p)] for name, p in module.named_parameters()}


def test_parts_have_their_own_rate_and_the_longest_path_counts() -> None:
    spec = OptimizerSpec(lr=0.1, lr_factors={"bbox_head": 10, "bbox_head.reg": 2})
    found = {name: lr for name, (lr, _) in rates(spec, Detector()).items()}
    assert found == pytest.approx(
        {
            "backbone.0.weight": 0.1,
            "backbone.0.bias": 0.1,
            "backbone.1.weight": 0.1,
            "backbone.1.bias": 0.1,
            "bbox_head.norm.weight": 1.0,
            "bbox_head.norm.bias": 1.0,
            "bbox_head.cls.weight": 1.0,
            "bbox_head.cls.bias": 1.0,
            "bbox_head.reg.weight": 0.2,
            "bbox_head.reg.bias": 0.2,
            "bbox_head_of_another.weight": 0.1,
        }
    )


def test_rates_of_parts_and_of_kinds_multiply() -> None:
    spec = OptimizerSpec(
        lr=0.1,
        weight_decay=0.2,
        bias_lr_factor=2,
        norm_decay_factor=0.5,
        lr_factors={"bbox_head": 10},
        no_decay=("norm", "cls.bias"),
    )
    found = rates(spec, Detector())
    assert found["bbox_head.cls.weight"] == pytest.approx((1.0, 0.2))
    assert found["bbox_head.cls.bias"] == pytest.approx((2.0, 0.0))
    assert found["bbox_head.reg.bias"] == pytest.approx((2.0, 0.2))
    assert found["bbox_head.norm.weight"] == pytest.approx((1.0, 0.0))
    assert found["backbone.1.weight"] == pytest.approx((0.1, 0.1))  # a norm, but not by its name


def test_without_names_the_groups_are_the_three_kinds_in_order() -> None:
    module = Detector()
    groups = build_optimizer(OptimizerSpec(), module).param_groups
    norms = {*module.backbone[1].parameters(), *module.bbox_head["norm"].parameters()}
    others = [(n, p) for n, p in module.named_parameters() if p not in norms]
    assert [len(g["params"]) for g in groups] == [4, 3, 4]
    assert groups[0]["params"] == [p for n, p in others if n.endswith("weight")]
    assert groups[1]["params"] == [p for n, p in others if n.endswith("bias")]
    assert set(groups[2]["params"]) == norms


def test_the_order_of_groups_is_that_of_kinds_then_of_the_recipe() -> None:
    spec = OptimizerSpec(lr=1, lr_factors={"bbox_head": 10, "backbone": 3}, no_decay=("reg",))
    groups = build_optimizer(spec, Detector()).param_groups
    weights, biases, norms = [1, 10, 10, 3], [10, 10, 3], [10, 3]
    assert [g["lr"] for g in groups] == [*weights, *biases, *norms]
    assert [i for i, g in enumerate(groups) if not g["weight_decay"]] == [2, 5]


def test_the_curve_moves_every_part_alike() -> None:
    spec = OptimizerSpec(lr=1, lr_factors={"bbox_head": 10})
    optimizer = build_optimizer(spec, Detector())
    scheduler = build_scheduler(
        ScheduleSpec(kind="poly", power=1.0, warmup="none"), optimizer, steps=4, steps_per_epoch=3
    )
    optimizer.step()
    scheduler.step()
    assert {g["lr"] for g in optimizer.param_groups} == {0.75, 7.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr_factors": {"head": 10}}, r"lr_factors: the detector has no part 'head'; its parts"),
        ({"lr_factors": {"bbox_head.c": 10}}, r"no part 'bbox_head\.c'.*backbone, bbox_head,"),
        ({"no_decay": ["norm", "pos_block"]}, r"no_decay: no parameter .*'pos_block'"),
    ],
)
def test_names_of_no_parameter_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_optimizer(OptimizerSpec.model_validate(changes), Detector())


def test_frozen_parts_may_be_named() -> None:
    module = Detector()
    module.backbone.requires_grad_(False)
    spec = OptimizerSpec(lr_factors={"backbone": 2})
    assert sum(len(g["params"]) for g in build_optimizer(spec, module).param_groups) == 7


@pytest.mark.filterwarnings("ignore:.*scheduler")
def test_a_static_scale_stays_and_overflowing_steps_are_left_out() -> None:
    weight = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = StaticScaler(512.0, device="cpu")
    for factor, expected in ((0.25, 0.75), (float("inf"), 0.75), (0.5, 0.25)):
        optimizer.zero_grad()
        scaler.scale(weight * factor).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        assert weight.item() == expected
        assert scaler.get_scale() == 512.0


def test_a_static_scale_survives_a_restart() -> None:
    scaler = StaticScaler(512.0, device="cpu")
    scaler.load_state_dict(StaticScaler(512.0, device="cpu").state_dict())
    assert scaler.get_scale() == 512.0


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_the_scale_of_the_recipe_reaches_lightning(caplog: pytest.LogCaptureFixture) -> None:
    half = TrainSpec(precision="16-mixed", loss_scale=512)
    assert static_precision(TrainSpec(precision="16-mixed"), "cuda") is None
    precision = static_precision(half, "cuda")
    assert precision is not None
    assert precision.precision == "16-mixed"
    assert isinstance(precision.scaler, StaticScaler)
    assert static_precision(half, "cpu") is None
    assert "train.loss_scale=512 is not used" in caplog.text
