"""Position-sensitive pooling: which channel and point is read, levels, gradients, precision."""

from collections.abc import Sequence

import pytest
import torch
import torchvision
from torch import Tensor

from motedet.errors import RecipeError
from motedet.models import ps_roi_align as module
from motedet.models.ps_roi_align import Mode, PSRoIAlign, ps_roi_align
from motedet.models.rois import Rois

SMALL = PSRoIAlign(output_size=2, num_levels=1)


def _rois(rows: Sequence[Sequence[float]], image: Sequence[int] | None = None) -> Rois:
    boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    return Rois(boxes, torch.tensor(image or [0] * len(boxes), dtype=torch.int64))


def _ramps(size: int = 12) -> Tensor:
    """[1, 4, h, w]: channel c has the value 100 * c + column."""
    return (
        torch.arange(size).float()
        + 100 * torch.arange(4.0)[None, :, None, None]
        + torch.zeros(1, 4, size, 1)
    )


def test_each_bin_reads_its_own_channel_at_its_own_points() -> None:
    """A region of 4 cells, from column 2: points at 2.5, 3.5 | 4.5, 5.5."""
    rois = _rois([[8, 8, 25, 25]])  # ends one pixel early, as published: 4 cells of 4 px
    found = SMALL([_ramps()], (4,), rois)
    torch.testing.assert_close(found, torch.tensor([[[[3.5, 105.5], [203.5, 305.5]]]]))
    mean = PSRoIAlign(output_size=2, num_levels=1, mode="mean")([_ramps()], (4,), rois)
    torch.testing.assert_close(mean, torch.tensor([[[[3.0, 105.0], [203.0, 305.0]]]]))


def test_half_pixel_reads_where_the_region_is() -> None:
    """The value of cell i is at pixel 4 i + 2: pixels 8 to 24 are columns 1.5 to 5.5."""
    pool = PSRoIAlign(output_size=2, num_levels=1, half_pixel=True)
    found = pool([_ramps()], (4,), _rois([[8, 8, 24, 24]]))
    torch.testing.assert_close(found, torch.tensor([[[[3.0, 105.0], [203.0, 305.0]]]]))


def test_points_per_cell() -> None:
    """With sampling_ratio 0 a bin of 3 cells has 3 x 3 points, one of 1 cell 1."""
    pool = PSRoIAlign(output_size=2, num_levels=1, sampling_ratio=0)
    found = pool([_ramps()], (4,), _rois([[8, 8, 33, 33], [8, 8, 17, 17]]))
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([[4.5, 107.5], [2.5, 103.5]]))


