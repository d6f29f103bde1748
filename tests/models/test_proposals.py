"""Proposals against the plain way: sort, decode everything, one box at a time."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from motedet.geometry import pairwise_iou, pairwise_similarity
from motedet.models.proposals import Proposals
from motedet.structures import Detections, Size

STARTS = (0, 80)
SIZES = [(60, 70), (64, 50)]


def scene(seed: int, *, levels: int = 1) -> tuple[Tensor, Tensor]:
    """Logits [2, 100], many equal, over `levels` steps; boxes [2, 100, 4], partly outside."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-4, 5, (2, 100), generator=generator) / levels
    uniform = torch.rand(2, 100, 4, generator=generator)
    top_left = uniform[..., :2] * 75 - 5
    return logits, torch.cat((top_left, top_left + uniform[..., 2:] * 20), dim=-1)


def plain(rule: Proposals, logits: Tensor, boxes: Tensor, size: Size) -> Detections:
    """The definition for one image: logits [P], boxes [P, 4]."""
    height, width = size
    chosen = []
    for level, (start, end) in enumerate(zip(STARTS, (*STARTS[1:], len(logits)), strict=True)):
        order = logits[start:end].argsort(descending=True, stable=True)[: rule.pre_nms] + start
        found = boxes[order].clamp(min=0).minimum(torch.tensor([width, height] * 2))
        order = order[((found[:, 2:] - found[:, :2]) > rule.min_box_size).all(1)]
        found = boxes[order].clamp(min=0).minimum(torch.tensor([width, height] * 2))
        if rule.similarity == "nwd":
            table = pairwise_similarity("nwd", found, found, nwd_constant=rule.nwd_constant)
        else:
            table = pairwise_iou(found, found)
        kept: list[int] = []
        for i in range(len(found)):
            if not (table[kept, i] > rule.nms_iou).any():
                kept.append(i)
        chosen += [(float(logits[order[i]].sigmoid()), found[i], level) for i in kept]
    chosen = sorted(chosen, key=lambda row: -row[0])[: rule.max_per_image]
    return Detections(
        torch.stack([row[1] for row in chosen]),
        torch.tensor([row[0] for row in chosen]),
        torch.tensor([row[2] for row in chosen]),
    )


def run(rule: Proposals, logits: Tensor, boxes: Tensor) -> list[Detections]:
    return rule(logits, lambda image, prior: boxes[image, prior], STARTS, SIZES)


@pytest.mark.parametrize(
    "rule",
    [
        Proposals(),
        Proposals(pre_nms=30, max_per_image=25),
        Proposals(pre_nms=80, nms_iou=0.2, min_box_size=4.0),
        Proposals(pre_nms=50, nms_iou=0.85, min_box_size=-1.0, similarity="nwd"),
    ],
    ids=["all", "few", "strict", "nwd"],
)
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_the_plain_way(rule: Proposals, seed: int) -> None:
    logits, boxes = scene(seed)
    for image, found in enumerate(run(rule, logits, boxes)):
        expected = plain(rule, logits[image], boxes[image], SIZES[image])
        assert found.boxes.tolist() == expected.boxes.tolist()
        assert found.labels.tolist() == expected.labels.tolist()
        torch.testing.assert_close(found.scores, expected.scores)


def test_only_what_goes_on_is_decoded() -> None:
    logits, boxes = scene(0)
    asked: list[tuple[int, int]] = []

    def decode(image: Tensor, prior: Tensor) -> Tensor:
        asked.extend(zip(image.tolist(), prior.tolist(), strict=True))
        return boxes[image, prior]

    Proposals(pre_nms=30)(logits, decode, STARTS, SIZES)
    assert len(set(asked)) == len(asked) == 2 * (30 + 20)


def test_levels_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([0.0, 0, 10, 10]).expand(1, 4, 4)
    logits = torch.tensor([[0.0, 1.0, 0.5, 2.0]])
    (found,) = Proposals()(logits, lambda image, prior: boxes[image, prior], (0, 2), [(32, 32)])
    assert found.labels.tolist() == [1, 0]
    torch.testing.assert_close(found.scores, torch.tensor([2.0, 1.0]).sigmoid())


def test_nothing_is_left_of_an_image_where_all_lie_outside() -> None:
    logits, boxes = scene(1)
    found = run(Proposals(), logits, boxes + 200)
    assert [len(d) for d in found] == [0, 0]
    kept = run(Proposals(min_box_size=-1.0), logits, boxes + 200)
    assert all(len(d) == 100 for d in kept)  # of no area, so none suppresses another


def test_a_pixel_of_every_box_can_stay_inside() -> None:
    logits, boxes = scene(1)
    for found, (height, width) in zip(run(Proposals(keep=1.0), logits, boxes), SIZES, strict=True):
        limits = torch.tensor([width - 1, height - 1, width, height])
        assert (found.boxes >= torch.tensor([0, 0, 1, 1])).all()
        assert (found.boxes <= limits).all()
    (corner, _) = run(Proposals(keep=1.0), logits, boxes + 200)
    assert corner.boxes[0].tolist() == [69, 59, 70, 60]


def test_logits_that_no_sigmoid_can_tell_apart_keep_their_order() -> None:
    boxes = torch.tensor([[[0.0, 0, 9, 9], [1, 0, 10, 9]]])
    found: Sequence[Detections] = Proposals(nms_iou=0.5)(
        torch.tensor([[30.0, 40.0]]), lambda image, prior: boxes[image, prior], (0,), [(32, 32)]
    )
    assert found[0].boxes.tolist() == [[1, 0, 10, 9]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pre_nms": 0}, "got 0, 1000"),
        ({"nms_iou": 1.5}, "got 1.5"),
        ({"nms_iou": 0.0, "similarity": "nwd"}, "above 0"),
        ({"nwd_constant": 0.0}, "got 0.0"),
        ({"keep": -0.5}, "keep must be 0 or more; got -0.5"),
    ],
)
def test_bad_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Proposals(**values)
