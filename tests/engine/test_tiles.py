"""Prediction by windows, with a detector that sees squares of one grey each."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from motedet.data import Tiles
from motedet.data.rasters import WholeImage
from motedet.engine.predict import predict_images
from motedet.engine.tiles import predict_tiled_files, predict_tiles, predict_windows
from motedet.engine.weights import LoadedDetector
from motedet.geometry.merge import PlainMerge, SeamMerge
from motedet.models.detectors import Detector
from motedet.recipes import load_recipe
from motedet.structures import Detections, Size, Targets

BATCHES: list[int] = []


class Squares(Detector):
    """Finds what is left of each square of one grey; larger parts score more."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), nn.Identity(), num_classes=1)
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> tuple[object, ...]:
        return (images,)

    def loss(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        return {}

    def predict(
        self, images: Tensor, image_sizes: Sequence[Size] | None = None
    ) -> list[Detections]:
        BATCHES.append(len(images))
        return [self._squares(image[0]) for image in images]

    def _squares(self, image: Tensor) -> Detections:
        boxes = []
        for grey in set(image.flatten().tolist()):
            if grey:
                y, x = (image == grey).nonzero().unbind(1)
                boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        box = torch.tensor(boxes).reshape(-1, 4).float()
        area = (box[:, 2:] - box[:, :2]).prod(1)
        order = area.argsort(descending=True)
        return Detections(box[order], area[order] / 1000, torch.zeros(len(box), dtype=torch.int64))


@pytest.fixture
def loaded() -> LoadedDetector:
    BATCHES.clear()
    recipe = load_recipe("demo", ["data.test_transforms=[]", "train.channels_last=false"])
    return LoadedDetector(Squares().eval(), recipe, ("square",))


def planted(size: Size, boxes: Tensor) -> Tensor:
    image = torch.zeros(3, *size, dtype=torch.uint8)
    for grey, (x1, y1, x2, y2) in enumerate(boxes.long().tolist(), start=1):
        image[:, y1:y2, x1:x2] = grey
    return image


def scattered(size: Size, side: int) -> Tensor:
    """Squares on a lattice that meets the seams in every way."""
    x = torch.arange(2, size[1] - side - 2, side * 2)
    y = torch.arange(2, size[0] - side - 2, side * 3)
    corner = torch.cartesian_prod(x, y)[:200].float()
    return torch.cat((corner, corner + side), dim=1)


def in_order(boxes: Tensor) -> list[list[float]]:
    return sorted(boxes.tolist())


def test_every_object_once_and_whole(loaded: LoadedDetector) -> None:
    size = (150, 210)
    boxes = scattered(size, 11)
    tiles = Tiles(size=64, overlap=16, merge=SeamMerge())
    found = predict_tiles(loaded, WholeImage(planted(size, boxes)), tiles, batch_size=3)
    assert in_order(found.boxes) == in_order(boxes)
    assert (found.scores.diff() <= 0).all()
    assert BATCHES[:-1] == [3] * (len(BATCHES) - 1)


def test_plain_suppression_leaves_parts_at_seams(loaded: LoadedDetector) -> None:
    size = (150, 210)
    boxes = scattered(size, 11)
    image = WholeImage(planted(size, boxes))
    found = predict_tiles(loaded, image, Tiles(size=64, overlap=16, merge=PlainMerge(iou=0.5)))
    assert len(found) > len(boxes)


def test_an_image_smaller_than_a_window_is_one(loaded: LoadedDetector) -> None:
    boxes = torch.tensor([[0.0, 0.0, 5.0, 5.0], [20.0, 3.0, 30.0, 13.0]])
    found = predict_tiles(loaded, WholeImage(planted((20, 30), boxes)), Tiles())
    assert BATCHES == [1]
    assert in_order(found.boxes) == in_order(boxes)


def test_nothing_to_find(loaded: LoadedDetector) -> None:
    found = predict_tiles(
        loaded, WholeImage(planted((99, 99), torch.zeros(0, 4))), Tiles(size=50, overlap=10)
    )
    assert len(found) == 0


def test_at_most_so_many(loaded: LoadedDetector) -> None:
    boxes = scattered((150, 210), 11)
    image = WholeImage(planted((150, 210), boxes))
    found = predict_tiles(loaded, image, Tiles(size=64, overlap=16, max_per_image=5))
    assert len(found) == 5


def test_files_that_cannot_be_read_are_reported(loaded: LoadedDetector, tmp_path: Path) -> None:
    boxes = torch.tensor([[60.0, 10.0, 70.0, 20.0]])
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(planted((80, 130), boxes).permute(1, 2, 0).numpy()).save(good)
    bad.write_text("no image")
    look = partial(predict_images, loaded)
    first, second = predict_tiled_files(look, [bad, good], Tiles(size=64, overlap=16))
    assert first.error is not None
    assert "bad.png" in first.error
    assert second.error is None
    assert second.size == (80, 130)
    assert second.detections.boxes.tolist() == boxes.tolist()


def test_anything_can_look_at_windows() -> None:
    """One box in the middle of every window, so that the answer is the plan."""

    def middle(images: Sequence[Tensor]) -> list[Detections]:
        box = torch.tensor([[30.0, 30.0, 34.0, 34.0]])
        one = Detections(box, torch.ones(1), torch.zeros(1, dtype=torch.int64))
        return [one for _ in images]

    image = WholeImage(torch.zeros(3, 64, 160, dtype=torch.uint8))
    found = predict_windows(middle, image, Tiles(size=64, overlap=16), batch_size=2)
    assert in_order(found.boxes) == [[x, 30.0, x + 4, 34.0] for x in (30.0, 78.0, 126.0)]


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="less than the window 64; got 64"):
        Tiles(size=64, overlap=64)
    with pytest.raises(ValueError, match="max_per_image must be at least 1; got 0"):
        Tiles(max_per_image=0)
