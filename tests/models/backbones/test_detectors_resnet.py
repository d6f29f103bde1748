"""ResNets of DetectoRS: names, plain weights, what stays frozen, the second look."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from motedet.errors import RecipeError
from motedet.models.atrous import ConvAWS2d, SAConv2d
from motedet.models.backbones.detectors_resnet import DetectoRSResNet, DetectoRSResNetSpec
from motedet.models.backbones.timm_features import BackboneSpec
from motedet.priors import network_receptive_fields

NORM = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
AWS = {"weight", "weight_gamma", "weight_beta"}
SAC = AWS | {"weight_diff"} | {
    f"{part}.{kind}"
    for part in ("switch", "pre_context", "post_context", "offset_s", "offset_l")
    for kind in ("weight", "bias")
}  # fmt: skip


def _small(rfp_channels: int | None = None, **values: Any) -> DetectoRSResNet:  # noqa: ANN401
    return DetectoRSResNetSpec(name="resnet18", **values).build(rfp_channels)


def _pyramid(channels: int = 8) -> list[Tensor]:
    return [torch.randn(1, channels, 64 // s, 64 // s) for s in (4, 8, 16, 32)]


def _plain_with_statistics(name: str) -> nn.Module:
    """A plain ResNet whose batch-norms do something."""
    plain = BackboneSpec(name=name).build().eval()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)  # type: ignore[arg-type]
    return plain


def test_names_of_a_bottleneck() -> None:
    names = set(DetectoRSResNetSpec().build(rfp_channels=256).state_dict())
    stem = {n for n in names if not n.startswith("layer")}
    assert stem == {f"conv1.{n}" for n in AWS} | {f"bn1.{n}" for n in NORM}
    block = {n.removeprefix("layer3.0.") for n in names if n.startswith("layer3.0.")}
    parts = {
        "conv1": AWS,
        "conv2": SAC,
        "conv3": AWS,
        "downsample.0": AWS,
        "rfp_conv": {"weight", "bias"},
    } | dict.fromkeys(("bn1", "bn2", "bn3", "downsample.1"), NORM)
    assert block == {f"{part}.{n}" for part, kinds in parts.items() for n in kinds}
    assert {n.split(".rfp_conv")[0] for n in names if "rfp_conv" in n} == {
        "layer2.0",
        "layer3.0",
        "layer4.0",
    }


def test_all_names_are_the_plain_ones_and_those_of_the_added_parts() -> None:
    names = set(_small().state_dict())
    plain = {n for n in timm.create_model("resnet18").state_dict() if not n.startswith("fc.")}
    assert plain < names
    assert {n.rsplit(".", 1)[1] for n in names - plain if ".conv2." not in n} == {
        "weight_gamma",
        "weight_beta",
    }


@pytest.mark.parametrize(
    ("values", "stages"),
    [({"sac_stages": ()}, []), ({}, [2, 3, 4]), ({"sac_stages": (4,), "use_deform": False}, [4])],
)
def test_which_convolutions_switch(values: dict[str, Any], stages: list[int]) -> None:
    network = _small(**values)
    convs = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    switching = {n: m for n, m in convs.items() if isinstance(m, SAConv2d)}
    assert set(switching) == {f"layer{s}.{b}.conv2" for s in stages for b in (0, 1)}
    deform = values.get("use_deform", True)
    assert all(m.use_deform is deform for m in switching.values())
    own = [n for n in convs if not any(n.startswith(f"{s}.") for s in switching)]
    assert len(own) == 20
    assert all(isinstance(convs[n], ConvAWS2d) for n in own)


def test_the_stride_is_on_the_3x3_of_bottlenecks() -> None:
    network = DetectoRSResNetSpec().build()
    for stage in (2, 3, 4):
        switching = network.get_submodule(f"layer{stage}.0.conv2")
        assert isinstance(switching, SAConv2d)
        assert switching.stride == switching.switch.stride == switching.offset_s.stride == (2, 2)


def test_images_come_first_and_are_not_described() -> None:
    network = _small().eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        first, *features = network(images)
    assert first is images
    assert network.strides == (4, 8, 16, 32)
    assert network.channels == (64, 128, 256, 512)
    for feature, stride, width in zip(features, network.strides, network.channels, strict=True):
        assert feature.shape == (1, width, 64 // stride, 96 // stride)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_plain_weights_give_the_plain_features(name: str) -> None:
    plain = _plain_with_statistics(name)
    network = DetectoRSResNetSpec(name=name).build(rfp_channels=8).eval()
    for parameter in network.parameters():  # nothing of before may stay
        nn.init.normal_(parameter, std=0.1)
    network.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = plain(images)
        features, again = network(images)[1:], network.refine(images, _pyramid())
    for one, two, wanted in zip(features, again, expected, strict=True):
        torch.testing.assert_close(one, wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(two, wanted, atol=1e-4, rtol=1e-4)


def test_pretrained_weights_take_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    create, seen = timm.create_model, []

    def fetched(name: str, *, pretrained: bool = False, **options: Any) -> nn.Module:  # noqa: ANN401
        network: nn.Module = create(name, **options)
        if pretrained:
            seen.append(network.get_submodule("layer3.0.conv2").weight)
        return network

    monkeypatch.setattr(timm, "create_model", fetched)
    conv = _small(pretrained=True).get_submodule("layer3.0.conv2")
    assert isinstance(conv, SAConv2d)
    torch.testing.assert_close(conv.standardised_weight(), seen[0], atol=1e-6, rtol=0)


def test_own_weights_must_be_complete() -> None:
    state = _small(rfp_channels=8).state_dict()
    del state["layer2.0.rfp_conv.bias"]
    with pytest.raises(RuntimeError, match=r"Missing key.*layer2\.0\.rfp_conv\.bias"):
        _small(rfp_channels=8).load_state_dict(state)


def test_each_stage_reads_its_own_level() -> None:
    network = _small(rfp_channels=8).eval()
    for name, parameter in network.named_parameters():
        if "rfp_conv" in name:
            nn.init.normal_(parameter)
    images, pyramid = torch.randn(1, 3, 64, 64), _pyramid()
    with torch.no_grad():
        before = network.refine(images, pyramid)
        for level in range(4):
            changed = [p + (i == level) for i, p in enumerate(pyramid)]
            after = network.refine(images, changed)
            differs = [bool((a != b).any()) for a, b in zip(after, before, strict=True)]
            expected = [False] * 4 if level == 0 else [stage >= level for stage in range(4)]
            assert differs == expected


def test_the_pyramid_is_added_before_the_last_relu() -> None:
    network = _small(rfp_channels=8).eval()
    nn.init.constant_(network.get_parameter("layer4.0.rfp_conv.bias"), -1e4)
    with torch.no_grad():
        block = network.get_submodule("layer4").get_submodule("1")
        features = network.refine(torch.randn(1, 3, 64, 64), _pyramid())
        nothing = block(torch.zeros(1, 512, 2, 2))
    torch.testing.assert_close(features[3], nothing)


def test_frozen_stages_and_statistics() -> None:
    network = _small(frozen_stages=2).train()
    learning = {n for n, p in network.named_parameters() if p.requires_grad}
    assert not any(n.startswith(("conv1", "bn1", "layer1", "layer2")) for n in learning)
    assert {"layer3.0.bn1.weight", "layer3.0.conv2.switch.weight"} < learning
    before = {n: b.clone() for n, b in network.named_buffers()}
    network(torch.randn(2, 3, 32, 32))
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_frozen_stages_keep_their_statistics_when_others_learn() -> None:
    network = _small(freeze_bn=False).train()
    before = {n: b.clone() for n, b in network.named_buffers()}
    network(torch.randn(2, 3, 32, 32))
    after = dict(network.named_buffers())
    for name, same in (("bn1", True), ("layer1.0.bn1", True), ("layer2.0.bn1", False)):
        key = f"{name}.running_mean"
        assert torch.equal(after[key], before[key]) is same, name


def test_nothing_frozen() -> None:
    network = _small(frozen_stages=0)
    assert all(p.requires_grad for p in network.parameters())


def test_affine_parameters_can_be_frozen() -> None:
    network = _small(train_bn_affine=False)
    learning = {n for n, p in network.named_parameters() if p.requires_grad}
    assert not any("bn" in n or "downsample.1" in n for n in learning)
    assert "layer2.0.conv1.weight" in learning


def test_gradients_reach_the_pyramid() -> None:
    network = _small(rfp_channels=8)
    nn.init.normal_(network.get_parameter("layer3.0.rfp_conv.weight"))
    pyramid = [level.requires_grad_() for level in _pyramid()]
    loss = network.refine(torch.randn(1, 3, 64, 64), pyramid)[3].square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert pyramid[0].grad is None
    assert pyramid[2].grad is not None
    assert pyramid[2].grad.abs().sum() > 0
    grad = network.get_parameter("layer2.0.rfp_conv.weight").grad
    assert grad is not None
    assert grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("rfp_channels", "levels"), [(None, 4), (8, 3)], ids=["built without", "too few levels"]
)
def test_second_looks_that_cannot_be(rfp_channels: int | None, levels: int) -> None:
    network = _small(rfp_channels=rfp_channels)
    with pytest.raises(RecipeError, match=f"4 pyramid levels; got {levels}") as caught:
        network.refine(torch.zeros(1, 3, 64, 64), _pyramid()[:levels])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", "timm has no model 'resnet51'"),
        ("convnext_atto", "ResNets such as 'resnet50'; 'convnext_atto' is none"),
    ],
)
def test_impossible_wishes(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        DetectoRSResNetSpec(name=name).build()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frozen_stages": -1}, "0 to 4; got -1"),
        ({"frozen_stages": 5}, "0 to 4; got 5"),
        ({"sac_stages": (3, 2)}, r"increase.*got \(3, 2\)"),
        ({"sac_stages": (4, 5)}, r"within 1 to 4; got \(4, 5\)"),
    ],
)
def test_bad_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectoRSResNetSpec(**values)


def test_offline_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, *, pretrained: bool = False, **options: Any) -> nn.Module:  # noqa: ANN401
        if pretrained:
            raise FileNotFoundError("no connection\nand more")
        network: nn.Module = create(name, **options)
        return network

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(RecipeError, match=r"could not be fetched \(no connection\)\.") as caught:
        _small(pretrained=True)
    assert "\n" not in str(caught.value)


def test_receptive_fields_are_the_plain_networks() -> None:
    ours = DetectoRSResNetSpec(name="resnet50").build()
    plain = BackboneSpec(name="resnet50").build()
    strides = (4, 8, 16, 32, 64)
    assert network_receptive_fields(ours, strides) == network_receptive_fields(plain, strides)
