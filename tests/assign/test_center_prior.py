"""The points that may learn from an object: inside, forced, assigned, of positive prior."""

import pytest
import torch
from torch import Tensor

from dense_autoassign import dense_center_weights, dense_force, dense_inside
from motedet.assign import Hierarchical
from motedet.assign.center_prior import (
    assigned_pairs,
    center_weights,
    forced_pairs,
    inside_pairs,
    weighted_pairs,
)
from motedet.priors import Points, PriorGrid, ReceptiveFields
from motedet.structures import PackedTargets, Pairs, Targets

SIZE = (96, 128)
CLASSES = 3
GRID = Points(strides=(8, 16, 32), offset=0.0)([(12, 16), (6, 8), (3, 4)])


def scene(seed: int, counts: tuple[int, ...] = (5, 0, 9)) -> list[Targets]:
    """Images with objects from 0.5 to 60 px, some at the border, some without area."""
    generator = torch.Generator().manual_seed(seed)
    records = []
    for count in counts:
        center = torch.rand(count, 2, generator=generator) * torch.tensor([140.0, 108.0]) - 6
        half = torch.exp(4 * torch.rand(count, 2, generator=generator) - 1.4)
        boxes = torch.cat((center - half, center + half), dim=1)
        if count > 4:
            boxes[0, 2:] = boxes[0, :2]
            boxes[1] = boxes[2].round()
            boxes[3] = torch.tensor([11.0, 11.0, 13.0, 13.0])  # centred between four points
        labels = torch.randint(CLASSES, (count,), generator=generator)
        records.append(Targets.of(boxes, labels, SIZE))
    return records


def prior(seed: int, *, sigma: float = 1.0) -> tuple[Tensor, Tensor]:
    """Means and sigmas [K, 2] of another kind for each class."""
    generator = torch.Generator().manual_seed(seed)
    mean = 0.7 * torch.randn(CLASSES, 2, generator=generator)
    mean[0] = 0.0
    return mean, sigma * torch.exp(0.5 * torch.randn(CLASSES, 2, generator=generator))


def table(pairs: Pairs, targets: PackedTargets, grid: PriorGrid = GRID) -> Tensor:
    """[P, G] bool; every pair must be there once, by rising object."""
    found = torch.zeros(grid.num_priors, len(targets.boxes), dtype=torch.int64)
    found.index_put_((pairs.prior, pairs.gt), torch.tensor(1), accumulate=True)
    assert found.max() <= 1 if found.numel() else True
    assert (pairs.gt.diff() >= 0).all()
    return found > 0


def test_no_objects() -> None:
    packed = PackedTargets.pack(scene(0, (0, 0)))
    mean, sigma = prior(0)
    pairs = inside_pairs(GRID, packed)
    assert len(pairs) == 0
    assert len(center_weights(GRID, packed, pairs, mean, sigma)) == 0
    assert len(forced_pairs(GRID, packed, pairs, mean, sigma, topk=9)) == 0
    assert len(weighted_pairs(GRID, packed, mean=mean, sigma=sigma)) == 0


def test_points_on_the_edge_are_outside() -> None:
    box = torch.tensor([[8.0, 8.0, 24.0, 25.0]])
    packed = PackedTargets.pack([Targets.of(box, torch.tensor([0]), SIZE)])
    points = GRID.points_at(inside_pairs(GRID, packed).prior)
    assert points.tolist() == [[16.0, 16.0], [16.0, 24.0], [16.0, 16.0]]


@pytest.mark.parametrize("seed", range(10))
def test_inside_equals_the_dense_form(seed: int) -> None:
    packed = PackedTargets.pack(scene(seed))
    expected = dense_inside(GRID.points(), packed.boxes)
    assert torch.equal(table(inside_pairs(GRID, packed), packed), expected)


def test_center_weights_by_hand() -> None:
    box = torch.tensor([[12.0, 14.0, 16.0, 22.0]])  # centre (14, 18)
    packed = PackedTargets.pack([Targets.of(box, torch.tensor([1]), SIZE)])
    mean = torch.tensor([[9.0, 9.0], [0.5, -0.25]])
    sigma = torch.tensor([[9.0, 9.0], [1.0, 2.0]])
    pairs = Pairs(torch.tensor([2 * 16 + 2]), torch.tensor([0]))  # the point (16, 16)
    found = center_weights(GRID, packed, pairs, mean, sigma)
    x, y = 2 / 8 - 0.5, -2 / 8 + 0.25
    expected = torch.tensor([-(x**2) / 2 - y**2 / 8]).exp()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0, 30.0, 1e4], ids="sigma {}".format)
@pytest.mark.parametrize("topk", [1, 2, 9, 40])
def test_forced_points_equal_the_dense_form(topk: int, sigma: float) -> None:
    """Tiny sigmas leave most priors 0, huge ones make most 1: then the lowest index counts."""
    for seed in range(4):
        records = scene(seed)
        packed = PackedTargets.pack(records)
        mean, spread = prior(seed, sigma=sigma)
        pairs = forced_pairs(GRID, packed, inside_pairs(GRID, packed), mean, spread, topk=topk)
        weight = dense_center_weights(GRID, packed.boxes, packed.labels, mean, spread)
        inside = dense_inside(GRID.points(), packed.boxes)
        assert not inside.any(0).all()
        assert torch.equal(table(pairs, packed), dense_force(inside, weight, topk))


def test_forced_points_of_a_grid_with_fewer_points() -> None:
    grid = Points(strides=(64,), offset=0.0)([(2, 2)])
    packed = PackedTargets.pack([scene(1)[0]])
    mean, sigma = prior(1)
    none = Pairs(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    pairs = forced_pairs(grid, packed, none, mean, sigma, topk=9)
    assert table(pairs, packed, grid).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_pairs_of_positive_prior_equal_the_dense_form(dtype: torch.dtype) -> None:
    packed = PackedTargets.pack(scene(3))
    mean, sigma = (0.3 * p.to(dtype) for p in prior(3))
    weight = dense_center_weights(GRID, packed.boxes, packed.labels, mean, sigma)
    assert (weight == 0).any()
    found = weighted_pairs(GRID, packed, mean=mean, sigma=sigma)
    assert torch.equal(table(found, packed), weight > 0)


def test_assigned_pairs_are_those_of_the_assignment() -> None:
    fields = ReceptiveFields(strides=(8, 16, 32), start_level="p3", offset=0.0)
    grid = fields([(12, 16), (6, 8), (3, 4)])
    packed = PackedTargets.pack(scene(2))
    match = Hierarchical(topk=(4, 1))(grid, packed)
    pairs = assigned_pairs(match)
    image = packed.image_index[pairs.gt]
    assert (pairs.gt.diff() >= 0).all()
    assert torch.equal(match.gt_index[image, pairs.prior], pairs.gt)
    assert len(pairs) == int(match.positive.sum()) > 0
