import pytest
import timm
from torch import nn

from motedet.priors import (
    R50_REFERENCE,
    ReceptiveFields,
    convolution_chain,
    network_receptive_fields,
    theoretical_receptive_fields,
)

P2_TO_P7 = (4, 8, 16, 32, 64, 128)


def test_effective_field_is_a_square_around_the_point() -> None:
    fields = ReceptiveFields(strides=(4, 8), fraction=0.5)
    assert fields.base_boxes(0) == ((-6.75, -6.75, 10.75, 10.75),)
    grid = fields([(2, 2), (1, 1)])
    assert grid.boxes()[3].tolist() == [-2.75, -2.75, 14.75, 14.75]
    assert grid.points()[3].tolist() == [6, 6]


def test_start_level_chooses_the_constants() -> None:
    fields = ReceptiveFields(strides=(8, 16, 32, 64, 128), start_level="p3", offset=0.0)
    sides = [box[0][2] - box[0][0] for box in map(fields.base_boxes, range(5))]
    assert sides == [45.5, 133.5, 213.5, 277.5, 405.5]


def test_chain_by_hand() -> None:
    # 7x7 stride 2, pool 3x3 stride 2, one 3x3: 1 + 6 * 1, + 2 * 2, + 2 * 4
    assert theoretical_receptive_fields([(7, 2), (3, 2), (3, 1)], [2, 4]) == (7, 19)
    with pytest.raises(ValueError, match=r"strides \[4\], not \[2\]"):
        theoretical_receptive_fields([(4, 4)], [2, 4])


def test_resnet50_is_the_reference_up_to_the_extra_levels() -> None:
    network = timm.create_model("resnet50", features_only=True, pretrained=False)
    fields = network_receptive_fields(network, P2_TO_P7)
    assert fields[:4] == R50_REFERENCE[:4]
    assert fields[4:] == (491, 619)  # the reference walks the extra levels at twice the stride


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("resnet18", (43, 99, 211, 435)),
        ("resnet50d", (39, 95, 271, 431)),
        ("convnext_atto", (52, 152, 736, 1136)),  # 4 + 2 * 6 * 4, + 4 + 2 * 6 * 8, ...
    ],
)
def test_other_backbones(name: str, want: tuple[int, ...]) -> None:
    network = timm.create_model(name, features_only=True, pretrained=False)
    assert network_receptive_fields(network, P2_TO_P7[:4]) == want


def test_chain_sees_dilation_and_oblong_kernels_but_no_side_branches() -> None:
    block = nn.Sequential()
    block.conv1 = nn.Conv2d(1, 1, (1, 5), dilation=2)
    block.downsample = nn.Conv2d(1, 1, 7, stride=4)
    network = nn.Sequential(nn.AvgPool2d(2), block, nn.AdaptiveAvgPool2d(1))
    assert convolution_chain(network) == ((2, 2), (9, 1))


def test_network_fields_have_to_be_known() -> None:
    with pytest.raises(ValueError, match="network_receptive_fields"):
        ReceptiveFields(strides=(4,), source="network")([(2, 2)])
    known = ReceptiveFields(strides=(4,), source="network", trf=(20.0,))([(1, 1)])
    assert known.boxes().tolist() == [[-3, -3, 7, 7]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strides": ()}, "strides must be positive"),
        ({"fraction": 0.0}, "fraction must be positive; got 0.0"),
        ({"ratios": (1.0, -1.0)}, "ratios must be positive"),
        ({"trf": (20.0,)}, "trf is for source='network' only"),
        ({"strides": (4, 8), "source": "network", "trf": (20.0,)}, "2 strides need as many"),
        ({"strides": (4,) * 7}, "7 strides need as many"),
    ],
    ids=str,
)
def test_wrong_fields(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReceptiveFields(**wrong)  # type: ignore[arg-type]
