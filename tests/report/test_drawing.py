import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from motedet.errors import ShapeError
from motedet.report.drawing import MARGIN, DrawingStyle, as_rgb, draw_detections, enlargement
from motedet.report.palette import FALSE, FOUND, MISSED, class_colour
from motedet.structures import Targets

NO_BOXES, NO_LABELS, NO_SCORES = (
    torch.zeros(0, 4),
    torch.zeros(0, dtype=torch.int64),
    torch.zeros(0),
)
ONE = torch.tensor([[30.0, 20.0, 34.0, 24.0]])
ZERO = torch.tensor([0])


def noise(width: int, height: int) -> Image.Image:
    """Grey noise: every colour in a drawing of it was drawn."""
    grey = np.random.default_rng(0).integers(0, 256, (height, width, 1), dtype=np.uint8)
    return Image.fromarray(np.repeat(grey, 3, axis=2))


def has_colour(drawing: Image.Image, colour: str) -> bool:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.asarray(drawing) == wanted).all(axis=-1).any())


def main_part(drawing: Image.Image, image: Image.Image) -> NDArray[np.uint8]:
    """The enlarged image within the drawing, [H * scale, W * scale, 3]."""
    scale = enlargement(*image.size)
    right, bottom = MARGIN + image.width * scale, MARGIN + image.height * scale
    return np.asarray(drawing.crop((MARGIN, MARGIN, right, bottom)))


def enlarged(image: Image.Image, scale: int) -> NDArray[np.uint8]:
    return np.asarray(image).repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.mark.parametrize("size", [(64, 48), (256, 256), (800, 800), (1500, 300)])
@pytest.mark.parametrize("outcome", ["detection", "found", "false", "missed"])
def test_the_pixels_of_a_tiny_object_stay_as_they_are(size: tuple[int, int], outcome: str) -> None:
    image, scale = noise(*size), enlargement(*size)
    truth = {
        "detection": None,
        "found": Targets.of(ONE, ZERO, size[::-1]),
        "false": Targets.of(NO_BOXES, NO_LABELS, size[::-1]),
        "missed": Targets.of(ONE, ZERO, size[::-1]),
    }[outcome]
    boxes, labels, scores = (ONE, ZERO, torch.tensor([0.9]))
    if outcome == "missed":
        boxes, labels, scores = NO_BOXES, NO_LABELS, NO_SCORES
    drawing = draw_detections(image, boxes, labels, scores, classes=["car"], truth=truth)
    left, top, right, bottom = (int(v) * scale for v in ONE[0])
    around = slice(top - 2, bottom + 2), slice(left - 2, right + 2)  # the gap is free, too
    expected = enlarged(image, scale)
    np.testing.assert_array_equal(main_part(drawing, image)[around], expected[around])
    changed = (main_part(drawing, image) != expected).any(axis=-1)
    assert changed[top - 3, left : right + 3].any()
    colour = {"found": FOUND, "false": FALSE, "missed": MISSED, "detection": class_colour(0)}
    assert has_colour(drawing, colour[outcome])


def test_labels_hide_no_object() -> None:
    image, scale = noise(120, 100), enlargement(120, 100)
    x, y = torch.meshgrid(torch.arange(8.0) * 14 + 3, torch.arange(7.0) * 14 + 3, indexing="ij")
    corners = torch.stack((x.flatten(), y.flatten()), dim=1)  # [56, 2]
    boxes = torch.cat((corners, corners + 4), dim=1)
    scores = torch.linspace(0.1, 1.0, len(boxes))
    drawing = draw_detections(image, boxes, torch.arange(56) % 3, scores, classes=["a", "bc", "d"])
    drawn, expected = main_part(drawing, image), enlarged(image, scale)
    for left, top, right, bottom in (boxes * scale).int().tolist():
        inside = slice(top, bottom), slice(left, right)
        np.testing.assert_array_equal(drawn[inside], expected[inside])


def test_missed_objects_are_dashed_and_found_ones_are_not() -> None:
    image = noise(300, 300)
    truth = Targets.of(torch.tensor([[100.0, 100, 140, 140]]), ZERO, (300, 300))
    missed = draw_detections(image, NO_BOXES, NO_LABELS, NO_SCORES, classes=["a"], truth=truth)
    found = draw_detections(image, truth.boxes, ZERO, torch.ones(1), classes=["a"], truth=truth)
    row = MARGIN + 100 * enlargement(300, 300) - 3
    share = []
    for drawing, colour in ((missed, MISSED), (found, FOUND)):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        line = np.asarray(drawing)[row, MARGIN + 300 : MARGIN + 420]  # [120, 3]
        share.append(float((line == wanted).all(axis=-1).mean()))
    assert 0.4 < share[0] < 0.75
    assert share[1] == 1.0


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (300, 5), (64, 64), (2500, 40)])
@pytest.mark.parametrize("with_truth", [False, True])
def test_any_size_of_image_with_nothing_found(size: tuple[int, int], with_truth: bool) -> None:
    truth = Targets.of(NO_BOXES, NO_LABELS, size[::-1]) if with_truth else None
    image = noise(*size)
    drawing = draw_detections(image, NO_BOXES, NO_LABELS, NO_SCORES, classes=[], truth=truth)
    np.testing.assert_array_equal(main_part(drawing, image), enlarged(image, enlargement(*size)))


