"""Outlines around objects that leave the object's own pixels alone, and labels beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from motedet.report.palette import FALSE, FOUND, MISSED, class_colour

Outcome = Literal["detection", "found", "false", "missed"]
Corners = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of the drawing; right and bottom are not included."""

OUTCOME_COLOURS: Final[dict[Outcome, str]] = {"found": FOUND, "false": FALSE, "missed": MISSED}
SHADOW: Final = (0, 0, 0, 110)
PLATE: Final = (12, 15, 18, 170)
DASH: Final = 4  # pixels on, then 3 off
GAP: Final = 2  # pixels between an object and its outline


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing to outline.

    Attributes:
        box: xyxy in pixels of the image.
        outcome: a plain detection, or what comparing with the truth made of it.
        label: 0-based class.
        score: of a detection; None for a missed object.
        gt_box: the object that a detection found.
    """

    box: tuple[float, float, float, float]
    outcome: Outcome
    label: int
    score: float | None
    gt_box: tuple[float, float, float, float] | None = None

    @property
    def size(self) -> float:
        """Square root of the area of the object, or of the detection if none was found."""
        left, top, right, bottom = self.gt_box or self.box
        return math.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0))

    @property
    def colour(self) -> str:
        """By outcome where the truth is known, by class otherwise."""
        return OUTCOME_COLOURS.get(self.outcome) or class_colour(self.label)


@dataclass(slots=True)
class Sheet:
    """A transparent layer over an enlarged (part of an) image.

    Attributes:
        base: the picture, RGB.
        scale: pixels of the drawing per pixel of the image.
        origin: (x, y) of the image at the drawing's pixel (0, 0); negative leaves a margin.
        layer: what has been drawn, RGBA.
        taken: rectangles that labels keep off.
    """

    base: Image.Image
    scale: int
    origin: tuple[float, float]
    layer: Image.Image = field(init=False)
    taken: list[Corners] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with nothing drawn."""
        self.layer = Image.new("RGBA", self.base.size)

    def corners(self, box: Sequence[float]) -> Corners:
        """The whole pixels of the drawing that a box of the image touches.

        Args:
            box: xyxy in pixels of the image.
        """
        x, y = self.origin
        left, top = (box[0] - x) * self.scale, (box[1] - y) * self.scale
        right, bottom = (box[2] - x) * self.scale, (box[3] - y) * self.scale
        low = (math.floor(left + 1e-3), math.floor(top + 1e-3))  # 1e-3: float32 boxes
        high = (math.ceil(right - 1e-3), math.ceil(bottom - 1e-3))
        return (*low, max(high[0], low[0] + 1), max(high[1], low[1] + 1))

    def outline(self, mark: Mark, *, width: int = 1) -> Corners:
        """Draw a mark's outline outside its box, dashed for a missed object.

        Args:
            mark: what to outline.
            width: of the line in pixels.

        Returns:
            The corners of the outline, shadow included.
        """
        pen = ImageDraw.Draw(self.layer)
        outer = _grown(self.corners(mark.box), GAP + width)
        pen.rectangle(_inclusive(_grown(outer, 1)), outline=SHADOW)
        if mark.outcome == "missed":
            for line in _dashes(outer, width):
                pen.rectangle(line, fill=mark.colour)
        else:
            pen.rectangle(_inclusive(outer), outline=mark.colour, width=width)
        return _grown(outer, 1)

    def ticks(self, box: Sequence[float], colour: str) -> None:
        """Mark the corners of a true box, outside it.

        Args:
            box: xyxy in pixels of the image.
            colour: "#RRGGBB".
        """
        left, top, right, bottom = _grown(self.corners(box), 1)
        length = max(3, min(right - left, bottom - top) // 4)
        pen = ImageDraw.Draw(self.layer)
        for x, towards_x in ((left, 1), (right - 1, -1)):
            for y, towards_y in ((top, 1), (bottom - 1, -1)):
                pen.line([(x, y), (x + towards_x * length, y)], fill=colour)
                pen.line([(x, y), (x, y + towards_y * length)], fill=colour)

    def write(self, text: str, beside: Corners, *, colour: str, ink: str | None = None) -> bool:
        """Write a small label where it hides no object and no other label, if there is room.

        Args:
            text: a few characters.
            beside: the outline to write next to.
            colour: of the text, or of the plate where `ink` is given.
            ink: of the text on a plate of `colour`.

        Returns:
            Whether there was room.
        """
        face = font(11)
        width, height = round(face.getlength(text)) + 5, 14
        spot = self._free_spot(beside, width, height)
        if spot is None:
            return False
        pen = ImageDraw.Draw(self.layer)
        pen.rounded_rectangle(_inclusive(spot), radius=3, fill=colour if ink else PLATE)
        middle = ((spot[0] + spot[2]) / 2, (spot[1] + spot[3]) / 2)
        pen.text(middle, text, font=face, fill=ink or colour, anchor="mm")
        self.taken.append(spot)
        return True

    def _free_spot(self, beside: Corners, width: int, height: int) -> Corners | None:
        """The first place around an outline that is on the sheet and not taken."""
        left, top, right, bottom = beside
        middle = (top + bottom - height) // 2
        places = (
            (left, top - height),
            (left, bottom),
            (right, middle),
            (left - width, middle),
            (right - width, top - height),
            (right - width, bottom),
            (right, top - height),
            (right, bottom),
            (left - width, top - height),
            (left - width, bottom),
        )
        taken = np.array(self.taken, dtype=np.int64).reshape(-1, 4)  # [T, 4]
        for x, y in places:
            spot = (x, y, x + width, y + height)
            on_sheet = x >= 0 and y >= 0 and spot[2] <= self.base.width
            if on_sheet and spot[3] <= self.base.height and not _hits(spot, taken):
                return spot
        return None

    def merged(self) -> Image.Image:
        """The picture with everything drawn on it, RGB."""
        return Image.alpha_composite(self.base.convert("RGBA"), self.layer).convert("RGB")


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in typeface, the same on every machine."""
    return ImageFont.load_default(size)


def _hits(spot: Corners, taken: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> bool:
    """Whether a rectangle overlaps one of those [T, 4]."""
    left, top, right, bottom = spot
    apart = (taken[:, 0] >= right) | (taken[:, 2] <= left)
    apart |= (taken[:, 1] >= bottom) | (taken[:, 3] <= top)
    return bool((~apart).any())


def _grown(corners: Corners, by: int) -> Corners:
    """A rectangle enlarged on every side."""
    left, top, right, bottom = corners
    return (left - by, top - by, right + by, bottom + by)


def _inclusive(corners: Corners) -> Corners:
    """Pillow counts the last row and column in."""
    left, top, right, bottom = corners
    return (left, top, right - 1, bottom - 1)


def _dashes(outer: Corners, width: int) -> list[Corners]:
    """The dashes of a rectangle, each a filled rectangle in Pillow's inclusive corners."""
    left, top, right, bottom = outer
    thick = width - 1
    dashes = []
    for start in range(left, right, DASH + 3):
        end = min(start + DASH, right) - 1
        dashes += [(start, top, end, top + thick), (start, bottom - 1 - thick, end, bottom - 1)]
    for start in range(top, bottom, DASH + 3):
        end = min(start + DASH, bottom) - 1
        dashes += [(left, start, left + thick, end), (right - 1 - thick, start, right - 1, end)]
    return dashes


def class_name(label: int, classes: Sequence[str]) -> str:
    """The name of a class, or its number where the list of names is too short."""
    return classes[label] if 0 <= label < len(classes) else f"class {label}"


def caption(mark: Mark, classes: Sequence[str]) -> str:
    """A few characters beside an outline: the class where there are several, and the score."""
    name = class_name(mark.label, classes) if len(classes) != 1 else ""
    score = "" if mark.score is None else f"{mark.score:.2f}".removeprefix("0")
    return f"{name} {score}".strip() or "missed"
