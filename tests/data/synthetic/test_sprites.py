import numpy as np
import pytest

from motedet.data.synthetic.canvas import Canvas, Pose
from motedet.data.synthetic.scene import CLASSES
from motedet.data.synthetic.sprites import DRAW, draw_aspect, outline


def test_every_class_can_be_drawn() -> None:
    assert set(DRAW) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("angle", [0.0, 0.7, 2.5])
def test_the_outline_is_where_the_object_is(name: str, angle: float) -> None:
    """Pixels change inside the outline's box; beyond it only shadow and wake do."""
    rng = np.random.default_rng(0)
    aspect = draw_aspect(name, rng)
    length = 60.0
    ground = np.full((120, 120, 3), 0.45, dtype=np.float32)
    canvas = Canvas(ground.copy())
    pose = Pose(x=60, y=60, length=length, width=length / aspect, angle=angle)
    DRAW[name](canvas, pose, 0.0, rng)
    points = outline(name, aspect, angle) * length + 60
    changed = np.abs(canvas.pixels - ground).max(axis=2) > 0.05
    left, top = points.min(axis=0)
    right, bottom = points.max(axis=0)
    ys, xs = np.nonzero(changed)
    assert xs.min() <= left + 2
    assert xs.max() + 1 >= right - 2
    assert ys.min() <= top + 2
    assert ys.max() + 1 >= bottom - 2


@pytest.mark.parametrize("name", CLASSES)
def test_outlines_have_length_one_and_turn(name: str) -> None:
    aspect = 1.0 if name == "storage-tank" else 2.0
    flat, turned = outline(name, aspect, 0.0), outline(name, aspect, np.pi / 2)
    np.testing.assert_allclose(np.ptp(flat, axis=0), [1, 1 / aspect], atol=0.01)
    np.testing.assert_allclose(np.ptp(turned, axis=0), [1 / aspect, 1], atol=0.01)


@pytest.mark.parametrize("level", [0.05, 0.3, 0.5, 0.75, 0.95])
@pytest.mark.parametrize("name", CLASSES)
def test_objects_stand_out_from_any_ground(name: str, level: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        canvas = Canvas(np.full((60, 60, 3), level, dtype=np.float32))
        pose = Pose(x=30, y=30, length=24, width=24 / draw_aspect(name, rng), angle=0.5)
        DRAW[name](canvas, pose, 1.0, rng)
        assert float(np.abs(canvas.pixels.mean(axis=2) - level).max()) > 0.1