@pytest.mark.parametrize("mode", ["max", "mean"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_no_regions(mode: Mode, sampling_ratio: int) -> None:
    feature = torch.randn(1, 8, 5, 5, requires_grad=True)
    pool = PSRoIAlign(output_size=2, mode=mode, sampling_ratio=sampling_ratio)
    found = pool([feature, feature], (8, 16), _rois([]))
    assert found.shape == (0, 2, 2, 2)
    found.sum().backward()  # type: ignore[no-untyped-call]


def test_outside_is_nothing_and_the_border_reaches_one_cell() -> None:
    feature = torch.full((1, 4, 6, 6), 3.0)
    rois = _rois([[-40, -40, -20, -20], [-3, -3, 2, 2], [30, 30, 20, 20]])
    found = SMALL([feature], (4,), rois)
    assert found.flatten(1).tolist() == [[0] * 4, [3] * 4, [0] * 4]


def test_regions_read_their_own_level_and_image() -> None:
    level, image = torch.arange(3.0), 10 * torch.arange(2.0)
    maps = [
        (image[:, None, None, None] + level[i]).expand(2, 4, 64 >> i, 64 >> i) for i in range(3)
    ]
    rois = _rois([[0, 0, s, s] for s in (8, 70, 12, 125, 59)], [1, 0, 0, 1, 1])
    pool = PSRoIAlign(output_size=2, num_levels=3)
    assert pool.levels(rois.boxes, 3).tolist() == [0, 1, 0, 2, 0]
    found = pool(maps, (4, 8, 16), rois)
    assert found.flatten(1).amax(1).tolist() == [10, 1, 0, 12, 10]


def test_mean_is_torchvisions_shifted_by_half_a_cell() -> None:
    feature = torch.randn(2, 2 * 9, 14, 11)
    start, image = 12 * torch.rand(50, 2) - 2, torch.randint(2, (50,))
    boxes = torch.cat((start, start + 0.2 + 9 * torch.rand(50, 2)), dim=1)
    table = torch.cat((image[:, None].float(), boxes + 0.5), dim=1)
    expected = torchvision.ops.ps_roi_align(feature, table, 3, 1.0, 2)
    level = torch.zeros_like(image)
    found = ps_roi_align([feature], boxes, image, level, output_size=3, mode="mean")
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)


def test_maximum_is_roi_aligns_where_bins_and_channels_meet() -> None:
    """The exact equivalent by another operator: one point per cell of a grid twice as fine."""
    feature = torch.randn(2, 2 * 9, 14, 11)
    start, image = 10 * torch.rand(50, 2), torch.randint(2, (50,))
    boxes = torch.cat((start, start + 0.2 + 9 * torch.rand(50, 2)), dim=1)
    table = torch.cat((image[:, None].float(), boxes + 0.5), dim=1)
    every = torchvision.ops.roi_align(feature, table, 6, 1.0, 1, aligned=True)
    bins = torch.arange(3)
    parts = every.view(50, 2, 3, 3, 3, 2, 3, 2)[:, :, bins[:, None], bins, bins[:, None], :, bins]
    expected = parts.amax(dim=(-2, -1)).permute(2, 3, 0, 1)  # from [K, K, R, D, S, S]
    level = torch.zeros_like(image)
    found = ps_roi_align([feature], boxes, image, level, output_size=3)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize("mode", ["max", "mean"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_gradient(mode: Mode, sampling_ratio: int) -> None:
    pool = PSRoIAlign(output_size=2, finest_scale=6, mode=mode, sampling_ratio=sampling_ratio)
    rois = _rois([[1, 2, 9, 7], [0, 0, 20, 20], [-30, 0, -20, 9]], [0, 1, 0])

    def pooled(fine: Tensor, coarse: Tensor) -> Tensor:
        return pool([fine, coarse], (2, 4), Rois(rois.boxes.double(), rois.image))

    fine = torch.randn(2, 4, 5, 4, dtype=torch.float64, requires_grad=True)
    coarse = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pooled, (fine, coarse))


def test_only_the_first_of_equals_learns() -> None:
    feature = torch.ones(1, 1, 8, 8, requires_grad=True)
    one = PSRoIAlign(output_size=1, num_levels=1)
    one([feature], (1,), _rois([[0, 0, 5, 5]])).sum().backward()  # type: ignore[no-untyped-call]
    assert feature.grad is not None
    # of the points 1, 1 | 1, 3 | 3, 1 | 3, 3
    assert feature.grad.nonzero().tolist() == [[0, 0, 1, 1]]


def test_gradient_and_none_give_the_same_values() -> None:
    feature = torch.randn(1, 8, 9, 9, requires_grad=True)
    rois = _rois([[1, 2, 9, 7], [0, 0, 20, 20]])
    pool = PSRoIAlign(output_size=2, num_levels=1)
    with torch.no_grad():
        expected = pool([feature], (2,), rois)
    assert torch.equal(pool([feature], (2,), rois), expected)


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    feature = torch.randn(2, 8, 9, 9)
    start = 20 * torch.rand(9, 2)
    rois = Rois(torch.cat((start, start + 9), dim=1), torch.randint(2, (9,)))
    expected = SMALL([feature], (4,), rois)
    monkeypatch.setattr(module, "PIECE", 4)
    assert torch.equal(SMALL([feature], (4,), rois), expected)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_half_precision_is_read_in_float32(memory: torch.memory_format) -> None:
    feature = torch.randn(2, 8, 9, 9).bfloat16().contiguous(memory_format=memory)
    rois = _rois([[1, 2, 29, 17], [0, 0, 20, 20]], [0, 1])
    expected = SMALL([feature.float()], (4,), rois)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = SMALL([feature], (4,), rois)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_export_with_free_sizes() -> None:
    class Pool(torch.nn.Module):
        def forward(self, fine: Tensor, coarse: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
            return PSRoIAlign(output_size=2)([fine, coarse], (8, 16), Rois(boxes, image))

    def inputs(size: int, count: int) -> tuple[Tensor, ...]:
        boxes = 60 * torch.rand(count, 2).repeat(1, 2) + torch.tensor([0.0, 0, 50, 90])
        maps = torch.randn(2, 8, size, size), torch.randn(2, 8, size // 2, size // 2)
        return (*maps, boxes, torch.randint(2, (count,)))

    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, 2: free, 3: free}, {0: free, 2: free, 3: free}, {0: free}, {0: free})
    program = torch.export.export(Pool(), inputs(12, 5), dynamic_shapes=shapes).module()
    given = inputs(16, 9)
    torch.testing.assert_close(program(*given), Pool()(*given))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same() -> None:
    feature, start = torch.randn(2, 8, 9, 9), 20 * torch.rand(40, 2)
    rois = Rois(torch.cat((start, start + 9), dim=1), torch.randint(2, (40,)))
    results = []
    for device in ("cpu", "cuda"):
        values = feature.to(device).requires_grad_()
        there = Rois(rois.boxes.to(device), rois.image.to(device))
        found = SMALL([values], (4,), there)
        (gradient,) = torch.autograd.grad(found.square().sum(), values)
        results.append((found.detach().cpu(), gradient.cpu()))
    torch.testing.assert_close(results[0], results[1])


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="is too small"):
        PSRoIAlign(sampling_ratio=-1)
    with pytest.raises(ValueError, match="finest_scale must be positive; got 0"):
        PSRoIAlign(finest_scale=0)
    with pytest.raises(RecipeError, match="256 is no multiple of 7 x 7"):
        PSRoIAlign().values(256)
    assert PSRoIAlign().values(245) == 245
