import numpy as np
import pytest

from motedet.data.synthetic.ground import Road, paint_ground


@pytest.mark.parametrize("seed", range(8))
def test_ground_is_painted_and_consistent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ground = paint_ground(rng, (96, 128), scale=1.0, clutter=1.0)
    pixels = ground.canvas.pixels
    assert pixels.shape == (96, 128, 3)
    assert pixels.dtype == np.float32
    assert np.isfinite(pixels).all()
    assert not (ground.water & ground.paved).any()
    assert ground.free.any()
    assert 1 <= len(ground.roads) <= 3


def test_clutter_takes_room() -> None:
    bare, full = (
        paint_ground(np.random.default_rng(3), (128, 128), scale=1.0, clutter=clutter)
        for clutter in (0.0, 4.0)
    )
    assert full.free.sum() < bare.free.sum()


def test_a_straight_road_by_hand() -> None:
    road = Road(angle=0.0, offset=30.0, bend=0.0, period=50.0, width=10.0)
    assert road.distance(30.0, 7.0) == pytest.approx(0.0)
    assert road.distance(34.0, 7.0) == pytest.approx(4.0)
    assert abs(np.sin(road.heading(30.0, 7.0))) == pytest.approx(1.0)  # along y


@pytest.mark.parametrize("along", [0.0, 40.0, 100.0])
def test_the_heading_follows_a_bent_road(along: float) -> None:
    road = Road(angle=0.6, offset=20.0, bend=10.0, period=40.0, width=10.0)
    cos, sin = np.cos(road.angle), np.sin(road.angle)
    across = road.offset - road.bend * np.sin(along / road.period)  # on the middle of the road
    x, y = across * cos - along * sin, across * sin + along * cos
    assert road.distance(x, y) == pytest.approx(0.0, abs=1e-3)
    heading = road.heading(x, y)
    step = road.distance(x + 0.1 * np.cos(heading), y + 0.1 * np.sin(heading))
    assert abs(step) < 0.005