@pytest.mark.parametrize(
    "box",
    [
        (-5, -5, 3, 3),
        (60, 40, 90, 90),
        (0, 0, 64, 48),
        (5, 5, 5, 5),
        (9, 9, 2, 2),
        (200, 200, 210, 210),
    ],
    ids=["over the corner", "over the end", "everything", "no area", "inverted", "outside"],
)
@pytest.mark.parametrize("with_truth", [False, True])
def test_odd_boxes_are_drawn(box: tuple[float, ...], with_truth: bool) -> None:
    boxes = torch.tensor([box], dtype=torch.float32)
    truth = Targets.of(boxes, ZERO, (48, 64)) if with_truth else None
    drawing = draw_detections(noise(64, 48), boxes, ZERO, torch.ones(1), classes=["a"], truth=truth)
    assert drawing.mode == "RGB"


def test_insets_show_the_tiniest_enlarged() -> None:
    image = noise(200, 120)
    boxes = torch.tensor([[20.0, 20, 90, 90], [150, 60, 153, 63]])
    with_panel = draw_detections(image, boxes, torch.tensor([0, 0]), torch.ones(2), classes=["a"])
    without = draw_detections(
        image,
        boxes,
        torch.tensor([0, 0]),
        torch.ones(2),
        classes=["a"],
        style=DrawingStyle(insets=0),
    )
    assert with_panel.height > without.height + 100
    block = enlarged(image.crop((150, 60, 153, 63)), 8)  # 24 px across, eight times enlarged
    strip = np.asarray(with_panel)[without.height - 26 :, :300]
    windows = np.lib.stride_tricks.sliding_window_view(strip, block.shape)[:, :, 0]
    assert (windows == block).all(axis=(2, 3, 4)).any()


def test_tall_images_have_their_panels_beside() -> None:
    boxes = torch.tensor([[20.0, 60, 24, 64]])
    drawing = draw_detections(noise(60, 240), boxes, ZERO, torch.ones(1), classes=["a"])
    assert drawing.width > 60 * enlargement(60, 240) + 2 * MARGIN


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_images_and_arrays_of_any_kind(dtype: torch.dtype) -> None:
    rgb = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    grey = rgb[:1]
    boxes, scores = ONE.to(dtype), torch.ones(1, dtype=dtype)
    for image in (rgb, grey, Image.new("L", (60, 40)), Image.new("RGBA", (60, 40))):
        assert draw_detections(image, boxes, ZERO, scores, classes=["a"]).mode == "RGB"
    drawing = draw_detections(rgb, ONE.numpy(), np.array([0]), np.ones(1), classes=["a"])
    assert drawing == draw_detections(rgb, ONE, ZERO, torch.ones(1), classes=["a"])


def test_deep_grey_is_stretched() -> None:
    grey = np.linspace(30000, 31000, 100, dtype=np.uint16).reshape(10, 10)
    pixels = np.asarray(as_rgb(Image.fromarray(grey)))
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert np.asarray(as_rgb(Image.new("I;16", (4, 4), 7))).shape == (4, 4, 3)


def test_the_image_is_not_changed() -> None:
    image = noise(64, 48)
    before = image.copy()
    draw_detections(image, ONE, ZERO, torch.ones(1), classes=["a"])
    assert image == before


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"must fit together; got \[1, 4\], \[0\] and \[1\]"):
        draw_detections(noise(9, 9), ONE, NO_LABELS, torch.ones(1), classes=["a"])
    with pytest.raises(ShapeError, match=r"uint8 \[3, H, W\]"):
        as_rgb(torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match="got -1, 8"):
        DrawingStyle(insets=-1)
    with pytest.raises(ValueError, match=r"got 1\.5"):
        DrawingStyle(match_iou=1.5)


def test_a_crowd_is_drawn() -> None:
    boxes: Tensor = torch.rand(500, 4, generator=torch.Generator().manual_seed(0)) * 180
    boxes[:, 2:] = boxes[:, :2] + 6
    drawing = draw_detections(
        noise(200, 200), boxes, torch.arange(500) % 12, torch.ones(500), classes=["only one name"]
    )
    assert has_colour(drawing, class_colour(11))
