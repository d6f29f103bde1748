import numpy as np
import pytest

from motedet.data.synthetic.canvas import (
    Canvas,
    Pose,
    disc,
    inside,
    luminance,
    rectangle,
    rough_noise,
    smooth_noise,
)


def _black(size: tuple[int, int] = (40, 50)) -> Canvas:
    return Canvas(np.zeros((*size, 3), dtype=np.float32))


def test_a_rectangle_on_whole_pixels_is_sharp() -> None:
    canvas = _black()
    pose = Pose(x=20, y=10, length=8, width=4, angle=0)
    local = canvas.around(pose)
    canvas.blend(local, rectangle(local, 8, 4), 1.0)
    ys, xs = np.nonzero(canvas.pixels[..., 0])
    assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == (16, 24, 8, 12)
    assert canvas.pixels.sum() == 3 * 32


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.3])
def test_painted_area_is_the_shape_s_area(angle: float) -> None:
    for diameter in (3.0, 9.5):
        canvas = _black()
        local = canvas.around(Pose(x=20.3, y=15.8, length=diameter, width=diameter, angle=angle))
        canvas.blend(local, disc(local, diameter), 1.0)
        area = float(canvas.pixels[..., 0].sum())
        # an edge one pixel soft adds 1/12 to the squared radius
        assert area == pytest.approx(np.pi * (diameter**2 / 4 + 1 / 12), rel=0.015)


def test_shapes_over_the_border_are_cut() -> None:
    canvas = _black()
    for x in (-100.0, 0.0, 50.0, 500.0):
        local = canvas.around(Pose(x=x, y=0, length=10, width=10, angle=0))
        canvas.blend(local, disc(local, 10), 1.0)
    assert float(canvas.pixels[0, 0, 0]) == 1.0
    assert float(canvas.pixels[0, 49, 0]) == 1.0


def test_coverage_falls_across_the_edge() -> None:
    coverage = inside(np.array([[-2.0, -0.5, 0.0, 0.25, 0.5, 2.0]], dtype=np.float32))
    assert coverage.tolist() == [[1, 1, 0.5, 0.25, 0, 0]]


@pytest.mark.parametrize("period", [1.0, 5.0, 60.0])
def test_noise_has_deviation_near_one(period: float) -> None:
    rng = np.random.default_rng(0)
    noise = np.stack([smooth_noise(rng, (90, 120), period) for _ in range(40)])
    assert noise.shape == (40, 90, 120)
    assert 0.6 < noise.std() < 1.6
    assert 0.6 < rough_noise(rng, (300, 300), period=12, octaves=3).std() < 1.6


def test_luminance() -> None:
    assert luminance(np.ones(3, dtype=np.float32)) == pytest.approx(1.0)
