"""DarkNet-53: slope, stages, names, what stays frozen, weights of the other slope."""

from typing import Any

import pytest
import timm
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from motedet.errors import RecipeError
from motedet.models.backbones import AnyBackbone, BackboneSpec, DarkNetSpec, PlainBackbone


def _slopes(module: nn.Module) -> list[float]:
    return [m.negative_slope for m in module.modules() if isinstance(m, nn.LeakyReLU)]


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


@pytest.mark.parametrize("kind", [PlainBackbone, AnyBackbone])
def test_kind_in_a_recipe(kind: Any) -> None:  # noqa: ANN401
    found = TypeAdapter(kind).validate_python({"kind": "darknet53", "freeze_stem": True})
    assert found == DarkNetSpec(freeze_stem=True)
    assert found.name == "darknet53"


def test_stages_of_an_image_that_is_no_multiple_of_32() -> None:
    backbone = DarkNetSpec().build().eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 50, 70))
    assert backbone.strides == (4, 8, 16, 32)
    assert backbone.channels == (128, 256, 512, 1024)
    assert [tuple(f.shape[1:]) for f in features] == [
        (128, 13, 18),
        (256, 7, 9),
        (512, 4, 5),
        (1024, 2, 3),
    ]


def test_fifty_two_rectified_convolutions() -> None:
    """The 53rd layer was the classifier."""
    backbone = DarkNetSpec().build()
    assert _slopes(backbone) == [0.1] * 52
    for stage, blocks in enumerate((1, 2, 8, 8, 4)):
        assert len(list(backbone.get_submodule(f"stages_{stage}.blocks").children())) == blocks
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.eps for m in norms} == {1e-5}
    assert sum(p.numel() for p in backbone.parameters()) == 40_584_928  # as the published one


def test_only_the_slope_differs_from_timm() -> None:
    plain = BackboneSpec(name="darknet53", out_stages=(1,)).build().eval()
    assert set(_slopes(plain)) == {0.01}
    images = torch.randn(1, 3, 32, 32)
    same = DarkNetSpec(out_stages=(1,), leaky_slope=0.01).build().eval()
    other = DarkNetSpec(out_stages=(1,)).build().eval()
    with torch.no_grad():
        for backbone in (same, other):
            backbone.load_state_dict(plain.state_dict())
        assert torch.equal(same(images)[0], plain(images)[0])
        assert not torch.allclose(other(images)[0], plain(images)[0])


def test_stages_after_the_last_are_not_built() -> None:
    names = {n.split(".")[0] for n in DarkNetSpec(out_stages=(1, 2)).build().state_dict()}
    assert names == {"stem_conv1", "stages_0", "stages_1", "stages_2"}


def test_the_stem_can_keep_its_weights_alone() -> None:
    backbone = DarkNetSpec(out_stages=(1,), freeze_stem=True).build().train()
    fixed = {n for n, p in backbone.named_parameters() if not p.requires_grad}
    assert fixed == {"stem_conv1.conv.weight", "stem_conv1.bn.weight", "stem_conv1.bn.bias"}
    before = _buffers(backbone)
    backbone(torch.randn(2, 3, 32, 32))
    after = _buffers(backbone)
    assert all(not torch.equal(after[name], before[name]) for name in before)


def test_frozen_stages_end_at_their_stride() -> None:
    """Stage 1 has stride 4, and comes after one of stride 2."""
    backbone = DarkNetSpec(out_stages=(1, 2), frozen_stages=1).build().train()
    learning = {n.split(".")[0] for n, p in backbone.named_parameters() if p.requires_grad}
    assert learning == {"stages_2"}
    before = _buffers(backbone)
    backbone(torch.randn(2, 3, 32, 32))
    changed = {n.split(".")[0] for n, b in _buffers(backbone).items() if not b.equal(before[n])}
    assert changed == {"stages_2"}


def test_nothing_is_frozen_unless_asked() -> None:
    backbone = DarkNetSpec(out_stages=(1,)).build()
    assert all(p.requires_grad for p in backbone.parameters())
    spec = DarkNetSpec(out_stages=(1,), freeze_bn=True, train_bn_affine=False)
    frozen = spec.build().train()
    assert not any(m.training for m in frozen.modules() if isinstance(m, nn.BatchNorm2d))
    names = {n for n, p in frozen.named_parameters() if p.requires_grad}
    assert names == {n for n, _ in frozen.named_parameters() if ".conv.weight" in n}


def test_weights_of_the_other_slope_are_not_loaded_silently() -> None:
    with pytest.raises(RecipeError, match=r"slope of 0\.01, but .*0\.1 without.*--init") as caught:
        DarkNetSpec(pretrained=True).build()
    assert "\n" not in str(caught.value)


def test_weights_of_the_same_slope_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = timm.create_model, []

    def offline(name: str, *, pretrained: bool = False, **options: Any) -> nn.Module:  # noqa: ANN401
        asked.append(pretrained)
        network: nn.Module = create(name, **options)
        return network

    monkeypatch.setattr(timm, "create_model", offline)
    DarkNetSpec(pretrained=True, leaky_slope=0.01).build()
    assert asked[-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"out_stages": ()}, r"increase; got \(\)"),
        ({"out_stages": (0, 1)}, "start at 1"),
        ({"leaky_slope": -0.1}, r"got -0\.1"),
        ({"leaky_slope": 1.0}, r"got 1\.0"),
        ({"frozen_stages": 5}, "0 to 4; got 5"),
    ],
)
def test_bad_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DarkNetSpec(**values)


def test_stages_that_it_does_not_have() -> None:
    with pytest.raises(RecipeError, match=r"stages \(4, 5\) need \[32, 64\]"):
        DarkNetSpec(out_stages=(4, 5)).build()
