"""What lies under and between the objects: fields, water, roads, and clutter that is no object."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from motedet.data.synthetic.canvas import (
    Canvas,
    Plane,
    Pose,
    band,
    disc,
    inside,
    rectangle,
    rough_noise,
    smooth_noise,
)
from motedet.data.synthetic.sprites import cast_shadow

_SOILS: Final = np.array(
    [
        *([0.29, 0.36, 0.20], [0.36, 0.41, 0.24], [0.47, 0.46, 0.30], [0.52, 0.45, 0.33]),
        *([0.41, 0.35, 0.27], [0.55, 0.53, 0.48], [0.44, 0.44, 0.43], [0.24, 0.31, 0.18]),
    ],
    dtype=np.float32,
)
_ROOFS: Final = np.array(
    [
        *([0.60, 0.36, 0.28], [0.52, 0.50, 0.48], [0.72, 0.71, 0.68], [0.38, 0.36, 0.36]),
        *([0.46, 0.30, 0.24], [0.62, 0.60, 0.52]),
    ],
    dtype=np.float32,
)


@dataclass(frozen=True, slots=True)
class Road:
    """A road: the line x cos(angle) + y sin(angle) = offset, bent by a sine."""

    angle: float
    offset: float
    bend: float
    period: float
    width: float

    def across(self, xs: NDArray[np.float32], ys: NDArray[np.float32]) -> NDArray[np.float32]:
        """Signed distance to the middle of the road in pixels; broadcasts."""
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        wave = np.sin(self.along(xs, ys) / np.float32(self.period)) * np.float32(self.bend)
        distance: NDArray[np.float32] = xs * cos + ys * sin - np.float32(self.offset) + wave
        return distance

    def along(self, xs: NDArray[np.float32], ys: NDArray[np.float32]) -> NDArray[np.float32]:
        """Position along the road in pixels; broadcasts."""
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        position: NDArray[np.float32] = ys * cos - xs * sin
        return position

    def distance(self, x: float, y: float) -> float:
        """`across` of one point."""
        return float(self.across(np.array([x], np.float32), np.array([y], np.float32))[0])

    def heading(self, x: float, y: float) -> float:
        """Direction of driving at a point in radians."""
        at = float(self.along(np.array([x], np.float32), np.array([y], np.float32))[0])
        slope = -self.bend / self.period * float(np.cos(at / self.period))
        return float(np.arctan2(np.cos(self.angle), -np.sin(self.angle)) - np.arctan(slope))


@dataclass(frozen=True, slots=True)
class Ground:
    """A painted ground, and where what may stand.

    Attributes:
        canvas: the picture.
        water: [H, W] bool.
        paved: [H, W] bool, roads.
        free: [H, W] bool, neither a building nor a tree nor other clutter.
        roads: where vehicles drive.
        sun: direction of shadows in radians.
        scale: typical size of an object relative to the mean of the distribution.
    """

    canvas: Canvas
    water: NDArray[np.bool_]
    paved: NDArray[np.bool_]
    free: NDArray[np.bool_]
    roads: tuple[Road, ...]
    sun: float
    scale: float


def paint_ground(
    rng: np.random.Generator, size: tuple[int, int], *, scale: float, clutter: float
) -> Ground:
    """Paint everything but the objects.

    Args:
        rng: of all choices.
        size: (height, width) in pixels.
        scale: how large things are, 1 for objects of 12.8 px.
        clutter: amount of buildings, trees and look-alikes; 1 is usual, 0 is none.
    """
    ys = np.arange(size[0], dtype=np.float32)[:, None] + np.float32(0.5)  # [H, 1]
    xs = np.arange(size[1], dtype=np.float32)[None, :] + np.float32(0.5)  # [1, W]
    pixels = _fields(rng, size, xs, ys)  # [H, W, 3]
    depth = _water_depth(rng, size, xs, ys)  # [H, W]
    _flood(pixels, depth, rng)
    roads = tuple(_road(rng, size, scale) for _ in range(int(rng.integers(1, 4))))
    paved = np.zeros(size, dtype=np.bool_)
    for road in roads:
        paved |= _pave(pixels, road, depth, xs=xs, ys=ys)
    ground = Ground(
        canvas=Canvas(pixels),
        water=depth > 3,
        paved=paved,
        free=np.abs(depth) > 3,
        roads=roads,
        sun=float(rng.uniform(0, 2 * np.pi)),
        scale=scale,
    )
    area = size[0] * size[1] / 256**2 * clutter
    for paint, count in _CLUTTER:
        for _ in range(rng.poisson(count * area)):
            paint(ground, rng)
    return ground


def _fields(
    rng: np.random.Generator, size: tuple[int, int], xs: Plane, ys: Plane
) -> NDArray[np.float32]:
    """[H, W, 3] fields with furrows, hedges between them, and texture everywhere."""
    count = int(rng.integers(4, 9))
    seeds = (rng.random((count, 2)) * [size[1], size[0]]).astype(np.float32)
    stretch = rng.uniform(0.6, 1.6, 2).astype(np.float32)
    warp = smooth_noise(rng, size, 60) * np.float32(4)  # [H, W]
    nearest, margin = _cells(xs * stretch[0] + warp, ys * stretch[1] - warp, seeds * stretch)
    soils = _SOILS[rng.integers(len(_SOILS), size=count)]
    soils = soils + rng.normal(0, 0.02, (count, 3)).astype(np.float32)  # [F, 3]
    angles = rng.uniform(0, np.pi, count).astype(np.float32)
    periods = rng.uniform(2.5, 7.0, count).astype(np.float32)
    depths = rng.uniform(0.01, 0.045, count).astype(np.float32) * (rng.random(count) < 0.6)
    position = xs * np.cos(angles)[nearest] + ys * np.sin(angles)[nearest]  # [H, W]
    furrows = np.sin(position * (2 * np.pi / periods[nearest])) * depths[nearest]
    texture = rough_noise(rng, size, period=24, octaves=4) * np.float32(0.035)
    shade = np.float32(1) + furrows * np.float32(2) + texture  # [H, W]
    hedge = inside(margin - np.float32(rng.uniform(1.0, 4.0)), softness=2.0)
    shade = shade * (1 - np.float32(0.3) * hedge)
    pixels: NDArray[np.float32] = soils[nearest] * shade[..., None]
    return pixels


def _cells(
    xs: Plane, ys: Plane, seeds: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """[H, W] the nearest of [F, 2] seeds, and how much farther the second nearest is.

    By city-block distance, because fields are angular.
    """
    first = np.full(xs.shape, 1e9, dtype=np.float32)
    second = first.copy()
    nearest = np.zeros(xs.shape, dtype=np.intp)
    for index, (x, y) in enumerate(seeds):
        distance = np.abs(xs - x) + np.abs(ys - y)  # [H, W]
        nearest[distance < first] = index
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    return nearest, second - first


def _water_depth(
    rng: np.random.Generator, size: tuple[int, int], xs: Plane, ys: Plane
) -> NDArray[np.float32]:
    """[H, W] distance from the shore in pixels, about; positive in water."""
    if rng.random() < 0.5:
        return np.full(size, -99, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    extent = 0.5 * (size[0] + size[1])
    slope = (xs / size[1] - 0.5) * np.cos(angle) + (ys / size[0] - 0.5) * np.sin(angle)
    shore = slope * extent + rng.uniform(-0.2, 0.35) * extent
    shore = shore + smooth_noise(rng, size, 70) * 10 + smooth_noise(rng, size, 18) * 1.5
    depth: NDArray[np.float32] = shore.astype(np.float32)
    return depth


def _flood(pixels: NDArray[np.float32], depth: Plane, rng: np.random.Generator) -> None:
    """Paint water with waves, and sand or foam along the shore."""
    if depth.max() <= 0:
        return
    size = depth.shape
    shallow = np.array([0.24, 0.36, 0.36], dtype=np.float32) + rng.normal(0, 0.03, 3).astype(
        np.float32
    )
    deep = shallow * np.float32(rng.uniform(0.45, 0.8))
    mix = (depth / np.float32(60)).clip(0, 1)[..., None]  # [H, W, 1]
    waves = smooth_noise(rng, (size[0], size[1]), 2.2) * np.float32(rng.uniform(0.02, 0.06))
    swell = rough_noise(rng, (size[0], size[1]), period=30, octaves=2) * np.float32(0.03)
    water = (shallow + (deep - shallow) * mix) * (1 + waves + swell)[..., None]  # [H, W, 3]
    wet = inside(-depth, softness=1.5)[..., None]  # [H, W, 1]
    pixels += wet * (water - pixels)
    beach = inside(np.abs(depth + np.float32(2)) - np.float32(rng.uniform(0.5, 3)), softness=2.0)
    sand = np.array([0.66, 0.61, 0.50], dtype=np.float32)
    pixels += (beach * np.float32(0.75))[..., None] * (sand - pixels)


def _road(rng: np.random.Generator, size: tuple[int, int], scale: float) -> Road:
    """A road somewhere through the middle part of the picture."""
    angle = float(rng.uniform(0, np.pi))
    x, y = rng.uniform(0.15, 0.85, 2) * [size[1], size[0]]
    return Road(
        angle=angle,
        offset=float(x * np.cos(angle) + y * np.sin(angle)),
        bend=float(rng.uniform(0, 12)),
        period=float(rng.uniform(35, 90)),
        width=float(np.clip(rng.uniform(13, 22) * scale, 6, 42)),
    )


def _pave(
    pixels: NDArray[np.float32], road: Road, depth: Plane, *, xs: Plane, ys: Plane
) -> NDArray[np.bool_]:
    """Paint a road with its markings on land; returns [H, W] where it is."""
    across, along = road.across(xs, ys), road.along(xs, ys)  # [H, W]
    land = inside(depth + np.float32(4), softness=2.0)
    surface = inside(np.abs(across) - np.float32(road.width / 2)) * land
    pixels += surface[..., None] * (np.float32(0.34) - pixels)
    turns = along / np.float32(14)
    dashes = (turns - np.floor(turns) < 0.43).astype(np.float32)
    thin = max(0.07 * road.width, 0.7)
    middle = inside(np.abs(across) - np.float32(thin / 2)) * dashes
    edges = inside(np.abs(np.abs(across) - np.float32(0.44 * road.width)) - np.float32(thin / 3))
    marks = np.maximum(middle, edges * np.float32(0.7)) * surface * np.float32(0.7)
    pixels += marks[..., None] * (np.float32(0.85) - pixels)
    return surface > 0.5


def _building(ground: Ground, rng: np.random.Generator) -> None:
    """A house: two roof halves of different brightness, and vents on it that are no vehicles."""
    unit = 12.8 * ground.scale
    length, width = rng.uniform(1.5, 4.5) * unit, rng.uniform(1.2, 2.6) * unit
    pose = _place(ground, rng, length=float(length), width=float(width), on_water=False)
    if pose is None:
        return
    cast_shadow(ground.canvas, pose, ground.sun, 0.35 * unit)
    local = ground.canvas.around(pose)
    roof = _ROOFS[int(rng.integers(len(_ROOFS)))] * np.float32(rng.uniform(0.8, 1.15))
    body = rectangle(local, pose.length, pose.width)
    ground.canvas.blend(local, body, roof)
    ground.canvas.blend(local, body * inside(local.v), roof * np.float32(rng.uniform(0.6, 0.95)))
    for _ in range(int(rng.integers(0, 5))):
        along, across = rng.uniform(-0.4, 0.4, 2) * [pose.length, pose.width]
        side = float(rng.uniform(0.12, 0.45) * unit)
        vent = Pose(
            x=float(pose.x + along * np.cos(pose.angle) - across * np.sin(pose.angle)),
            y=float(pose.y + along * np.sin(pose.angle) + across * np.cos(pose.angle)),
            length=side,
            width=side * float(rng.uniform(0.4, 1.0)),
            angle=pose.angle,
        )
        spot = ground.canvas.around(vent)
        grey = float(rng.choice([0.2, 0.35, 0.75, 0.9]))
        ground.canvas.blend(spot, rectangle(spot, vent.length, vent.width), grey)


def _tree(ground: Ground, rng: np.random.Generator) -> None:
    """A crown: round and dark as some tanks are, but mottled and without a rim."""
    size = float(rng.uniform(0.3, 1.4) * 12.8 * ground.scale)
    pose = _place(ground, rng, length=size, width=size, on_water=False)
    if pose is None:
        return
    cast_shadow(ground.canvas, pose, ground.sun, 0.3 * size)
    local = ground.canvas.around(pose)
    noise = rng.standard_normal(local.u.shape, dtype=np.float32)  # [h, w]
    edge = np.hypot(local.u, local.v) + noise * np.float32(0.05 * size)
    crown = inside(edge - np.float32(0.47 * size), softness=1.5)
    green = np.array([0.17, 0.25, 0.12], dtype=np.float32) * np.float32(rng.uniform(0.7, 1.5))
    ground.canvas.blend(local, crown, green * (1 + np.float32(0.25) * noise)[..., None])


def _shed(ground: Ground, rng: np.random.Generator) -> None:
    """A container, shed or solar panel: of a vehicle's shape, ribbed or plain, without glass."""
    length = float(rng.uniform(0.5, 1.5) * 12.8 * ground.scale)
    width = length / float(rng.uniform(1.2, 3.5))
    pose = _place(ground, rng, length=length, width=width, on_water=False)
    if pose is None:
        return
    cast_shadow(ground.canvas, pose, ground.sun, 0.2 * width)
    local = ground.canvas.around(pose)
    roof = _ROOFS[int(rng.integers(len(_ROOFS)))]
    body = rectangle(local, length, width)
    ground.canvas.blend(local, body, roof)
    if rng.random() < 0.6:  # ribs along, or a ridge
        ridge = inside(np.abs(local.v) - np.float32(0.12 * width))
        ground.canvas.blend(local, body * ridge * np.float32(0.5), float(rng.choice([0.1, 0.9])))


