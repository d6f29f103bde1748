from dataclasses import replace

import pytest
import torch

from fake_data import make_sample
from motedet.data import Batch, Sample, collate
from motedet.errors import ShapeError


def test_sample_of_an_image_has_no_objects() -> None:
    sample = Sample.of_image(torch.zeros(3, 5, 7, dtype=torch.uint8), image_id=4)
    assert sample.boxes.shape == (0, 4)
    assert sample.original_size == sample.image_size == sample.padded_size == (5, 7)
    assert len(sample.targets().labels) == 0


@pytest.mark.parametrize("shape", [(1, 5, 7), (5, 7), (2, 3, 5, 7)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"image must be \[3, H, W\]"):
        Sample.of_image(torch.zeros(shape))


def test_collate_pads_at_the_bottom_and_the_right() -> None:
    first = replace(make_sample([[1, 2, 3, 4]], size=(4, 8)), image_id=5)
    second = replace(make_sample(size=(6, 5)), padded_size=(6, 5), image_id=6)
    batch = collate([first, second])
    assert batch.images.shape == (2, 3, 6, 8)
    assert torch.equal(batch.images[0, :, :4], first.image)
    assert int(batch.images[0, :, 4:].sum()) == 0
    assert int(batch.images[1, :, :, 5:].sum()) == 0
    assert batch.image_ids == [5, 6]
    assert batch.image_sizes == [(4, 8), (6, 5)]
    assert [len(t.labels) for t in batch.targets] == [1, 0]
    assert batch.targets[1].padded_size == (6, 5)
    assert len(batch) == 2


def test_batch_moves_whole() -> None:
    batch = collate([make_sample([[1, 2, 3, 4]])])
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert moved.images.device.type == moved.targets[0].boxes.device.type == "meta"
    assert moved.image_ids == batch.image_ids
