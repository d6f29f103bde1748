"""The three kinds of objects, a few pixels large: vehicles, ships, storage tanks."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from motedet.data.synthetic.canvas import (
    Canvas,
    Colour,
    Local,
    Plane,
    Pose,
    band,
    disc,
    inside,
    luminance,
    rectangle,
)

Points = NDArray[np.float64]
"""[N, 2] x, y."""

_PAINTS: Final = np.array(
    [
        *([0.93, 0.93, 0.92], [0.78, 0.79, 0.80], [0.52, 0.54, 0.56], [0.13, 0.13, 0.15]),
        *([0.66, 0.13, 0.12], [0.16, 0.27, 0.55], [0.80, 0.66, 0.18], [0.86, 0.84, 0.76]),
    ],
    dtype=np.float32,
)
_HULLS: Final = np.array(
    [
        *([0.90, 0.90, 0.88], [0.62, 0.64, 0.66], [0.45, 0.19, 0.14], [0.20, 0.28, 0.42]),
        *([0.74, 0.70, 0.60], [0.30, 0.32, 0.33]),
    ],
    dtype=np.float32,
)
_TANKS: Final = np.array(
    [[0.92, 0.92, 0.90], [0.80, 0.80, 0.77], [0.68, 0.70, 0.70], [0.72, 0.66, 0.56]],
    dtype=np.float32,
)
_CONTRAST: Final = 0.14  # least difference in brightness to the ground; less cannot be seen


def draw_vehicle(canvas: Canvas, pose: Pose, sun: float, rng: np.random.Generator) -> None:
    """A car: a rounded body with dark windscreen and rear window; a long one is a lorry."""
    local = canvas.around(pose)
    length, width = pose.length, pose.width
    paint = _visible(_choice(_PAINTS, rng), canvas, local)
    cast_shadow(canvas, pose, sun, 0.22 * width)
    lorry = length > 2.7 * width
    body = rectangle(local, length, width, radius=(0.12 if lorry else 0.3) * width)
    canvas.blend(local, body, paint)
    across = inside(np.abs(local.v) - np.float32(0.4 * width))  # [h, w]
    if lorry:
        cab = _choice(_PAINTS, rng)
        canvas.blend(local, body * band(local.u, 0.27 * length, 0.5 * length), cab)
        canvas.blend(local, body * band(local.u, 0.22 * length, 0.27 * length), 0.08)
        canvas.blend(local, across * band(local.u, 0.40 * length, 0.46 * length) * 0.8, 0.12)
        return
    glass = 0.10 + 0.12 * float(rng.random())
    canvas.blend(local, across * band(local.u, 0.08 * length, 0.24 * length), glass)
    canvas.blend(local, across * band(local.u, -0.40 * length, -0.30 * length) * 0.9, glass)
    roof = across * band(local.u, -0.28 * length, 0.06 * length) * np.float32(0.35)
    canvas.blend(local, roof, (paint + 0.25).clip(0, 1))


def draw_ship(canvas: Canvas, pose: Pose, sun: float, rng: np.random.Generator) -> None:
    """A hull with a pointed bow, a lighter deck, and a bridge near the stern; some leave a wake."""
    length, width = pose.length, pose.width
    if rng.random() < 0.4:
        _wake(canvas, pose, rng)
    local = canvas.around(pose)
    paint = _visible(_choice(_HULLS, rng), canvas, local)
    cast_shadow(canvas, pose, sun, 0.15 * width)
    canvas.blend(local, _hull(local, length, width), paint)
    deck = _hull(local, 0.84 * length, 0.66 * width)
    canvas.blend(local, deck * np.float32(0.7), (paint * 0.55 + 0.35 * rng.random()).clip(0, 1))
    bridge = inside(np.abs(local.v) - np.float32(0.33 * width))
    bridge = bridge * band(local.u, -0.40 * length, -0.22 * length)
    canvas.blend(local, bridge, 0.95 if luminance(paint) < 0.7 else 0.35)
    if rng.random() < 0.6:  # hatches
        for start in (-0.12, 0.04, 0.20):
            hatch = deck * band(local.u, start * length, (start + 0.09) * length)
            canvas.blend(local, hatch * np.float32(0.7), _choice(_PAINTS, rng))


def draw_tank(canvas: Canvas, pose: Pose, sun: float, rng: np.random.Generator) -> None:
    """A round roof with a darker rim, lit from one side; some have sunken roofs."""
    local = canvas.around(pose)
    diameter = pose.length
    paint = _visible(_choice(_TANKS, rng), canvas, local)
    cast_shadow(canvas, pose, sun, (0.12 + 0.2 * float(rng.random())) * diameter)
    light = (local.u * np.float32(np.cos(sun)) + local.v * np.float32(np.sin(sun))) / np.float32(
        max(diameter, 1.0)
    )  # [h, w] in [-0.5, 0.5], away from the sun
    shade = np.float32(1.0) - np.float32(0.45) * light  # [h, w]
    roof = disc(local, diameter)
    canvas.blend(local, roof, paint * np.float32(0.62))
    top = disc(local, 0.82 * diameter)
    if rng.random() < 0.35:  # a floating roof: the wall throws its shadow inside
        canvas.blend(local, top, paint * np.float32(0.8))
        shift = np.float32(0.2 * diameter)
        du = local.u - shift * np.float32(np.cos(sun))
        dv = local.v - shift * np.float32(np.sin(sun))
        lit = inside(np.hypot(du, dv) - np.float32(0.41 * diameter))  # the rest is a crescent
        canvas.blend(local, top * (1 - lit) * np.float32(0.7), paint * np.float32(0.3))
    else:
        canvas.blend(local, top, (paint * shade[..., None]).clip(0, 1))
        canvas.blend(local, disc(local, 0.16 * diameter) * np.float32(0.6), paint * 0.5)


def cast_shadow(canvas: Canvas, pose: Pose, sun: float, height: float) -> None:
    """Darken the ground beside a shape, away from the sun."""
    moved = Pose(
        x=pose.x + height * float(np.cos(sun)),
        y=pose.y + height * float(np.sin(sun)),
        length=pose.length,
        width=pose.width,
        angle=pose.angle,
    )
    local = canvas.around(moved)
    radius = 0.5 * pose.width if pose.length == pose.width else 0.25 * pose.width
    shape = rectangle(local, pose.length, pose.width, radius=radius)
    canvas.blend(local, shape * np.float32(0.55), 0.03)


DRAW: Final[Mapping[str, Callable[[Canvas, Pose, float, np.random.Generator], None]]] = (
    MappingProxyType({"vehicle": draw_vehicle, "ship": draw_ship, "storage-tank": draw_tank})
)
"""How to paint an object of each class."""


def draw_aspect(name: str, rng: np.random.Generator) -> float:
    """Length over width of one object of a class."""
    if name == "storage-tank":
        return 1.0
    if name == "ship":
        return float(rng.uniform(2.6, 4.2))
    return float(rng.uniform(2.8, 3.4) if rng.random() < 0.15 else rng.uniform(1.8, 2.3))


def outline(name: str, aspect: float, angle: float) -> Points:
    """[N, 2] the edge of an object of length 1, turned, around its centre."""
    width = 1.0 / aspect
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    if name == "storage-tank":
        u, v = 0.5 * np.cos(turn), 0.5 * np.sin(turn)
    elif name == "ship":
        along = np.linspace(-0.5, 0.5, 40)
        side = 0.5 * width * _beam(along, 1.0)
        u, v = np.concatenate([along, along]), np.concatenate([side, -side])
    else:
        radius = (0.12 if aspect > 2.7 else 0.3) * width
        u = np.sign(np.cos(turn)) * (0.5 - radius) + radius * np.cos(turn)
        v = np.sign(np.sin(turn)) * (0.5 * width - radius) + radius * np.sin(turn)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([u * cos - v * sin, u * sin + v * cos], axis=1)


def _beam(along: NDArray[np.floating], length: float) -> NDArray[np.floating]:
    """Half the beam of a hull, relative to its largest: full astern, falling to 0 at the bow."""
    taper = ((along / length - 0.05) / 0.45).clip(0.0, 1.0)
    beam: NDArray[np.floating] = np.sqrt(1.0 - taper**2)
    return beam


def _hull(local: Local, length: float, width: float) -> Plane:
    """[h, w] coverage of a hull with its bow towards +u."""
    half = 0.5 * width * _beam(local.u, length)
    beyond = np.abs(local.u) - np.float32(0.5 * length)
    return inside(np.maximum(np.abs(local.v) - half, beyond).astype(np.float32))


def _wake(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """A bright, thinning streak behind a ship."""
    length = pose.length * float(rng.uniform(1.0, 2.2))
    back = 0.5 * (pose.length + length) - 0.05 * pose.length
    behind = Pose(
        x=pose.x - back * float(np.cos(pose.angle)),
        y=pose.y - back * float(np.sin(pose.angle)),
        length=length,
        width=1.6 * pose.width,
        angle=pose.angle,
    )
    local = canvas.around(behind)
    fade = ((local.u + np.float32(0.5 * length)) / np.float32(length)).clip(0, 1)  # 1 at the ship
    spread = np.float32(0.8 * pose.width) - fade * np.float32(0.45 * pose.width)
    streak = inside(np.abs(local.v) - spread, softness=2.0)
    streak = streak * band(local.u, -0.5 * length, 0.5 * length)
    canvas.blend(local, streak * fade * np.float32(rng.uniform(0.25, 0.55)), 0.85)


def _choice(colours: NDArray[np.float32], rng: np.random.Generator) -> Colour:
    """One of several colours, a little varied."""
    colour = colours[int(rng.integers(len(colours)))]
    varied: Colour = (colour + rng.normal(0, 0.03, 3).astype(np.float32)).clip(0.02, 0.98)
    return varied


def _visible(colour: Colour, canvas: Canvas, local: Local) -> Colour:
    """The colour, moved away from the ground's brightness where nobody could see it."""
    ground = luminance(canvas.mean_colour(local))
    difference = luminance(colour) - ground
    if abs(difference) >= _CONTRAST:
        return colour
    up = ground < 0.5
    moved: Colour = (colour + (_CONTRAST - difference if up else -_CONTRAST - difference)).clip(
        0.02, 0.98
    )
    return moved