def _bale(ground: Ground, rng: np.random.Generator) -> None:
    """A hay bale, a manhole, a round bed: a flat disc, small and unlit."""
    size = float(rng.uniform(0.2, 0.9) * 12.8 * ground.scale)
    pose = _place(ground, rng, length=size, width=size, on_water=False)
    if pose is None:
        return
    local = ground.canvas.around(pose)
    colour = _SOILS[int(rng.integers(len(_SOILS)))] * np.float32(rng.choice([0.55, 1.5]))
    ring = disc(local, size)
    if rng.random() < 0.4:
        ring = ring - disc(local, 0.6 * size)
    ground.canvas.blend(local, ring, colour.clip(0, 1))


def _float(ground: Ground, rng: np.random.Generator) -> None:
    """A buoy, rock, raft or jetty in the water: of other proportions than a ship."""
    size = float(rng.uniform(0.15, 0.9) * 12.8 * ground.scale)
    longish = rng.random() < 0.35
    length = size * (float(rng.uniform(2, 6)) if longish else 1.0)
    width = size * (0.35 if longish else 1.0)
    pose = _place(ground, rng, length=length, width=width, on_water=True)
    if pose is None:
        return
    local = ground.canvas.around(pose)
    shape = rectangle(local, length, width) if longish else disc(local, size)
    colour = np.array(
        [[0.40, 0.36, 0.31], [0.75, 0.25, 0.15], [0.85, 0.85, 0.82], [0.30, 0.30, 0.30]],
        dtype=np.float32,
    )[int(rng.integers(4))]
    ground.canvas.blend(local, shape, colour)


