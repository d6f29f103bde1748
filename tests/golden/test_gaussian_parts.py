"""Backbones, deformable convolution and names of Gaussian Assignment against its own."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from golden_files import fill, golden_path, load_json, load_npz
from motedet.checkpoints import load_state, read_mmdet
from motedet.checkpoints.gaussian_assignment import rename_gaussian_assignment
from motedet.models.backbones import DarkNetSpec, MiTSpec
from motedet.models.necks import FuseNeckSpec, UpsamplingNeckSpec
from motedet.models.necks.upsample import DeformConv2d

FOLDER = "gaussian_assignment"
MODELS = sorted(
    path.name.removesuffix("_manifest.json") for path in golden_path(FOLDER).glob("*_manifest.json")
)

# The published head: two trunks of two convolutions, 8 classes.
HEAD = {
    "cls_convs.0.conv.weight": (128, 128, 3, 3),
    "cls_convs.0.conv.bias": (128,),
    "cls_convs.1.conv.weight": (128, 128, 3, 3),
    "cls_convs.1.conv.bias": (128,),
    "reg_convs.0.conv.weight": (64, 128, 3, 3),
    "reg_convs.0.conv.bias": (64,),
    "reg_convs.1.conv.weight": (64, 64, 3, 3),
    "reg_convs.1.conv.bias": (64,),
    "hm.0.weight": (8, 128, 1, 1),
    "hm.0.bias": (8,),
    "wh.0.weight": (4, 64, 1, 1),
    "wh.0.bias": (4,),
}
IOU = {"iou.0.weight": (1, 64, 1, 1), "iou.0.bias": (1,)}  # or centre-ness


def test_there_are_cases() -> None:
    assert len(MODELS) == 5


def test_deformable_convolution() -> None:
    stored = {
        name.removeprefix("dcn/"): torch.from_numpy(value)
        for name, value in load_npz(FOLDER, "components.npz").items()
        if name.startswith("dcn/")
    }
    conv = DeformConv2d(6, 5)
    conv.load_state_dict({name: stored[name] for name in conv.state_dict()})
    with torch.no_grad():
        found = conv(stored["x"])
    torch.testing.assert_close(found, stored["y"], rtol=0, atol=1e-4)
    up = F.interpolate(found.relu(), size=(18, 22), mode="bilinear", align_corners=True)
    torch.testing.assert_close(up, stored["y_relu_up"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_published_names_fit_our_parts(tmp_path: Path, model: str) -> None:
    """Every entry of the reference has a place in ours, but the unused predictors."""
    torch.save(
        {"state_dict": {n: torch.zeros(()).expand(s) for n, s in _shapes(model).items()}},
        tmp_path / "epoch_24.pth",
    )
    state = read_mmdet(tmp_path / "epoch_24.pth")
    backbone = (MiTSpec() if "mit" in model else DarkNetSpec()).build()
    neck = (FuseNeckSpec() if "mit" in model else UpsamplingNeckSpec()).build(
        backbone.channels, backbone.strides
    )
    load_state(backbone, _below("backbone.", state), source=model)
    load_state(neck, _below("neck.", state), source=model)
    head = {n: tuple(v.shape) for n, v in _below("bbox_head.", state).items()}
    assert head == HEAD | ({} if model == "retinanet_s_ga" else IOU)


@pytest.mark.parametrize("model", MODELS)
def test_features(model: str) -> None:
    shapes = {n: s for n, s in _shapes(model).items() if n.startswith("backbone.")}
    stored = load_npz(FOLDER, f"{model}_model.npz")
    for level, feature in enumerate(_features(tuple(shapes.items()), mit="mit" in model)):
        large = min(feature.shape[-2:]) >= 8
        cells = feature[0, ::16, ::4, ::4] if large else feature[0, ::16]
        np.testing.assert_allclose(cells, stored[f"feat{level}_slice"], rtol=0, atol=1e-3)
        statistics = [feature.mean(), feature.std(correction=0)]
        np.testing.assert_allclose(statistics, stored[f"feat{level}_mean_std"], rtol=0, atol=1e-3)


@lru_cache(maxsize=2)
def _features(shapes: tuple[tuple[str, tuple[int, ...]], ...], *, mit: bool) -> list[Tensor]:
    """What our backbone makes of the stored image; four of the models have the same one."""
    rule = fill()
    state = {name: torch.from_numpy(rule(name, shape)) for name, shape in shapes}
    for name in state:
        if name.endswith(".body.1.bn.weight"):  # the rule of the README
            state[name] *= 0.1
    backbone = (MiTSpec() if mit else DarkNetSpec()).build().eval()
    load_state(backbone, _below("backbone.", rename_gaussian_assignment(state)), source="fill")
    images = torch.from_numpy(load_npz(FOLDER, "models_input.npz")["input"])
    with torch.no_grad():
        features: list[Tensor] = backbone(images)
    return features


def _shapes(model: str) -> dict[str, tuple[int, ...]]:
    return {n: tuple(s) for n, s in load_json(FOLDER, f"{model}_manifest.json").items()}


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
