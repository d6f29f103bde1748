from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from motedet.assign.dynamic_k import match_dynamic_k, sum_of_others
from motedet.assign.predicted import PredictedBatch
from motedet.priors import Points
from motedet.structures import PackedTargets, Pairs, Predictions, Targets

GRID = Points(strides=(8,))([(1, 4)])


@dataclass(frozen=True)
class Table:
    """Costs from a table [P, G], found in the order that a rule promises."""

    costs: Tensor
    asked: list[int]
    floors: tuple[float, ...] = (5.0,)

    def __call__(self, pairs: Pairs) -> Tensor:
        return self.costs[pairs.prior, pairs.gt]

    def near(self) -> Iterator[Pairs]:
        yield self._pairs(self.costs < 5)

    def further(self, rows: Tensor, step: int, topk: int) -> Iterator[Pairs]:
        self.asked.extend(rows.tolist())
        wanted = torch.zeros(self.costs.shape[1], dtype=torch.bool)
        wanted[rows] = True
        yield self._pairs((self.costs >= 5) & wanted)

    def rivals(self, slots: Tensor, cost: Tensor) -> Iterator[Pairs]:
        every = torch.zeros_like(self.costs, dtype=torch.bool)
        every[slots] = True
        yield self._pairs(every)

    def _pairs(self, mask: Tensor) -> Pairs:
        gt, prior = mask.T.nonzero().unbind(1)
        return Pairs(prior, gt)


def match(table: Table, boxes: list[list[float]], seen: list[list[float]]) -> list[int]:
    gt = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(gt), dtype=torch.int64)
    targets = PackedTargets.pack([Targets.of(gt, labels, (8, 32))])
    scores = torch.zeros(1, 4, 1)
    batch = PredictedBatch.of(GRID, targets, Predictions(scores, scores, torch.tensor([seen])))
    valid = torch.ones(4, dtype=torch.bool)
    codes: list[int] = match_dynamic_k(batch, table, valid, topk=2).gt_index[0].tolist()
    return codes


AWAY = [900.0, 900, 901, 901]
BOX = [0.0, 0, 8, 8]


def test_no_objects() -> None:
    assert match(Table(torch.zeros(4, 0), []), [], [AWAY] * 4) == [-1] * 4


def test_only_objects_that_may_find_something_cheaper_ask_for_more() -> None:
    table = Table(torch.tensor([[1.0, 9], [9, 7], [9, 6], [9, 6]]), [])
    assert match(table, [BOX, BOX], [AWAY] * 4) == [0, -1, 1, -1]
    assert table.asked == [1]


def test_the_number_of_priors_is_the_sum_of_the_best_overlaps() -> None:
    costs = torch.tensor([[3.0], [1], [2], [4]])
    assert match(Table(costs, []), [BOX], [AWAY, BOX, AWAY, AWAY]) == [-1, 0, -1, -1]
    assert match(Table(costs, []), [BOX], [AWAY, BOX, BOX, AWAY]) == [-1, 0, 0, -1]
    assert match(Table(costs, []), [BOX], [BOX, BOX, BOX, BOX]) == [-1, 0, 0, -1]  # at most topk


def test_a_conflict_may_be_won_by_an_object_that_did_not_ask() -> None:
    costs = torch.tensor([[4.0, 4, 3], [9, 9, 1], [9, 9, 9], [9, 9, 9]])
    found = match(Table(costs, []), [BOX, BOX, AWAY], [AWAY] * 3 + [[9.0, 9, 9, 9]])
    assert found == [2, 2, -1, -1]


def test_equal_costs_go_to_the_first_object() -> None:
    costs = torch.full((4, 2), 2.0)
    assert match(Table(costs, []), [BOX, BOX], [AWAY] * 4) == [0, -1, -1, -1]


def test_sum_of_others_loses_nothing_beside_a_large_number() -> None:
    assert sum_of_others(torch.zeros(0, 3)).shape == (0, 3)
    assert sum_of_others(torch.tensor([[5.0]])).tolist() == [[0.0]]
    tiny = torch.tensor([[1e-20, 100.0, 2e-20]], dtype=torch.float64)
    assert sum_of_others(tiny)[0, 1].item() == pytest.approx(3e-20, rel=1e-15)
