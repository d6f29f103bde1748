"""Published names of Gaussian Assignment, built here from the layout of its networks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from motedet.checkpoints import load_state, read_mmdet
from motedet.checkpoints.gaussian_assignment import rename_gaussian_assignment
from motedet.models.backbones import BackboneSpec, DarkNetSpec, MiTSpec
from small_detectors import small_specs

UNIT = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var",
        "bn.num_batches_tracked")  # fmt: skip
BLOCKS = (1, 2, 8, 8, 4)  # of DarkNet-53


def _state(names: Sequence[str]) -> dict[str, Tensor]:
    """A number for each name, so that every value can be followed."""
    return {name: torch.tensor(float(i)) for i, name in enumerate(names)}


def _darknet(prefix: str = "") -> list[str]:
    """As Gaussian Assignment calls it, in timm's order."""
    units = ["stem"]
    for stage, blocks in enumerate(BLOCKS, 1):
        units += [f"layer{stage}.0"]
        units += [f"layer{stage}.{n}.body.{i}" for n in range(1, blocks + 1) for i in (0, 1)]
    return [f"{prefix}{unit}.{entry}" for unit in units for entry in UNIT]


def _mmdet_darknet(prefix: str = "") -> list[str]:
    """As mmdetection calls it, in timm's order."""
    units = ["conv1"]
    for stage, blocks in enumerate(BLOCKS, 1):
        units += [f"conv_res_block{stage}.conv"]
        units += [f"conv_res_block{stage}.res{n}.conv{i}" for n in range(blocks) for i in (1, 2)]
    return [f"{prefix}{unit}.{entry}" for unit in units for entry in UNIT]


