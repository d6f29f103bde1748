"""A picture on which soft-edged shapes are painted, and noise to paint with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float32]
"""[h, w] float32."""

Colour = NDArray[np.float32]
"""[3] red, green, blue in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where a shape lies.

    Attributes:
        x: centre in pixels.
        y: centre in pixels.
        length: along the shape's own first axis, in pixels.
        width: across, in pixels.
        angle: of the first axis in radians, from x towards y.
    """

    x: float
    y: float
    length: float
    width: float
    angle: float


@dataclass(frozen=True, slots=True)
class Local:
    """The pixels around a shape, in the shape's own axes.

    Attributes:
        window: rows and columns of the canvas.
        u: [h, w] pixels along the shape from its centre.
        v: [h, w] pixels across the shape.
    """

    window: tuple[slice, slice]
    u: Plane
    v: Plane


class Canvas:
    """An RGB picture being painted.

    Attributes:
        pixels: [H, W, 3] float32 in [0, 1].
    """

    def __init__(self, pixels: NDArray[np.float32]) -> None:
        self.pixels = pixels
        height, width = pixels.shape[:2]
        self._ys = np.arange(height, dtype=np.float32) + np.float32(0.5)  # pixel centres
        self._xs = np.arange(width, dtype=np.float32) + np.float32(0.5)

    def around(self, pose: Pose, *, margin: float = 1.5) -> Local:
        """The pixels that a shape can touch.

        Args:
            pose: of the shape.
            margin: beyond the shape, in pixels.
        """
        radius = 0.5 * float(np.hypot(pose.length, pose.width)) + margin
        rows = _range(pose.y, radius, len(self._ys))
        columns = _range(pose.x, radius, len(self._xs))
        dx = self._xs[columns][None, :] - np.float32(pose.x)  # [1, w]
        dy = self._ys[rows][:, None] - np.float32(pose.y)  # [h, 1]
        cos, sin = np.float32(np.cos(pose.angle)), np.float32(np.sin(pose.angle))
        return Local((rows, columns), dx * cos + dy * sin, dy * cos - dx * sin)

    def blend(self, local: Local, alpha: Plane, colour: NDArray[np.float32] | float) -> None:
        """Paint over pixels.

        Args:
            local: where.
            alpha: [h, w] coverage in [0, 1].
            colour: [3], [h, w, 3] or one grey level.
        """
        patch = self.pixels[local.window]  # [h, w, 3], a view
        patch += alpha[..., None] * (colour - patch)

    def mean_colour(self, local: Local) -> Colour:
        """[3] mean colour of pixels."""
        mean: Colour = self.pixels[local.window].mean(axis=(0, 1))
        return mean


def inside(distance: Plane, *, softness: float = 1.0) -> Plane:
    """[h, w] coverage from signed distances to an edge in pixels, negative inside."""
    coverage: Plane = (np.float32(0.5) - distance / np.float32(softness)).clip(0.0, 1.0)
    return coverage


def rectangle(local: Local, length: float, width: float, *, radius: float = 0.0) -> Plane:
    """[h, w] coverage of a rectangle with round corners, centred."""
    du = np.abs(local.u) - np.float32(0.5 * length - radius)
    dv = np.abs(local.v) - np.float32(0.5 * width - radius)
    outer = np.hypot(du.clip(0.0), dv.clip(0.0))
    return inside(outer + np.maximum(du, dv).clip(None, 0.0) - np.float32(radius))


def disc(local: Local, diameter: float) -> Plane:
    """[h, w] coverage of a disc, centred."""
    return inside(np.hypot(local.u, local.v) - np.float32(0.5 * diameter))


def band(along: Plane, low: float, high: float) -> Plane:
    """[h, w] coverage of the strip between two positions along an axis."""
    return inside(np.maximum(np.float32(low) - along, along - np.float32(high)))


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], period: float) -> Plane:
    """[H, W] noise of mean 0 and deviation near 1 whose bumps are about `period` pixels wide."""
    height, width = size
    rows, columns = int(height / period) + 3, int(width / period) + 3
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    enlarged = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise: Plane = np.asarray(enlarged) * np.float32(1.35)  # what interpolation takes away
    return noise


def rough_noise(
    rng: np.random.Generator, size: tuple[int, int], *, period: float, octaves: int
) -> Plane:
    """[H, W] noise of several octaves, deviation near 1."""
    total = np.zeros(size, dtype=np.float32)
    for octave in range(octaves):
        total += smooth_noise(rng, size, max(period / 2**octave, 1.0)) * np.float32(0.6**octave)
    return total * np.float32(0.8)


def luminance(colour: Colour) -> float:
    """Brightness of a colour in [0, 1]."""
    return float(0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2])


def _range(centre: float, radius: float, length: int) -> slice:
    low = min(max(int(centre - radius), 0), length)
    return slice(low, min(max(int(centre + radius) + 1, low), length))
