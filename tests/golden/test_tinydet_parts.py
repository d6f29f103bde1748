"""The parts of TinyDet, one by one, against the outputs of the published code."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from golden_tinydet import (
    MODELS,
    arrays,
    assert_close,
    assert_same_stats,
    case_json,
    half_open,
    load_filled,
    rnd,
)
from motedet.models.backbones.tinydet import (
    FirstBlock,
    InvertedBlock,
    Row,
    SqueezeExcite,
)
from motedet.models.necks.fpn import flatten_levels
from motedet.models.necks.tiny_fpn import TinyFPNSpec
from motedet.models.ps_roi_align import ps_roi_align
from motedet.models.rois import Rois

every_model = pytest.mark.parametrize("key", MODELS)


# Backbone, neck and first stage.


@pytest.mark.parametrize("name", case_json("blocks"))
def test_blocks(name: str) -> None:
    case = case_json("blocks")[name]
    module: nn.Module = SqueezeExcite(case["x_shape"][1])
    if case["kind"] == "block_e1":
        module = FirstBlock(case["cin"])
    elif case["kind"] == "block":
        hard = case["act"] == "hswish"
        row = Row(case["kernel"], case["expand"], case["cout"], hard, case["se"], case["stride"])
        module = InvertedBlock(case["cin"], row)
    load_filled(module, case["params"], f"block.{name}.")
    with torch.no_grad():
        found = module.eval()(rnd(case["seed"], case["x_shape"]))
    np.testing.assert_allclose(found, arrays("blocks")[f"{name}.y"], rtol=0, atol=1e-5)


def test_activations() -> None:
    stored = arrays("blocks")
    x = torch.from_numpy(stored["act.x"])
    np.testing.assert_allclose(nn.Hardswish()(x), stored["act.hswish"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(nn.Hardsigmoid()(x), stored["act.hsigmoid"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("key", ["S", "M"])
@pytest.mark.parametrize("shuffle", [0, 1])
def test_pyramid(key: str, shuffle: int) -> None:
    name = "S" if key == "S" else "ML"
    case, stored, model = case_json("fpn")[name], arrays("fpn"), MODELS[key]
    channels = [shape[1] for shape in case["in_shapes"]]
    assert isinstance(model.spec.neck, TinyFPNSpec)
    neck = replace(model.spec.neck, shuffle=bool(shuffle)).build(channels, model.strides)
    load_filled(neck, case["params"], "neck.")
    inputs = [rnd(s, shape) for s, shape in zip(case["seeds"], case["in_shapes"], strict=True)]
    for i, level in enumerate(neck(inputs)):
        part = f"{name}.shuffle{shuffle}.out{i}"
        sliced = level[0, :60, 0] if shuffle else level[0, ::4, ::2, ::2]
        whole = part in stored
        expected = stored[part if whole else f"{part}.slice"]
        assert_close(level if whole else sliced, expected, 1e-4)
        assert_same_stats(level, stored[f"{part}.stats"], 1e-4)


@pytest.mark.parametrize("key", ["S", "M"])
def test_rpn_head(key: str) -> None:
    case, stored = case_json("rpn_head"), arrays("rpn_head")
    rpn = MODELS[key].spec.rpn.build(245)
    load_filled(rpn, case["params"], case["prefix"])
    shapes = [*case["in_shapes_S"], *([[1, 245, 1, 1]] if key == "M" else [])]
    maps = [rnd(s, shape) for s, shape in zip(case["seeds"], shapes, strict=False)]
    found = rpn(maps)
    levels = range(len(shapes))
    logits = flatten_levels([torch.from_numpy(stored[f"{key}.cls{i}"]) for i in levels], 1)
    deltas = flatten_levels([torch.from_numpy(stored[f"{key}.reg{i}"]) for i in levels], 4)
    assert_close(found.logits, logits.numpy(), 1e-4)
    assert_close(found.boxes, deltas.numpy(), 1e-4)


# Regions.


@pytest.mark.parametrize("case", range(4))
def test_pooling_and_its_gradient(case: int) -> None:
    stored = arrays("psroi")
    channels, height, width, scale, size, _, samples = stored[f"c{case}.cfg"]
    feature = rnd(130 + case, (2, int(channels), int(height), int(width))).requires_grad_()
    table = torch.from_numpy(stored[f"c{case}.rois"])
    image, boxes = table[:, 0].long(), table[:, 1:] * float(scale)
    found = ps_roi_align(
        [feature],
        boxes,
        image,
        torch.zeros_like(image),
        output_size=int(size),
        sampling_ratio=int(samples),
    )
    expected = stored[f"c{case}.out"]
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=5e-5)
    found.backward(rnd(140 + case, expected.shape))  # type: ignore[no-untyped-call]
    assert feature.grad is not None
    sums = feature.grad.sum(dim=(0, 2, 3))
    np.testing.assert_allclose(sums, stored[f"c{case}.grad_per_channel_sum"], rtol=0, atol=1e-3)
    for part, name in ((feature.grad[0, 3], "b0_c3"), (feature.grad[1, 10], "b1_c10")):
        different = np.abs(part.numpy() - stored[f"c{case}.grad_slice_{name}"]) > 1e-3
        assert different.mean() <= 1e-3
    assert_same_stats(feature.grad, stored[f"c{case}.grad_stats"], 1e-3)


@every_model
def test_levels(key: str) -> None:
    stored, pool = arrays("psroi"), MODELS[key].pool
    boxes = half_open(stored[f"levels.{key}.rois"][:, 1:])
    found = pool.levels(boxes, pool.num_levels)
    np.testing.assert_array_equal(found, stored[f"levels.{key}.target"])


@every_model
def test_extractor(key: str) -> None:
    stored, model = arrays("extractor"), MODELS[key]
    strides = model.strides[: model.pool.num_levels]
    maps = [rnd(600 + i, (2, 245, 320 // s, 320 // s)) for i, s in enumerate(strides)]
    table = stored[f"{key}.rois"]
    rois = Rois(half_open(table[:, 1:]), torch.from_numpy(table[:, 0]).long())
    levels = model.pool.levels(rois.boxes, len(strides))
    np.testing.assert_array_equal(levels, stored[f"{key}.levels"])
    found = model.pool(maps, strides, rois)
    np.testing.assert_allclose(found, stored[f"{key}.out"], rtol=0, atol=5e-5)
