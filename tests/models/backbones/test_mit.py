"""Mix Transformers: sizes, norms, drop path, what stays frozen."""

from typing import Any

import pytest
import timm
import torch
from pydantic import TypeAdapter
from timm.layers.drop import DropPath
from torch import nn

from motedet.errors import RecipeError
from motedet.models.backbones import AnyBackbone, MiTSpec, PlainBackbone
from motedet.models.backbones.mit import Size

# SegFormer's encoders, without their classifiers (Xie et al. 2021, table of sizes)
DEPTHS: dict[Size, tuple[int, ...]] = {
    "b0": (2, 2, 2, 2),
    "b1": (2, 2, 2, 2),
    "b2": (3, 4, 6, 3),
    "b3": (3, 4, 18, 3),
    "b4": (3, 8, 27, 3),
    "b5": (3, 6, 40, 3),
}


@pytest.mark.parametrize("kind", [PlainBackbone, AnyBackbone])
def test_kind_in_a_recipe(kind: Any) -> None:  # noqa: ANN401
    found = TypeAdapter(kind).validate_python({"kind": "mit", "size": "b2"})
    assert found == MiTSpec(size="b2")
    assert found.name == "mit_b2"


@pytest.mark.parametrize("size", DEPTHS)
def test_sizes(size: Size) -> None:
    with torch.device("meta"):
        backbone = MiTSpec(size=size, drop_path=0.0).build()
    width = (32, 64, 160, 256) if size == "b0" else (64, 128, 320, 512)
    assert backbone.channels == width
    assert backbone.strides == (4, 8, 16, 32)
    shapes = {n: tuple(v.shape) for n, v in backbone.state_dict().items()}
    for stage, channels in enumerate(width):
        blocks = [
            n for n in shapes if n.startswith(f"stages_{stage}.") and n.endswith("norm1.weight")
        ]
        assert len(blocks) == DEPTHS[size][stage]
        assert shapes[f"stages_{stage}.blocks.0.mlp.fc1.weight"] == (4 * channels, channels)
        reduction = (8, 4, 2, 1)[stage]
        shape = shapes.get(f"stages_{stage}.blocks.0.attn.sr.weight")
        expected = (channels, channels, reduction, reduction) if reduction > 1 else None
        assert shape == expected
        attention = backbone.get_submodule(f"stages_{stage}.blocks.0.attn")
        assert attention.num_heads == (1, 2, 5, 8)[stage]


def test_parameters_of_b1() -> None:
    backbone = MiTSpec().build()
    assert sum(p.numel() for p in backbone.parameters()) == 13_151_424  # as the published one


def test_features_of_an_image_that_is_no_multiple_of_32() -> None:
    backbone = MiTSpec(size="b0").build().eval()
    with torch.no_grad():
        features = backbone(torch.randn(2, 3, 50, 70))
    assert [tuple(f.shape) for f in features] == [
        (2, 32, 13, 18),
        (2, 64, 7, 9),
        (2, 160, 4, 5),
        (2, 256, 2, 3),
    ]
    for feature in features:  # a layer norm closes each stage
        assert feature.mean(dim=1).abs().max() < 1e-5


def test_smallest_image() -> None:
    backbone = MiTSpec(size="b0").build().eval()
    with torch.no_grad():
        sizes = [tuple(f.shape[-2:]) for f in backbone(torch.randn(1, 3, 32, 32))]
    assert sizes == [(8, 8), (4, 4), (2, 2), (1, 1)]


def test_all_norms_have_one_epsilon() -> None:
    norms = [m for m in MiTSpec(size="b0").build().modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 4 + 4 + 8 * 2 + 6  # embeddings, stages, blocks, reductions
    assert {m.eps for m in norms} == {1e-6}


def test_drop_path_grows_from_block_to_block() -> None:
    backbone = MiTSpec(size="b0", drop_path=0.7).build()
    drops = [m.drop_prob for m in backbone.modules() if isinstance(m, DropPath)]
    expected = [i / 10 for i in range(1, 8) for _ in range(2)]  # the first block is never left out
    assert drops == pytest.approx(expected)


def test_frozen_stages() -> None:
    backbone = MiTSpec(size="b0", frozen_stages=2).build().train()
    learning = {n.split(".")[0] for n, p in backbone.named_parameters() if p.requires_grad}
    assert learning == {"stages_2", "stages_3"}
    assert not backbone.get_submodule("stages_1.blocks.1.drop_path1").training
    assert backbone.get_submodule("stages_2.blocks.1.drop_path1").training
    assert all(p.requires_grad for p in MiTSpec(size="b0").build().parameters())


def test_names_are_those_of_pvt() -> None:
    own = set(MiTSpec(size="b0").build().state_dict())
    plain = timm.create_model("pvt_v2_b0").state_dict()
    assert own == {n.replace("stages.", "stages_") for n in plain if not n.startswith("head.")}


def test_there_are_no_weights_to_fetch() -> None:
    with pytest.raises(RecipeError, match=r"no weights of 'mit_b1'.*--init") as caught:
        MiTSpec(pretrained=True).build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"drop_path": 1.0}, r"got 1\.0"),
        ({"drop_path": -0.1}, r"got -0\.1"),
        ({"frozen_stages": 5}, "0 to 4; got 5"),
    ],
)
def test_bad_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MiTSpec(**values)
