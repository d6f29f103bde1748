"""Position-sensitive pooling of regions, as TinyDet has it (Chen et al. 2023, arXiv:2304.03428).

Every bin of a region reads channels of its own (Dai et al. 2016, arXiv:1605.06409), at points
between the cells. The channel of result d and bin (row, column) is (d * K + row) * K + column.

Nothing but gathers and arithmetic: it runs wherever PyTorch does, and can be exported. Only what is
needed is read, four cells per point of each bin.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from motedet.errors import RecipeError
from motedet.models.rois import Rois, level_of

Mode = Literal["max", "mean"]

MIN_SIDE: Final = 0.1  # cells; smaller regions, inverted ones too, count as this wide
PIECE: Final = 4096  # regions that are read at once, some 100 MB at 7 x 7 bins of 2 x 2 points


@dataclass(frozen=True, kw_only=True)
class PSRoIAlign:
    """Position-sensitive features inside of regions.

    Attributes:
        output_size: K, bins per side; the features must have a multiple of K * K channels.
        sampling_ratio: points per bin and side; 0 takes one per feature cell that it covers.
        finest_scale: as in `RoIAlign`; 30, 22.4 and 35.8 px in TinyDet S, M and L.
        num_levels: the finest so many of the pyramid are read; 2 in TinyDet-S, 3 in M and L.
        mode: "max", as published in spite of the name, takes the largest of a bin's points, the
            first of equals, and only that one learns; "mean" is what the name says.
        half_pixel: read where the region is. As published (False), the value of a cell is taken to
            lie in the cell's corner, and a region ends one pixel early: everything is read up to
            half a cell too far to the right and below.
    """

    kind: Literal["ps_roi_align"] = "ps_roi_align"
    output_size: int = 7
    sampling_ratio: int = 2
    finest_scale: float = 30.0
    num_levels: int = 2
    mode: Mode = "max"
    half_pixel: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.output_size, self.num_levels) < 1 or self.sampling_ratio < 0:
            raise ValueError(f"output_size, num_levels or sampling_ratio is too small: {self}.")
        if self.finest_scale <= 0:
            raise ValueError(f"finest_scale must be positive; got {self.finest_scale}.")

    def values(self, channels: int) -> int:
        """How many values a region has, of features with `channels`: D * K * K.

        Raises:
            RecipeError: if the channels do not fit the bins.
        """
        if channels % self.output_size**2:
            raise RecipeError(
                f"neck.out_channels={channels} is no multiple of "
                f"{self.output_size} x {self.output_size} bins (pool.output_size)."
            )
        return channels

    def __call__(self, features: Sequence[Tensor], strides: Sequence[int], rois: Rois) -> Tensor:
        """The features of every region.

        Args:
            features: one [B, D * K * K, h, w] per level, finest first.
            strides: of the levels, in pixels.
            rois: R regions.

        Returns:
            [R, D, K, K] in float32 or better.
        """
        used = features[: self.num_levels]
        level = self.levels(rois.boxes, len(used))  # [R]
        stride = rois.boxes.new_tensor(strides[: len(used)])[level, None]  # [R, 1]
        if self.half_pixel:
            boxes = rois.boxes / stride - 0.5  # [R, 4]
        else:
            boxes = (rois.boxes - rois.boxes.new_tensor([0, 0, 1, 1])) / stride
        return ps_roi_align(
            used,
            boxes,
            rois.image,
            level,
            output_size=self.output_size,
            sampling_ratio=self.sampling_ratio,
            mode=self.mode,
        )

    def levels(self, boxes: Tensor, num_levels: int) -> Tensor:
        """[R] int64, the level from which each of boxes [R, 4] is read, as `RoIAlign` has it."""
        return level_of(boxes, finest_scale=self.finest_scale, num_levels=num_levels)


def ps_roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    *,
    output_size: int = 7,
    sampling_ratio: int = 2,
    mode: Mode = "max",
) -> Tensor:
    """Position-sensitive features of regions, each read from its own level.

    Points between cells are interpolated bilinearly; up to one cell outside the map they take the
    value at its border, further out 0. No gradient reaches the boxes.

    Args:
        features: one [B, D * K * K, h, w] per level.
        boxes: [R, 4] xyxy in cells of their level, where the value of cell i lies at i.
        image: [R] int64.
        level: [R] int64.
        output_size: K, bins per side.
        sampling_ratio: points per bin and side; 0 takes one per cell that a bin covers.
        mode: what becomes of a bin's points.

    Returns:
        [R, D, K, K] in float32 or better.
    """
    bins = output_size**2
    rule = _Bins(output_size, sampling_ratio, bins, features[0].shape[1] // bins)
    table, maps = _table(features, rule), _maps(features, image, level, rule)
    boxes = boxes.detach().to(table.dtype)
    shape, pooled = (rule.depth, output_size, output_size), []
    for piece, part in _pieces(boxes, maps):
        values = _reduced(table, _points(piece, part, rule), mode)  # [D, K * K * R']
        pooled.append(values.view(*shape, piece.shape[0]).permute(3, 0, 1, 2))
    return torch.cat(pooled)


class _Bins(NamedTuple):
    """Bins per side, points per bin and side (0: one per cell), bins (K * K), values per bin."""

    size: int
    sampling_ratio: int
    bins: int
    depth: int


class _Maps(NamedTuple):
    """Which map of the table each of R regions reads, and how it lies there; [R] int64 each.

    Attributes:
        first: column of the table with the map's first cell.
        height: of the map in cells.
        width: of the map in cells.
        cell: columns from one cell to the next.
        bin: columns from one bin to the next.
    """

    first: Tensor
    height: Tensor
    width: Tensor
    cell: Tensor
    bin: Tensor


class _Points(NamedTuple):
    """Where P points of each of N bins are read.

    Attributes:
        place: [D or 1, 4, P, N] int64, the columns of the table with the four cells around; of the
            flat table, its places.
        weight: [D or 1, 4, P, N] of these.
        real: [P, N] bool, the points that count; None if all do.
    """

    place: Tensor
    weight: Tensor
    real: Tensor | None


def _table(features: Sequence[Tensor], rule: _Bins) -> Tensor:
    """[D, T] the values of all levels: level, image, row, column and bin, in this order.

    While exporting [T] as they are: level, image, value, bin, row and column. What is in memory
    differs: PyTorch has the channels innermost, ONNX outermost, and moving them costs more than
    reading them in the order that they have.
    """
    precise = torch.promote_types(features[0].dtype, torch.float32)
    if torch.compiler.is_exporting():
        return torch.cat([feature.flatten() for feature in features]).to(precise)
    levels = []
    for feature in features:
        cells = feature.permute(0, 2, 3, 1)  # [B, h, w, C], in memory too in channels_last
        by_bin = cells.reshape(-1, rule.depth, rule.bins).to(precise)  # [B * h * w, D, K²]
        levels.append(by_bin.transpose(0, 1))
    return torch.cat(levels, dim=1).flatten(1)


def _maps(features: Sequence[Tensor], image: Tensor, level: Tensor, rule: _Bins) -> _Maps:
    """The maps of regions that read `level` [R] int64 of `image` [R] int64."""
    rows, first = [], 0
    for feature in features:
        images, channels, height, width = feature.shape
        cells = height * width
        if torch.compiler.is_exporting():
            per_image, steps = channels * cells, (1, cells)
        else:
            per_image, steps = rule.bins * cells, (rule.bins, 1)
        # not `new_tensor`, which an export with free sizes could not follow
        row = (first, per_image, height, width, *steps)
        rows.append(torch.stack([image.new_full((), number) for number in row]))
        first += images * per_image
    start, size, *rest = torch.stack(rows)[level].unbind(1)  # [R] each
    return _Maps(start + image * size, *rest)


def _pieces(boxes: Tensor, maps: _Maps) -> Iterator[tuple[Tensor, _Maps]]:
    """Boxes [R, 4] and the maps of R regions in pieces that fit into memory."""
    # While exporting, the number of regions is not known.
    if torch.compiler.is_exporting() or boxes.shape[0] <= PIECE:
        yield boxes, maps
    else:
        parts = zip(*(torch.split(values, PIECE) for values in maps), strict=True)
        yield from zip(torch.split(boxes, PIECE), map(_Maps._make, parts), strict=True)


def _points(boxes: Tensor, maps: _Maps, rule: _Bins) -> _Points:
    """The points of all bins of boxes [R, 4] on their maps; N = K * K * R, regions innermost."""
    start, side = boxes[:, :2], (boxes[:, 2:] - boxes[:, :2]).clamp(min=MIN_SIDE)  # [R, 2] each
    x, share_x, real_x = _axis(start[:, 0], side[:, 0], maps.width, rule)
    y, share_y, real_y = _axis(start[:, 1], side[:, 1], maps.height, rule)
    size = rule.size
    order = torch.arange(rule.bins, device=boxes.device).view(size, size, 1) * maps.bin  # of bins
    column = (x * maps.cell)[None, :, None, :, None] + order  # [1, 2, 1, S, K, K, R]
    row = maps.first + y * (maps.width * maps.cell)  # [2, S, K, R]
    place = row[:, None, :, None, :, None] + column  # [2, 2, S, S, K, K, R]
    weight = share_y[:, None, :, None, :, None] * share_x[None, :, None, :, None]
    real = None
    if real_x is not None and real_y is not None:
        real = (real_y[:, None] & real_x).flatten(0, 1)  # [P, R]
        real = real[:, None].expand(-1, size * size, -1).flatten(1)  # [P, N]
    shape = (1, 4, y.shape[1] * x.shape[1], rule.bins * boxes.shape[0])  # [1, 4, P, N]
    place = place.reshape(shape)
    if torch.compiler.is_exporting():
        per_value = (rule.bins * maps.bin).repeat(rule.bins)  # [N]
        place = place + torch.arange(rule.depth).view(-1, 1, 1, 1) * per_value  # [D, 4, P, N]
    return _Points(place, weight.reshape(shape), real)


def _axis(
    start: Tensor, side: Tensor, limit: Tensor, rule: _Bins
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The points along one axis.

    Args:
        start: [R] in cells.
        side: [R] in cells, positive.
        limit: [R] int64, cells of the map.
        rule: bins and points.

    Returns:
        [2, S, K, R] int64 the cells before and after each of S points of each bin; [2, S, K, R]
        their weights; [S, R] bool, the points that count, or None if all do.
    """
    bin_side = side / rule.size  # [R]
    count, most = torch.full_like(side, rule.sampling_ratio), rule.sampling_ratio
    if rule.sampling_ratio == 0:
        count = bin_side.ceil()  # [R]
        most = int(count.max()) if len(count) else 1
    point = torch.arange(most, device=side.device, dtype=side.dtype)[:, None]  # [S, 1]
    bins = torch.arange(rule.size, device=side.device, dtype=side.dtype)[:, None]  # [K, 1]
    at = (start + bins * bin_side) + ((point + 0.5) * bin_side / count)[:, None]  # [S, K, R]
    near = ((at >= -1) & (at <= limit)).to(side.dtype)
    at = at.clamp(min=0).minimum(limit - 1)
    before = at.floor()
    share = at - before
    cells = torch.stack((before, (before + 1).minimum(limit - 1)))  # [2, S, K, R]
    shares = torch.stack((1 - share, share)) * near
    return cells.long(), shares, None if rule.sampling_ratio else point < count


