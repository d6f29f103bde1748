import numpy as np
import pytest

from motedet.data.records import box_sizes
from motedet.data.synthetic import CLASSES, Scene, SceneSpec, SizeDistribution, make_scene


@pytest.fixture(name="scenes", scope="module")
def _scenes() -> list[Scene]:
    return [make_scene(SceneSpec(), (0, seed)) for seed in range(60)]


def test_same_seed_same_scene() -> None:
    first, second = (make_scene(SceneSpec(size=(96, 128)), 7) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.boxes, second.boxes)
    assert not np.array_equal(first.image, make_scene(SceneSpec(size=(96, 128)), 8).image)


def test_sizes_are_those_of_aitod(scenes: list[Scene]) -> None:
    sizes = box_sizes(np.concatenate([scene.boxes for scene in scenes]))
    assert sizes.mean() == pytest.approx(12.8, abs=1.2)  # scenes differ: 60 are few
    assert sizes.std() == pytest.approx(5.9, abs=0.8)
    assert sizes.min() >= 2.0 - 1e-9


def test_boxes_lie_in_the_picture_and_apart(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert (scene.boxes[:, :2] >= 0).all()
        assert (scene.boxes[:, 2:] <= 256).all()
        near = (scene.boxes[:, None, :2] < scene.boxes[None, :, 2:]).all(axis=2)
        assert int((near & near.T).sum()) == len(scene.boxes)  # each with itself alone


def test_all_classes_and_about_the_wanted_number(scenes: list[Scene]) -> None:
    counts = np.bincount(np.concatenate([scene.labels for scene in scenes]), minlength=3)
    assert (counts > 0.15 * counts.sum()).all()
    assert len(counts) == len(CLASSES)
    assert np.mean([len(scene.boxes) for scene in scenes]) == pytest.approx(20, abs=3)


def test_objects_do_not_give_themselves_away_by_brightness(scenes: list[Scene]) -> None:
    """The brightest and darkest pixels are mostly not on objects."""
    on_objects = 0.0
    for scene in scenes:
        grey = scene.image.mean(axis=2)
        mask = np.zeros(grey.shape, dtype=np.bool_)
        for x1, y1, x2, y2 in scene.boxes.astype(int):
            mask[y1 : y2 + 1, x1 : x2 + 1] = True
        extreme = np.abs(grey - np.median(grey))
        on_objects += float(mask[extreme >= np.quantile(extreme, 0.97)].mean())
    assert on_objects / len(scenes) < 0.6


def test_objects_can_be_seen(scenes: list[Scene]) -> None:
    """The pixels of a box vary more than ground of its size does."""
    inside, outside = [], []
    rng = np.random.default_rng(0)
    for scene in scenes[:20]:
        grey = scene.image.mean(axis=2)
        for x1, y1, x2, y2 in scene.boxes.astype(int):
            inside.append(grey[y1 : y2 + 1, x1 : x2 + 1].std())
            x, y = rng.integers(0, 230, 2)
            outside.append(grey[y : y + y2 - y1 + 1, x : x + x2 - x1 + 1].std())
    assert np.median(inside) > 1.5 * np.median(outside)


@pytest.mark.parametrize("clutter", [0.0, 3.0])
def test_extremes(clutter: float) -> None:
    spec = SceneSpec(size=(64, 200), objects=0, clutter=clutter, noise=0)
    scene = make_scene(spec, 0)
    assert scene.image.shape == (64, 200, 3)
    assert scene.image.dtype == np.uint8
    assert scene.boxes.shape == (0, 4)


def test_other_sizes_of_objects() -> None:
    spec = SceneSpec(sizes=SizeDistribution(mean=6, sd=2, largest=12))
    boxes = np.concatenate([make_scene(spec, seed).boxes for seed in range(10)])
    assert box_sizes(boxes).max() <= 12 + 1e-9


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="size must be at least 64 x 64"):
        SceneSpec(size=(32, 256))
    with pytest.raises(ValueError, match="must not be negative; got -1"):
        SceneSpec(objects=-1)
