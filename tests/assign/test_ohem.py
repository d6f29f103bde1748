"""The hardest candidates learn."""

import pytest
import torch
from torch import Tensor

from motedet.assign.ohem import OHEMSampler, hardest
from motedet.structures import BACKGROUND, IGNORED


def _index(rows: list[list[int]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64)


def test_known_choice() -> None:
    gt_index = _index([[0, 1, -1, -1, -2, 0, -1, -1]])
    losses = torch.tensor([[0.1, 0.9, 0.4, 0.2, 9.0, 0.5, 0.8, 0.3]])
    drawn = OHEMSampler(num=5, pos_fraction=0.4)(gt_index, losses)
    assert drawn.positive.nonzero()[:, 1].tolist() == [1, 5]
    assert drawn.negative.nonzero()[:, 1].tolist() == [2, 6, 7]


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)], ids=["no images", "no candidates"])
def test_nothing_to_choose_from(shape: tuple[int, int]) -> None:
    gt_index = torch.zeros(shape, dtype=torch.int64)
    drawn = OHEMSampler()(gt_index, torch.zeros(shape))
    assert drawn.positive.shape == drawn.negative.shape == shape
    assert not drawn.positive.any()


def test_background_fills_up_and_all_are_taken_where_there_are_few() -> None:
    gt_index = _index([[-1, -1, -1, 3], [0, 1, -2, -2]])
    drawn = OHEMSampler(num=8, pos_fraction=0.25)(gt_index, torch.rand(2, 4))
    assert drawn.negative.sum(1).tolist() == [3, 0]
    assert drawn.positive.sum(1).tolist() == [1, 2]


def test_images_are_apart_and_order_does_not_matter() -> None:
    gt_index = torch.randint(IGNORED, 3, (3, 90))
    losses = torch.rand(3, 90)
    sampler = OHEMSampler(num=16, pos_fraction=0.25)
    drawn = sampler(gt_index, losses)
    order = torch.randperm(90)
    other = sampler(gt_index[:, order], losses[:, order])
    assert torch.equal(other.positive, drawn.positive[:, order])
    assert torch.equal(other.negative, drawn.negative[:, order])
    for row in range(3):
        alone = sampler(gt_index[row : row + 1], losses[row : row + 1])
        assert torch.equal(alone.positive[0], drawn.positive[row])
        assert torch.equal(alone.negative[0], drawn.negative[row])
    assert bool((gt_index[drawn.positive] >= 0).all())
    assert bool((gt_index[drawn.negative] == BACKGROUND).all())
    most = (gt_index == BACKGROUND).sum(1).clamp(max=12)
    assert torch.equal(drawn.negative.sum(1), most)
    assert drawn.positive.sum(1).tolist() == [4, 4, 4]


def test_the_first_of_equals() -> None:
    chosen = hardest(torch.ones(1, 6), torch.tensor([[0, 1, 1, 0, 1, 1]]) > 0, torch.tensor(2))
    assert chosen.nonzero()[:, 1].tolist() == [1, 2]


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="num must be at least 1; got 0"):
        OHEMSampler(num=0)
    with pytest.raises(ValueError, match=r"pos_fraction must be in \[0, 1\]; got 2"):
        OHEMSampler(pos_fraction=2)
    with pytest.raises(ValueError, match=r"losses \[1, 3\] do not fit candidates \[1, 4\]"):
        OHEMSampler()(torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 3))
