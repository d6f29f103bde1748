import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motedet.assign import pairs as module
from motedet.assign.pairs import (
    covered_priors,
    nearest_block,
    pairs_between,
    segment_kth_largest,
    usable_cells,
    usable_priors,
)
from motedet.geometry import aligned_iof
from motedet.priors import Anchors
from motedet.structures import PackedTargets, Pairs, Size, Targets

GRID = Anchors(strides=(4, 8), ratios=(1.0,), scales=(1.0, 2.0))([(6, 9), (3, 5)])
EVERYTHING = torch.cat((torch.zeros(4, 2, dtype=torch.int64), GRID.lattices().cells), dim=1)[None]


def empty_images(*sizes: Size, limited: bool = False, border: float | None = None) -> PackedTargets:
    none, label = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    records = [Targets.of(none, label, size) for size in sizes]
    return PackedTargets.pack(records, limit_to_padding=limited, allowed_border=border)


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
    parts = list(pairs_between(GRID, EVERYTHING, low, high))
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
    assert len(next(pairs_between(GRID, EVERYTHING, -endless, endless))) == GRID.num_priors
    assert len(next(pairs_between(GRID, EVERYTHING, endless, -endless))) == 0


def test_all_cells_are_usable_without_rules() -> None:
    targets = empty_images((1, 1))
    assert torch.equal(usable_cells(GRID, targets, targets.image_index), EVERYTHING)
    assert usable_priors(GRID, targets) is None


def test_usable_cells_round_up_and_stop_at_the_map() -> None:
    image = torch.tensor([1, 0])
    targets = empty_images((9, 100), (24, 1), limited=True)
    cells = usable_cells(GRID, targets, image)  # lattices: two of 9 x 6, two of 5 x 3
    assert (cells[..., :2] == 0).all()
    assert cells[..., 2:].tolist() == [
        [[1, 6], [1, 6], [1, 3], [1, 3]],
        [[9, 3], [9, 3], [5, 2], [5, 2]],
    ]


def test_a_border_counts_on_the_left_and_not_on_the_right() -> None:
    # the smaller anchors of stride 4 span 2 px around multiples of 4
    cells = usable_cells(
        GRID, empty_images((14, 15), border=0.0), torch.zeros(1, dtype=torch.int64)
    )
    assert cells[0, 0].tolist() == [1, 1, 4, 3]  # x2 = 14 < 15, y2 = 14 is not < 14
    cells = usable_cells(
        GRID, empty_images((14, 15), border=2.0), torch.zeros(1, dtype=torch.int64)
    )
    assert cells[0, 0].tolist() == [0, 0, 4, 4]  # x1 = -2 is enough, x2 = 18 < 17 is not


@given(
    side=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    border=st.sampled_from((None, 0.0, 0.1, 5.0, -3.0, 100.0)) | st.floats(0, 30, width=32),
    scales=st.sampled_from(((1.0, 2.0), (0.3, 1.7), (8.0,))),
    limited=st.booleans(),
)
@settings(deadline=None, derandomize=True)
def test_usable_cells_are_the_usable_priors(
    side: Size, border: float | None, scales: tuple[float, ...], limited: bool
) -> None:
    grid = Anchors(strides=(4, 8), scales=scales)([(12, 18), (6, 9)])
    targets = empty_images(side, (48, 72), limited=limited, border=border)
    cells = usable_cells(grid, targets, torch.arange(2)).expand(2, -1, -1)
    usable = usable_priors(grid, targets)
    lattices = grid.lattices()
    want = torch.zeros(2, grid.num_priors, dtype=torch.bool)
    for image in range(2):
        for m in range(len(lattices.first)):
            left, top, right, bottom = cells[image, m].tolist()
            for y in range(max(top, 0), bottom):
                for x in range(left, right):
                    step = (lattices.steps[m] * torch.tensor([x, y])).sum()
                    want[image, lattices.first[m] + step] = True
    assert torch.equal(torch.ones_like(want) if usable is None else usable, want)


def test_nearest_block_stays_in_the_usable_cells() -> None:
    lattices = GRID.lattices()
    cells = torch.tensor([[3, 1, 5, 6], [2, 4, 2, 6], [1, 1, 2, 2], [0, 0, 5, 3]])
    prior, first = nearest_block(lattices, cells, torch.zeros(4, 2), 2)
    assert first[[0, 2, 3]].tolist() == [[3, 1], [1, 1], [0, 0]]
    assert prior[0].tolist() == (lattices.first[0] + 2 * torch.tensor([12, 13, 21, 22])).tolist()
    assert (prior[1] == -1).all()  # no cell is usable
    assert (prior[2] >= 0).tolist() == [True, False, False, False]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_nearest_block_holds_the_nearest_cells(size: int) -> None:
    lattices = GRID.lattices()
    centers = torch.rand(20, 1, 2, generator=torch.Generator().manual_seed(0)) * 40
    prior, first = nearest_block(lattices, EVERYTHING, centers, size)
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
