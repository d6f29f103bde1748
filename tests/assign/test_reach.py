import math
from typing import get_args

import pytest
import torch

from motedet.assign.reach import Similarity, overlap_reach, similarity_reach
from motedet.geometry import aligned_similarity


@pytest.mark.parametrize("metric", get_args(Similarity))
@pytest.mark.parametrize("level", [0.0, 1e-3, 0.05, 0.3, 0.8])
def test_nothing_similar_is_out_of_reach(metric: Similarity, level: float) -> None:
    generator = torch.Generator().manual_seed(1)
    sides = (torch.rand(4000, 2, generator=generator) * 7 - 1).exp()
    prior_sides = (torch.rand(4000, 2, generator=generator) * 4 + 1).exp()
    offset = torch.randn(4000, 2, generator=generator) * sides.maximum(prior_sides)
    boxes = torch.cat((-sides / 2, sides / 2), dim=1)
    priors = torch.cat((offset - prior_sides / 2, offset + prior_sides / 2), dim=1)
    value = aligned_similarity(metric, boxes, priors)
    for factor in (1.0, 0.1):
        threshold = torch.full((4000,), level * factor)
        similar = (value >= threshold) & (value > 0)
        for row in similar.nonzero()[:200, 0].tolist():
            reach = similarity_reach(
                metric,
                sides[row].view(1, 1, 2),
                prior_sides[row][None],
                threshold[row][None],
                nwd_constant=12.8,
            )
            assert (offset[row].abs() <= reach[0, 0]).all()


@pytest.mark.parametrize("metric", get_args(Similarity))
def test_reach_is_not_everything(metric: Similarity) -> None:
    sides, prior_sides = torch.full((1, 1, 2), 12.0), torch.tensor([[17.5, 17.5], [500.0, 500.0]])
    value = {"kl_10": 0.08, "exp_kl": 0.9}.get(metric, 0.4)
    reach = similarity_reach(metric, sides, prior_sides, torch.tensor([value]), nwd_constant=12.8)
    assert (reach[0, 0] < 15).all()
    assert (reach[0, 1] < 0).all()  # a prior of that size never gets there


def test_overlap_reach_by_hand() -> None:
    sides, prior_sides = torch.tensor([[[10.0, 4.0]]]), torch.tensor([[6.0, 8.0]])
    reach = overlap_reach(sides, prior_sides, torch.tensor([[12.0]]))
    # 3 px in x where all 4 px of y are shared; 2 px in y where all 6 px of x are
    assert reach[0, 0].tolist() == pytest.approx([5, 4], abs=0.01)
    assert (
        overlap_reach(sides, prior_sides, torch.tensor([[25.0]]))[0, 0].tolist() == [-math.inf] * 2
    )
