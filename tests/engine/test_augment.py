"""Views of a scene through a detector that reports exactly the rectangles it sees."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from motedet.engine import weights
from motedet.engine.augment import flip_images, predict_views, restore, scale_images
from motedet.engine.weights import LoadedDetector, build_untrained
from motedet.models.postprocess import Suppression
from motedet.recipes import Recipe, ViewsSpec, load_recipe
from motedet.structures import Detections, Size

SIZES = [(48, 60), (64, 40)]
OBJECTS = [  # image, channel, box
    (0, 0, (4, 8, 16, 20)),
    (0, 1, (40, 30, 60, 48)),
    (1, 2, (0, 2, 8, 6)),
]
EVERY_FLIP: tuple[Any, ...] = ("none", "horizontal", "vertical")


def scene() -> Tensor:
    """[2, 3, 64, 64]: bright rectangles, one per channel at most, in images with padding."""
    images = torch.zeros(2, 3, 64, 64)
    for image, channel, (x1, y1, x2, y2) in OBJECTS:
        images[image, channel, y1:y2, x1:x2] = 1.0
    return images


def look(images: Tensor, image_sizes: Sequence[Size]) -> list[Detections]:
    """The extent of what is bright in each channel, which is also the class and the score."""
    assert len(images) == len(image_sizes)
    results = []
    for image in images:
        boxes, labels = [], []
        for channel, pixels in enumerate(image > 0.5):
            y, x = pixels.nonzero().unbind(1)
            if len(x):
                boxes.append([int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1])
                labels.append(channel)
        found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        classes = torch.tensor(labels, dtype=torch.int64)
        results.append(Detections(found, 0.9 - 0.1 * classes, classes))
    return results


def see(views: ViewsSpec, images: Tensor | None = None) -> list[Detections]:
    images = scene() if images is None else images
    return predict_views(look, images, SIZES, views=views, own=Suppression())


def as_rows(found: Sequence[Detections]) -> list[tuple[int, int, list[float]]]:
    return [
        (image, label, box)
        for image, detections in enumerate(found)
        for label, box in zip(detections.labels.tolist(), detections.boxes.tolist(), strict=True)
    ]


@pytest.mark.parametrize("flip", EVERY_FLIP)
@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_each_view_is_mapped_back(scale: float, flip: Any) -> None:  # noqa: ANN401 - literal
    rows = as_rows(see(ViewsSpec(scales=(scale,), flips=(flip,))))
    assert [(image, label) for image, label, _ in rows] == [row[:2] for row in OBJECTS]
    for (_, _, found), (_, _, expected) in zip(rows, OBJECTS, strict=True):
        assert found == pytest.approx(expected, abs=1e-3)


def test_views_of_one_object_become_one_detection() -> None:
    found = see(ViewsSpec(scales=(1.0, 2.0), flips=EVERY_FLIP))
    assert as_rows(found) == [(i, c, [float(v) for v in box]) for i, c, box in OBJECTS]


def test_a_picture_without_objects() -> None:
    found = see(ViewsSpec(scales=(0.5, 1.0), flips=EVERY_FLIP), torch.zeros(2, 3, 64, 64))
    assert [len(d) for d in found] == [0, 0]


@pytest.mark.parametrize("flip", ["horizontal", "vertical"])
def test_a_symmetric_scene_looks_the_same_in_the_mirror(flip: Any) -> None:  # noqa: ANN401
    images = torch.zeros(1, 3, 64, 64)
    images[0, 0, 20:28, 25:35] = 1.0
    assert torch.equal(flip_images(images, [(48, 60)], flip), images)
    views = ViewsSpec(flips=("none", flip))
    merged = predict_views(look, images, [(48, 60)], views=views, own=Suppression())
    assert as_rows(merged) == as_rows(look(images, [(48, 60)]))


def test_flips_stay_within_the_image() -> None:
    images = torch.arange(2 * 3 * 64 * 64).reshape(2, 3, 64, 64).float()
    flipped = flip_images(images, SIZES, "horizontal")
    assert torch.equal(flipped[0, :, :48, :60], images[0, :, :48, :60].flip(-1))
    assert torch.equal(flipped[0, :, 48:], images[0, :, 48:])
    assert torch.equal(flipped[1, :, :, 40:], images[1, :, :, 40:])
    assert torch.equal(flip_images(flipped, SIZES, "horizontal"), images)


@pytest.mark.parametrize(
    ("scale", "shape", "sizes"),
    [
        (1.0, (64, 64), SIZES),
        (1.5, (96, 96), [(72, 90), (96, 60)]),
        (0.26, (32, 32), [(12, 16), (17, 10)]),
        (0.001, (32, 32), [(1, 1), (1, 1)]),
    ],
)
def test_scaled_batches_are_padded_to_the_strides(
    scale: float, shape: Size, sizes: list[Size]
) -> None:
    images = torch.ones(2, 3, 64, 64)
    scaled, scaled_sizes = scale_images(images, SIZES, scale)
    assert scaled.shape[-2:] == shape
    assert scaled_sizes == sizes
    if scale != 1:
        for image, (h, w) in zip(scaled, sizes, strict=True):
            torch.testing.assert_close(image[:, :h, :w], torch.ones(3, h, w))
            assert float(image.sum()) == pytest.approx(3 * h * w, rel=1e-5)


def test_sides_scale_by_their_own_ratio() -> None:
    boxes = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    found = Detections(boxes, torch.ones(1), torch.zeros(1, dtype=torch.int64))
    back = restore(found, "none", (10, 8), (5, 16))
    assert back.boxes.tolist() == [[2.0, 1.0, 6.0, 2.0]]
    back = restore(found, "horizontal", (10, 8), (5, 16))
    assert back.boxes.tolist() == [[10.0, 1.0, 14.0, 2.0]]


def test_merging_clips_limits_and_keeps_classes_apart() -> None:
    boxes = torch.tensor([[-5.0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 90, 30], [0, 0, 9, 6]])
    labels, scores = torch.tensor([0, 1, 0, 0]), torch.tensor([0.9, 0.8, 0.7, 0.6])

    def constant(images: Tensor, image_sizes: Sequence[Size]) -> list[Detections]:
        return [Detections(boxes, scores, labels)] * len(images)

    def merged(**values: Any) -> list[float]:  # noqa: ANN401 - fields of the record
        views = ViewsSpec(scales=(1.0, 1.0), **values)
        (found,) = predict_views(
            constant, torch.zeros(1, 3, 32, 64), [(30, 50)], views=views, own=Suppression()
        )
        limits = torch.tensor([50.0, 30, 50, 30])
        assert bool(((found.boxes >= 0) & (found.boxes <= limits)).all())
        return [round(score, 3) for score in found.scores.tolist()]

    assert merged() == [0.9, 0.8, 0.7]
    assert merged(max_per_image=2) == [0.9, 0.8]
    assert merged(nms_iou=0.6) == [0.9, 0.8, 0.7, 0.6]
    own = Suppression(nms_iou=0.6, max_per_image=3, min_box_size=9.5)
    (found,) = predict_views(
        constant, torch.zeros(1, 3, 32, 64), [(30, 50)], views=ViewsSpec(), own=own
    )
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    tiny = ["model.neck.out_channels=16", "model.head.channels=16", "model.head.groups=4"]
    return load_recipe("demo", [*tiny, "model.postprocess.score_thresh=0.0"])


def loaded(recipe: Recipe, views: ViewsSpec) -> LoadedDetector:
    torch.manual_seed(0)
    detector = build_untrained(recipe, 3).eval()
    return LoadedDetector(detector, recipe.model_copy(update={"test_time": views}), ("a", "b", "c"))


def test_the_plain_view_is_the_detector_itself(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(weights, "predict_views")  # calling it would be an error
    ready = loaded(recipe, ViewsSpec(nms_iou=0.1, max_per_image=1))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = ready.predict_batch(images, SIZES)
    for mine, expected in zip(found, ready.detector.predict(images, SIZES), strict=True):
        assert len(mine) > 1
        assert torch.equal(mine.boxes, expected.boxes)
        assert torch.equal(mine.scores, expected.scores)
        assert torch.equal(mine.labels, expected.labels)


def test_a_loaded_detector_looks_at_the_views_of_its_recipe(recipe: Recipe) -> None:
    views = ViewsSpec(scales=(1.0, 1.5), flips=("none", "horizontal"), max_per_image=7)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = loaded(recipe, views).predict_batch(images, SIZES)
    mirrored = loaded(recipe, views).predict_batch(flip_images(images, SIZES, "horizontal"), SIZES)
    for detections, mirror, (height, width) in zip(found, mirrored, SIZES, strict=True):
        assert len(detections) == 7
        assert float(detections.boxes[:, 2].max()) <= width
        assert float(detections.boxes[:, 3].max()) <= height
        torch.testing.assert_close(detections.scores, mirror.scores)  # both are looked at
        back = restore(mirror, "horizontal", (height, width), (height, width))
        torch.testing.assert_close(detections.boxes, back.boxes, atol=1e-3, rtol=0)


def test_only_one_scale_and_no_flip_is_plain() -> None:
    assert ViewsSpec().plain
    for scales, flips in itertools.product([(1.0,), (2.0,), (1.0, 2.0)], [("none",), EVERY_FLIP]):
        views = ViewsSpec(scales=scales, flips=flips)
        assert views.plain == (scales == (1.0,) and flips == ("none",))


@pytest.mark.parametrize(
    "values", [{"scales": ()}, {"scales": (0.0,)}, {"flips": ()}, {"flips": ("diagonal",)}]
)
def test_bad_views(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        ViewsSpec(**values)