def _whitecap(ground: Ground, rng: np.random.Generator) -> None:
    """A short bright crest of a wave."""
    length = float(rng.uniform(2, 9))
    pose = _place(ground, rng, length=length, width=1.4, on_water=True)
    if pose is None:
        return
    local = ground.canvas.around(pose)
    bent = local.v + local.u**2 * np.float32(0.6 / length)
    crest = inside(np.abs(bent) - np.float32(0.4)) * band(local.u, -length / 2, length / 2)
    ground.canvas.blend(local, crest * np.float32(rng.uniform(0.2, 0.6)), 0.85)


_CLUTTER: Final = (
    (_building, 4.0),
    (_tree, 14.0),
    (_shed, 5.0),
    (_bale, 5.0),
    (_float, 6.0),
    (_whitecap, 10.0),
)
"""What is painted, and how many on 256 x 256 pixels where there is room."""


def _place(
    ground: Ground, rng: np.random.Generator, *, length: float, width: float, on_water: bool
) -> Pose | None:
    """A free place for clutter, which is then taken; None if the tries fail."""
    height, total = ground.water.shape
    half = 0.5 * float(np.hypot(length, width))
    for _ in range(4):
        x, y = float(rng.uniform(0, total)), float(rng.uniform(0, height))
        rows = slice(max(int(y - half), 0), int(y + half) + 1)
        columns = slice(max(int(x - half), 0), int(x + half) + 1)
        blocked = ground.paved[rows, columns] | ~ground.free[rows, columns]
        if not blocked.any() and (ground.water[rows, columns] == on_water).all():
            ground.free[rows, columns] = False
            angle = float(rng.uniform(0, np.pi))
            return Pose(x=x, y=y, length=length, width=width, angle=angle)
    return None
