"""The highest IoU of predicted boxes against the table of all."""

import pytest
import torch
from torch import Tensor

from motedet.assign import best_iou as module
from motedet.assign.best_iou import best_iou
from motedet.geometry import decode_ltrb, pairwise_iou
from motedet.priors import Points
from motedet.structures import PackedTargets, Targets

GRID = Points(strides=(8, 16, 32), offset=0.0)([(12, 16), (6, 8), (3, 4)])


def _targets(seed: int, counts: tuple[int, ...]) -> PackedTargets:
    generator = torch.Generator().manual_seed(seed)
    records = []
    for count in counts:
        center = torch.rand(count, 2, generator=generator) * 120
        half = torch.exp(5 * torch.rand(count, 2, generator=generator) - 1.5)
        boxes = torch.cat((center - half, center + half), dim=1)
        records.append(Targets.of(boxes, torch.zeros(count, dtype=torch.int64), (96, 128)))
    return PackedTargets.pack(records)


def _dense(targets: PackedTargets, image: Tensor, boxes: Tensor) -> Tensor:
    overlap = pairwise_iou(boxes, targets.boxes.to(boxes))  # [S, G]
    other = image[:, None] != targets.image_index
    return overlap.masked_fill(other, 0).amax(1)


def _points(seed: int, scale: float, num_images: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(num_images, GRID.num_priors, generator=generator) < 0.6
    image, prior = chosen.nonzero().unbind(1)
    ltrb = scale * torch.randn(len(image), 4, generator=generator).exp()
    ltrb[::7] = 0.0  # boxes without area
    ltrb[1::7, :2] = 0.0
    ltrb[2::31] = 400.0
    return image, prior, ltrb


def test_nothing_to_compare() -> None:
    image, prior, ltrb = _points(0, 8.0, 2)
    assert not best_iou(GRID, _targets(0, (0, 0)), image, prior, ltrb).any()
    none = image[:0]
    assert best_iou(GRID, _targets(0, (3, 1)), none, none, ltrb[:0]).shape == (0,)


@pytest.mark.parametrize("scale", [0.1, 8.0, 60.0], ids="boxes of {} px".format)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_table(seed: int, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEETINGS", 200)
    targets = _targets(seed, (20, 0, 11))
    image, prior, ltrb = _points(seed, scale, 3)
    order = torch.randperm(len(image), generator=torch.Generator().manual_seed(seed))
    image, prior, ltrb = image[order], prior[order], ltrb[order]
    found = best_iou(GRID, targets, image, prior, ltrb)
    expected = _dense(targets, image, decode_ltrb(GRID.points_at(prior), ltrb))
    assert expected.any()
    assert torch.equal(found, expected)


def test_keeps_double_precision() -> None:
    image, prior, ltrb = _points(4, 8.0, 1)
    targets = _targets(4, (9,))
    found = best_iou(GRID, targets, image, prior, ltrb.double())
    boxes = decode_ltrb(GRID.points_at(prior), ltrb.double())
    assert found.dtype == torch.float64
    assert torch.equal(found, _dense(targets, image, boxes))
