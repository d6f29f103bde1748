"""Random batches of objects for the assigners' tests."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from motedet.structures import PackedTargets, Targets


@dataclass(frozen=True)
class Scene:
    """A batch that hypothesis can shrink: few numbers, from which the boxes follow."""

    image_size: tuple[int, int]
    strides: tuple[int, ...]
    counts: tuple[int, ...]
    side_range: tuple[float, float]
    step: float
    duplicates: float
    clip: bool
    ignore: int
    limited: bool
    seed: int
    border: float | None = None

    @property
    def level_sizes(self) -> list[tuple[int, int]]:
        height, width = self.image_size
        return [(-(-height // s), -(-width // s)) for s in self.strides]

    def targets(self) -> PackedTargets:
        generator = torch.Generator().manual_seed(self.seed)
        records = []
        for number, count in enumerate(self.counts):
            boxes = self._boxes(count, self.side_range, generator)
            ignore = self._boxes(self.ignore, (4.0, 200.0), generator)
            padded = self.image_size
            if self.limited:
                padded = (max(1, padded[0] - 37 * number), max(1, padded[1] - 37 * number))
            size = padded if self.border is None else (padded[0], max(1, padded[1] - 9))
            labels = torch.zeros(len(boxes), dtype=torch.int64)
            records.append(Targets(boxes, labels, ignore, size, padded))
        return PackedTargets.pack(
            records, limit_to_padding=self.limited, allowed_border=self.border
        )

    def _boxes(self, count: int, sides: tuple[float, float], generator: torch.Generator) -> Tensor:
        height, width = self.image_size
        extent = torch.tensor([width, height], dtype=torch.float32)
        center = torch.rand(count, 2, generator=generator) * extent * 1.1 - extent * 0.05
        low, high = torch.tensor(sides).log()
        side = (low + (high - low) * torch.rand(count, 2, generator=generator)).exp()
        boxes = torch.cat((center - side / 2, center + side / 2), dim=1)
        if self.step:
            boxes = (boxes / self.step).round() * self.step
        if count > 1 and self.duplicates:
            source = torch.randint(count, (count,), generator=generator)
            copied = torch.rand(count, generator=generator) < self.duplicates
            boxes = boxes[source].where(copied[:, None], boxes)
        if self.clip:
            boxes = torch.minimum(boxes.clamp(min=0), extent.repeat(2))
        return boxes


def scenes(max_objects: int = 400) -> st.SearchStrategy[Scene]:
    chains = st.tuples(st.sampled_from((4, 8, 16)), st.integers(1, 5)).map(
        lambda pair: tuple(pair[0] * 2**i for i in range(pair[1]) if pair[0] * 2**i <= 128)
    )
    ranges = st.sampled_from(
        ((0.5, 2.0), (2.0, 30.0), (0.5, 900.0), (30.0, 300.0), (12.0, 12.5), (300.0, 900.0))
    )
    counts = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(tuple) | st.tuples(
        st.integers(0, max_objects)
    )
    return st.builds(
        Scene,
        image_size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
        strides=chains,
        counts=counts,
        side_range=ranges,
        step=st.sampled_from((0.0, 0.0, 0.5, 1.0, 4.0)),
        duplicates=st.sampled_from((0.0, 0.3)),
        clip=st.booleans(),
        ignore=st.sampled_from((0, 0, 1, 4)),
        limited=st.booleans(),
        seed=st.integers(0, 10_000),
        border=st.sampled_from((None, None, 0.0, 5.0)),
    )
