"""Whole scenes: ground, objects, and the camera that looks at them."""

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from motedet.data.synthetic.canvas import Pose
from motedet.data.synthetic.ground import Ground, paint_ground
from motedet.data.synthetic.sizes import SizeDistribution
from motedet.data.synthetic.sprites import DRAW, draw_aspect, outline

CLASSES: Final = ("vehicle", "ship", "storage-tank")
LIKENESS: Final = 0.6  # correlation of the sizes of two objects of one scene: its flying height
GAP: Final = 2.0  # px that stay between two objects


@dataclass(frozen=True, kw_only=True)
class SceneSpec:
    """What a synthetic scene looks like.

    Attributes:
        size: (height, width) in pixels.
        objects: mean number of objects; a scene has 50 % to 150 % of it.
        sizes: how large they are.
        clutter: amount of buildings, trees and look-alikes; 1 is usual.
        noise: deviation of the sensor noise in grey levels of 255; a scene has 50 % to 150 % of it.
    """

    size: tuple[int, int] = (256, 256)
    objects: int = 20
    sizes: SizeDistribution = field(default_factory=SizeDistribution)
    clutter: float = 1.0
    noise: float = 5.0

    def __post_init__(self) -> None:
        """Reject scenes in which nothing fits."""
        if min(self.size) < 64:
            raise ValueError(f"size must be at least 64 x 64; got {self.size}.")
        if self.objects < 0 or self.clutter < 0 or self.noise < 0:
            raise ValueError(
                "objects, clutter and noise must not be negative; "
                f"got {self.objects}, {self.clutter} and {self.noise}."
            )


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: [H, W, 3] uint8.
        boxes: [G, 4] float64 xyxy in pixels, tight around the objects' outlines without shadows.
        labels: [G] int64, positions in `CLASSES`.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]


def make_scene(spec: SceneSpec, seed: int | tuple[int, ...]) -> Scene:
    """Paint one scene.

    Args:
        spec: what it looks like.
        seed: the same seed gives the same scene.
    """
    rng = np.random.default_rng(seed)
    height = rng.standard_normal()  # of the camera: what all sizes of a scene have in common
    count = round(spec.objects * rng.uniform(0.5, 1.5))
    shares = LIKENESS**0.5 * height + (1 - LIKENESS) ** 0.5 * rng.standard_normal(count)  # [G]
    sizes = sorted((spec.sizes.quantile(NormalDist().cdf(s)) for s in shares), reverse=True)
    scale = spec.sizes.quantile(NormalDist().cdf(LIKENESS**0.5 * height)) / 12.8
    scale = float(np.clip(scale, 0.45, 2.0))
    ground = paint_ground(rng, spec.size, scale=scale, clutter=spec.clutter)
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[int] = []
    for size in sizes:  # the largest first, as long as there is room
        label, pose, box = _settle(ground, boxes, size, rng)
        if pose is not None:
            DRAW[CLASSES[label]](ground.canvas, pose, ground.sun, rng)
            boxes.append(box)
            labels.append(label)
    order = rng.permutation(len(boxes))  # the order of a file must not tell sizes
    return Scene(
        image=_photograph(ground.canvas.pixels, spec.noise, rng),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4)[order],
        labels=np.array(labels, dtype=np.int64)[order],
    )


def _settle(
    ground: Ground,
    taken: list[tuple[float, float, float, float]],
    size: float,
    rng: np.random.Generator,
) -> tuple[int, Pose | None, tuple[float, float, float, float]]:
    """Class, pose and box of a new object that touches no other; None if there is no room."""
    others = np.array(taken, dtype=np.float64).reshape(-1, 4)  # [N, 4]
    for _ in range(60):
        x, y = rng.uniform(0, 1, 2) * ground.water.shape[::-1]
        if not ground.free[int(y), int(x)]:
            continue
        label, angle = _suggest(ground, float(x), float(y), rng)
        name = CLASSES[label]
        aspect = draw_aspect(name, rng)
        points = outline(name, aspect, angle)  # [N, 2] of length 1
        extent = np.ptp(points, axis=0)  # [2]
        length = size / float(np.sqrt(extent.prod()))
        box = np.concatenate([points.min(axis=0), points.max(axis=0)]) * length + [x, y, x, y]
        if _fits(ground, box, others, on_water=name == "ship"):
            pose = Pose(x=float(x), y=float(y), length=length, width=length / aspect, angle=angle)
            x1, y1, x2, y2 = box.tolist()
            return label, pose, (x1, y1, x2, y2)
    return 0, None, (0.0, 0.0, 0.0, 0.0)


def _suggest(ground: Ground, x: float, y: float, rng: np.random.Generator) -> tuple[int, float]:
    """The class of what could be at a point, and its direction in radians."""
    row, column = int(y), int(x)
    if ground.water[row, column]:
        return CLASSES.index("ship"), float(rng.uniform(0, 2 * np.pi))
    if ground.paved[row, column]:
        distances = [road.distance(x, y) for road in ground.roads]
        nearest = int(np.abs(distances).argmin())
        road = ground.roads[nearest]
        turn = np.pi if distances[nearest] > 0 else 0.0  # drive on one side
        return CLASSES.index("vehicle"), road.heading(x, y) + turn + float(rng.normal(0, 0.06))
    if rng.random() < 0.45:  # parked
        angle = float(rng.integers(4)) * np.pi / 2 + float(rng.normal(0, 0.1)) + ground.sun
        return CLASSES.index("vehicle"), angle
    return CLASSES.index("storage-tank"), 0.0


def _fits(
    ground: Ground, box: NDArray[np.float64], others: NDArray[np.float64], *, on_water: bool
) -> bool:
    """Whether a box lies in the picture, on the right ground, and clear of the others."""
    height, width = ground.water.shape
    x1, y1, x2, y2 = box.tolist()
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        return False
    window = (slice(int(y1), int(y2) + 1), slice(int(x1), int(x2) + 1))
    if not ground.free[window].all() or (ground.water[window] != on_water).any():
        return False
    near = (others[:, :2] < box[2:] + GAP) & (others[:, 2:] > box[:2] - GAP)  # [N, 2]
    return not near.all(axis=1).any()


def _photograph(
    pixels: NDArray[np.float32], noise: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """[H, W, 3] uint8: the light of the day, haze, the blur of the lens, and sensor noise."""
    gain = rng.uniform(0.75, 1.2) * (1 + rng.normal(0, 0.03, 3))  # [3]
    haze = rng.uniform(0.0, 0.18)
    lit = pixels * gain.astype(np.float32) * np.float32(1 - haze) + np.float32(0.6 * haze)
    image = Image.fromarray((lit.clip(0, 1) * np.float32(255)).astype(np.uint8))
    blurred = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.35, 0.8))))
    grain = rng.standard_normal(pixels.shape, dtype=np.float32)
    noisy = np.asarray(blurred) + grain * np.float32(noise * rng.uniform(0.5, 1.5))
    image_8: NDArray[np.uint8] = (noisy + np.float32(0.5)).clip(0, 255).astype(np.uint8)
    return image_8
