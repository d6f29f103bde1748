"""Names of published TinyDet files."""

from pathlib import Path

import torch
from torch import Tensor

from motedet.checkpoints import read_mmdet, rename_mmdet
from motedet.checkpoints.tinydet import is_tinydet, rename_tinydet
from motedet.models.backbones.tinydet import TinyDetBackboneSpec


def _body() -> dict[str, Tensor]:
    return TinyDetBackboneSpec().build().state_dict()


def test_a_classifier_becomes_a_backbone() -> None:
    """Without the extra block, whose weights the file does not have; its tail is dropped."""
    body = {n: v for n, v in _body().items() if not n.startswith("blocks.16.")}
    tail = {n: torch.zeros(1) for n in ("conv2.weight", "bn2.bias", "linear3.bias", "linear4.bias")}
    for published in ({}, {f"module.{n}": v for n, v in (body | tail).items()}, body | tail):
        found = rename_tinydet(rename_mmdet(published))
        assert set(found) == ({f"backbone.{n}" for n in body} if published else set())


def test_files_are_read_under_our_names(tmp_path: Path) -> None:
    body = _body()
    path = tmp_path / "tinydet_S.pth"
    rows = {"bbox_head.fc_cls.bias": torch.arange(4.0)}
    torch.save({"state_dict": {f"module.backbone.{n}": v for n, v in body.items()} | rows}, path)
    found = read_mmdet(path)
    assert set(found) == {f"backbone.{n}" for n in body} | {"roi_head.bbox_head.fc_cls.bias"}
    assert found["roi_head.bbox_head.fc_cls.bias"].tolist() == [1, 2, 3, 0]
    torch.save({n: v for n, v in body.items() if not n.startswith("blocks.16.")}, path)
    assert set(read_mmdet(path)) < {f"backbone.{n}" for n in body}


def test_blocks_keep_their_own_convolutions() -> None:
    """They are called conv2 and bn2 too."""
    found = rename_tinydet({f"backbone.{n}": v for n, v in _body().items()})
    assert "backbone.blocks.2.conv2.weight" in found
    assert "backbone.blocks.2.bn2.weight" in found
    assert len(found) == len(_body())


def test_a_detector_keeps_its_names_and_moves_its_background() -> None:
    rows = torch.arange(4.0)
    published = {f"module.backbone.{n}": v for n, v in _body().items()} | {
        "module.bbox_head.fc_cls.bias": rows,
        "module.bbox_head.fc_reg.bias": rows,
        "module.rpn_head.rpn_conv.0.weight": rows,
        "module.neck.fpn_convs.0.0.weight": rows,
    }
    assert is_tinydet(rename_mmdet(published))
    found = rename_tinydet(rename_mmdet(published))
    assert found["roi_head.bbox_head.fc_cls.bias"].tolist() == [1, 2, 3, 0]
    assert found["roi_head.bbox_head.fc_reg.bias"].tolist() == [0, 1, 2, 3]  # of no class
    assert {"rpn_head.rpn_conv.0.weight", "neck.fpn_convs.0.0.weight"} <= set(found)


def test_others_come_back_as_they_are() -> None:
    state = {"conv2.weight": torch.zeros(1), "backbone.blocks.0.attn.qkv.weight": torch.zeros(1)}
    assert not is_tinydet(state)
    assert rename_tinydet(state) == state