def _mit(prefix: str = "") -> dict[str, Tensor]:
    """The last block of MiT, as Gaussian Assignment and mmsegmentation call it."""
    c = 6
    shapes: dict[str, tuple[int, ...]] = {
        "layers.0.0.projection.weight": (c, 3, 7, 7),
        "layers.0.0.norm.bias": (c,),
        "layers.3.0.projection.bias": (c,),
        "layers.3.0.norm.weight": (c,),
        "layers.3.1.10.norm1.weight": (c,),
        "layers.3.1.10.attn.attn.in_proj_weight": (3 * c, c),
        "layers.3.1.10.attn.attn.in_proj_bias": (3 * c,),
        "layers.3.1.10.attn.attn.out_proj.weight": (c, c),
        "layers.3.1.10.attn.attn.out_proj.bias": (c,),
        "layers.3.1.10.attn.sr.weight": (c, c, 2, 2),
        "layers.3.1.10.attn.norm.bias": (c,),
        "layers.3.1.10.norm2.weight": (c,),
        "layers.3.1.10.ffn.layers.0.weight": (4 * c, c, 1, 1),
        "layers.3.1.10.ffn.layers.0.bias": (4 * c,),
        "layers.3.1.10.ffn.layers.1.weight": (4 * c, 1, 3, 3),
        "layers.3.1.10.ffn.layers.4.weight": (c, 4 * c, 1, 1),
        "layers.3.2.bias": (c,),
    }
    return {f"{prefix}{name}": torch.randn(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("published", [_darknet, _mmdet_darknet])
@pytest.mark.parametrize("prefix", ["", "backbone."], ids=["alone", "in a detector"])
def test_darknet_has_the_names_of_timm(published: Callable[[str], list[str]], prefix: str) -> None:
    state = _state(published(prefix))
    renamed = rename_gaussian_assignment(state)
    with torch.device("meta"):
        own = DarkNetSpec().build().state_dict()
    assert list(renamed) == [f"{prefix}{name}" for name in own]
    assert list(renamed.values()) == list(state.values())


def test_a_darknet_alone_is_read_from_its_file(tmp_path: Path) -> None:
    spec = DarkNetSpec(out_stages=(1,))
    names = [
        n for n in _mmdet_darknet() if n.startswith(("conv1", "conv_res_block1", "conv_res_block2"))
    ]
    expected = {
        n: torch.rand_like(v) if v.ndim else v for n, v in spec.build().state_dict().items()
    }
    torch.save({"state_dict": dict(zip(names, expected.values(), strict=True))}, tmp_path / "x.pth")
    backbone = spec.build()
    load_state(backbone, read_mmdet(tmp_path / "x.pth"), source="x.pth")
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_the_rest_of_a_detector_with_darknet_stays() -> None:
    """YOLOv3 has the usual DarkNet, and a neck and head of its own."""
    others = ["neck.detect1.conv1.conv.weight", "bbox_head.convs_bridge.0.conv.weight"]
    renamed = rename_gaussian_assignment(_state(_mmdet_darknet("backbone.") + others))
    assert set(others) < set(renamed)
    assert not any("conv_res_block" in name for name in renamed)


@pytest.mark.parametrize("prefix", ["", "backbone."], ids=["alone", "in a detector"])
def test_mit_has_the_names_of_pvt(prefix: str) -> None:
    state = _mit(prefix)
    renamed = rename_gaussian_assignment(state)
    block = "stages_3.blocks.10"
    expected = {
        "patch_embed.proj.weight": "layers.0.0.projection.weight",
        "patch_embed.norm.bias": "layers.0.0.norm.bias",
        "stages_3.downsample.proj.bias": "layers.3.0.projection.bias",
        "stages_3.downsample.norm.weight": "layers.3.0.norm.weight",
        f"{block}.norm1.weight": "layers.3.1.10.norm1.weight",
        f"{block}.attn.proj.weight": "layers.3.1.10.attn.attn.out_proj.weight",
        f"{block}.attn.proj.bias": "layers.3.1.10.attn.attn.out_proj.bias",
        f"{block}.attn.sr.weight": "layers.3.1.10.attn.sr.weight",
        f"{block}.attn.norm.bias": "layers.3.1.10.attn.norm.bias",
        f"{block}.norm2.weight": "layers.3.1.10.norm2.weight",
        f"{block}.mlp.fc1.weight": "layers.3.1.10.ffn.layers.0.weight",
        f"{block}.mlp.fc1.bias": "layers.3.1.10.ffn.layers.0.bias",
        f"{block}.mlp.dwconv.weight": "layers.3.1.10.ffn.layers.1.weight",
        f"{block}.mlp.fc2.weight": "layers.3.1.10.ffn.layers.4.weight",
        "stages_3.norm.bias": "layers.3.2.bias",
    }
    projections = {f"{prefix}{block}.attn.{p}.{k}" for p in ("q", "kv") for k in ("weight", "bias")}
    assert set(renamed) == {f"{prefix}{name}" for name in expected} | projections
    for name, published in expected.items():
        value, original = renamed[f"{prefix}{name}"], state[f"{prefix}{published}"]
        assert torch.equal(value, original.reshape(value.shape)), name
    assert renamed[f"{prefix}{block}.mlp.fc1.weight"].shape == (24, 6)
    joint = state[f"{prefix}layers.3.1.10.attn.attn.in_proj_weight"]
    assert torch.equal(renamed[f"{prefix}{block}.attn.q.weight"], joint[:6])
    assert torch.equal(renamed[f"{prefix}{block}.attn.kv.weight"], joint[6:])


def test_attention_computes_the_same() -> None:
    published = nn.MultiheadAttention(256, 8, batch_first=True)
    nn.init.normal_(published.in_proj_bias)
    state = {f"layers.3.1.0.attn.attn.{n}": v for n, v in published.state_dict().items()}
    state["layers.3.1.0.ffn.layers.4.weight"] = torch.zeros(256, 1024, 1, 1)
    block = "stages_3.blocks.0.attn."
    ours = MiTSpec(size="b0").build().get_submodule(block[:-1])
    renamed = rename_gaussian_assignment(state)
    own = {n.removeprefix(block): v for n, v in renamed.items() if n.startswith(block)}
    ours.load_state_dict(own)
    x = torch.randn(2, 12, 256)
    expected = published(x, x, x, need_weights=False)[0]
    torch.testing.assert_close(ours(x, (3, 4)), expected, rtol=1e-4, atol=1e-5)


def test_layers_between_backbone_and_head_are_the_necks() -> None:
    up = ["deconv_layers.0.0.weight", "deconv_layers.0.0.conv_offset.bias",
          "deconv_layers.2.1.running_mean", "shortcut_layers.2.layers.4.bias"]  # fmt: skip
    fuse = ["convs.0.conv.weight", "convs.3.bn.bias", "fusion_conv.conv.weight"]
    head = ["cls_convs.0.conv.weight", "reg_convs.1.conv.bias", "hm.0.weight", "wh.0.bias"]
    for layers in (up, fuse):
        renamed = rename_gaussian_assignment(_state([f"bbox_head.{n}" for n in layers + head]))
        assert list(renamed) == [*(f"neck.{n}" for n in layers), *(f"bbox_head.{n}" for n in head)]


def test_unused_predictors_are_dropped() -> None:
    unused = ["bbox_head.conv_cls.weight", "bbox_head.conv_reg.bias"]
    neck, used = ["bbox_head.deconv_layers.0.0.weight"], ["bbox_head.hm.0.weight"]
    assert list(rename_gaussian_assignment(_state(unused + neck + used))) == [
        "neck.deconv_layers.0.0.weight",
        "bbox_head.hm.0.weight",
    ]
    # where nothing else predicts, they are no leftovers
    assert set(rename_gaussian_assignment(_state(unused + neck))) > set(unused)
    assert set(rename_gaussian_assignment(_state(unused))) == set(unused)


@pytest.mark.parametrize("name", ["fcos", "cascade_rcnn"])
def test_other_detectors_stay_as_they_are(name: str) -> None:
    state = small_specs()[name].build(2).state_dict()
    renamed = rename_gaussian_assignment(state)
    assert list(renamed) == list(state)
    assert all(renamed[n] is state[n] for n in state)


@pytest.mark.parametrize("name", ["resnet18", "darknet53", "pvt_v2_b0"])
def test_names_of_timm_stay_as_they_are(name: str) -> None:
    with torch.device("meta"):
        names = [f"backbone.{n}" for n in BackboneSpec(name=name).build().state_dict()]
    assert list(rename_gaussian_assignment(_state(names))) == names


def test_an_empty_state_dict() -> None:
    assert rename_gaussian_assignment({}) == {}
