"""Published checkpoints, built here from nothing but names and shapes."""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
import torch
from torch import Tensor

from motedet.checkpoints import load_state, read_mmdet, rename_mmdet
from motedet.errors import CheckpointError
from motedet.models.dense import Detector
from motedet.models.detectors import FCOSSpec
from motedet.models.heads import FCOSHeadSpec
from small_detectors import small_specs


def _detector(name: str = "fcos") -> Detector:
    spec = small_specs()[name]
    if isinstance(spec, FCOSSpec):
        spec = replace(spec, head=FCOSHeadSpec(channels=32, num_convs=1, groups=8))
    torch.manual_seed(0)
    return spec.build(2)


def _check(path: Path, name: str, expected: dict[str, Tensor]) -> None:
    """The file loads into a fresh detector and gives it the expected values."""
    detector = _detector(name)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.zero_()
    load_state(detector, read_mmdet(path), source=str(path))
    for key, value in detector.state_dict().items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("name", ["retinanet", "fcos", "atss", "faster_rcnn", "cascade_rcnn"])
def test_current_names(tmp_path: Path, name: str) -> None:
    state = _detector(name).state_dict()
    path = tmp_path / "epoch_12.pth"
    torch.save(
        {
            "meta": {"epoch": 12, "CLASSES": ("a", "b")},
            "state_dict": OrderedDict(
                {**state, "data_preprocessor.mean": torch.zeros(3), "ema_x": torch.zeros(1)}
            ),
            "optimizer": {"state": {}, "param_groups": []},
        },
        path,
    )
    _check(path, name, state)


def test_names_of_older_versions(tmp_path: Path) -> None:
    state = _detector().state_dict()
    old = {
        "module." + name.replace("bbox_head.conv_", "bbox_head.fcos_"): value
        for name, value in state.items()
    }
    path = tmp_path / "old.pth"
    torch.save({"state_dict": old}, path)
    _check(path, "fcos", state)


def test_plain_convolutions_of_the_first_versions() -> None:
    names = ("bbox_head.cls_convs.0.weight", "neck.fpn_convs.3.bias", "bbox_head.retina_cls.weight")
    renamed = rename_mmdet({name: torch.zeros(1) for name in names})
    assert list(renamed) == [
        "bbox_head.cls_convs.0.conv.weight",
        "neck.fpn_convs.3.conv.bias",
        "bbox_head.retina_cls.weight",
    ]


def test_rpn_prefix_of_a_single_stage_model() -> None:
    value = torch.zeros(1)
    assert set(rename_mmdet({"rpn_head.conv_cls.weight": value})) == {"bbox_head.conv_cls.weight"}
    two_stage = {"rpn_head.rpn_cls.weight": value, "roi_head.bbox_head.fc_cls.weight": value}
    assert set(rename_mmdet(two_stage)) == set(two_stage)


def test_a_proposal_network_that_was_trained_alone() -> None:
    names = {f"rpn_head.rpn_{part}.weight": torch.zeros(1) for part in ("conv", "cls", "reg")}
    assert rename_mmdet(names) == names
    alone = {name.replace("rpn_head", "bbox_head"): value for name, value in names.items()}
    assert rename_mmdet(alone) == names


@pytest.mark.parametrize("name", ["faster_rcnn", "cascade_rcnn"])
def test_two_stage_before_version_2(tmp_path: Path, name: str) -> None:
    """No prefix, and the background first, with deltas of its own where classes have some."""
    state = _detector(name).state_dict()
    old = {}
    for key, value in state.items():
        if "fc_cls" in key:
            value = value.roll(1, dims=0)  # noqa: PLW2901 - the old layout
        elif "fc_reg" in key and len(value) > 4:
            value = torch.cat((torch.full_like(value[:4], 9.0), value))  # noqa: PLW2901 - as above
        old[key.removeprefix("roi_head.")] = value
    assert not any(key.startswith("roi_head.") for key in old)
    path = tmp_path / "old.pth"
    torch.save({"state_dict": old}, path)
    _check(path, name, state)


def test_the_background_moves_only_in_old_checkpoints() -> None:
    rows = torch.arange(3.0)  # the background and two classes
    old = rename_mmdet({"bbox_head.fc_cls.bias": rows, "bbox_head.fc_reg.bias": torch.arange(12.0)})
    assert old["roi_head.bbox_head.fc_cls.bias"].tolist() == [1, 2, 0]
    assert old["roi_head.bbox_head.fc_reg.bias"].tolist() == list(range(4, 12))
    now = rename_mmdet({"roi_head.bbox_head.fc_cls.bias": rows})
    assert now["roi_head.bbox_head.fc_cls.bias"].tolist() == [0, 1, 2]


def test_bare_state_dict(tmp_path: Path) -> None:
    state = _detector().state_dict()
    torch.save(state, tmp_path / "bare.pth")
    _check(tmp_path / "bare.pth", "fcos", state)


def test_wrong_detector_is_an_error_with_names(tmp_path: Path) -> None:
    path = tmp_path / "retina.pth"
    torch.save({"state_dict": _detector("retinanet").state_dict()}, path)
    with pytest.raises(CheckpointError, match=r"missing \(bbox_head.*unexpected \(.*retina_cls"):
        load_state(_detector("fcos"), read_mmdet(path), source=str(path))


def test_files_with_more_than_tensors(tmp_path: Path) -> None:
    path = tmp_path / "training.pth"
    torch.save({"state_dict": {}, "message_hub": PurePosixPath("x")}, path)
    with pytest.raises(CheckpointError, match=r"holds more than tensors .*save only") as caught:
        read_mmdet(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}}, "holds no state dict"),
        ([1, 2], "but a list"),
        ({"epoch": 3}, "entry 'epoch' is a int"),
    ],
)
def test_files_without_weights(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message):
        read_mmdet(tmp_path / "x.pth")


def test_files_that_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint file"):
        read_mmdet(tmp_path / "none.pth")
    for name, content in (("text.pth", b"hello there"), ("empty.pth", b""), ("zip.pth", b"PK\3\4")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            read_mmdet(tmp_path / name)
