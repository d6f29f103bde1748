"""Zoomed panels of the tiniest objects, laid out in a strip."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

from motedet.report.marks import Mark, Sheet, caption, font

PANEL_MIN: Final = 104  # smallest side of a panel in pixels
PANEL_MAX: Final = 232
SPACE: Final = 12
EDGE: Final = 16
TEXT_HEIGHT: Final = 36
GROUND: Final = "#14181D"
INK: Final = "#DDE3EA"
QUIET: Final = "#9AA5B1"
FILL: Final = 0.5  # largest part of a panel's side that an object takes
NEAR: Final = 12.0  # pixels; two marks closer than this share a panel

Coordinates = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Inset:
    """A panel to be drawn.

    Attributes:
        mark: index of the mark that it shows.
        number: written beside the mark and in the panel, from 1.
    """

    mark: int
    number: int


def choose_insets(marks: Sequence[Mark], *, limit: int, below: float) -> list[Inset]:
    """Pick what deserves a closer look: mistakes before hits, small before large.

    Args:
        marks: of the image.
        limit: most panels.
        below: only marks of a size under this many pixels.
    """
    tiny = [i for i, mark in enumerate(marks) if mark.size < below]
    order = {"missed": 0, "false": 0, "found": 1, "detection": 1}
    tiny.sort(key=lambda i: (order[marks[i].outcome], marks[i].size))
    chosen: list[int] = []
    for i in tiny:
        if len(chosen) == limit:
            break
        if all(_distance(marks[i], marks[j]) > NEAR for j in chosen):
            chosen.append(i)
    return [Inset(mark, number) for number, mark in enumerate(chosen, start=1)]


def _distance(mark: Mark, other: Mark) -> float:
    """Between centres, in pixels of the image."""
    return math.dist(_centre(mark.box), _centre(other.box))


def _centre(box: Coordinates) -> tuple[float, float]:
    """(x, y) of a box's centre."""
    return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)


def inset_strip(
    picture: Image.Image,
    marks: Sequence[Mark],
    insets: Sequence[Inset],
    *,
    classes: Sequence[str],
    zoom: int,
    beside: tuple[int, int],
) -> Image.Image | None:
    """Draw the panels in a row below a wide picture or a column beside a tall one.

    Args:
        picture: the image, not enlarged.
        marks: all marks of the image; those in view are outlined in a panel.
        insets: what to show.
        classes: class names.
        zoom: enlargement; less where the object would not fit.
        beside: (width, height) of the drawing that the strip goes with.

    Returns:
        None where there is nothing to show or no room.
    """
    width, height = beside
    column = height > width
    room = (height if column else width) - 2 * EDGE + SPACE
    extra = TEXT_HEIGHT if column else 0
    count = min(len(insets), room // (PANEL_MIN + SPACE + extra))
    if count < 1:
        return None
    slots = min(max(count, 4), room // (PANEL_MIN + SPACE + extra))  # few panels stay small
    side = min(PANEL_MAX, room // slots - SPACE - extra)
    step = side + SPACE + extra
    size = (side + EDGE, height) if column else (width, side + TEXT_HEIGHT)
    strip = Image.new("RGB", size, GROUND)
    for place, inset in enumerate(insets[:count]):
        corner = (0, EDGE + place * step) if column else (EDGE + place * step, 0)
        panel = _panel(picture, marks, inset, side=side, zoom=zoom)
        strip.paste(panel, corner)
        _describe(strip, marks[inset.mark], (corner[0], corner[1] + side), classes=classes)
    return strip


def _panel(
    picture: Image.Image, marks: Sequence[Mark], inset: Inset, *, side: int, zoom: int
) -> Image.Image:
    """The surroundings of a mark, pixels enlarged as they are."""
    mark = marks[inset.mark]
    extent = max(mark.box[2] - mark.box[0], mark.box[3] - mark.box[1], 1.0)
    zoom = max(1, min(zoom, int(side * FILL / extent)))
    span = math.ceil(side / zoom)  # pixels of the image across the panel
    x, y = (round(c - span / 2) for c in _centre(mark.box))
    x, y = _kept_inside(x, span, picture.width), _kept_inside(y, span, picture.height)
    cut = picture.crop((x, y, x + span, y + span))
    enlarged = cut.resize((span * zoom, span * zoom), Image.Resampling.NEAREST)
    sheet = Sheet(enlarged.crop((0, 0, side, side)), zoom, (x, y))
    for other in marks:
        if other is not mark and _in_view(other.box, (x, y, x + span, y + span)):
            _outline(sheet, other)
    _outline(sheet, mark)
    drawn = sheet.merged()
    pen = ImageDraw.Draw(drawn)
    pen.rounded_rectangle((4, 4, 20, 18), radius=3, fill="#FFFFFF")
    pen.text((12.5, 11.5), str(inset.number), font=font(12), fill=GROUND, anchor="mm")
    return drawn


def _kept_inside(start: int, span: int, length: int) -> int:
    """Shift a window so that it stays in the image, where it fits."""
    return max(0, min(start, length - span)) if span <= length else start


def _outline(sheet: Sheet, mark: Mark) -> None:
    """A mark with thicker lines, and the corners of the object that it found."""
    if mark.gt_box is not None and mark.outcome == "found":
        sheet.ticks(mark.gt_box, "#FFFFFF")
    sheet.outline(mark, width=2)


def _in_view(box: Coordinates, view: Coordinates) -> bool:
    """Whether a box and a window overlap."""
    return box[0] < view[2] and box[2] > view[0] and box[1] < view[3] and box[3] > view[1]


def _describe(
    strip: Image.Image, mark: Mark, corner: tuple[int, int], *, classes: Sequence[str]
) -> None:
    """Two lines under a panel: what it is and how large."""
    pen = ImageDraw.Draw(strip)
    x, y = corner
    outcome = "" if mark.outcome == "detection" else f"{mark.outcome} "
    text = caption(mark, classes)
    pen.text(
        (x, y + 4),
        text if outcome.strip() == text else outcome + text,
        font=font(12),
        fill=mark.colour,
    )
    width, height = mark.box[2] - mark.box[0], mark.box[3] - mark.box[1]
    pen.text((x, y + 19), f"{width:.1f} by {height:.1f} px", font=font(11), fill=QUIET)
