from dataclasses import replace

import pytest
import torch

from fake_data import make_sample
from motedet.data import Sample
from motedet.data.transforms import CopyPaste, Normalise
from motedet.errors import ShapeError

ALWAYS = CopyPaste(prob=1.0, copies=4)


def _scene(*boxes: list[float]) -> Sample:
    """A grey image with white boxes."""
    sample = make_sample(boxes)
    sample.image.fill_(50)
    for x1, y1, x2, y2 in sample.boxes.int().tolist():
        sample.image[:, y1:y2, x1:x2] = 250
    return sample


@pytest.mark.parametrize("seed", range(6))
def test_copies_are_white_in_their_boxes_and_nowhere_else(seed: int) -> None:
    sample = _scene([10, 12, 14, 15], [40, 30, 43, 36])
    pasted = ALWAYS(sample, torch.Generator().manual_seed(seed))
    assert 3 <= len(pasted.boxes) <= 6
    assert set(pasted.labels.tolist()) <= {0, 1}
    bright = torch.zeros(48, 64, dtype=torch.bool)
    for x1, y1, x2, y2 in pasted.boxes.int().tolist():
        bright[y1:y2, x1:x2] = True
    assert torch.equal(pasted.image[0] == 250, bright)
    assert torch.equal(pasted.boxes[:2], sample.boxes)


def test_the_input_is_not_changed() -> None:
    sample = _scene([10, 12, 14, 15])
    before = sample.image.clone()
    ALWAYS(sample, torch.Generator().manual_seed(0))
    assert torch.equal(sample.image, before)


def test_boxes_never_overlap() -> None:
    sample, generator = _scene([10, 12, 14, 15]), torch.Generator().manual_seed(0)
    sample = replace(sample, ignore_boxes=torch.tensor([[0.0, 20.0, 64.0, 48.0]]))
    for _ in range(20):
        boxes = torch.cat([ALWAYS(sample, generator).boxes, sample.ignore_boxes])
        first, second = boxes[:, None], boxes[None]
        apart = (first[..., :2] >= second[..., 2:]) | (second[..., :2] >= first[..., 2:])
        assert int((~apart.any(dim=-1)).sum()) == len(boxes)


@pytest.mark.parametrize(
    "boxes",
    [(), ([2.0, 2.0, 50.0, 40.0],), ([10.0, 10, 14, 14], [15.0, 10, 19, 14])],
    ids=["no objects", "too large", "too near one another"],
)
def test_nothing_to_copy(boxes: tuple[list[float], ...]) -> None:
    sample = _scene(*boxes)
    assert ALWAYS(sample, torch.Generator().manual_seed(0)) is sample


def test_no_free_place() -> None:
    sample = replace(_scene([10, 12, 14, 15]), ignore_boxes=torch.tensor([[0.0, 18, 64, 48]]))
    sample = replace(sample, ignore_boxes=torch.tensor([[0.0, 18, 64, 48], [17, 0, 64, 48]]))
    assert len(ALWAYS(sample, torch.Generator().manual_seed(0)).boxes) == 1


def test_sub_pixel_boxes_keep_their_size() -> None:
    sample = make_sample([[10.25, 12.5, 11.0, 13.25]])
    pasted = ALWAYS(sample, torch.Generator().manual_seed(1))
    sizes = pasted.boxes[:, 2:] - pasted.boxes[:, :2]
    torch.testing.assert_close(sizes, torch.tensor([0.75, 0.75]).expand_as(sizes))


def test_bad_use() -> None:
    with pytest.raises(ShapeError, match="Put it before normalise"):
        ALWAYS(Normalise()(_scene(), torch.Generator()), torch.Generator())
    with pytest.raises(ValueError, match=r"must be positive; got 0, 3 and 32.0"):
        CopyPaste(copies=0)
