"""Pictures of detections in which a 4-px object can still be seen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from motedet.errors import ShapeError
from motedet.report.insets import Inset, choose_insets, inset_strip
from motedet.report.marks import OUTCOME_COLOURS, Mark, Sheet, caption, class_name, font
from motedet.report.matching import IntArray, match_greedily
from motedet.report.palette import class_colour
from motedet.structures import Targets

ENLARGE_TO: Final = 1000  # longest side in pixels up to which a small image is enlarged
MAX_SCALE: Final = 4
MARGIN: Final = 16  # room for outlines and labels of objects at the border
GROUND: Final = "#14181D"
QUIET: Final = "#9AA5B1"
FOOTER: Final = 26  # height of the legend in pixels
MAX_KEYS: Final = 8  # classes named in the legend

Coordinates = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class DrawingStyle:
    """What a drawing shows.

    Attributes:
        insets: most zoomed panels; 0 for none.
        zoom: enlargement of the panels; less for objects that would not fit.
        inset_below: only objects of a size (square root of area) under this many pixels get one.
        match_iou: least overlap of a detection with the object it found.
        labels: write class and score where there is room.
    """

    insets: int = 4
    zoom: int = 8
    inset_below: float = 24.0
    match_iou: float = 0.5
    labels: bool = True

    def __post_init__(self) -> None:
        """Reject what cannot be drawn."""
        if self.insets < 0 or self.zoom < 1:
            raise ValueError(f"insets must be >= 0, zoom >= 1; got {self.insets}, {self.zoom}.")
        if not 0 < self.match_iou <= 1:
            raise ValueError(f"match_iou must be in (0, 1]; got {self.match_iou}.")


def draw_detections(
    image: Image.Image | Tensor,
    boxes: Tensor | NDArray[np.floating],
    labels: Tensor | IntArray,
    scores: Tensor | NDArray[np.floating],
    *,
    classes: Sequence[str],
    truth: Targets | None = None,
    style: DrawingStyle | None = None,
) -> Image.Image:
    """Outline what was found, beside it a few zoomed panels of the tiniest objects.

    Lines are one pixel wide and lie outside the object with a small gap. Small images
    are enlarged by a whole factor. With the truth given, colours tell hits from false detections,
    missed objects are dashed, and the panels show mistakes first; otherwise colours tell classes.

    Args:
        image: a picture of any mode, or uint8 [3, H, W] or [1, H, W].
        boxes: [D, 4] xyxy in pixels of the image; D may be 0.
        labels: [D] 0-based.
        scores: [D] in 0-1.
        classes: class names.
        truth: the objects that are really there, in the same pixels.
        style: what to show.

    Raises:
        ShapeError: if the arrays do not fit together.
    """
    style = style or DrawingStyle()
    picture = as_rgb(image)
    marks = _marks(_array(boxes), _array(labels), _array(scores), truth, style.match_iou)
    insets = choose_insets(marks, limit=style.insets, below=style.inset_below)
    main = _main_picture(picture, marks, insets, classes=classes, labelled=style.labels)
    strip = inset_strip(picture, marks, insets, classes=classes, zoom=style.zoom, beside=main.size)
    return _assembled(main, strip, _legend(marks, classes, compared=truth is not None))


def as_rgb(image: Image.Image | Tensor) -> Image.Image:
    """A picture as 8-bit RGB; deeper grey is stretched between its 0.5 and 99.5 percentiles.

    Args:
        image: a picture of any mode, or uint8 [3, H, W] or [1, H, W].

    Raises:
        ShapeError: if a tensor is not such an image.
    """
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3) or str(image.dtype) != "torch.uint8":
            raise ShapeError(
                f"image must be uint8 [3, H, W] or [1, H, W]; "
                f"got {image.dtype} {list(image.shape)}."
            )
        pixels = image.detach().cpu().expand(3, -1, -1).permute(1, 2, 0)  # [H, W, 3]
        return Image.fromarray(np.ascontiguousarray(pixels.numpy()))
    if image.mode.startswith(("I", "F")):
        grey = np.asarray(image, dtype=np.float64)
        low, high = np.percentile(grey, (0.5, 99.5))
        stretched = (grey - low) / max(high - low, 1.0) * 255
        return Image.fromarray(stretched.clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _array(values: Tensor | NDArray[np.generic]) -> NDArray[np.generic]:
    """A tensor as an array."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _marks(
    boxes: NDArray[np.generic],
    labels: NDArray[np.generic],
    scores: NDArray[np.generic],
    truth: Targets | None,
    match_iou: float,
) -> list[Mark]:
    """What there is to outline: detections from best to worst, then missed objects."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes) == len(labels) == len(scores):
        raise ShapeError(
            f"boxes [D, 4], labels [D] and scores [D] must fit together; got {list(boxes.shape)}, "
            f"{list(labels.shape)} and {list(scores.shape)}."
        )
    order = np.argsort(-scores.astype(np.float64), kind="stable")  # [D]
    boxes, labels = boxes.astype(np.float64)[order], labels.astype(np.int64)[order]
    rows = [
        (_coordinates(b), int(k), float(s))
        for b, k, s in zip(boxes, labels, scores[order], strict=True)
    ]
    if truth is None:
        return [Mark(box, "detection", label, score) for box, label, score in rows]
    gt_boxes, gt_labels = (
        _array(truth.boxes).astype(np.float64),
        _array(truth.labels).astype(np.int64),
    )
    matches = match_greedily(
        boxes, labels, gt_boxes=gt_boxes, gt_labels=gt_labels, match_iou=match_iou
    )
    marks = []
    for (box, label, score), gt in zip(rows, matches.gt_index, strict=True):
        found = gt >= 0
        gt_box = _coordinates(gt_boxes[gt]) if found else None
        marks.append(Mark(box, "found" if found else "false", label, score, gt_box))
    for gt in np.flatnonzero(matches.missed):
        box = _coordinates(gt_boxes[gt])
        marks.append(Mark(box, "missed", int(gt_labels[gt]), None, box))
    return marks


def _coordinates(box: NDArray[np.floating]) -> Coordinates:
    """A row of boxes as numbers."""
    return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))


def enlargement(width: int, height: int) -> int:
    """The whole factor by which an image is enlarged before drawing; 1 for large ones."""
    return max(1, min(MAX_SCALE, ENLARGE_TO // max(width, height)))


def _main_picture(
    picture: Image.Image,
    marks: Sequence[Mark],
    insets: Sequence[Inset],
    *,
    classes: Sequence[str],
    labelled: bool,
) -> Image.Image:
    """The enlarged image with all outlines, numbers of the panels and labels."""
    scale = enlargement(*picture.size)
    size = (picture.width * scale + 2 * MARGIN, picture.height * scale + 2 * MARGIN)
    base = Image.new("RGB", size, GROUND)
    base.paste(
        picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST),
        (MARGIN, MARGIN),
    )
    sheet = Sheet(base, scale, (-MARGIN / scale, -MARGIN / scale))
    outlines = [sheet.outline(mark) for mark in reversed(marks)][::-1]  # best ones on top
    sheet.taken.extend(outlines)
    for inset in insets:
        sheet.write(str(inset.number), outlines[inset.mark], colour="#FFFFFF", ink=GROUND)
    if labelled:
        for mark, outline in zip(marks, outlines, strict=True):
            sheet.write(caption(mark, classes), outline, colour=mark.colour)
    return sheet.merged()


@dataclass(frozen=True, slots=True)
class _Key:
    """An entry of the legend."""

    text: str
    colour: str
    dashed: bool = False


def _legend(marks: Sequence[Mark], classes: Sequence[str], *, compared: bool) -> list[_Key]:
    """Counts by outcome where the truth is known, by class otherwise."""
    if compared:
        counts = Counter(mark.outcome for mark in marks)
        return [
            _Key(f"{counts[outcome]} {outcome}", colour, dashed=outcome == "missed")
            for outcome, colour in OUTCOME_COLOURS.items()
        ]
    if not marks:
        return [_Key("nothing found", QUIET)]
    by_class = Counter(mark.label for mark in marks).most_common()
    keys = [
        _Key(f"{count} {class_name(label, classes)}", class_colour(label))
        for label, count in by_class[:MAX_KEYS]
    ]
    rest = sum(count for _, count in by_class[MAX_KEYS:])
    return [*keys, _Key(f"{rest} of other classes", QUIET)] if rest else keys


def _assembled(main: Image.Image, strip: Image.Image | None, legend: Sequence[_Key]) -> Image.Image:
    """The main picture, the panels below or beside it, and the legend at the bottom."""
    width, height = main.size
    beside = strip is not None and strip.height > strip.width
    if strip is not None:
        width = width + strip.width if beside else max(width, strip.width)
        height = max(height, strip.height) if beside else height + strip.height
    whole = Image.new("RGB", (width, height + FOOTER), GROUND)
    whole.paste(main, (0, 0))
    if strip is not None:
        whole.paste(strip, (main.width, 0) if beside else (0, main.height))
    pen = ImageDraw.Draw(whole)
    x, middle = MARGIN, height + FOOTER // 2 - 3
    for key in legend:
        swatch = (x, middle - 5, x + 11, middle + 5)
        pen.rectangle(swatch, outline=key.colour)
        if key.dashed:
            pen.line([(x + 4, middle - 5), (x + 7, middle - 5)], fill=GROUND)
            pen.line([(x + 4, middle + 5), (x + 7, middle + 5)], fill=GROUND)
            pen.line([(x, middle - 1), (x, middle + 1)], fill=GROUND)
            pen.line([(x + 11, middle - 1), (x + 11, middle + 1)], fill=GROUND)
        face = font(12)
        pen.text((x + 18, middle), key.text, font=face, fill="#DDE3EA", anchor="lm")
        x += 18 + round(face.getlength(key.text)) + 20
    return whole