def _reduced(table: Tensor, points: _Points, mode: Mode) -> Tensor:
    """[D, N] what becomes of the points of each bin."""
    if mode == "mean":
        values = _read(table, points)  # [D, P, N]
        if points.real is None:
            return values.mean(dim=1)
        return values.where(points.real, 0).sum(dim=1) / points.real.sum(dim=0)
    if not table.requires_grad:
        return _counting(_read(table, points), points).amax(dim=1)
    # Only the winners are read again for the gradient, and remembered.
    with torch.no_grad():
        values = _counting(_read(table, points), points)  # [D, P, N]
        winner = values.max(dim=1, keepdim=True).indices  # [D, 1, N], the first of equals
        pick = winner[:, None].expand(-1, 4, -1, -1)  # [D, 4, 1, N]
        place, weight = (
            t.expand(len(table), -1, -1, -1).gather(2, pick) for t in (points.place, points.weight)
        )
    return _read(table, _Points(place, weight, None)).squeeze(1)


def _counting(values: Tensor, points: _Points) -> Tensor:
    """The values [D, P, N], those that do not count below all others."""
    return values if points.real is None else values.where(points.real, -torch.inf)


def _read(table: Tensor, points: _Points) -> Tensor:
    """[D, P, N] the values of the table [D, T] or [T] at points between cells."""
    if table.ndim == 1:
        values = table.gather(0, points.place.flatten()).view(points.place.shape)  # [D, 4, P, N]
        return (values * points.weight).sum(dim=1)
    place = points.place.flatten(1).expand(len(table), -1)  # [D, 4 * P * N]
    shares = table.gather(1, place).mul_(points.weight.flatten(1))
    return shares.view(len(table), *points.place.shape[1:]).sum(dim=1)
