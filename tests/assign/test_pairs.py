import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motedet.assign import pairs as module
from motedet.assign.pairs import (
    bits_float,
    covered_priors,
    float_bits,
    nearest_block,
    pairs_between,
    segment_kth_largest,
    usable_cells,
)
from motedet.geometry import aligned_iof
from motedet.priors import Anchors
from motedet.structures import PackedTargets, Pairs, Targets

GRID = Anchors(strides=(4, 8), ratios=(1.0,), scales=(1.0, 2.0))([(6, 9), (3, 5)])
NO_IMAGE = torch.zeros(0, dtype=torch.int64)


def pairs_by_hand(low: torch.Tensor, high: torch.Tensor) -> set[tuple[int, int]]:
    """(object, prior) of every prior whose place is in range, found one by one."""
    lattices, found = GRID.lattices(), set()
    for gt in range(len(low)):
        for m in range(len(lattices.first)):
            columns, rows = lattices.cells[m].tolist()
            for y in range(rows):
                for x in range(columns):
                    at = torch.tensor([x, y]) * lattices.stride[m]
                    if (at >= low[gt, m]).all() and (at <= high[gt, m]).all():
                        step = (lattices.steps[m] * torch.tensor([x, y])).sum()
                        found.add((gt, int(lattices.first[m] + step)))
    return found


@pytest.mark.parametrize("limit", [1, 7, 1 << 20])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_pairs_between_finds_all_of_a_rectangle(
    count: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PAIRS", limit)
    generator = torch.Generator().manual_seed(count)
    low = 50 * torch.rand(count, 4, 2, generator=generator) - 15
    high = low + 30 * torch.rand(count, 4, 2, generator=generator) - 3
    parts = list(pairs_between(GRID, usable_cells(GRID, None, NO_IMAGE), low, high))
    gt = torch.cat([part.gt for part in parts])
    prior = torch.cat([part.prior for part in parts])
    found = list(zip(gt.tolist(), prior.tolist(), strict=True))
    assert len(set(found)) == len(found)
    assert set(found) == pairs_by_hand(low, high)
    assert torch.equal(gt, gt.sort().values)
    owners = [set(part.gt.tolist()) for part in parts]
    assert sum(map(len, owners)) == len(set().union(*owners))  # an object is in one part only


def test_pairs_between_takes_infinite_ranges() -> None:
    endless = torch.full((1, 4, 2), torch.inf)
    cells = usable_cells(GRID, None, NO_IMAGE)
    assert len(next(pairs_between(GRID, cells, -endless, endless))) == GRID.num_priors
    assert len(next(pairs_between(GRID, cells, endless, -endless))) == 0


def test_usable_cells_round_up_and_stop_at_the_map() -> None:
    image = torch.tensor([1, 0])
    cells = usable_cells(GRID, ((9, 100), (24, 1)), image)  # lattices: two of 9 x 6, two of 5 x 3
    assert cells.tolist() == [[[1, 6], [1, 6], [1, 3], [1, 3]], [[9, 3], [9, 3], [5, 2], [5, 2]]]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_nearest_block_holds_the_nearest_cells(size: int) -> None:
    lattices = GRID.lattices()
    centers = torch.rand(20, 1, 2, generator=torch.Generator().manual_seed(0)) * 40
    prior, first = nearest_block(lattices, lattices.cells[None], centers, size)
    assert prior.shape == (20, 4, size * size)
    assert first.shape == (20, 4, 2)
    for gt in range(20):
        for m in range(4):
            inside = prior[gt, m][prior[gt, m] >= 0]
            columns, rows = lattices.cells[m].tolist()
            assert len(set(inside.tolist())) == min(size, columns) * min(size, rows)
            whole = lattices.first[m] + torch.arange(columns)[:, None] * lattices.steps[m, 0]
            whole = (whole + torch.arange(rows) * lattices.steps[m, 1]).flatten()
            away = (GRID.centers()[whole] - centers[gt]).square().sum(1)
            assert whole[away.argmin()] in inside


@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from((-1.0, 0.0, 0.5, 2.0)))),
    st.integers(1, 3),
)
@settings(deadline=None, derandomize=True)
def test_segment_kth_largest(items: list[tuple[int, float]], k: int) -> None:
    segment = torch.tensor([s for s, _ in items], dtype=torch.int64)
    values = torch.tensor([v for _, v in items], dtype=torch.float32)
    got = segment_kth_largest(values, segment, k, 5).tolist()
    for number in range(5):
        own = sorted((v for s, v in items if s == number), reverse=True)
        assert got[number] == (own[k - 1] if len(own) >= k else -float("inf"))


def test_float_bits_sort_like_the_numbers_and_come_back() -> None:
    values = torch.tensor([0.0, 1e-45, 1e-20, 0.5, 1.0, 3e38])
    bits = float_bits(values)
    assert torch.equal(bits, bits.sort().values)
    assert torch.equal(bits_float(bits | (7 << 32)), values)
    negative = torch.tensor([-1.5, -0.25])
    assert (float_bits(negative) >= 0).all()
    assert torch.equal(bits_float(float_bits(negative)), negative)


def test_covered_priors_only_where_there_are_objects() -> None:
    box, none = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.zeros(0, 4)
    label = torch.zeros(1, dtype=torch.int64)
    size = (24, 36)
    targets = PackedTargets.pack(
        [Targets(box, label, box, size, size), Targets(none, label[:0], box, size, size)]
    )

    def share(pairs: Pairs) -> torch.Tensor:
        return aligned_iof(GRID.boxes_at(pairs.prior), targets.ignore_boxes[pairs.gt])

    covered = covered_priors(GRID, targets, share, 0.5).view(2, -1)
    want = aligned_iof(GRID.boxes(), box) > 0.5
    assert torch.equal(covered[0], want)
    assert want.any()
    assert not covered[1].any()
