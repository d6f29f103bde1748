"""Backbones: names, stages, styles, and what stays frozen."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from motedet.errors import RecipeError
from motedet.models.backbones.timm_features import BackboneSpec


@pytest.mark.parametrize(
    ("name", "stages", "strides", "channels"),
    [
        ("resnet18", (1, 2, 3, 4), (4, 8, 16, 32), (64, 128, 256, 512)),
        ("resnet50", (2, 3), (8, 16), (512, 1024)),
        ("convnext_atto", (1, 3), (4, 16), (40, 160)),
        ("mobilenetv3_small_050", (2, 4), (8, 32), (16, 288)),
    ],
)
def test_stages(
    name: str, stages: tuple[int, ...], strides: tuple[int, ...], channels: tuple[int, ...]
) -> None:
    backbone = BackboneSpec(name=name, out_stages=stages).build().eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 96))
    assert backbone.strides == strides
    assert backbone.channels == channels
    for feature, stride, width in zip(features, strides, channels, strict=True):
        assert feature.shape == (1, width, 64 // stride, 96 // stride)


def test_channels_last_outputs_are_turned_around() -> None:
    spec = BackboneSpec(name="swin_tiny_patch4_window7_224", out_stages=(1, 2))
    backbone = spec.build().eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 224, 224))
    assert [tuple(f.shape) for f in features] == [(1, 96, 56, 56), (1, 192, 28, 28)]


def test_names_are_the_published_ones_and_unused_stages_are_gone() -> None:
    names = set(BackboneSpec(name="resnet18", out_stages=(1, 2)).build().state_dict())
    reference = timm.create_model("resnet18").state_dict()
    expected = {n for n in reference if not n.startswith(("fc.", "layer3.", "layer4."))}
    assert names == expected


def test_styles_differ_in_the_strides_only() -> None:
    pytorch = BackboneSpec(name="resnet50").build()
    caffe = BackboneSpec(name="resnet50", style="caffe").build()
    shapes = [{n: v.shape for n, v in b.state_dict().items()} for b in (pytorch, caffe)]
    assert shapes[0] == shapes[1]
    for backbone, first, second in ((pytorch, (1, 1), (2, 2)), (caffe, (2, 2), (1, 1))):
        for stage in (2, 3, 4):
            block = backbone.get_submodule(f"layer{stage}.0")
            assert block.get_submodule("conv1").stride == first
            assert block.get_submodule("conv2").stride == second


def test_small_resnets_are_the_same_in_both_styles() -> None:
    images = torch.randn(1, 3, 32, 32)
    pytorch = BackboneSpec(name="resnet18", out_stages=(3,)).build().eval()
    caffe = BackboneSpec(name="resnet18", out_stages=(3,), style="caffe").build().eval()
    caffe.load_state_dict(pytorch.state_dict())
    torch.testing.assert_close(caffe(images)[0], pytorch(images)[0])


def test_frozen_stages_and_statistics() -> None:
    spec = BackboneSpec(name="resnet18", frozen_stages=1, freeze_bn=True)
    backbone = spec.build().train()
    learning = {n for n, p in backbone.named_parameters() if p.requires_grad}
    assert not any(n.startswith(("conv1", "bn1", "layer1")) for n in learning)
    assert "layer2.0.bn1.weight" in learning
    before = {n: b.clone() for n, b in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 32, 32))
    for name, buffer in backbone.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_frozen_stages_keep_their_statistics_when_others_learn() -> None:
    backbone = BackboneSpec(name="resnet18", frozen_stages=1).build().train()
    before = {n: b.clone() for n, b in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 32, 32))
    after = dict(backbone.named_buffers())
    assert torch.equal(after["layer1.0.bn1.running_mean"], before["layer1.0.bn1.running_mean"])
    assert not torch.equal(after["layer2.0.bn1.running_mean"], before["layer2.0.bn1.running_mean"])


def test_affine_parameters_can_be_frozen() -> None:
    backbone = BackboneSpec(name="resnet18", freeze_bn=True, train_bn_affine=False).build()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert not module.weight.requires_grad
            assert not module.bias.requires_grad
    assert backbone.get_submodule("layer1.0.conv1").weight.requires_grad is True


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (BackboneSpec(name="resnet51"), "timm has no model 'resnet51'; similar names: resnet"),
        (BackboneSpec(name="vit_tiny_patch16_224"), r"features at strides \[16"),
        (BackboneSpec(name="convnext_atto", style="caffe"), "ResNets; 'convnext_atto' is none"),
        (BackboneSpec(name="mobilenetv3_small_050", frozen_stages=1), "frozen_stages=1"),
    ],
    ids=["unknown", "strides", "style", "frozen"],
)
def test_impossible_wishes(spec: BackboneSpec, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        spec.build()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"out_stages": ()}, r"increase; got \(\)"),
        ({"out_stages": (2, 1)}, r"increase; got \(2, 1\)"),
        ({"out_stages": (0, 1)}, "start at 1"),
        ({"frozen_stages": -1}, "got -1"),
    ],
)
def test_bad_values(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BackboneSpec(**values)  # type: ignore[arg-type]


def test_offline_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, *, pretrained: bool = False, **options: Any) -> nn.Module:  # noqa: ANN401
        if pretrained:
            raise FileNotFoundError("no connection\nand more")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(RecipeError, match=r"could not be fetched \(no connection\)\.") as caught:
        BackboneSpec(name="resnet18", pretrained=True).build()
    assert "\n" not in str(caught.value)


def test_weights_of_the_other_style_are_not_loaded_silently() -> None:
    with pytest.raises(RecipeError, match=r"pytorch style.*--init"):
        BackboneSpec(name="resnet50", style="caffe", pretrained=True).build()
