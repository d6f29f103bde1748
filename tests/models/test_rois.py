"""Levels and features of regions, and which regions learn."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from motedet.assign.ohem import OHEMSampler
from motedet.assign.proposals import BestOverlap
from motedet.assign.sampling import RandomSampler
from motedet.models.rois import AnySampler, RoIAlign, Rois, SampledRois, level_of, sample_rois
from motedet.structures import BACKGROUND, Detections, PackedTargets, Targets

STRIDES = (4, 8, 16, 32)
SQUARES = torch.tensor([[10.0, 10, 20, 20], [40, 40, 48, 50], [70, 5, 90, 30]])


def _features(*, images: int = 1, size: int = 64) -> list[Tensor]:
    """Maps that hold the number of their level everywhere, plus 10 per image."""
    level = torch.arange(len(STRIDES), dtype=torch.float32)
    image = 10 * torch.arange(images, dtype=torch.float32)
    return [
        (image[:, None, None, None] + level[i]).expand(images, 2, size // 2**i, size // 2**i)
        for i in range(len(STRIDES))
    ]


def _square(side: float, *, at: float = 8.0) -> list[float]:
    return [at, at, at + side, at + side]


def _rois(rows: Sequence[Sequence[float]], image: Sequence[int] | None = None) -> Rois:
    boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    return Rois(boxes, torch.tensor(image or [0] * len(boxes), dtype=torch.int64))


@pytest.mark.parametrize("counts", [(0, 0), (2, 0, 1)], ids=["none", "some"])
def test_boxes_of_images_become_one_list(counts: tuple[int, ...]) -> None:
    found = [
        Detections(torch.full((n, 4), float(i)), torch.zeros(n), torch.zeros(n, dtype=torch.int64))
        for i, n in enumerate(counts)
    ]
    rois = Rois.of(found)
    assert rois.boxes.shape == (sum(counts), 4)
    assert rois.image.dtype == torch.int64
    assert rois.image.tolist() == [i for i, n in enumerate(counts) for _ in range(n)]
    assert torch.equal(rois.boxes[:, 0], rois.image.float())


@pytest.mark.parametrize(
    ("side", "level"),
    [(0, 0), (8, 0), (111.9, 0), (112, 1), (223, 1), (224, 2), (447.9, 2), (448, 3), (2000, 3)],
)
def test_levels_change_at_powers_of_two(side: float, level: int) -> None:
    boxes = torch.tensor([_square(side)])
    assert RoIAlign().levels(boxes, 4).tolist() == [level]
    assert RoIAlign().levels(boxes, 2).tolist() == [min(level, 1)]
    assert RoIAlign(finest_scale=28).levels(boxes / 2, 4).tolist() == [level]
    assert level_of(boxes / 2, finest_scale=28, num_levels=4).tolist() == [level]


def test_level_follows_the_area_and_takes_inverted_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 56, 224], [30, 30, 20, 40]])
    assert RoIAlign().levels(boxes, 4).tolist() == [1, 0]


@pytest.mark.parametrize("size", [1, 7])
def test_no_regions(size: int) -> None:
    assert RoIAlign(output_size=size).values(2) == 2 * size * size
    features = [f.clone().requires_grad_() for f in _features()]
    pooled = RoIAlign(output_size=size)(features, STRIDES, _rois([]))
    assert pooled.shape == (0, 2, size, size)
    pooled.sum().backward()  # type: ignore[no-untyped-call]


def test_regions_read_their_own_level_and_image() -> None:
    rois = _rois([_square(s, at=0) for s in (8, 130, 12, 240, 130)], [1, 0, 0, 1, 1])
    pooled = RoIAlign(num_levels=3)(_features(images=2), (*STRIDES, 64), rois)
    assert pooled.shape == (5, 2, 7, 7)
    expected = torch.tensor([10.0, 1, 0, 12, 11])[:, None, None, None].expand_as(pooled)
    torch.testing.assert_close(pooled, expected)


def test_bins_are_read_at_their_centres() -> None:
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)  # the value of a cell is its column
    rois = _rois([[8, 8, 36, 36]])  # seven bins of one cell of 4 px, which start at column 2
    pooled = RoIAlign()([ramp], (4,), rois)
    torch.testing.assert_close(pooled[0, 0], torch.arange(2.0, 9).expand(7, 7))


def test_half_precision_is_pooled_in_float32() -> None:
    pooled = RoIAlign()([f.bfloat16() for f in _features()], STRIDES, _rois([_square(8)]))
    assert pooled.dtype == torch.float32


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    features = [
        torch.randn(1, 1, n, n, generator=generator, dtype=torch.float64).requires_grad_()
        for n in (6, 3)
    ]
    rois = _rois([_square(9, at=2), _square(20, at=1)])
    pool = RoIAlign(output_size=2, finest_scale=8)

    def pooled(*maps: Tensor) -> Tensor:
        return pool(maps, (4, 8), rois)

    assert torch.autograd.gradcheck(pooled, features)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"output_size": 0}, "output_size=0"),
        ({"num_levels": 0}, "num_levels=0"),
        ({"sampling_ratio": -1}, "sampling_ratio=-1"),
        ({"finest_scale": 0.0}, "finest_scale must be positive; got 0"),
    ],
)
def test_bad_numbers(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoIAlign(**values)  # type: ignore[arg-type]


# Which regions learn.

Outputs = Callable[[Rois], tuple[Tensor, Tensor]]


def _targets(counts: Sequence[int]) -> PackedTargets:
    """Images with the first so many of three squares."""
    labels = torch.tensor([0, 1, 2])
    return PackedTargets.pack([Targets.of(SQUARES[:n], labels[:n], (100, 100)) for n in counts])


def _background(count: int, *, image: int = 0) -> tuple[list[list[float]], list[int]]:
    return [_square(4, at=60 + 0.1 * i) for i in range(count)], [image] * count


def _no_outputs(rois: Rois) -> tuple[Tensor, Tensor]:
    raise AssertionError("random draws need no losses")


def _sample(
    proposals: Rois,
    targets: PackedTargets,
    *,
    sampler: AnySampler | None = None,
    seeds: Sequence[int] | None = None,
    salt: int = 1,
    outputs: Outputs = _no_outputs,
) -> SampledRois:
    return sample_rois(
        proposals,
        targets,
        match=BestOverlap(pos_iou=0.5),
        sampler=sampler or RandomSampler(num=8, pos_fraction=0.5),
        seeds=seeds or [0] * targets.num_images,
        salt=salt,
        outputs=outputs,
    )


def test_nothing_to_choose_from() -> None:
    sampled = _sample(_rois([]), _targets([0, 0]))
    assert sampled.rois.boxes.shape == (0, 4)
    assert len(sampled.rois.image) == len(sampled.gt_index) == len(sampled.is_object) == 0


def test_objects_are_among_their_own_regions() -> None:
    sampled = _sample(_rois([]), _targets([0, 3, 1]))
    assert torch.equal(sampled.rois.boxes, SQUARES[[0, 1, 2, 0]])
    assert sampled.rois.image.tolist() == [1, 1, 1, 2]
    assert sampled.gt_index.tolist() == [0, 1, 2, 3]
    assert sampled.is_object.all()


def test_an_image_without_objects_gives_background() -> None:
    boxes, image = _background(3, image=1)
    sampled = _sample(_rois(boxes, image), _targets([2, 0]))
    assert sampled.rois.image.tolist() == [0, 0, 1, 1, 1]
    assert sampled.gt_index.tolist() == [0, 1] + [BACKGROUND] * 3
    assert sampled.is_object.tolist() == [True] * 2 + [False] * 3


def test_proposals_near_an_object_are_positive_and_not_objects() -> None:
    near = (SQUARES[1] + torch.tensor([0.5, 0, 0.5, 0])).tolist()
    boxes, image = _background(1)
    sampled = _sample(_rois([near, *boxes], [0, *image]), _targets([2]))
    assert sampled.gt_index.tolist() == [0, 1, 1, BACKGROUND]
    assert sampled.is_object.tolist() == [True, True, False, False]
    assert sampled.rois.boxes[2].tolist() == near


def test_numbers_are_limited_per_image() -> None:
    near = [(SQUARES[0] + 0.01 * i).tolist() for i in range(30)]
    far, image = _background(30, image=1)
    sampled = _sample(_rois(near + far, [0] * 30 + image), _targets([1, 1]))
    positive = sampled.gt_index >= 0
    assert positive[sampled.rois.image == 0].tolist() == [True] * 4  # half of 8, and no background
    assert positive[sampled.rois.image == 1].sum() == 1
    assert (~positive[sampled.rois.image == 1]).sum() == 7


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_draw_of_an_image_does_not_depend_on_the_batch(order: tuple[int, ...]) -> None:
    counts, seeds = (2, 0, 1), (5, 6, 5)
    table = [_background(n)[0] for n in (20, 40, 30)]
    rows = [box for i in order for box in table[i]]
    image = [place for place, i in enumerate(order) for _ in table[i]]
    sampled = _sample(
        _rois(rows, image), _targets([counts[i] for i in order]), seeds=[seeds[i] for i in order]
    )
    for place, i in enumerate(order):
        alone = _sample(_rois(table[i]), _targets([counts[i]]), seeds=[seeds[i]])
        mine = sampled.rois.image == place
        assert torch.equal(sampled.rois.boxes[mine], alone.rois.boxes)
        assert torch.equal(sampled.is_object[mine], alone.is_object)
        assert torch.equal(sampled.gt_index[mine] >= 0, alone.gt_index >= 0)


def test_seed_and_salt_change_the_draw() -> None:
    proposals, targets = _rois(_background(200)[0]), _targets([0])
    first = _sample(proposals, targets, seeds=[1]).rois.boxes
    assert torch.equal(_sample(proposals, targets, seeds=[1]).rois.boxes, first)
    assert not torch.equal(_sample(proposals, targets, seeds=[2]).rois.boxes, first)
    assert not torch.equal(_sample(proposals, targets, seeds=[1], salt=2).rois.boxes, first)


# The hardest of them.


def _outputs(rois: Rois) -> tuple[Tensor, Tensor]:
    """Logits of three classes and the background: the further right, the surer of class 1."""
    logits = torch.zeros(len(rois.boxes), 4)
    logits[:, 1] = rois.boxes[:, 0] / 10
    return logits.requires_grad_(), torch.zeros(len(rois.boxes), 4)


def test_the_hardest_regions_learn() -> None:
    near = [(SQUARES[0] + torch.tensor([0.1 * i, 0, 0.1 * i, 0])).tolist() for i in range(6)]
    boxes, image = _background(20)
    sampled = _sample(
        _rois(near + boxes, [0] * 6 + image),
        _targets([2]),
        sampler=OHEMSampler(num=8, pos_fraction=0.5),
        outputs=_outputs,
    )
    positive = sampled.gt_index >= 0
    # Objects come first: class 0 is harder further right, class 1 easier.
    assert sampled.rois.boxes[positive].tolist() == near[2:]
    assert sampled.rois.boxes[~positive].tolist() == torch.tensor(boxes[-4:]).tolist()
    assert not sampled.is_object.any()
    assert not sampled.rois.boxes.requires_grad


def test_hard_regions_are_asked_for_even_if_there_are_none() -> None:
    sampled = _sample(_rois([]), _targets([0, 0]), sampler=OHEMSampler(), outputs=_outputs)
    assert len(sampled.gt_index) == 0


def test_objects_without_area_are_no_hard_regions() -> None:
    flat = Targets.of(torch.tensor([[90.0, 5, 90, 20]]), torch.tensor([0]), (100, 100))
    boxes, image = _background(3)
    sampled = _sample(
        _rois(boxes, image), PackedTargets.pack([flat]), sampler=OHEMSampler(), outputs=_outputs
    )
    assert sampled.gt_index.tolist() == [BACKGROUND] * 3


def test_images_choose_their_own_hard_regions() -> None:
    boxes = [_background(n)[0] for n in (20, 9)]
    rois = _rois(boxes[0] + boxes[1], [0] * 20 + [1] * 9)
    sampler = OHEMSampler(num=4)
    both = _sample(rois, _targets([1, 1]), sampler=sampler, outputs=_outputs)
    for image, mine in enumerate(boxes):
        alone = _sample(_rois(mine), _targets([1]), sampler=sampler, outputs=_outputs)
        assert torch.equal(both.rois.boxes[both.rois.image == image], alone.rois.boxes)
